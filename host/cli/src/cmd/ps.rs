//! `sidecore ps`: the remote processors that Linux drives, and sandboxes.

use std::process::ExitCode;

use serde::Serialize;
use sidecore_backends::sysfs::{RULE, Remoteproc, SysfsError};

use super::channel::known;
use crate::details::{Details, Inspector};
use crate::failure::{Failure, Outcome, printable};
use crate::kernel::refused;
use crate::output::{lines, note, print, print_json, table};
use crate::target::{Reach, Remotes, Target};

/// List all remotes, with state, firmware and channels: the daemon's, those that Linux drives, and sandboxes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
All verbs take the first column, or the second one where no other has that name, or the beginning of either. The kernel has \
its own in /sys/class/remoteproc. `sandbox:NAME` is one that `sidecore start` left running, or that a main side of yours has. \
What has neither in front is the daemon's.")]
pub(crate) struct Args {
    /// Print the udev rule that gives them to the group `sidecore`
    #[arg(long)]
    rule: bool,
    /// Print JSON (schema sidecore.ps/1)
    #[arg(long, conflicts_with = "rule")]
    pub(crate) json: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.rule {
        print(RULE)?;
        return Ok(ExitCode::SUCCESS);
    }
    let remotes = args.reach.remotes()?;
    let rows = rows(args, &remotes)?;
    if args.json {
        print_json("sidecore.ps/1", &Listed { remotes: rows })?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&text(&rows))?;
    Ok(ExitCode::SUCCESS)
}

/// The kernel's, then the daemon's, then what is nobody's.
fn rows(args: &Args, remotes: &Remotes) -> Result<Vec<Row>, Failure> {
    let all = remotes.all()?;
    let mut rows = Vec::new();
    match Remoteproc::all(&args.reach.place.roots()) {
        Ok(driven) => rows.extend(driven.iter().map(Row::new)),
        Err(error @ SysfsError::NoClass(_)) if all.is_empty() => note(&error),
        Err(SysfsError::NoClass(_)) => {}
        Err(error) => return Err(refused("cannot list the remote processors".to_owned(), &error)),
    }
    let inspected = remotes.daemon().map(|daemon| Inspector::new(daemon)?.all()).transpose()?;
    let mut details = inspected.unwrap_or_default();
    for target in all.iter().filter(|target| target.is_daemons || target.linux().is_none()) {
        let details = details.remove(&target.name).filter(|_| target.is_daemons);
        rows.push(Row::of(remotes, target, details.unwrap_or_default()));
    }
    Ok(rows)
}

fn text(rows: &[Row]) -> String {
    let mut table = table(&["remote", "name", "state", "firmware", "channels"]);
    for Row { remote, name, state, firmware, channels, trouble, .. } in rows {
        let channels: Vec<String> = channels.iter().map(|channel| printable(&channel.name)).collect();
        let state = if trouble.is_some() { "unknown" } else { state };
        table.add_row([
            &printable(remote),
            &printable(name),
            state,
            &printable(firmware),
            &channels.join(" "),
        ]);
    }
    let trouble = rows.iter().filter_map(|row| row.trouble.as_ref());
    trouble.for_each(|trouble| note(&printable(trouble)));
    lines(&table)
}

#[derive(Serialize)]
struct Listed {
    remotes: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    remote: String,
    name: String,
    /// What executes it.
    kind: String,
    /// Whether it is the daemon's.
    daemon: bool,
    /// The kernel's word, or nothing.
    state: String,
    firmware: String,
    channels: Vec<Channel>,
    /// Why some of it is missing.
    trouble: Option<String>,
}

#[derive(Serialize)]
struct Channel {
    name: String,
    /// The remote's address.
    address: u32,
    /// The kernel's character device for it.
    device: Option<String>,
}

impl Row {
    fn of(remotes: &Remotes, target: &Target, details: Details) -> Self {
        let (channels, trouble) = match known(remotes, target) {
            Some(Ok(services)) => (services, None),
            Some(Err(failure)) => (Vec::new(), Some(failure.to_string())),
            None => (Vec::new(), None),
        };
        let channels = channels.into_iter();
        Self {
            remote: target.id(),
            name: target.name.clone(),
            kind: target.kind.clone(),
            daemon: target.is_daemons,
            state: target.state.clone(),
            firmware: details.firmware.unwrap_or_default(),
            channels: channels
                .map(|service| Channel { name: service.name, address: service.address, device: None })
                .collect(),
            trouble,
        }
    }

    fn new(remote: &Remoteproc) -> Self {
        let mut trouble = None;
        let mut keep = |error: SysfsError| trouble = Some(error.to_string());
        let state = remote.state().map(|state| state.to_string()).map_err(&mut keep).unwrap_or_default();
        let channels = remote.channels().map_err(&mut keep).unwrap_or_default();
        let channels = channels.into_iter().map(|channel| Channel {
            name: channel.name,
            address: channel.destination,
            device: channel.device.map(|device| device.display().to_string()),
        });
        Self {
            remote: remote.id().to_owned(),
            kind: format!("linux:{}", remote.id()),
            daemon: false,
            // Not every kernel has them.
            name: remote.name().unwrap_or_default(),
            firmware: remote.firmware().unwrap_or_default(),
            channels: channels.collect(),
            state,
            trouble,
        }
    }
}
