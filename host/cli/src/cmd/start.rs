//! `sidecore start`: a remote processor that Linux drives, with firmware of one's own or the board's, a remote of the daemon's,
//! or a sandbox that stays.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::ValueHint;
use sidecore_backends::sandbox::{Config, Lifetime, Logged, Sandbox};
use sidecore_client::{Client, Error, LeaseMode, Processor, StartOptions};
use sidecore_processor::{Options, Processor as MainSide};
use sidecore_remoteproc::{Backend as _, BackendError, Firmware};

use super::attach::SANDBOX;
use super::logs;
use crate::codes;
use crate::failure::{Failure, Outcome, printable};
use crate::image::Image;
use crate::interrupts::Interrupts;
use crate::kernel::refused;
use crate::message::usage;
use crate::output::note;
use crate::target::{Reach, failed};
use crate::{defmt, remote, state};

/// Start firmware on a new remote, or a remote that there is, and leave it running
#[derive(Debug, clap::Args)]
#[command(after_help = "\
With a daemon a new remote is the daemon's, whose clients share it. Without one, or with `sandbox:` in front of its name, it is a \
sandbox that stays, and is nobody's.

Of one that Linux drives the firmware is copied to /lib/firmware, where the kernel loads it from, now and when it restarts a remote that crashed. \
Without it the one is started that was loaded last. A remote that is detached is taken over as it runs.

A sandbox wants its firmware, an ELF file or a built-in image, and goes on until it ends or `sidecore stop` comes; meanwhile \
main sides come and go: `sidecore attach sandbox:NAME`, or programs of your own. With --replace it gets other firmware, unless a \
main side has it. What it writes to its traces is kept for `sidecore logs sandbox:NAME`.")]
pub(crate) struct Args {
    /// Which one: a new name; or one that has stopped, as `remoteproc0`, see `sidecore ps`
    remote: String,
    /// The firmware: the path of an ELF file, or a name below /lib/firmware
    #[arg(value_hint = ValueHint::FilePath)]
    firmware: Option<OsString>,
    /// Where one of this name runs already, stop it and put this firmware in its place
    #[arg(long)]
    replace: bool,
    /// What executes the firmware of a new one: `sandbox`, or with a daemon `qemu:BOARD`, see `sidecore boards`
    #[arg(long, value_name = "KIND")]
    on: Option<String>,
    /// Whose a new one is: `tied` to this command, which goes on until Ctrl-C ends both
    #[arg(long, value_name = "MODE")]
    lease: Option<Lease>,
    /// Call it a hang when the firmware of a new one computes for so long without feeding its watchdog or waiting
    #[arg(long, value_name = "SECONDS", value_parser = remote::seconds)]
    watchdog: Option<Duration>,
    #[command(flatten)]
    reach: Reach,
    /// Arguments for the firmware of a new one
    #[arg(last = true, value_name = "ARGS")]
    arguments: Vec<String>,
}

/// To whom a remote is tied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Lease {
    Tied,
}

/// How often a look is taken whether a tied remote is to end.
const SLICE: Duration = Duration::from_millis(100);

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(name) = args.remote.strip_prefix(SANDBOX) {
        return sandbox(args, name);
    }
    let remotes = args.reach.remotes()?;
    // A new name may be the beginning of another one.
    let meant = remotes.look_for_exactly(&args.remote)?;
    match (&meant, &args.firmware) {
        (Some(target), _) if target.linux().is_some() && !target.is_daemons => kernel(args, &target.id()),
        (Some(target), Some(_)) if !target.is_daemons => sandbox(args, &target.name),
        (Some(target), None) => {
            let again = remotes.processor(target)?.start();
            again.map_err(|error| failed(format!("cannot start {}", target.id()), &error))?;
            Ok(ExitCode::SUCCESS)
        }
        (_, Some(firmware)) if !is_kernels(args) => match remotes.daemon() {
            Some(daemon) => {
                let old = meant.as_ref().filter(|_| args.replace);
                let old = old.map(|target| remotes.processor(target)).transpose()?;
                start_new(args, daemon, old, firmware)
            }
            None if args.on.as_deref().is_none_or(|on| on == "sandbox") && args.lease.is_none() => {
                sandbox(args, &args.remote)
            }
            None => start_new(args, remotes.direct(), None, firmware),
        },
        _ => match remotes.nobody(&args.remote) {
            Some(failure) => Err(failure),
            None => kernel(args, &args.remote),
        },
    }
}

