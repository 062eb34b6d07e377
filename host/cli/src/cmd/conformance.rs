//! `sidecore conformance`: every clause of the protocol against a peer.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueHint;
use sidecore_backends::shm;
use sidecore_conformance::peers::{Command, OfBackend, ShmHost, ShmRemote};
use sidecore_conformance::{Finding, Options, Peer, Report, Role, Verdict, report, rows, run as run_suite};
use sidecore_os::guard_bus_errors;
use sidecore_processor::Capture;
use sidecore_remoteproc::Remote;
use sidecore_remoteproc::resource;
use sidecore_rpmsg::link::Sink;

use super::run::capture;
use crate::codes;
use crate::failure::{Failure, Outcome, printable};
use crate::image::Image;
use crate::output::print;
use crate::remote::{self, On, Place, Settings};

/// Run every clause of the protocol against a peer, and report which it follows
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The peer is an image, which is run anew for each clause, or `shm:openamp`, `shm:rpmsg-lite` or `shm:FILE.toml`, a \
process that shares a file with us. Such a peer should be started anew for each clause, too: --command says how.

Exit codes:
  0  no deviation was found
  1  the peer deviates from a clause
  2, 125..127  the suite was not run

Examples:
  sidecore conformance echo
  sidecore conformance firmware.elf --on qemu:mps2-an386
  sidecore conformance shm:openamp --command rpmsg-echo-static
  sidecore conformance shm:openamp --role host --command 'rpmsg-sample-ping-static 1'")]
pub(crate) struct Args {
    /// The peer: the path of an ELF file, the name of a built-in image, or `shm:PLACE` as for attach
    #[arg(value_name = "PEER", value_hint = ValueHint::FilePath)]
    peer: OsString,
    /// The role of the peer; ours is the other
    #[arg(long, value_name = "ROLE", default_value = "remote")]
    role: super::attach::Role,
    /// What executes an image: `sandbox` or `qemu:BOARD`
    #[arg(long, value_name = "KIND", default_value = "sandbox")]
    on: On,
    /// How a peer in another process is started, by the shell
    #[arg(long, value_name = "COMMAND")]
    command: Option<String>,
    /// The file that is shared with a peer in another process, where it is not the usual one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    memory: Option<PathBuf>,
    /// The socket of such a peer, where it is not the usual one
    #[arg(long, value_name = "SOCKET", value_hint = ValueHint::FilePath)]
    socket: Option<PathBuf>,
    /// The service that sends back what it gets; for a host, the one that it looks for
    #[arg(long, value_name = "NAME")]
    service: Option<String>,
    /// Run this clause, as often as you like
    #[arg(long = "only", value_name = "CLAUSE")]
    only: Vec<String>,
    /// How long silence has to last to be one, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=60_000))]
    pace: u64,
    /// The most that a clause may take
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = remote::seconds)]
    limit: Duration,
    /// Show what was done and seen, too, where a clause is not followed
    #[arg(long)]
    trace: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Write the report as a page of HTML
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    html: Option<PathBuf>,
    /// Record all rpmsg frames to a pcapng file (link type 147)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pcap: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    guard_bus_errors().map_err(|refused| cannot(args, &refused))?;
    if let Some(unknown) = args.only.iter().find(|only| rows().all(|row| row.clause != *only)) {
        return Err(
            cannot(args, &format_args!("there is no test for a clause {}", printable(unknown))).status(2)
        );
    }
    let mut peer = peer(args)?;
    let recording = args.pcap.as_deref().map(capture).transpose()?;
    let sink = recording.as_ref().map(|recording| Box::new(recording.tap("conformance/0")) as Box<dyn Sink>);
    let options = Options {
        pace: Duration::from_millis(args.pace),
        limit: args.limit,
        service: args.service.clone(),
        only: args.only.clone(),
        ..Options::default()
    };
    // What people read comes as it is found: some peers take a while.
    let mut unwritten = None;
    let mut tell = |finding: &Finding| {
        if !args.json && unwritten.is_none() {
            unwritten = print(&format!("{}\n", report::line(finding, args.trace))).err();
        }
    };
    let found = run_suite(&mut *peer, &options, sink, &mut tell);
    if let Some(failure) = unwritten {
        return Err(failure);
    }
    finish(args, &found, recording.as_ref())
}

fn finish(args: &Args, found: &Report, recording: Option<&Capture>) -> Outcome {
    if let Some(recording) = recording {
        recording.flush();
        if let Some(error) = recording.error() {
            return Err(Failure::new(codes::CAPTURE, "cannot record the frames").because(error));
        }
    }
    if let Some(path) = &args.html {
        let written = std::fs::write(path, report::html(found));
        written.map_err(|error| {
            let what = format!("cannot write {}", printable(&path.to_string_lossy()));
            Failure::new(codes::WRITE_FILE, what).because(error).status(remote::OURS)
        })?;
    }
    if args.json {
        let text = serde_json::to_string_pretty(found).map_err(|error| cannot(args, &error))?;
        print(&format!("{text}\n"))?;
    } else {
        print(&format!("\n{}\n", report::summary(found)))?;
    }
    Ok(ExitCode::from(u8::from(found.count(Verdict::Deviates) > 0)))
}

/// Whom the suite is run against.
fn peer(args: &Args) -> Result<Box<dyn Peer>, Failure> {
    let role = if args.role == super::attach::Role::Host { Role::Host } else { Role::Remote };
    let command = args.command.as_deref().map(Command::new);
    match args.peer.to_str().filter(|text| text.starts_with("shm:")) {
        Some(text) => {
            let place: Place = text.parse().map_err(|error: String| cannot(args, &error).status(2))?;
            let config = shm::Config {
                memory: args.memory.clone().unwrap_or(place.config.memory),
                socket: args.socket.clone().unwrap_or(place.config.socket),
                ..place.config
            };
            Ok(match role {
                Role::Remote => Box::new(ShmRemote::new(config, command)),
                Role::Host => Box::new(ShmHost::new(config, command)),
            })
        }
        None if role == Role::Host => {
            Err(cannot(args, &"an image is a remote; a host is met by shm").status(2))
        }
        None => image(args),
    }
}

/// An image, run anew for each clause.
fn image(args: &Args) -> Result<Box<dyn Peer>, Failure> {
    let image = Image::open(Path::new(&args.peer).as_os_str())?;
    // Told now, and not once for each clause.
    drop(remote::make(&image, &image.firmware()?, settings(args))?);
    let name = image.name.clone();
    let on = settings(args);
    Ok(Box::new(OfBackend::new(&name, move || {
        let text = |failure: &Failure| format!("{failure:?}");
        let firmware = image.firmware().map_err(|failure| text(&failure))?;
        let any = remote::make(&image, &firmware, on.clone()).map_err(|failure| text(&failure))?;
        let mut remote = Remote::new(any);
        remote.load(&firmware, &resource::Options::default()).map_err(|error| error.to_string())?;
        remote.start().map_err(|error| error.to_string())?;
        Ok(remote)
    })))
}

fn settings(args: &Args) -> Settings {
    Settings { on: args.on.clone(), ..Settings::default() }
}

fn cannot(args: &Args, why: &dyn std::fmt::Display) -> Failure {
    let peer = printable(&args.peer.to_string_lossy());
    Failure::new(codes::CONFORMANCE, format!("cannot test {peer}")).because(why).status(remote::OURS)
}
