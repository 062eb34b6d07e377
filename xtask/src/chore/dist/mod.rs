//! `cargo xtask dist`: what people install: a Debian package and a tarball, what they are made of, and their sums.
//!
//! All of it is a function of the commit: times are the commit's, owners and modes are set, lists are sorted, and paths of
//! this machine are remapped. (Where the tree lies is to be seen in symbols of the images that `sidecore` carries, alone:
//! cargo hashes it.) What the system finds in it, units, policies, rules, lies below `host/daemon/system` as it is
//! installed; the rest is made by the programs themselves.

mod check;
mod deb;
mod sbom;
mod tree;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches};

use super::{Chore, images, release};
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore =
    Chore {
        name: "dist",
        about: "Make the Debian package and the tarball, with checksums and a bill of materials",
        arguments: |command| {
            command.arg(Arg::new("check").long("check").action(ArgAction::SetTrue).help(
                "Make them twice, compare; install, upgrade and purge the package in a root of its own",
            ))
        },
        run: |arguments: &ArgMatches, report| {
            let is_check = arguments.get_flag("check");
            if is_check {
                images::steps(report);
            }
            steps(report, is_check);
            Ok(())
        },
    };

/// What is packed, by cargo's names.
const PROGRAMS: [&str; 2] = ["sidecore", "sidecored"];

/// Makes them all. What is only checked is built as other steps build it, so that it is not built twice.
pub(super) fn steps(report: &mut Report, is_check: bool) {
    let mut made = None;
    report.step("dist", |step| {
        let dist = Dist::new(step, is_check)?;
        let folder = source::target_directory(source::MAIN)?.join("dist");
        dist.make(&folder)?;
        for file in dist.files() {
            let size = fs::metadata(folder.join(&file)).context(file.clone())?.len();
            println!("{} ({size} bytes)", source::from_root(&folder.join(file)).display());
        }
        made = Some((dist, folder));
        Ok(())
    });
    if let Some((dist, folder)) = made.filter(|_| is_check) {
        report.step("dist, made again", |_| check::reproducible(&dist, &folder));
        report.step("dist, installed", |step| check::installed(step, &dist, &folder));
    }
}

/// What is packed.
pub(crate) struct Dist {
    version: String,
    /// The time of the commit, in seconds since 1970: the time of everything.
    epoch: u64,
    /// As Debian calls this machine's architecture.
    architecture: String,
    /// The folder of the programs.
    programs: PathBuf,
    target: String,
}

impl Dist {
    fn new(step: &Step, is_check: bool) -> Result<Self> {
        let programs = if is_check { release::programs(step)? } else { remapped(step)? };
        let epoch = match env::var("SOURCE_DATE_EPOCH") {
            Ok(epoch) => epoch,
            Err(_) => words(Command::new("git").args(["log", "-1", "--format=%ct"]))
                .context("outside git the time is asked of SOURCE_DATE_EPOCH")?,
        };
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch: epoch.parse().context("the time of the commit")?,
            architecture: words(Command::new("dpkg").arg("--print-architecture"))?,
            programs,
            target: source::host()?,
        })
    }

    fn package(&self) -> String {
        format!("sidecore_{}_{}.deb", self.version, self.architecture)
    }

    fn tarball(&self) -> String {
        format!("sidecore-{}-{}.tar.gz", self.version, self.target)
    }

    fn bill(&self) -> String {
        format!("sidecore-{}.cdx.json", self.version)
    }

    /// What is made, the sums last.
    fn files(&self) -> Vec<String> {
        vec![self.package(), self.tarball(), self.bill(), "SHA256SUMS".to_owned()]
    }

    /// Makes all of it in a folder, which is emptied.
    fn make(&self, folder: &Path) -> Result<()> {
        empty(folder)?;
        let bill = sbom::bill(self)?;
        fs::write(folder.join(self.bill()), &bill)?;
        let root = folder.join("root");
        tree::stage(self, &root, &bill)?;
        deb::build(self, &root, &folder.join(self.package()), deb::Compression::Small)?;
        self.pack(folder, &root)?;
        fs::remove_dir_all(&root).with_context(|| root.display().to_string())?;
        let mut files = self.files();
        files.pop();
        let sums = words(Command::new("sha256sum").args(&files).current_dir(folder))?;
        fs::write(folder.join("SHA256SUMS"), sums + "\n")?;
        Ok(())
    }

    /// Packs the tree, for other systems than Debian.
    fn pack(&self, folder: &Path, root: &Path) -> Result<()> {
        for file in ["README.md", "LICENSE-APACHE", "LICENSE-MIT"] {
            tree::copy(&source::root().join(file), &root.join(file))?;
        }
        tree::settle(root, self.epoch)?;
        let name = self.tarball();
        let top = name.strip_suffix(".tar.gz").unwrap_or(&name);
        let mut tar = Command::new("tar");
        tar.args(["--create", "--sort=name", "--format=gnu", "--owner=root:0", "--group=root:0"]);
        tar.args(["--use-compress-program=gzip -9n", &format!("--transform=s,^\\.,{top},"), "--file"]);
        run(tar.arg(folder.join(&name)).arg("--directory").arg(root).arg("."))
    }
}

/// Builds the programs with nothing in them of where that was; gives their folder.
fn remapped(step: &Step) -> Result<PathBuf> {
    let folder = source::target_directory(source::MAIN)?.join("remapped");
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::home_dir().map(|home| home.join(".cargo"))).unwrap_or_default();
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    for (from, to) in [(source::root(), "sidecore"), (&home, "cargo")] {
        flags += &format!(" --remap-path-prefix={}=/usr/src/{to}", from.display());
    }
    for program in PROGRAMS {
        let mut cargo = source::cargo();
        cargo.args(["build", "--locked", "--release", "--package", program]);
        step.run(cargo.env("RUSTFLAGS", flags.trim()).env("CARGO_TARGET_DIR", &folder))?;
    }
    Ok(folder.join("release"))
}

/// An empty folder.
fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())
}

/// Runs a program that says nothing of interest.
fn run(command: &mut Command) -> Result<()> {
    output(command).map(drop)
}

/// What a program says, without the last line's end.
fn words(command: &mut Command) -> Result<String> {
    let output = String::from_utf8(output(command)?)?;
    Ok(output.trim_end().to_owned())
}

/// What a program writes to its standard output.
fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().display().to_string();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("{name} cannot be run"))?;
    if !output.status.success() {
        bail!("{name} ended with {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(output.stdout)
}
