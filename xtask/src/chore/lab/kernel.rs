//! A User-Mode Linux, built of a distribution's source package once, and kept for as long as nothing of it changes.

use std::{
    collections::{VecDeque, hash_map::DefaultHasher},
    fs,
    hash::{Hash, Hasher},
    io::Read,
    path::{Path, PathBuf},
    process::{self, Command},
    thread,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::{Need, directory};
use crate::{report::Step, source};

/// Our part of it, from the root of the tree.
const OURS: &str = "lab/linux/kernel";

/// What builds it.
pub(super) const NEEDS: &[Need] = &[
    Need { what: "gcc", package: "gcc" },
    Need { what: "make", package: "make" },
    Need { what: "bc", package: "bc" },
    Need { what: "bison", package: "bison" },
    Need { what: "flex", package: "flex" },
    Need { what: "xz", package: "xz-utils" },
    Need { what: "/usr/include/libelf.h", package: "libelf-dev" },
];

/// A kernel as it is booted.
pub(super) struct Kernel {
    /// The program.
    pub(super) program: PathBuf,
    /// The sample client, which is a module or nothing.
    pub(super) sample: PathBuf,
}

/// Where the newest of the distribution's kernel sources lies.
///
/// # Errors
/// There is none; the error says what to install.
pub(super) fn newest_source() -> Result<PathBuf> {
    let entries = fs::read_dir("/usr/src").into_iter().flatten().flatten();
    let archives = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let version = name.strip_prefix("linux-source-")?.split_once(".tar")?.0;
        let numbers: Vec<u32> = version.split('.').map_while(|number| number.parse().ok()).collect();
        Some((numbers, entry.path()))
    });
    let newest = archives.max().map(|(_, path)| path);
    newest.context("no kernel source is here: apt-get install --no-install-recommends linux-source")
}

/// The kernel of a source, an archive or a folder: the kept one, or a new one.
pub(super) fn build(step: &Step, from: &Path) -> Result<Kernel> {
    let kept = directory()?.join(format!("linux-{:016x}", identity(from)?));
    if !kept.exists() {
        // In a folder of its own until it is whole, and no matter who else builds one.
        let work = kept.with_extension(process::id().to_string());
        let built = build_in(step, &work, from);
        let made = built.and_then(|kernel| keep(kernel, &work.join("kept"), &kept));
        // A gigabyte that nobody needs again.
        fs::remove_dir_all(&work).with_context(|| work.display().to_string())?;
        made?;
    }
    let file = |name| kept.join(name);
    Ok(Kernel { program: file(PROGRAM), sample: file(SAMPLE) })
}

const PROGRAM: &str = "linux";
const SAMPLE: &str = "rpmsg_client_sample.ko";

/// What a kernel is made of, as a number.
fn identity(from: &Path) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    let compiler = Command::new("gcc").arg("--version").output().context("gcc cannot be run")?;
    compiler.stdout.hash(&mut hasher);
    if from.is_dir() {
        // Whoever works on a kernel knows when to say so: only what the kernel says of itself is looked at.
        from.hash(&mut hasher);
        fs::read(from.join("Makefile")).with_context(|| from.display().to_string())?.hash(&mut hasher);
    } else {
        let mut file = fs::File::open(from).with_context(|| from.display().to_string())?;
        let mut bytes = vec![0; 1 << 20];
        loop {
            let length = file.read(&mut bytes).with_context(|| from.display().to_string())?;
            if length == 0 {
                break;
            }
            hasher.write(&bytes[..length]);
        }
    }
    for path in
        files(&source::root().join(OURS))?.iter().filter(|path| path.extension() != Some("md".as_ref()))
    {
        fs::read(path).with_context(|| path.display().to_string())?.hash(&mut hasher);
    }
    Ok(hasher.finish())
}

/// The files of a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut paths: Vec<PathBuf> =
        entries.with_context(|| folder.display().to_string())?.iter().map(fs::DirEntry::path).collect();
    paths.sort();
    Ok(paths)
}

