//! `sidecore start`: a remote processor that Linux drives, with firmware of one's own or the board's, or a sandbox that stays.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::ValueHint;
use sidecore_backends::sandbox::{Config, Lifetime, Sandbox};
use sidecore_processor::{Options, Processor};
use sidecore_remoteproc::BackendError;

use super::attach::SANDBOX;
use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::image::Image;
use crate::kernel::{Place, refused};
use crate::remote;

/// Start a remote processor that Linux drives, or a sandbox of that name, and leave it running
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The firmware is copied to /lib/firmware, where the kernel loads it from, now and when it restarts a remote that crashed. \
Without it the one is started that was loaded last. A remote that is detached is taken over as it runs.

A sandbox wants its firmware, an ELF file or a built-in image, and goes on until it ends or `sidecore stop` comes; meanwhile \
main sides come and go: `sidecore attach sandbox:NAME`, or programs of your own.")]
pub(crate) struct Args {
    /// Which one: `remoteproc0`, or its name, see `sidecore ps`; or `sandbox:NAME`, a new one
    remote: String,
    /// The firmware: the path of an ELF file, or a name below /lib/firmware
    #[arg(value_hint = ValueHint::FilePath)]
    firmware: Option<OsString>,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(name) = args.remote.strip_prefix(SANDBOX) {
        return sandbox(args, name);
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
    let config = Config { name: Some(name.to_owned()), lifetime: Lifetime::Detached, ..Config::default() };
    let failed = |error: &BackendError| {
        Failure::new(error.code(), format!("cannot start {}", args.remote))
            .because(error)
            .status(remote::OURS)
    };
    let sandbox = Sandbox::new(config).map_err(|error| failed(&error))?;
    let mut processor = Processor::new(sandbox, Options::new(name));
    processor.load(&image.firmware()?).map_err(|error| remote::remote(&image, &error))?;
    processor.start().map_err(|error| remote::remote(&image, &error))?;
    // Main sides that come set the devices up themselves.
    processor.detach().map_err(|error| remote::remote(&image, &error))?;
    Ok(ExitCode::SUCCESS)
}