/// Whether no other than one that Linux drives can be meant.
fn is_kernels(args: &Args) -> bool {
    args.reach.place.is_elsewhere()
        || args.remote.starts_with("linux:")
        || args.remote.starts_with("remoteproc")
}

/// Starts firmware on a new remote, in the place of an old one where there is one.
fn start_new(args: &Args, client: &Client, old: Option<Processor>, firmware: &OsString) -> Outcome {
    let image = Image::open(firmware)?;
    // What is no firmware takes nothing's place.
    image.firmware()?;
    let what = || format!("cannot start {}", args.remote);
    let mut options = StartOptions::new().file(&image.name).arguments(args.arguments.iter().cloned());
    options.on.clone_from(&args.on);
    options.watchdog = args.watchdog;
    options.lease = args.lease.map(|Lease::Tied| LeaseMode::Tied);
    let interrupts = args.lease.map(|_| Interrupts::catch_by(|| (), true)).transpose()?;
    if let Some(old) = old {
        old.remove().map_err(|error| failed(what(), &error))?;
    }
    // A built-in image is no file.
    let file = memory(&image.bytes)
        .map_err(|error| Failure::new(codes::IMAGE_UNREADABLE, what()).because(error).status(remote::OURS))?;
    let mut started = client.start(&args.remote, &file, &options);
    if matches!(&started, Err(Error::BadOption { why }) if why.starts_with("file is no option")) {
        // An older daemon does not want to know what it is called.
        options.file = None;
        started = client.start(&args.remote, &file, &options);
    }
    let processor = started.map_err(|error| failed(what(), &error))?;
    match interrupts {
        Some(interrupts) => stay(args, &processor, &interrupts),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// A file that is in no directory.
fn memory(bytes: &[u8]) -> io::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("firmware", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

/// Holds what is tied to us, until it or somebody's patience ends.
fn stay(args: &Args, processor: &Processor, interrupts: &Interrupts) -> Outcome {
    note(&format_args!("{} runs as long as this command; Ctrl-C ends both", printable(&args.remote)));
    loop {
        if let Some(code) = interrupts.exit_code() {
            return Ok(code.into());
        }
        match processor.state() {
            Ok(state) if ["offline", "crashed"].contains(&&*state) => {
                note(&format_args!("{} is {}", printable(&args.remote), printable(&state)));
                return Ok(ExitCode::from(u8::from(state == "crashed")));
            }
            Ok(_) => thread::sleep(SLICE),
            Err(Error::NotFound { .. }) => return Ok(ExitCode::SUCCESS),
            Err(error) => return Err(failed(format!("cannot follow {}", args.remote), &error)),
        }
    }
}

/// Starts what Linux drives.
fn kernel(args: &Args, typed: &str) -> Outcome {
    if args.replace {
        let why = "what Linux drives is stopped with `sidecore stop`, and started with other firmware then";
        return Err(Failure::new(codes::ATTACH_USAGE, "--replace is for sandboxes").because(why).status(2));
    }
    if args.is_new() {
        return Err(usage(
            "--on, --lease, --watchdog and arguments are for new remotes, not for what Linux drives",
        ));
    }
    let remote = args.reach.place.find(typed)?;
    let failed = |error| refused(format!("cannot start {}", remote.id()), &error);
    if let Some(firmware) = &args.firmware {
        let name = match firmware.to_str().filter(|_| !Path::new(firmware).exists()) {
            Some(name) => name.to_owned(),
            None => {
                let image = Image::open(firmware)?;
                // What is no firmware is refused here, in words.
                image.firmware()?;
                remote.install(&image.name, &image.bytes).map_err(failed)?
            }
        };
        remote.set_firmware(&name).map_err(failed)?;
    }
    remote.start().map_err(failed)?;
    Ok(ExitCode::SUCCESS)
}

impl Args {
    /// Whether something is said that only a new remote can have.
    fn is_new(&self) -> bool {
        self.on.is_some() || self.lease.is_some() || self.watchdog.is_some() || !self.arguments.is_empty()
    }
}

/// Starts firmware in a sandbox that outlives this process.
fn sandbox(args: &Args, name: &str) -> Outcome {
    if args.lease.is_some()
        || !args.arguments.is_empty()
        || args.on.as_deref().is_some_and(|on| on != "sandbox")
    {
        let why = "a sandbox that stays has no --lease, no arguments and no board; remotes of a daemon have: leave `sandbox:` out";
        return Err(usage(why));
    }
    let firmware = args.firmware.as_ref().ok_or_else(|| {
        let why = "a sandbox has none of its own: name an ELF file or a built-in image";
        Failure::new(codes::ATTACH_USAGE, "there is no firmware to start").because(why).status(2)
    })?;
    let image = Image::open(firmware)?;
    // What is no firmware takes nothing's place.
    let firmware = image.firmware()?;
    let failed = |error: BackendError| {
        Failure::new(error.code(), format!("cannot start {}", args.remote))
            .because(error)
            .status(remote::OURS)
    };
    let is_there = args.replace && args.reach.place.sandboxes().iter().any(|there| there == name);
    let sandbox = if is_there {
        emptied(name)
    } else {
        Sandbox::new(Config { log: log(&image), watchdog: args.watchdog, ..config(name) })
    };
    let sandbox = sandbox.map_err(failed)?;
    keep(&image, name);
    load_and_leave(&image, &firmware, name, sandbox)
}

fn config(name: &str) -> Config {
    Config { name: Some(name.to_owned()), lifetime: Lifetime::Detached, ..Config::default() }
}

/// A sandbox that runs, with nothing in it any more.
fn emptied(name: &str) -> Result<Sandbox, BackendError> {
    let mut sandbox = Sandbox::find(config(name))?;
    sandbox.attach()?;
    sandbox.stop()?;
    sandbox.unprepare();
    Ok(sandbox)
}

/// Where its warden keeps what it says, for `sidecore logs`. Where there is no place it says it to nobody.
fn log(image: &Image) -> Option<Logged> {
    let opened =
        state::directory("logs").ok_or_else(|| "there is neither $XDG_STATE_HOME nor $HOME".to_owned());
    let opened = opened.and_then(|directory| match sidecore_backends::log::directory(&directory) {
        Ok(_) => Ok(directory),
        Err(error) => Err(format!("{}: {error}", directory.display())),
    });
    match opened {
        Ok(directory) => Some(Logged { directory, firmware: image.name.clone() }),
        Err(why) => {
            note(&format_args!("no log of its traces is kept: {why}"));
            None
        }
    }
}

/// Keeps the firmware: what frames of `defmt` say is in the file, and a restart begins with it.
fn keep(image: &Image, name: &str) {
    let Some(log) = logs::file(name) else { return };
    let path = logs::firmware(&log);
    let kept =
        fs::write(&path, &image.bytes).and_then(|()| fs::write(logs::firmware_name(&log), &image.name));
    if let Err(error) = kept
        && defmt::is_wanted(&image.bytes)
    {
        note(&format_args!("frames of defmt will not be decoded: {}: {error}", path.display()));
    }
}

/// Starts a sandbox that stays from the beginning, with the firmware that was kept of its start.
pub(super) fn again(name: &str) -> Outcome {
    let what = || format!("cannot restart {SANDBOX}{name}");
    let path = logs::file(name).map(|log| logs::firmware(&log));
    let kept = path.filter(|path| path.exists()).ok_or_else(|| {
        let why = format!(
            "its firmware was not kept; `sidecore start --replace {SANDBOX}{name} FIRMWARE` brings it"
        );
        Failure::new(codes::IMAGE_NOT_FOUND, what()).because(why)
    })?;
    let image = Image::open(kept.as_os_str())?;
    let firmware = image.firmware()?;
    let failed = |error: BackendError| Failure::new(error.code(), what()).because(error).status(remote::OURS);
    load_and_leave(&image, &firmware, name, emptied(name).map_err(failed)?)
}

/// Starts the firmware, and lets it run on without us.
fn load_and_leave(image: &Image, firmware: &Firmware<'_>, name: &str, sandbox: Sandbox) -> Outcome {
    let mut processor = MainSide::new(sandbox, Options::new(name));
    processor.load(firmware).map_err(|error| remote::remote(image, &error))?;
    processor.start().map_err(|error| remote::remote(image, &error))?;
    // Main sides that come set the devices up themselves.
    processor.detach().map_err(|error| remote::remote(image, &error))?;
    Ok(ExitCode::SUCCESS)
}
