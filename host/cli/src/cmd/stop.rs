//! `sidecore stop`: a remote processor that Linux drives, or a sandbox that was left running.

use std::process::ExitCode;

use sidecore_remoteproc::{Backend as _, BackendError};

use super::attach::{SANDBOX, find};
use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::kernel::refused;
use crate::remote::OURS;
use crate::target::{Reach, Remotes, Target, failed};

/// Stop a remote: one of the daemon's, one that Linux drives, or a sandbox that `sidecore start` left running
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A remote of the daemon's stays in its list and can be started again, until --remove gives its name back. A sandbox \
that stayed is gone when it is stopped."
)]
pub(crate) struct Args {
    /// Which one: `remoteproc0`, or its name, see `sidecore ps`; one of the daemon's; or `sandbox:NAME`
    remote: String,
    /// Leave it running, and let go of it
    #[arg(long)]
    detach: bool,
    /// Have the daemon forget it, too, whatever it is doing
    #[arg(long, conflicts_with = "detach")]
    remove: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let remotes = args.reach.remotes()?;
    let meant = remotes.look_for(&args.remote)?;
    if let Some(target) = meant.as_ref().filter(|target| target.is_daemons) {
        return daemons(args, &remotes, target);
    }
    let known = meant.as_ref().map(Target::id);
    // Of what is not there its kind says who is asked for it.
    let typed = known.as_deref().unwrap_or(&args.remote);
    if let Some(name) = typed.strip_prefix(SANDBOX) {
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
    if let Some(failure) = meant.is_none().then(|| remotes.nobody(typed)).flatten() {
        return Err(failure);
    }
    let remote = args.reach.place.find(typed)?;
    let (done, word) = if args.detach { (remote.detach(), "detach from") } else { (remote.stop(), "stop") };
    done.map_err(|error| refused(format!("cannot {word} {}", remote.id()), &error))?;
    Ok(ExitCode::SUCCESS)
}

/// Stops one of the daemon's.
fn daemons(args: &Args, remotes: &Remotes, target: &Target) -> Outcome {
    let processor = remotes.processor(target)?;
    let (done, word) = match (args.detach, args.remove) {
        (true, _) => (processor.detach(), "detach from"),
        (_, true) => (processor.remove(), "remove"),
        _ => (processor.stop(), "stop"),
    };
    done.map_err(|error| failed(format!("cannot {word} {}", target.id()), &error))?;
    Ok(ExitCode::SUCCESS)
}
