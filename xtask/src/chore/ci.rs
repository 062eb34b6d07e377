//! `cargo xtask ci`: everything that a change must pass, the quickest answers first.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ArgMatches;

use super::{Chore, deny, docs, files, layers, none, ordinary, prose, test};
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
        deny::steps(report);
        report.step("clippy", clippy);
        cross(report);
        docs::steps(report);
        test::steps(report, false);
        ordinary::steps(report);
        prose::steps(report);
        Ok(())
    },
};

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
        cargo.args(["clippy", "--workspace", "--all-targets", "--manifest-path", manifest]);
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
    let mut rustc = std::process::Command::new("rustc");
    let output = rustc.args(["--print", "sysroot"]).output().context("rustc cannot be run")?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    Ok(sysroot.join("lib/rustlib").join(target).join("lib").is_dir())
}