fn build_in(step: &Step, work: &Path, from: &Path) -> Result<Kernel> {
    let (tree, out) = (work.join("source"), work.join("build"));
    for folder in [&tree, &out, &work.join("kept")] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    println!("unpacking {}", from.display());
    unpack(step, from, &tree)?;
    edit(&tree)?;

    println!("building a User-Mode Linux of it");
    let ours = source::root().join(OURS);
    let make = |goals: &[&str]| {
        let mut make = Command::new("make");
        // Flags of a make above us are meant for others.
        make.env_remove("MAKEFLAGS").env("KCONFIG_ALLCONFIG", ours.join("uml.config"));
        make.arg("-s").arg("-C").arg(&tree).arg("ARCH=um").arg(format!("O={}", out.display())).args(goals);
        quietly(step, &mut make)
    };
    make(&["allnoconfig"])?;
    configured(&ours.join("uml.config"), &out.join(".config"))?;
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    make(&[&format!("-j{jobs}"), "linux", "modules"])?;
    Ok(Kernel { program: out.join(PROGRAM), sample: out.join("samples/rpmsg").join(SAMPLE) })
}

fn unpack(step: &Step, from: &Path, tree: &Path) -> Result<()> {
    if from.is_dir() {
        return quietly(step, Command::new("cp").arg("-a").arg(from.join(".")).arg(tree));
    }
    // A quarter of it all are tables of registers that nobody here reads.
    let mut tar = Command::new("tar");
    tar.arg("--extract").arg("--file").arg(from).arg("--directory").arg(tree);
    quietly(step, tar.args(["--strip-components=1", "--exclude=*/drivers/gpu/drm/amd/include/*"]))
}

/// Runs a program, and shows what it said only if it fails.
fn quietly(step: &Step, command: &mut Command) -> Result<()> {
    let mut last = VecDeque::new();
    let status = step.read(command, |line| {
        last.push_back(line.to_owned());
        if last.len() > 40 {
            last.pop_front();
        }
        Ok(())
    })?;
    if !status.success() {
        last.iter().for_each(|line| println!("{line}"));
        bail!("{} ended with {status}", command.get_program().display());
    }
    Ok(())
}

/// `edits.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edits {
    copy: Vec<Copy>,
    edit: Vec<Edit>,
}

/// A file of ours that the kernel's tree gets.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Copy {
    from: PathBuf,
    to: PathBuf,
}

/// A text of the kernel's tree that becomes another.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: PathBuf,
    find: String,
    replace: String,
}

/// Makes our changes.
fn edit(tree: &Path) -> Result<()> {
    let ours = Path::new(OURS);
    let Edits { copy, edit } = source::toml(&ours.join("edits.toml"))?;
    for Copy { from, to } in copy {
        fs::write(tree.join(&to), source::read(&ours.join(&from))?)
            .with_context(|| to.display().to_string())?;
    }
    for Edit { file, find, replace } in edit {
        let path = tree.join(&file);
        let text = fs::read_to_string(&path).with_context(|| file.display().to_string())?;
        match text.matches(&find).count() {
            1 => {
                fs::write(&path, text.replace(&find, &replace)).with_context(|| file.display().to_string())?
            }
            count => {
                bail!("edits.toml does not fit this kernel: {} has {count} times `{find}`", file.display())
            }
        }
    }
    Ok(())
}

/// Whether the kernel has taken every line of the fragment, which it need not tell otherwise.
fn configured(fragment: &Path, config: &Path) -> Result<()> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| path.display().to_string());
    let (fragment, config) = (read(fragment)?, read(config)?);
    let wanted = fragment.lines().filter(|line| line.starts_with("CONFIG_"));
    let refused: Vec<&str> = wanted.filter(|line| !config.lines().any(|own| own == *line)).collect();
    if !refused.is_empty() {
        bail!("this kernel does not take {}", refused.join(", "));
    }
    Ok(())
}

/// Puts a kernel to where it is kept, as a whole.
fn keep(kernel: Kernel, whole: &Path, kept: &Path) -> Result<()> {
    for (from, name) in [(&kernel.program, PROGRAM), (&kernel.sample, SAMPLE)] {
        fs::copy(from, whole.join(name)).with_context(|| from.display().to_string())?;
    }
    match fs::rename(whole, kept) {
        // Somebody else was faster.
        Err(_) if kept.exists() => Ok(()),
        outcome => outcome.with_context(|| kept.display().to_string()),
    }
}
