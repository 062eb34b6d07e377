//! `sidecore soc`: a distribution's kernel and its own remoteproc, with a coprocessor of ours.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{self, Command},
};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches, value_parser};

use super::{Need, archive::Archive, check, guest, judge::Judge, packages};
use crate::{
    report::{Report, Step},
    source,
};

pub(super) fn command() -> clap::Command {
    let rounds = Arg::new("rounds").long("rounds").value_name("N").default_value("1");
    let shell = Arg::new("shell").long("shell").action(ArgAction::SetTrue);
    clap::Command::new("soc")
        .about("Boot Debian's Arm kernel on `sidecore soc`, and check from inside what its remoteproc does")
        .arg(rounds.value_parser(value_parser!(u32).range(1..=1000)).help("Boot it so many times"))
        .arg(shell.conflicts_with("rounds").help("Check nothing: a shell on its console, until it is left"))
}

const NAME: &str = "Linux with a coprocessor";

const NEEDS: &[Need] = &[
    Need { what: "qemu-system-arm", package: "qemu-system-arm" },
    Need { what: "timeout", package: "coreutils" },
];

pub(super) fn run(arguments: &ArgMatches, report: &mut Report) -> Result<()> {
    able()?;
    let shell = arguments.get_flag("shell");
    let rounds = arguments.get_one("rounds").copied().unwrap_or(1);
    let mut rig = None;
    report.step(format!("{NAME}: its parts"), |step| {
        let parts = packages::parts(step)?;
        rig = Some(Rig::new(step, &parts, true)?);
        Ok(())
    });
    match rig {
        Some(rig) if shell => rig.shell()?,
        Some(rig) => rig.check(report, rounds),
        None => {}
    }
    Ok(())
}

pub(super) fn steps(report: &mut Report) {
    if let Err(error) = able() {
        return report.not_run(NAME, format!("{error:#}"));
    }
    let mut parts = None;
    report.step(format!("{NAME}: its parts"), |step| {
        match packages::parts(step) {
            Ok(fetched) => parts = Some(Rig::new(step, &fetched, false)?),
            Err(error) => step.not_run(format!("{error:#}")),
        }
        Ok(())
    });
    if let Some(rig) = parts {
        rig.check(report, 1);
    }
}

fn able() -> Result<()> {
    check(NEEDS)?;
    check(guest::ARM_NEEDS)?;
    check(packages::NEEDS)
}

/// All that is booted, and a folder that goes with it.
struct Rig {
    sidecore: PathBuf,
    kernel: PathBuf,
    folder: PathBuf,
}

impl Rig {
    /// With the command as it is released, or as the tests have built it.
    fn new(step: &Step, parts: &packages::Parts, released: bool) -> Result<Self> {
        let profile = if released { "release" } else { "debug" };
        let mut cargo = source::cargo();
        cargo.args(["build", "--quiet", "--package", "sidecore"]).args(released.then_some("--release"));
        step.run(&mut cargo)?;
        let sidecore = source::target_directory(source::MAIN)?.join(profile).join("sidecore");
        let [guest, command] = guest::build_for_arm(step)?;

        let folder = env::temp_dir().join(format!("sidecore-soc-lab-{}", process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let rig = Self { sidecore, kernel: parts.kernel.clone(), folder };
        let firmware = rig.folder.join("firmware");
        step.run(Command::new(&rig.sidecore).args(["soc", "--write-firmware"]).arg(&firmware))?;

        let read = |path: &Path| fs::read(path).with_context(|| path.display().to_string());
        let mut archive = Archive::new();
        for folder in ["bin", "lib", "lib/firmware", "modules", "tmp"] {
            archive.folder(folder);
        }
        archive.add("init", &read(&guest)?);
        archive.add("bin/sidecore", &read(&command)?);
        archive.add("bin/busybox", &read(&parts.busybox)?);
        archive.add("firmware.elf", &read(&firmware)?);
        for (number, module) in parts.modules.iter().enumerate() {
            archive.add(&format!("modules/{number:02}.ko"), &read(module)?);
        }
        fs::write(rig.archive(), archive.finish()).context("the guest's archive cannot be written")?;
        Ok(rig)
    }

    fn archive(&self) -> PathBuf {
        self.folder.join("initrd")
    }

    fn check(&self, report: &mut Report, rounds: u32) {
        report.step(NAME, |step| {
            (0..rounds).try_for_each(|_| {
                self.boot(step, &[], "soc=1 loglevel=3")?;
                self.boot(step, &["--running"], "soc=running loglevel=3")
            })
        });
    }

    fn boot(&self, step: &mut Step, options: &[&str], append: &str) -> Result<()> {
        let mut soc = Command::new("timeout");
        // Nobody waits for longer than this.
        soc.args(["--kill-after=5", "300"]).arg(&self.sidecore);
        // What the kernel says is read inside, where it cannot come between the words of others.
        let mut judge = Judge::default();
        let status = step.read(self.arguments(&mut soc, append).args(options), |line| {
            judge.hear(line);
            Ok(())
        })?;
        judge.close(step, status)
    }

    fn shell(&self) -> Result<()> {
        let mut soc = Command::new(&self.sidecore);
        let status =
            self.arguments(&mut soc, "shell=1 loglevel=3").status().context("sidecore cannot be run")?;
        if !status.success() {
            bail!("sidecore soc ended with {status}");
        }
        Ok(())
    }

    fn arguments<'c>(&self, command: &'c mut Command, append: &str) -> &'c mut Command {
        command.args(["soc", "--kernel"]).arg(&self.kernel).arg("--initrd").arg(self.archive());
        command.arg("--append").arg(append)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            println!("{} stays: {error}", self.folder.display());
        }
    }
}
