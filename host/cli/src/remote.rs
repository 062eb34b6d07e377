//! Firmware on a remote, as every command that runs some wants it.

use std::time::Duration;

use clap::ValueEnum;
use sidecore_backends::sandbox::{Config, Sandbox};
use sidecore_processor::{Options, Processor};
use sidecore_remoteproc::firmware::Machine;
use sidecore_remoteproc::{Backend as _, BackendError, RemoteError};

use crate::failure::Failure;
use crate::image::{CANNOT_RUN, Image};
use crate::output::note;

/// What executes the firmware.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum On {
    // A confined process on this machine. (A documentation comment would make the help a long one.)
    #[default]
    Sandbox,
}

/// The exit code for what is our fault and not the firmware's.
pub(crate) const OURS: u8 = 125;

/// Makes a remote and loads the image on it. It is not started yet.
pub(crate) fn load(
    image: &Image,
    on: On,
    options: Options,
    watchdog: Option<Duration>,
) -> Result<Processor<Sandbox>, Failure> {
    let firmware = image.firmware()?;
    let On::Sandbox = on;
    let natives: Vec<Machine> = Machine::NATIVE.into_iter().collect();
    firmware.check_machine(&natives).map_err(|error| image.refused(&error))?;
    let sandbox = Sandbox::new(Config { watchdog, ..Config::default() }).map_err(|error| backend(&error))?;
    let mut processor = Processor::new(sandbox, options);
    processor.load(&firmware).map_err(|error| remote(image, &error))?;
    Ok(processor)
}

/// Says how it came to run, and how it is confined.
pub(crate) fn describe(processor: &Processor<Sandbox>) {
    let remote = processor.remote();
    remote.log().entries().for_each(|entry| note(&entry.what));
    remote.backend().findings().iter().for_each(note);
}

/// Why firmware was not loaded or started: its own fault (it cannot be run) or ours.
pub(crate) fn remote(image: &Image, error: &RemoteError) -> Failure {
    match error {
        RemoteError::Backend(error) => backend(error),
        error => {
            Failure::new(error.code(), format!("cannot run {}", image.name)).because(error).status(CANNOT_RUN)
        }
    }
}

fn backend(error: &BackendError) -> Failure {
    let status = match error {
        BackendError::Memory { .. }
        | BackendError::MemoryRefused { .. }
        | BackendError::Unsupported { .. } => CANNOT_RUN,
        _ => OURS,
    };
    Failure::new(error.code(), "cannot make a remote").because(error).status(status)
}

/// Reads a time from the command line.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if (Duration::from_millis(1)..=Duration::from_secs(86400)).contains(&time) => Ok(time),
        _ => Err("must be between 0.001 and 86400 seconds".to_owned()),
    }
}
