//! `sidecore start`: a remote processor that Linux drives, with firmware of one's own or the board's, or a sandbox that stays.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;

use clap::ValueHint;
use sidecore_backends::sandbox::{Config, Lifetime, Logged, Sandbox};
use sidecore_processor::{Options, Processor};
use sidecore_remoteproc::{Backend as _, BackendError};

use super::attach::SANDBOX;
use super::logs;
use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::kernel::{Place, refused};
use crate::output::note;
use crate::{defmt, remote, state};

/// Start a remote processor that Linux drives, or a sandbox of that name, and leave it running
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The firmware is copied to /lib/firmware, where the kernel loads it from, now and when it restarts a remote that crashed. \
Without it the one is started that was loaded last. A remote that is detached is taken over as it runs.

A sandbox wants its firmware, an ELF file or a built-in image, and goes on until it ends or `sidecore stop` comes; meanwhile \
main sides come and go: `sidecore attach sandbox:NAME`, or programs of your own. With --replace it gets other firmware, unless a \
main side has it. What it writes to its traces is kept for `sidecore logs sandbox:NAME`.")]
pub(crate) struct Args {
    /// Which one: `remoteproc0`, or its name, see `sidecore ps`; or `sandbox:NAME`, a new one
    remote: String,
    /// The firmware: the path of an ELF file, or a name below /lib/firmware
    #[arg(value_hint = ValueHint::FilePath)]
    firmware: Option<OsString>,
    /// Where a sandbox of this name runs already, stop it and put this firmware in its place
    #[arg(long)]
    replace: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(name) = args.remote.strip_prefix(SANDBOX) {
        return sandbox(args, name);
    }
    if args.replace {
        let why = "what Linux drives is stopped with `sidecore stop`, and started with other firmware then";
        return Err(Failure::new(codes::ATTACH_USAGE, "--replace is for sandboxes").because(why).status(2));
    }
    let remote = args.place.find(&args.remote)?;
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

/// Starts firmware in a sandbox that outlives this process.
fn sandbox(args: &Args, name: &str) -> Outcome {
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
    let is_there = args.replace && args.place.sandboxes().iter().any(|there| there == name);
    let sandbox =
        if is_there { emptied(name) } else { Sandbox::new(Config { log: log(&image), ..config(name) }) };
    let mut processor = Processor::new(sandbox.map_err(failed)?, Options::new(name));
    processor.load(&firmware).map_err(|error| remote::remote(&image, &error))?;
    processor.start().map_err(|error| remote::remote(&image, &error))?;
    keep(&image, name);
    // Main sides that come set the devices up themselves.
    processor.detach().map_err(|error| remote::remote(&image, &error))?;
    Ok(ExitCode::SUCCESS)
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

/// Keeps firmware that logs by `defmt`: what its frames say is in the file.
fn keep(image: &Image, name: &str) {
    let Some(path) = logs::file(name).map(|log| logs::firmware(&log)) else { return };
    let kept = match defmt::is_wanted(&image.bytes) {
        true => fs::write(&path, &image.bytes),
        false => fs::remove_file(&path).or_else(|error| match error.kind() {
            ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
    };
    if let Err(error) = kept {
        note(&format_args!("frames of defmt will not be decoded: {}: {error}", path.display()));
    }
}
