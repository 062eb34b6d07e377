//! The tree that is packed: everything at the path where it is installed.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

use super::{Dist, PROGRAMS, output, run, sbom, words};
use crate::source;

/// What the system finds, as it is installed.
const SYSTEM: &str = "host/daemon/system";

/// Shells, and where they look for completions.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/sidecore"),
    ("zsh", "usr/share/zsh/vendor-completions/_sidecore"),
    ("fish", "usr/share/fish/vendor_completions.d/sidecore.fish"),
];

/// Puts everything below `root`.
pub(super) fn stage(dist: &Dist, root: &Path, bill: &str) -> Result<()> {
    copy_all(&source::root().join(SYSTEM), root)?;
    let programs = root.join("usr/bin");
    fs::create_dir_all(&programs)?;
    for program in PROGRAMS {
        let (from, to) = (dist.programs.join(program), programs.join(program));
        run(Command::new("strip")
            .args(["--strip-unneeded", "--remove-section=.comment", "-o"])
            .args([&to, &from]))?;
    }
    let sidecore = programs.join("sidecore");
    for (shell, path) in SHELLS {
        write(&root.join(path), &output(Command::new(&sidecore).args(["completions", shell]))?)?;
    }
    pages(root, &sidecore)?;
    papers(dist, &root.join("usr/share/doc/sidecore"), bill)?;
    settle(root, dist.epoch)
}

/// The manual.
fn pages(root: &Path, sidecore: &Path) -> Result<()> {
    let manual = root.join("usr/share/man");
    let folder = manual.join("man1");
    fs::create_dir_all(&folder)?;
    run(Command::new(sidecore).arg("man").arg(&folder))?;
    let page = output(Command::new(root.join("usr/bin/sidecored")).arg("--man"))?;
    write(&folder.join("sidecored.1"), &page)?;
    let other = manual.join("man5/sidecored.toml.5");
    copy(&source::root().join("host/daemon/man/sidecored.toml.5"), &other)?;
    let entries = fs::read_dir(&folder)?.collect::<Result<Vec<_>, _>>()?;
    run(Command::new("gzip").arg("-9n").arg(other).args(entries.iter().map(fs::DirEntry::path)))
}

/// What is there to be read.
fn papers(dist: &Dist, folder: &Path, bill: &str) -> Result<()> {
    write(&folder.join("sbom.cdx.json"), bill.as_bytes())?;
    write(&folder.join("copyright"), copyright(dist)?.as_bytes())?;
    copy(&source::root().join("CHANGELOG.md"), &folder.join("NEWS.md"))?;
    copy_all(&source::root().join("book/src"), &folder.join("book"))?;
    let date =
        words(Command::new("date").args(["--utc", "--rfc-email", &format!("--date=@{}", dist.epoch)]))?;
    let changelog = format!(
        "sidecore ({}) unstable; urgency=medium\n\n  * What is new is in NEWS.md.\n\n -- {}  {date}\n",
        dist.version,
        super::deb::MAINTAINER,
    );
    let path = folder.join("changelog");
    write(&path, changelog.as_bytes())?;
    run(Command::new("gzip").args(["-9n"]).args([path, folder.join("NEWS.md")]))
}

/// Whose it is, and whose is what is linked in, in Debian's form.
fn copyright(dist: &Dist) -> Result<String> {
    let mut text = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\
         Upstream-Name: sidecore\n\
         Source: https://github.com/sidecore/sidecore\n\
         Comment: The programs have libraries linked in, each under the license that is named here. Which ones exactly, with\n\
         \x20their checksums, is in sbom.cdx.json beside this file.\n"
        .to_owned();
    for library in sbom::libraries(dist)? {
        text += &format!(" .\n {} {}: {}\n", library.name, library.version, library.license);
    }
    text += "\nFiles: *\nCopyright: the sidecore developers\nLicense: Apache-2.0 or Expat\n";
    let mit = source::read(Path::new("LICENSE-MIT"))?;
    let (_, terms) = mit.split_once("\n\n").context("LICENSE-MIT has a title")?;
    text += "\nLicense: Apache-2.0\n On Debian systems the whole text is in /usr/share/common-licenses/Apache-2.0.\n";
    text += "\nLicense: Expat\n";
    for line in terms.trim().lines() {
        text += &format!(" {}\n", if line.trim().is_empty() { "." } else { line });
    }
    Ok(text)
}

/// Gives everything below a folder, and itself, one time and the modes that it is installed with.
pub(super) fn settle(folder: &Path, epoch: u64) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(epoch);
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            settle(&path, epoch)?;
            continue;
        }
        let is_program = folder.ends_with("usr/bin") || folder.ends_with("DEBIAN") && !is_list(&path);
        fs::set_permissions(&path, fs::Permissions::from_mode(if is_program { 0o755 } else { 0o644 }))?;
        File::open(&path)?.set_modified(time)?;
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
    Ok(File::open(folder)?.set_modified(time)?)
}

/// Whether a file of a package's is no script.
fn is_list(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == "control" || name == "md5sums")
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().context("a file lies in a folder")?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    fs::write(path, bytes).with_context(|| path.display().to_string())
}

pub(super) fn copy(from: &Path, to: &Path) -> Result<()> {
    write(to, &fs::read(from).with_context(|| from.display().to_string())?)
}

fn copy_all(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).with_context(|| from.display().to_string())? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() { copy_all(&from, &to)? } else { copy(&from, &to)? }
    }
    Ok(())
}
