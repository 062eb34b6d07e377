//! `sidecore soc`: a whole system-on-chip, with a console.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::ValueHint;
use sidecore_soc::{Config, Crasher, Soc, SocError};

use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::interrupts::Interrupts;
use crate::output::note;

/// Boot a Linux kernel on a system-on-chip with a coprocessor that its own remoteproc drives
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The machine is QEMU's 32-bit Arm `virt` with an STM32MP1's mailbox, whose coprocessor is this process: Linux' stock drivers \
stm32_rproc and stm32-ipcc load the firmware that --write-firmware writes, and find the channels rpmsg-raw, rpmsg-tty and \
rpmsg-echo, and one that crashes it, rpmsg-crash. Its console is this terminal.")]
pub(crate) struct Args {
    /// The kernel, for 32-bit Arm: vmlinuz of Debian's linux-image-armmp, or one of your own
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "firmware")]
    kernel: Option<PathBuf>,
    /// Its initial file system, with its modules
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "firmware")]
    initrd: Option<PathBuf>,
    /// More words for the kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "")]
    append: String,
    /// Another device tree, as a blob
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    tree: Option<PathBuf>,
    /// Have the coprocessor run already when Linux comes, as if a boot loader had started it: `detached`
    #[arg(long)]
    running: bool,
    /// Write the firmware that the coprocessor is started with, and boot nothing
    #[arg(long = "write-firmware", value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "kernel")]
    firmware: Option<PathBuf>,
    /// Tell on the standard error what happens to the coprocessor
    #[arg(short, long)]
    verbose: bool,
}

/// The machine's emulator.
const PROGRAM: &str = "qemu-system-arm";

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(path) = &args.firmware {
        let written = std::fs::write(path, sidecore_soc::image());
        let what = || format!("cannot write {}", path.display());
        return match written {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => Err(Failure::new(codes::WRITE_FILE, what()).because(error)),
        };
    }
    let (Some(kernel), Some(initrd)) = (args.kernel.clone(), args.initrd.clone()) else {
        unreachable!("clap demands both");
    };
    let failed = |error: SocError| Failure::new(codes::SOC, "cannot run the system-on-chip").because(error);
    let config = Config {
        kernel,
        initrd,
        append: args.append.clone(),
        tree: args.tree.clone(),
        running: args.running,
        program: PROGRAM.into(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let interrupts = Interrupts::catch_by(move || stopped.store(true, Ordering::Release), true)?;
    let crasher = Crasher::default();
    let mut soc = Soc::start(&config, sidecore_soc::channels(&crasher), crasher).map_err(failed)?;
    let mut tell = |event| {
        if args.verbose {
            note(&event);
        }
    };
    let ended = soc.run(&stop, &mut tell).map_err(failed)?;
    let code = ended.and_then(|code| u8::try_from(code).ok());
    Ok(interrupts.exit_code().or(code).map_or(ExitCode::SUCCESS, ExitCode::from))
}
