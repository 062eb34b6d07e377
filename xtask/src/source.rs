//! The source tree: where it lies, its files, its packages.

use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, de::DeserializeOwned};

/// The manifest of the main workspace.
pub(crate) const MAIN: &str = "Cargo.toml";

/// The workspaces of the tree: the main one, and those that need other targets or profiles.
const WORKSPACES: &[&str] = &[MAIN, "remote/images/Cargo.toml", "lab/fuzz/Cargo.toml"];

/// Those of them that are there.
pub(crate) fn workspaces() -> impl Iterator<Item = &'static str> {
    WORKSPACES.iter().copied().filter(|manifest| root().join(manifest).exists())
}

/// The root of the tree.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the chores lie in a folder of the tree")
}

/// A path as it is named from the root of the tree.
pub(crate) fn from_root(path: &Path) -> &Path {
    path.strip_prefix(root()).unwrap_or(path)
}

/// The cargo that runs us.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    cargo
}

/// What cargo knows of a workspace, without its dependencies from elsewhere.
#[derive(Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    target_directory: PathBuf,
}

/// A package of the tree.
#[derive(Deserialize)]
pub(crate) struct Package {
    pub(crate) description: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    manifest_path: PathBuf,
    targets: Vec<Target>,
}

/// Something that cargo builds of a package.
#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
    src_path: PathBuf,
}

impl Package {
    /// Its folder, from the root of the tree.
    pub(crate) fn folder(&self) -> &Path {
        from_root(self.manifest_path.parent().unwrap_or(root()))
    }

    /// The names of its programs.
    pub(crate) fn binaries(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().filter(|target| target.is("bin")).map(|target| &*target.name)
    }

    /// The main file of its library.
    pub(crate) fn library(&self) -> Option<&Path> {
        self.targets.iter().find(|target| target.is("lib")).map(|target| from_root(&target.src_path))
    }
}

impl Target {
    fn is(&self, kind: &str) -> bool {
        self.kind.iter().any(|own| own == kind)
    }
}

/// What a package imports.
#[derive(Deserialize)]
pub(crate) struct Dependency {
    /// `dev`, `build`, or none for an ordinary one.
    pub(crate) kind: Option<String>,
    /// Its folder, where it is not from a registry.
    pub(crate) path: Option<PathBuf>,
}

/// Asks cargo about the workspace of a manifest, which is named from the root of the tree.
pub(crate) fn metadata(manifest: &str) -> Result<Metadata> {
    let output = cargo()
        .args(["metadata", "--format-version=1", "--no-deps", "--manifest-path", manifest])
        .output()
        .context("cargo cannot be run")?;
    if !output.status.success() {
        bail!("cargo metadata on {manifest}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    serde_json::from_slice(&output.stdout)
        .with_context(|| format!("cargo metadata on {manifest} is no such thing"))
}

/// Where cargo puts what it builds of the workspace of a manifest, which is named from the root of the tree.
pub(crate) fn target_directory(manifest: &str) -> Result<PathBuf> {
    Ok(metadata(manifest)?.target_directory)
}

/// The target that the compiler builds for by itself.
pub(crate) fn host() -> Result<String> {
    let output = Command::new("rustc").arg("-vV").output().context("rustc cannot be run")?;
    let version = String::from_utf8_lossy(&output.stdout);
    match version.lines().find_map(|line| line.strip_prefix("host: ")) {
        Some(host) => Ok(host.to_owned()),
        None => bail!("rustc -vV names no host"),
    }
}

/// Reads a TOML file, which is named from the root of the tree.
pub(crate) fn toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    toml::from_str(&read(path)?).with_context(|| path.display().to_string())
}

/// Reads a text file, which is named from the root of the tree.
pub(crate) fn read(path: &Path) -> Result<String> {
    fs::read_to_string(root().join(path)).with_context(|| path.display().to_string())
}

/// All Rust files of the tree, named from its root, in order.
pub(crate) fn rust_files() -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    walk(root(), &mut files)?;
    files.sort();
    Ok(files)
}

/// Collects the Rust files of a folder and all below it but for what is built or hidden.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    for entry in entries.with_context(|| folder.display().to_string())? {
        let path = entry.path();
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if entry.file_type()?.is_dir() {
            if name != "target" && !name.starts_with('.') {
                walk(&path, files)?;
            }
        } else if name.ends_with(".rs") {
            files.push(from_root(&path).to_owned());
        }
    }
    Ok(())
}
