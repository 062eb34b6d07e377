//! `sidecore vhost-user`: rpmsg for virtual machines.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;

use clap::ValueHint;
use sidecore_os::Refused;
use sidecore_vhost_user::{Channel, Event, SERVICES, Server, Stopper};

use crate::codes;
use crate::failure::{Failure, Outcome, printable};
use crate::interrupts::Interrupts;
use crate::output::note;

/// Be an rpmsg device for virtual machines, with services for their guests
#[derive(Debug, clap::Args)]
#[command(after_help = after_help())]
pub(crate) struct Args {
    /// The socket that the virtual machine's monitor connects to; each one is a device of its own
    #[arg(short = 'S', long = "socket", value_name = "PATH", required = true, value_hint = ValueHint::FilePath)]
    sockets: Vec<PathBuf>,
    /// What guests find: a service on its own channel, or on a channel of any name; as often as you like
    #[arg(short, long = "service", value_name = "[CHANNEL=]SERVICE", default_value = "echo", value_parser = checked)]
    services: Vec<String>,
    /// Tell on the standard error who comes and goes, too
    #[arg(short, long)]
    verbose: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    // The front end can truncate what it lends us.
    sidecore_os::guard_bus_errors().map_err(|error| not_served(&error))?;
    let mut servers = Vec::new();
    for path in &args.sockets {
        let channels = args.services.iter().filter_map(|text| text.parse().ok()).collect();
        let server = Server::bind(path, channels);
        let what = format!("cannot make the socket {}", shown(path));
        servers.push((path, server.map_err(|error| Failure::new(codes::VHOST_SOCKET, what).because(error))?));
    }
    let stoppers: Vec<Stopper> = servers.iter().map(|(_, server)| server.stopper()).collect();
    let stop_all = move || stoppers.iter().for_each(Stopper::stop);
    let interrupts = Interrupts::catch_by(stop_all.clone(), true)?;

    let ended: Vec<_> = thread::scope(|scope| {
        let start = |(path, server): (&PathBuf, Server)| {
            let (path, stop_all) = (path.clone(), &stop_all);
            scope.spawn(move || serve(&path, server, args.verbose, stop_all))
        };
        let threads: Vec<_> = servers.into_iter().map(start).collect();
        threads.into_iter().map(|thread| thread.join().ok()).collect()
    });
    for end in ended {
        match end {
            Some(Ok(())) => {}
            Some(Err(error)) => return Err(not_served(&error)),
            None => return Err(not_served(&"its thread panicked, which is a bug")),
        }
    }
    Ok(interrupts.exit_code().map_or(ExitCode::SUCCESS, ExitCode::from))
}

/// Serves front ends at one socket until all are stopped.
fn serve(path: &Path, mut server: Server, verbose: bool, stop_all: &impl Fn()) -> Result<(), Refused> {
    note(&format_args!("{}: ready for a front end", shown(path)));
    let ended = server.serve(&mut |event| tell(path, event, verbose));
    // One that cannot go on is no reason for the others to go on as if nothing were.
    stop_all();
    ended
}

/// Says what happened at a socket: always what went wrong, and the rest to whoever asked for it.
fn tell(path: &Path, event: &Event, verbose: bool) {
    if verbose || event.is_trouble() {
        note(&format_args!("{}: {event}", shown(path)));
    }
}

fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

fn not_served(error: &dyn std::fmt::Display) -> Failure {
    Failure::new(codes::VHOST_SERVE, "cannot serve virtual machines").because(error)
}

fn checked(text: &str) -> Result<String, String> {
    match text.parse::<Channel>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn after_help() -> String {
    use std::fmt::Write as _;
    let mut text = String::from("Services:\n");
    for service in SERVICES {
        // Writing to text succeeds.
        let _ = writeln!(text, "  {:<8}  {:<20}  {}", service.name, service.channel, service.summary);
    }
    text.push_str(
        "\n\
Any monitor that speaks vhost-user and lends its guest's memory can be the front end; the device is virtio's number 7, \
which Linux drives with virtio_rpmsg_bus. Front ends are served one after the other. Ctrl-C tells the guest that its \
channels go.",
    );
    text
}
