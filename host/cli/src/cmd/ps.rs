//! `sidecore ps`: the remote processors that Linux drives, and sandboxes.

use std::process::ExitCode;

use serde::Serialize;
use sidecore_backends::sysfs::{RULE, Remoteproc, SysfsError};

use sidecore_remoteproc::State;

use super::attach::SANDBOX;
use crate::failure::{Outcome, printable};
use crate::kernel::{Place, refused};
use crate::output::{lines, note, print, print_json, table};

/// List the remote processors that Linux drives, with state, firmware and channels, and sandboxes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The kernel has them in /sys/class/remoteproc. `sidecore run`, `ping`, `start`, `stop` and `logs` take the first column, or \
the second one where no other has that name. `sandbox:NAME` is one that `sidecore start` left running, or that a main side \
of yours has; `sidecore attach` and `stop` take it.")]
pub(crate) struct Args {
    /// Print the udev rule that gives them to the group `sidecore`
    #[arg(long)]
    rule: bool,
    /// Print JSON (schema sidecore.ps/1)
    #[arg(long, conflicts_with = "rule")]
    pub(crate) json: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.rule {
        print(RULE)?;
        return Ok(ExitCode::SUCCESS);
    }
    let remotes = match Remoteproc::all(&args.place.roots()) {
        Ok(remotes) => remotes,
        Err(error @ SysfsError::NoClass(_)) => {
            let sandboxes = args.place.sandboxes();
            if sandboxes.is_empty() {
                note(&error);
            }
            Vec::new()
        }
        Err(error) => return Err(refused("cannot list the remote processors".to_owned(), &error)),
    };
    let mut rows: Vec<Row> = remotes.iter().map(Row::new).collect();
    rows.extend(args.place.sandboxes().into_iter().map(Row::sandbox));
    if args.json {
        print_json("sidecore.ps/1", &Remotes { remotes: rows })?;
        return Ok(ExitCode::SUCCESS);
    }
    print(&text(&rows))?;
    Ok(ExitCode::SUCCESS)
}

fn text(rows: &[Row]) -> String {
    let mut table = table(&["remote", "name", "state", "firmware", "channels"]);
    for Row { remote, name, state, firmware, channels, trouble } in rows {
        let channels: Vec<String> = channels.iter().map(|channel| printable(&channel.name)).collect();
        let state = if trouble.is_some() { "unknown" } else { state };
        table.add_row([remote, &printable(name), state, &printable(firmware), &channels.join(" ")]);
    }
    let trouble = rows.iter().filter_map(|row| row.trouble.as_ref());
    trouble.for_each(|trouble| note(&printable(trouble)));
    lines(&table)
}

#[derive(Serialize)]
struct Remotes {
    remotes: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    remote: String,
    name: String,
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
    device: Option<String>,
}

impl Row {
    fn sandbox(name: String) -> Self {
        Self {
            remote: format!("{SANDBOX}{name}"),
            name,
            state: State::Running.to_string(),
            firmware: String::new(),
            channels: Vec::new(),
            trouble: None,
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
            // Not every kernel has them.
            name: remote.name().unwrap_or_default(),
            firmware: remote.firmware().unwrap_or_default(),
            channels: channels.collect(),
            state,
            trouble,
        }
    }
}
