//! `sidecore stop`: a remote processor that Linux drives, or a sandbox that was left running.

use std::process::ExitCode;

use sidecore_remoteproc::{Backend as _, BackendError};

use super::attach::{SANDBOX, find};
use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::kernel::{Place, refused};
use crate::remote::OURS;

/// Stop a remote processor that Linux drives, or a sandbox that `sidecore start` left running
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which one: `remoteproc0`, or its name, see `sidecore ps`; or `sandbox:NAME`
    remote: String,
    /// Leave it running, and let go of it
    #[arg(long)]
    detach: bool,
    #[command(flatten)]
    place: Place,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if let Some(name) = args.remote.strip_prefix(SANDBOX) {
        if args.detach {
            let why = "main sides let go of a sandbox by themselves";
            return Err(Failure::new(codes::ATTACH_USAGE, "there is nothing to detach")
                .because(why)
                .status(2));
        }
        let stopped = find(name).and_then(|mut sandbox| {
            sandbox.attach()?;
            sandbox.stop()
        });
        let failed = |error: BackendError| {
            Failure::new(error.code(), format!("cannot stop {}", args.remote)).because(error).status(OURS)
        };
        return stopped.map(|()| ExitCode::SUCCESS).map_err(failed);
    }
    let remote = args.place.find(&args.remote)?;
    let (done, word) = if args.detach { (remote.detach(), "detach from") } else { (remote.stop(), "stop") };
    done.map_err(|error| refused(format!("cannot {word} {}", remote.id()), &error))?;
    Ok(ExitCode::SUCCESS)
}
