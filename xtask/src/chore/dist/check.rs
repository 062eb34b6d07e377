//! What is packed is the same each time, can be installed, does what it says, and leaves nothing behind.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use rustix::process::getuid;

use super::{super::images, Dist, deb, empty, sbom, tree};
use crate::report::Step;

/// Installs, upgrades and removes packages where it changes nothing.
const SCRIPT: &str = include_str!("check.sh");

/// An older version, for upgrades.
const OLDER: &str = "0.0.1~older";

/// Makes all of it again elsewhere, and compares.
pub(super) fn reproducible(dist: &Dist, folder: &Path) -> Result<()> {
    let again = folder.with_extension("again");
    dist.make(&again)?;
    for file in dist.files() {
        let [first, second] = [folder, &again].map(|folder| fs::read(folder.join(&file)));
        if first? != second? {
            bail!("{file} is not the same as before");
        }
    }
    Ok(fs::remove_dir_all(again)?)
}

/// Installs, upgrades, removes and purges the package in a root that lies over this machine's. Wants the images.
pub(super) fn installed(step: &mut Step, dist: &Dist, folder: &Path) -> Result<()> {
    if !getuid().is_root() {
        step.not_run("a root of one's own takes root");
        return Ok(());
    }
    let place = std::env::temp_dir().join(format!("sidecore-dist-{}", std::process::id()));
    empty(&place)?;
    let mut can = Command::new("unshare");
    can.args(["--mount", "--propagation=private", "mount", "-t", "tmpfs", "tmpfs"]).arg(&place);
    if !can.status().context("unshare (of util-linux) cannot be run")?.success() {
        fs::remove_dir_all(place)?;
        step.not_run("this machine lets us mount nothing");
        return Ok(());
    }
    let older = older(dist, folder)?;
    let firmware = images::directory()?.join(&dist.target).join("release/echo");
    let mut script = Command::new("unshare");
    script.args(["--mount", "--propagation=private", "--pid", "--fork", "--kill-child"]);
    script.args(["sh", "-eu", "-c", SCRIPT]).arg(&place).arg(older).arg(folder.join(dist.package()));
    let status = step.read(script.arg(&dist.version).arg(firmware), |line| {
        println!("    {line}");
        Ok(())
    });
    fs::remove_dir_all(place)?;
    match status?.code() {
        Some(0) => {}
        Some(77) => step.not_run("this machine lays no file system over another"),
        _ => bail!("the line above is the last that went well"),
    }
    lint(step, &folder.join(dist.package()))
}

/// A package of an older version, with a file that the new one has not.
fn older(dist: &Dist, folder: &Path) -> Result<std::path::PathBuf> {
    let older = Dist {
        version: OLDER.to_owned(),
        architecture: dist.architecture.clone(),
        programs: dist.programs.clone(),
        target: dist.target.clone(),
        ..*dist
    };
    let (root, package) = (folder.join("older"), folder.join(older.package()));
    tree::stage(&older, &root, &sbom::bill(&older)?)?;
    fs::write(root.join("usr/share/doc/sidecore/older"), "")?;
    deb::build(&older, &root, &package, deb::Compression::Quick)?;
    fs::remove_dir_all(root)?;
    Ok(package)
}

/// What Debian's own checker thinks, where there is one.
fn lint(step: &mut Step, package: &Path) -> Result<()> {
    if Command::new("lintian").arg("--version").output().is_err() {
        step.not_run("lintian is not installed");
        return Ok(());
    }
    step.run(Command::new("lintian").args(["--fail-on=error", "--tag-display-limit=0"]).arg(package))
}
