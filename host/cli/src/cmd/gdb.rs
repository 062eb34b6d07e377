//! `sidecore gdb`: firmware under a debugger.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::absolute;

use clap::ValueHint;
use sidecore_backends::Any;
use sidecore_backends::qemu::Qemu;
use sidecore_processor::Processor;

use super::run;
use crate::codes;
use crate::debugger::Debugger;
use crate::failure::{Failure, Outcome};
use crate::output::note;
use crate::remote::{OURS, On};

/// Run firmware under a debugger: held at its first instruction, its symbols loaded, everything else as with `run`
#[derive(Debug, clap::Args)]
#[group(id = "debugged")]
#[command(
    about = "Run firmware under a debugger: held at its first instruction, its symbols loaded, else as with `run`"
)]
#[command(
    after_help = "Ends with the debugger, or with the firmware where the debugger is elsewhere (--listen).

Examples:
  sidecore gdb --on qemu:mps2-an386 fw.elf
  sidecore gdb --on qemu:mps2-an386 fw.elf --listen 127.0.0.1:3333   for a debugger of your own"
)]
pub(crate) struct Args {
    #[command(flatten)]
    run: run::Args,
    /// Start no debugger, but wait for one there
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// The debugger [default: gdb-multiarch, or else gdb]
    #[arg(long, value_name = "PROGRAM", value_hint = ValueHint::CommandName, conflicts_with = "listen")]
    gdb: Option<OsString>,
}

/// Who debugs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Debug {
    /// Nobody.
    #[default]
    No,
    /// A debugger on this terminal, whose keys are its own.
    Here,
    /// One that comes over the network.
    Elsewhere,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if !matches!(args.run.on, On::Qemu(_)) {
        let failure = Failure::new(codes::DEBUGGER, "cannot debug this remote").status(OURS);
        return Err(failure.because("it has no debug port of ours; name a board with --on qemu:BOARD"));
    }
    let debug = if args.listen.is_some() { Debug::Elsewhere } else { Debug::Here };
    run::attend(&run::Args { debug, ..args.run.clone() }, |processor| args.debug(processor).map(Some))
}

impl Args {
    fn debug(&self, processor: &Processor<Any>) -> Result<Debugger, Failure> {
        let remote = processor.remote();
        let qemu = remote.backend().qemu();
        let port = qemu.and_then(Qemu::take_debug_port);
        let process = qemu.and_then(|qemu| qemu.board().emulator.debug_process);
        let gone =
            || Failure::new(codes::DEBUGGER, "cannot debug this remote").because("it is gone").status(OURS);
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut debugger = Debugger::listen(port.ok_or_else(gone)?, process, self.listen.unwrap_or(any))?;
        let image = &self.run.image;
        if self.listen.is_none() {
            debugger.start(self.gdb.as_deref(), image)?;
            return Ok(debugger);
        }
        // Whoever starts it may be in another directory.
        let image = absolute(image).unwrap_or_else(|_| image.into());
        let mut now = String::from("gdb-multiarch");
        for argument in debugger.arguments(image.as_os_str()) {
            let text = argument.display().to_string();
            // Writing to text succeeds.
            let _ = match text.contains(' ') {
                true => write!(now, " '{text}'"),
                false => write!(now, " {text}"),
            };
        }
        note(&format_args!("held at its first instruction; now: {now}"));
        Ok(debugger)
    }
}
