//! `sidecore restart` and `sidecore detach`.

use std::process::ExitCode;

use super::start;
use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::target::{EXIT_CODES, Reach, failed};

/// Stop a remote, and start its firmware from the beginning
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Args {
    /// Which one, see `sidecore ps`
    remote: String,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let remotes = args.reach.remotes()?;
    let target = remotes.find(&args.remote)?;
    if !target.is_daemons && target.linux().is_none() {
        return start::again(&target.name);
    }
    let restarted = remotes.processor(&target)?.restart();
    restarted
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| failed(format!("cannot restart {}", target.id()), &error))
}

/// Let go of a remote, and let it run on
#[derive(Debug, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct Detach {
    /// Which one, see `sidecore ps`: one that the daemon has, or that Linux drives
    remote: String,
    #[command(flatten)]
    reach: Reach,
}

pub(crate) fn detach(args: &Detach) -> Outcome {
    let remotes = args.reach.remotes()?;
    let target = remotes.find(&args.remote)?;
    if !target.is_daemons && target.linux().is_none() {
        let why = "main sides let go of a sandbox by themselves";
        return Err(Failure::new(codes::ATTACH_USAGE, "there is nothing to detach").because(why).status(2));
    }
    let detached = remotes.processor(&target)?.detach();
    detached
        .map(|()| ExitCode::SUCCESS)
        .map_err(|error| failed(format!("cannot detach from {}", target.id()), &error))
}
