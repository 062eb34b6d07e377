//! `sidecore channel`: the services that remotes have announced.

use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use sidecore_client::{Processor, Service};

use crate::failure::{Failure, Outcome, printable};
use crate::output::{lines, note, print, print_json, table};
use crate::remote;
use crate::target::{EXIT_CODES, Reach, Remotes, Target, failed};

/// List the channels that remotes have announced: the contents of their name services
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// List channels, with the addresses that they have at their remotes
    #[command(visible_alias = "list", after_help = EXIT_CODES)]
    Ls(List),
}

#[derive(Debug, clap::Args)]
struct List {
    /// Whose [default: all of which it is known; a sandbox without a main side has to be named, and is attached to for so
    /// long]
    remote: Option<String>,
    /// How long a sandbox that is attached to may take to announce something
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = remote::seconds)]
    timeout: Duration,
    #[command(flatten)]
    reach: Reach,
    /// Print JSON (schema sidecore.channel/1)
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether a program reads our output.
    pub(crate) fn json(&self) -> bool {
        let Verb::Ls(list) = &self.verb;
        list.json
    }
}

/// How often a look is taken for announcements, and how long without any more is the end of them.
const LOOK: Duration = Duration::from_millis(10);
const SILENCE: Duration = Duration::from_millis(100);

#[derive(Serialize)]
struct Channels {
    channels: Vec<Channel>,
}

#[derive(Serialize)]
struct Channel {
    remote: String,
    name: String,
    device: u32,
    address: u32,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let Verb::Ls(list) = &args.verb;
    let remotes = list.reach.remotes()?;
    let mut channels = Vec::new();
    match &list.remote {
        Some(typed) => {
            let target = remotes.find(typed)?;
            let services = named(&remotes, &target, list.timeout)?;
            channels.extend(services.into_iter().map(|service| Channel::new(&target, service)));
        }
        None => {
            for target in remotes.all()? {
                match known(&remotes, &target) {
                    Some(Ok(services)) => {
                        channels.extend(services.into_iter().map(|service| Channel::new(&target, service)));
                    }
                    Some(Err(failure)) => note(&failure),
                    None => note(&format_args!(
                        "{}: nobody is its main side; name it to attach to it",
                        target.id()
                    )),
                }
            }
        }
    }
    if list.json {
        print_json("sidecore.channel/1", &Channels { channels })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(&["remote", "channel", "device", "address"]);
    for Channel { remote, name, device, address } in &channels {
        table.add_row([printable(remote), printable(name), format!("vdev{device}"), address.to_string()]);
    }
    print(&lines(&table))?;
    Ok(ExitCode::SUCCESS)
}

impl Channel {
    fn new(target: &Target, service: Service) -> Self {
        Self { remote: target.id(), name: service.name, device: service.device, address: service.address }
    }
}

/// The services of a remote, as far as somebody knows them; `None`: its firmware would have to be asked anew.
pub(super) fn known(remotes: &Remotes, target: &Target) -> Option<Result<Vec<Service>, Failure>> {
    let is_free = !target.is_daemons && target.linux().is_none();
    // One that does not run announces nothing.
    let is_live = ["running", "attached"].contains(&&*target.state);
    match (is_free, is_live) {
        (true, _) => None,
        (false, false) => Some(Ok(Vec::new())),
        (false, true) => Some(remotes.processor(target).and_then(|processor| services(&processor, target))),
    }
}

/// The services of a remote that was asked for, whoever has to be asked.
fn named(remotes: &Remotes, target: &Target, patience: Duration) -> Result<Vec<Service>, Failure> {
    if let Some(known) = known(remotes, target) {
        return known;
    }
    let processor = remotes.processor(target)?;
    let mut found = services(&processor, target)?;
    let (end, mut quiet) = (Instant::now() + patience, Instant::now());
    while Instant::now() < end && (found.is_empty() || quiet.elapsed() < SILENCE) {
        thread::sleep(LOOK);
        let now = services(&processor, target)?;
        if now != found {
            (found, quiet) = (now, Instant::now());
        }
    }
    Ok(found)
}

fn services(processor: &Processor, target: &Target) -> Result<Vec<Service>, Failure> {
    processor
        .services()
        .map_err(|error| failed(format!("cannot list the channels of {}", target.id()), &error))
}
