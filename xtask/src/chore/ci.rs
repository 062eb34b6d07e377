//! `cargo xtask ci`: everything that a change must pass, the quickest answers first.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::ArgMatches;

use super::{
    Chore, deny, dist, docs, files, fuzz, kill, lab, layers, none, ordinary, prose, protocol, sim, test,
};
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "ci",
    about: "All that a change must pass: style, layers, dependencies, docs and every suite",
    arguments: none,
    run: |_: &ArgMatches, report| {
        report.step("format", format);
        report.step("lock files", lock_files);
        layers::steps(report);
        files::steps(report);
        protocol::steps(report);
        deny::steps(report);
        report.step("clippy", clippy);
        cross(report);
        docs::steps(report);
        test::steps(report, false);
        sim::steps(report, SCHEDULES, 1);
        kill::steps(report, KILLS, 1);
        fuzz::steps(report, FUZZ_SECONDS, None);
        ordinary::steps(report);
        lab::steps(report);
        prose::steps(report);
        dist::steps(report, true);
        Ok(())
    },
};

/// How long each target is fuzzed: enough to see that it can be, and that its corpus is still good.
const FUZZ_SECONDS: u32 = 5;

/// Schedules of the simulation: all that is promised of a main side's death is promised of so many.
const SCHEDULES: u64 = 100_000;

/// Kills of real processes.
const KILLS: u64 = 200;

/// Another instruction set, so that nothing assumes ours.
const OTHER: &str = "aarch64-unknown-linux-gnu";

fn format(step: &mut Step) -> Result<()> {
    for manifest in source::workspaces() {
        step.run(source::cargo().args(["fmt", "--all", "--check", "--manifest-path", manifest]))?;
    }
    Ok(())
}

/// The lock files are those that the manifests ask for.
fn lock_files(_: &mut Step) -> Result<()> {
    for manifest in source::workspaces() {
        let output = source::cargo()
            .args(["metadata", "--locked", "--format-version=1", "--manifest-path", manifest])
            .output()
            .context("cargo cannot be run")?;
        if !output.status.success() {
            bail!("{manifest}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
    }
    Ok(())
}

fn clippy(step: &mut Step) -> Result<()> {
    for manifest in source::workspaces() {
        let mut cargo = source::cargo();
        cargo.args(["clippy", "--workspace", "--all-targets"]);
        if let Some(folder) = Path::new(manifest).parent().filter(|folder| !folder.as_os_str().is_empty()) {
            // With that folder's flags and profile, so that later steps find what was built here.
            cargo.arg("--release").current_dir(source::root().join(folder));
        } else {
            cargo.args(["--features", "sidecore-lab/boards"]);
        }
        step.run(cargo.args(["--", "-Dwarnings"]))?;
    }
    Ok(())
}

fn cross(report: &mut Report) {
    let name = format!("check for {OTHER}");
    match installed(OTHER) {
        Ok(true) => report
            .step(name, |step| step.run(source::cargo().args(["check", "--workspace", "--target", OTHER]))),
        Ok(false) => {
            report.not_run(&name, format_args!("its library is missing here: rustup target add {OTHER}"))
        }
        Err(error) => report.not_run(&name, error),
    }
}

/// Whether the compiler has the library of a target.
fn installed(target: &str) -> Result<bool> {
    let mut rustc = Command::new("rustc");
    let output = rustc.args(["--print", "sysroot"]).output().context("rustc cannot be run")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(sysroot.join("lib/rustlib").join(target).join("lib").is_dir())
}
