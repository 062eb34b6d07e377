//! The one program of a guest's kernel: its first process.
//!
//! It mounts what it looks at, tries what the kernel's rpmsg and the device side of sidecore do together, says on the
//! console what came of it, as test programs do, and powers off. What it is to do stands on the kernel's command line,
//! whose words reach it as its environment: `measure=N` measures N round trips instead, `soc=1` tries a remote processor
//! with the command that lies beside it, `soc=running` one that runs already (`coprocessor=` says what it is), and `shell=1`
//! gives whoever sits at the console a shell.

mod checks;
mod endpoint;
mod log;
mod measure;
mod soc;
mod wait;

use std::env;
use std::ffi::CString;
use std::fs::{self, File};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, mount};
use rustix::process::getpid;
use rustix::system::{RebootCommand, finit_module, reboot};

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
    modules()?;
    if env::var_os("shell").is_some() {
        return shell();
    }
    if let Some(how) = env::var_os("soc") {
        let checks = if how == "running" { soc::RUNNING } else { soc::CHECKS };
        return Ok(checks::run(checks, &mut log));
    }
    match env::var("measure") {
        Ok(count) => {
            measure::run(count.parse().context("measure= wants a number")?)?;
            Ok(true)
        }
        Err(_) => Ok(checks::run(checks::CHECKS, &mut log)),
    }
}

/// Has the kernel take the modules in `/modules`, in the order of their names.
fn modules() -> Result<()> {
    let entries = fs::read_dir("/modules").into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        let file = File::open(&path).with_context(|| path.display().to_string())?;
        finit_module(&file, &CString::default(), 0).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// A shell with the usual commands, until it is left.
fn shell() -> Result<bool> {
    const BUSYBOX: &str = "/bin/busybox";
    const TERMINAL: &str = "/dev/ttyAMA0";
    Command::new(BUSYBOX).args(["--install", "-s", "/bin"]).status().context(BUSYBOX)?;
    println!(
        "\nThe coprocessor is remoteproc0, its firmware /firmware.elf, and sidecore is here, too:\n\
         \x20   sidecore start remoteproc0 firmware.elf\n    sidecore ping --on remoteproc0\n\
         \x20   (echo hello >&3; head -c 6 <&3) 3<>/dev/rpmsg0\nThe end is `exit`.\n"
    );
    // Its own terminal, so that keys reach what runs there: /dev/console is nobody's.
    let terminal = || File::options().read(true).write(true).open(TERMINAL).context(TERMINAL);
    let mut shell = Command::new(BUSYBOX);
    shell.args(["setsid", "-c", BUSYBOX, "sh"]).env("PATH", "/bin").env("HOME", "/").env("PS1", "# ");
    shell.stdin(terminal()?).stdout(terminal()?).stderr(terminal()?);
    // What the last of its commands came to is none of ours.
    shell.status().context(BUSYBOX)?;
    Ok(true)
}
