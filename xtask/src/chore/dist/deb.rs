//! The Debian package.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Dist, PROGRAMS, empty, run, tree, words};

/// Who answers for it.
pub(super) const MAINTAINER: &str = "the sidecore developers <sidecore@users.noreply.github.com>";

/// What a package runs while it is installed and removed.
const SCRIPTS: [(&str, &str); 3] = [
    ("postinst", include_str!("postinst")),
    ("prerm", include_str!("prerm")),
    ("postrm", include_str!("postrm")),
];

/// How hard a package is pressed.
#[derive(Clone, Copy)]
pub(super) enum Compression {
    Small,
    Quick,
}

/// Makes a package of the tree at `root`.
pub(super) fn build(dist: &Dist, root: &Path, package: &Path, compression: Compression) -> Result<()> {
    let lists = root.join("DEBIAN");
    let control = control(dist, root)?;
    let sums = sums(root)?;
    fs::create_dir_all(&lists)?;
    fs::write(lists.join("control"), control)?;
    fs::write(lists.join("md5sums"), sums)?;
    for (name, script) in SCRIPTS {
        fs::write(lists.join(name), script)?;
    }
    tree::settle(root, dist.epoch)?;
    let mut dpkg = Command::new("dpkg-deb");
    dpkg.args(["--root-owner-group", "--threads-max=1"]);
    dpkg.args(match compression {
        Compression::Small => ["-Zxz", "-z6"],
        Compression::Quick => ["-Zgzip", "-z1"],
    });
    run(dpkg.arg("--build").args([root, package]).env("SOURCE_DATE_EPOCH", dist.epoch.to_string()))?;
    Ok(fs::remove_dir_all(lists)?)
}

fn control(dist: &Dist, root: &Path) -> Result<String> {
    let kilobytes = files(root)?.iter().try_fold(0, |sum, file| {
        let len = fs::metadata(root.join(file))?.len();
        anyhow::Ok(sum + len.div_ceil(1024))
    })?;
    Ok(format!(
        "Package: sidecore
Version: {version}
Architecture: {architecture}
Maintainer: {MAINTAINER}
Installed-Size: {kilobytes}
Depends: {libraries}, default-dbus-system-bus | dbus-system-bus, systemd | systemd-standalone-sysusers | systemd-sysusers
Recommends: polkitd
Suggests: qemu-system-arm, qemu-system-misc, gdb-multiarch
Section: embedded
Priority: optional
Homepage: https://github.com/sidecore/sidecore
Description: runs, supervises and talks to other processors of a system-on-chip
 sidecore loads firmware on a remote processor, starts it, exchanges messages
 with it, watches it, and says what went wrong when it fails. It speaks the
 formats that exist (ELF, the Linux resource table, virtio, rpmsg).
 .
 Remotes are processors that Linux drives, boards that QEMU emulates, and
 firmware that runs natively in a sandbox. The command sidecore runs them for
 people; the daemon sidecored runs them for programs, over D-Bus.
",
        version = dist.version,
        architecture = dist.architecture,
        libraries = libraries(root)?,
    ))
}

/// The packages of the libraries that the programs are linked with, in the versions that they need.
fn libraries(root: &Path) -> Result<String> {
    // It wants to be called where a source package is.
    let place = root.with_extension("source");
    empty(&place.join("debian"))?;
    fs::write(
        place.join("debian/control"),
        "Source: sidecore\n\nPackage: sidecore\nArchitecture: any\nDescription: none\n",
    )?;
    let mut shlibdeps = Command::new("dpkg-shlibdeps");
    shlibdeps.arg("-O").args(PROGRAMS.map(|program| root.join("usr/bin").join(program)));
    let found = words(shlibdeps.current_dir(&place)).context("dpkg-shlibdeps is of the package dpkg-dev");
    fs::remove_dir_all(&place)?;
    let found = found?;
    Ok(found.strip_prefix("shlibs:Depends=").context("dpkg-shlibdeps names no libraries")?.to_owned())
}

fn sums(root: &Path) -> Result<String> {
    Ok(words(Command::new("md5sum").args(files(root)?).current_dir(root))? + "\n")
}

/// All files of the tree, named from its root, in order.
fn files(root: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                folders.push(entry.path());
            } else {
                files.push(entry.path().strip_prefix(root)?.to_owned());
            }
        }
    }
    files.sort();
    Ok(files)
}
