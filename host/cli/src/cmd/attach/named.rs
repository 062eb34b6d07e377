//! A peer that goes by a name alone: the daemon's, or one that Linux drives.

use std::os::unix::ffi::OsStrExt as _;
use std::process::ExitCode;
use std::time::Duration;

use sidecore_client::{Error, OpenOptions};
use sidecore_processor::{Options, Processor};

use super::{Args, Role, find, main_side, usage};
use crate::failure::{Outcome, printable};
use crate::interrupts::Interrupts;
use crate::output::{note, print};
use crate::target::failed;

/// How often a look is taken whether somebody has had enough.
const SLICE: Duration = Duration::from_millis(100);

pub(super) fn run(args: &Args, typed: &str) -> Outcome {
    if args.role == Role::Remote || args.memory.is_some() || args.socket.is_some() {
        return Err(usage("a remote has a main side, and no file or socket of yours"));
    }
    let remotes = args.reach.remotes()?;
    let target = remotes.find(typed)?;
    let is_free = !target.is_daemons && target.linux().is_none();
    if is_free {
        let sandbox = find(&target.name).map_err(|error| super::failed(args, error.code(), &error))?;
        return main_side(args, Processor::detached(sandbox, Options::new(&target.name)));
    }
    let cannot = |error: Error| failed(format!("cannot talk with {}", target.id()), &error);
    let processor = remotes.processor(&target)?;
    // One that runs without us is taken over; whoever has it else is asked.
    if target.linux().is_some() && target.state == "detached" {
        processor.start().map_err(cannot)?;
    }
    let interrupts = Interrupts::catch_by(|| (), true)?;
    match (&args.services[..], args.messages.is_empty()) {
        ([service], false) => {
            let endpoint =
                processor.open(service, OpenOptions::new().timeout(args.timeout)).map_err(cannot)?;
            for message in &args.messages {
                endpoint.send(message.as_bytes(), args.timeout).map_err(cannot)?;
                let answer = endpoint.receive(args.timeout).map_err(cannot)?;
                print(&format!("{}\n", String::from_utf8_lossy(&answer).escape_debug()))?;
            }
            Ok(ExitCode::SUCCESS)
        }
        ([], true) if target.is_daemons => {
            let mut events = processor.events().map_err(cannot)?;
            for service in processor.services().map_err(cannot)? {
                note(&format_args!(
                    "vdev{}: {} at {}",
                    service.device,
                    printable(&service.name),
                    service.address
                ));
            }
            loop {
                if let Some(code) = interrupts.exit_code() {
                    return Ok(code.into());
                }
                if let Some(event) = events.wait(SLICE).map_err(cannot)? {
                    note(&printable(&event.what));
                    if event.kind == "removed" {
                        return Ok(ExitCode::SUCCESS);
                    }
                }
            }
        }
        // What Linux drives is attached to as long as Linux says so.
        ([], true) => Ok(ExitCode::SUCCESS),
        (_, true) => Err(usage("a main side needs messages for the service, or --role remote")),
        (_, false) => Err(usage("messages are for one service")),
    }
}
