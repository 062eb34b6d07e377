//! The one program of a guest's kernel: its first process.
//!
//! It mounts what it looks at, tries what the kernel's rpmsg and the device side of sidecore do together, says on the
//! console what came of it, as test programs do, and powers off. What it is to do stands on the kernel's command line,
//! whose words reach it as its environment: `measure=N` measures N round trips instead.

mod checks;
mod endpoint;
mod log;
mod measure;
mod wait;

use std::env;
use std::process::ExitCode;

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};
use rustix::process::getpid;
use rustix::system::{RebootCommand, reboot};

use crate::log::Log;

fn main() -> ExitCode {
    if !getpid().is_init() {
        eprintln!("error: this is the first process of a guest, and powers it off");
        return ExitCode::FAILURE;
    }
    let good = work().unwrap_or_else(|error| {
        println!("error: {error:#}");
        false
    });
    println!("guest: {}", if good { "good" } else { "bad" });
    // The kernel tells whether it did not.
    let _ = reboot(RebootCommand::PowerOff);
    ExitCode::FAILURE
}

/// Whether all went well.
fn work() -> Result<bool> {
    for (what, at) in
        [("devtmpfs", "/dev"), ("proc", "/proc"), ("sysfs", "/sys"), ("debugfs", "/sys/kernel/debug")]
    {
        mount(what, at, what, MountFlags::empty(), None).with_context(|| format!("{what} on {at}"))?;
    }
    let mut log = Log::open()?;
    match env::var("measure") {
        Ok(count) => {
            measure::run(count.parse().context("measure= wants a number")?)?;
            Ok(true)
        }
        Err(_) => Ok(checks::run(&mut log)),
    }
}
