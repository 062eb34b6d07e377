//! Debian's packages for another architecture, fetched and unpacked. Nothing is installed, and this machine's own lists of
//! packages stay as they are.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{Need, directory};
use crate::report::Step;

/// What fetches and unpacks.
pub(super) const NEEDS: &[Need] =
    &[Need { what: "apt-get", package: "apt" }, Need { what: "dpkg-deb", package: "dpkg" }];

/// The package that names the kernel of this distribution for 32-bit Arm, and one with the usual commands.
const KERNEL: &str = "linux-image-armmp:armhf";
const BUSYBOX: &str = "busybox-static:armhf";

/// The kernel's modules that make a remote processor and its channels, in the order of their loading.
const MODULES: &[&str] = &[
    "rpmsg_core",
    "rpmsg_ns",
    "virtio_rpmsg_bus",
    "rpmsg_char",
    "rpmsg_ctrl",
    "rpmsg_tty",
    "stm32-ipcc",
    "stm32_rproc",
];

/// A kernel for 32-bit Arm, and what belongs to it.
pub(super) struct Parts {
    pub(super) kernel: PathBuf,
    pub(super) busybox: PathBuf,
    /// In the order of their loading.
    pub(super) modules: Vec<PathBuf>,
}

/// Fetches them, or finds them where they were put the last time.
pub(super) fn parts(step: &Step) -> Result<Parts> {
    let kept = directory()?.join("linux-armhf");
    if !kept.exists() {
        let work = kept.with_extension(std::process::id().to_string());
        let fetched = fetch(step, &work);
        let made = fetched.and_then(|()| fs::rename(work.join("kept"), &kept).context("it cannot be kept"));
        fs::remove_dir_all(&work).with_context(|| work.display().to_string())?;
        if !kept.exists() {
            made?;
        }
    }
    let modules = MODULES.iter().map(|name| kept.join(format!("{name}.ko"))).collect();
    Ok(Parts { kernel: kept.join("vmlinuz"), busybox: kept.join("busybox"), modules })
}

fn fetch(step: &Step, work: &Path) -> Result<()> {
    let (lists, packages, tree) = (work.join("lists"), work.join("packages"), work.join("tree"));
    for folder in [&lists.join("partial"), &packages, &tree, &work.join("kept")] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let apt = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(&packages).args([
            "-q",
            "-o",
            "APT::Architectures::=armhf",
            "-o",
            "Acquire::Languages=none",
        ]);
        command.arg("-o").arg(format!("Dir::State::lists={}", lists.display()));
        command.arg("-o").arg(format!("Dir::Cache={}", work.display()));
        // Whoever it becomes by itself may not enter our folders.
        command.args(["-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]);
        command
    };
    println!("fetching a kernel for 32-bit Arm");
    // It complains of sources that know no such architecture, and of mirrors in the middle of something; what matters is
    // whether the packages are found then.
    step.read(apt("apt-get").arg("update"), |_| Ok(()))?;
    let mut image = None;
    let status = step.read(apt("apt-cache").args(["depends", KERNEL]), |line| {
        if let Some(name) = line.trim().strip_prefix("Depends: ")
            && name.starts_with("linux-image-")
        {
            image = Some(name.trim_matches(['<', '>']).to_owned());
        }
        Ok(())
    })?;
    let Some(image) = image.filter(|_| status.success()) else {
        bail!("no source of apt's has {KERNEL}");
    };
    quietly(step, apt("apt-get").args(["download", &image, BUSYBOX]))?;

    for entry in fs::read_dir(&packages)? {
        let path = entry?.path();
        step.run(Command::new("dpkg-deb").arg("--extract").arg(path).arg(&tree))?;
    }
    let kept = work.join("kept");
    let mut files = Vec::new();
    walk(&tree, &mut files)?;
    let keep = |is: &dyn Fn(&str) -> bool, name: &str| {
        let found = files.iter().find(|path| is(&path.to_string_lossy()));
        let found = found.with_context(|| format!("{image} has no {name}"))?;
        fs::copy(found, kept.join(name)).with_context(|| found.display().to_string())
    };
    keep(&|path| path.contains("/boot/vmlinuz-"), "vmlinuz")?;
    // Packages have other files of that name.
    keep(&|path| path.ends_with("/bin/busybox"), "busybox")?;
    for module in MODULES {
        let name = format!("{module}.ko");
        keep(&|path| path.ends_with(&format!("/{name}")), &name)?;
    }
    Ok(())
}

/// Runs a program, and shows what it said only if it fails.
fn quietly(step: &Step, command: &mut Command) -> Result<()> {
    let mut said = Vec::new();
    let status = step.read(command, |line| {
        said.push(line.to_owned());
        Ok(())
    })?;
    if !status.success() {
        said.iter().for_each(|line| println!("{line}"));
        bail!("{} ended with {status}", command.get_program().display());
    }
    Ok(())
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        match entry.file_type()? {
            kind if kind.is_dir() => walk(&entry.path(), files)?,
            kind if kind.is_file() => files.push(entry.path()),
            _ => {}
        }
    }
    Ok(())
}
