//! `sidecore stop`: a remote processor that Linux drives.

use std::process::ExitCode;

use crate::failure::Outcome;
use crate::kernel::{Place, refused};

/// Stop a remote processor that Linux drives
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which one: `remoteproc0`, or its name; see `sidecore ps`
    remote: String,
    /// Leave it running, and let go of it
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let remote = args.place.find(&args.remote)?;
    let (done, word) = if args.detach { (remote.detach(), "detach from") } else { (remote.stop(), "stop") };
    done.map_err(|error| refused(format!("cannot {word} {}", remote.id()), &error))?;
    Ok(ExitCode::SUCCESS)
}
