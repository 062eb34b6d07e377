//! `sidecore soc`: a whole system-on-chip, with a console.

use std::env;
use std::ffi::OsString;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{ValueEnum, ValueHint};
use sidecore_remoteproc::firmware::Machine;
use sidecore_soc::{Config, Coprocessor, Crasher, Soc, SocError};

use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::interrupts::Interrupts;
use crate::output::note;

/// Boot a Linux kernel on a system-on-chip with a coprocessor that its own remoteproc drives
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The machine is QEMU's 32-bit Arm `virt` with an STM32MP1's mailbox, and Linux' stock drivers stm32_rproc and stm32-ipcc drive \
its coprocessor. That is a 32-bit RISC-V core, which executes what Linux loads: `cargo xtask images --target \
riscv32imac-unknown-none-elf` builds images for it into target/images/riscv32-soc. Or it is this process, which loads nothing but \
a table (--write-firmware) and has the channels rpmsg-raw, rpmsg-tty and rpmsg-echo, and one that crashes it, rpmsg-crash. The \
console is this terminal.")]
pub(crate) struct Args {
    /// The kernel, for 32-bit Arm: vmlinuz of Debian's linux-image-armmp, or one of your own
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "written")]
    kernel: Option<PathBuf>,
    /// Its initial file system, with its modules
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, required_unless_present = "written")]
    initrd: Option<PathBuf>,
    /// More words for the kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "")]
    append: String,
    /// Another device tree, as a blob
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    tree: Option<PathBuf>,
    /// What executes the firmware [default: riscv32, where there is a qemu-system-riscv32; else process]
    #[arg(long, value_name = "KIND")]
    coprocessor: Option<Kind>,
    /// Put that firmware where Linux finds it: `echo start > /sys/class/remoteproc/remoteproc0/state` in the guest starts it
    #[arg(long = "firmware", value_name = "FILE", value_hint = ValueHint::FilePath)]
    given: Option<OsString>,
    /// Have the coprocessor run already when Linux comes, as if a boot loader had started it: `detached`
    #[arg(long)]
    running: bool,
    /// Write the firmware with which a process is started as coprocessor, and boot nothing
    #[arg(long = "write-firmware", value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "kernel", group = "written")]
    firmware: Option<PathBuf>,
    /// Write the device tree of a machine with that coprocessor, for --tree, and boot nothing
    #[arg(long = "write-tree", value_name = "FILE", value_hint = ValueHint::FilePath, conflicts_with = "kernel", group = "written")]
    written_tree: Option<PathBuf>,
    /// Tell on the standard error what happens to the coprocessor
    #[arg(short, long)]
    verbose: bool,
}

/// What a coprocessor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// This process, which executes nothing.
    Process,
    /// A core of another QEMU.
    Riscv32,
}

/// The machine's emulator, and the coprocessor's.
const PROGRAM: &str = "qemu-system-arm";
const RISCV32: &str = "qemu-system-riscv32";

pub(crate) fn run(args: &Args) -> Outcome {
    let crasher = Crasher::default();
    let kind = args.coprocessor.unwrap_or(if is_installed(RISCV32) { Kind::Riscv32 } else { Kind::Process });
    let coprocessor = match kind {
        Kind::Process => Coprocessor::Process(sidecore_soc::channels(&crasher), crasher),
        Kind::Riscv32 => Coprocessor::Riscv32(RISCV32.into()),
    };
    if let Some(path) = &args.firmware {
        return write(path, &sidecore_soc::image());
    }
    if let Some(path) = &args.written_tree {
        return write(path, &sidecore_soc::tree(coprocessor.shift()));
    }
    let (Some(kernel), Some(initrd)) = (args.kernel.clone(), args.initrd.clone()) else {
        unreachable!("clap demands both");
    };
    let what = "cannot run the system-on-chip";
    let failed = |error: SocError| Failure::new(codes::SOC, what).because(error);
    let firmware = args.given.as_deref().map(Image::open).transpose()?;
    if let Some(image) = &firmware {
        let firmware = image.firmware()?;
        if kind == Kind::Riscv32 {
            firmware.check_machine(&[Machine::RISCV32]).map_err(|error| image.refused(&error))?;
        }
    } else if kind == Kind::Riscv32 && args.running {
        let why = "there is nothing that it could run: --firmware names it";
        return Err(Failure::new(codes::SOC, what).because(why));
    }
    let config = Config {
        kernel,
        initrd,
        append: args.append.clone(),
        tree: args.tree.clone(),
        firmware: firmware.map(|image| (image.name, image.bytes.into_owned())),
        running: args.running,
        program: PROGRAM.into(),
    };
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let interrupts = Interrupts::catch_by(move || stopped.store(true, Ordering::Release), true)?;
    if io::stdin().is_terminal() {
        note(&"this terminal is the machine's console; Ctrl-A X ends it");
    }
    let mut soc = Soc::start(&config, coprocessor).map_err(failed)?;
    let mut tell = |event| {
        if args.verbose {
            note(&event);
        }
    };
    let ended = soc.run(&stop, &mut tell).map_err(failed)?;
    let code = ended.and_then(|code| u8::try_from(code).ok());
    Ok(interrupts.exit_code().or(code).map_or(ExitCode::SUCCESS, ExitCode::from))
}

fn write(path: &Path, bytes: &[u8]) -> Outcome {
    let cannot =
        |error| Failure::new(codes::WRITE_FILE, format!("cannot write {}", path.display())).because(error);
    std::fs::write(path, bytes).map(|()| ExitCode::SUCCESS).map_err(|error: io::Error| cannot(error))
}

fn is_installed(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|folder: PathBuf| Path::new(&folder).join(program).is_file())
}
