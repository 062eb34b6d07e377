//! Firmware on a remote processor that Linux drives.

use std::thread;
use std::time::Duration;

use sidecore_backends::sysfs::State;

use super::Args;
use crate::cmd::logs::Traces;
use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::interrupts::Interrupts;
use crate::kernel::refused;
use crate::output::note;
use crate::remote::OURS;

/// How often its state and trace are looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Loads, starts, shows the trace as its output, and stops it when asked to end.
pub(super) fn run(args: &Args, name: &str) -> Outcome {
    let given = [
        (!args.dirs.is_empty(), "--dir"),
        (args.pcap.is_some(), "--pcap"),
        (args.watchdog.is_some(), "--watchdog"),
        (args.dump.is_some(), "--dump"),
        (args.restart.is_some(), "--restart"),
        (args.beside.is_some(), "--beside"),
        (args.semihosting, "--semihosting"),
        (!args.args.is_empty(), "arguments for the firmware"),
    ];
    if let Some((_, option)) = given.into_iter().find(|(given, _)| *given) {
        let what = format!("cannot run {} on {name}", args.image.display());
        let why = format!("there is no {option} for a remote processor that Linux drives");
        return Err(Failure::new(codes::KERNEL_OPTION, what).because(why).status(OURS));
    }
    let remote = args.place.find(name)?;
    let image = Image::open(&args.image)?;
    image.firmware()?;
    let what = format!("cannot run {} on {}", image.name, remote.id());
    let failed = |error| refused(what.clone(), &error).status(OURS);

    let state = remote.state().map_err(failed)?;
    if !matches!(state, State::Offline) {
        let why = format!("it is {state}; `sidecore stop {}` makes room", remote.id());
        return Err(Failure::new(codes::KERNEL_REMOTE, what).because(why).status(OURS));
    }
    let interrupts = Interrupts::catch_by(|| (), true)?;
    let installed = remote.install(&image.name, &image.bytes).map_err(failed)?;
    remote.set_firmware(&installed).map_err(failed)?;
    remote.start().map_err(failed)?;
    if args.verbose {
        note(&format_args!("{} runs {installed}", remote.id()));
    }

    let mut traces = Traces::default();
    let (mut last, mut untold) = (State::Running, true);
    loop {
        if let Err(error) = traces.show(&remote)?
            && std::mem::take(&mut untold)
        {
            note(&format_args!("its trace cannot be shown: {error}"));
        }
        if let Some(code) = interrupts.exit_code() {
            remote.stop().map_err(failed)?;
            return Ok(code.into());
        }
        let state = remote.state().map_err(failed)?;
        if state != last {
            note(&format_args!("{} is {state}", remote.id()));
            last = state;
        }
        // Somebody else stopped it, or its end is the kernel's doing.
        if matches!(state, State::Offline | State::Deleted | State::Detached) {
            return Ok(std::process::ExitCode::SUCCESS);
        }
        thread::sleep(LOOK);
    }
}
