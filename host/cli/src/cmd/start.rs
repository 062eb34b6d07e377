//! `sidecore start`: a remote processor that Linux drives, with firmware of one's own or the board's.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::ValueHint;

use crate::failure::Outcome;
use crate::image::Image;
use crate::kernel::{Place, refused};

/// Start a remote processor that Linux drives, and leave it running
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The firmware is copied to /lib/firmware, where the kernel loads it from, now and when it restarts a remote that crashed. \
Without it the one is started that was loaded last. A remote that is detached is taken over as it runs.")]
pub(crate) struct Args {
    /// Which one: `remoteproc0`, or its name; see `sidecore ps`
    remote: String,
    /// The firmware: the path of an ELF file, or a name below /lib/firmware
    #[arg(value_hint = ValueHint::FilePath)]
    firmware: Option<OsString>,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: &Args) -> Outcome {
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
