//! `core` for a target, built of the sources that a distribution has beside its compiler.

use std::{
    collections::hash_map::DefaultHasher,
    fs,
    hash::{Hash, Hasher},
    path::{Path, PathBuf},
    process,
};

use anyhow::{Context, Result, bail};

use super::toolchain::Compiler;
use crate::source;

/// What of `core` a build needs, by the beginnings of their names.
const LIBRARIES: &[&str] = &["libcore-", "libcompiler_builtins-"];

/// The folder to be named as `--sysroot`, with `core` for this target in it. Built once for each compiler, in half a
/// minute; libraries fit no compiler but the one that made them.
pub(super) fn of(compiler: &Compiler, target: &str) -> Result<PathBuf> {
    let sysroot = source::target_directory(source::MAIN)?.join("sysroot").join(identity(compiler)?);
    let folder = sysroot.join("lib/rustlib").join(target).join("lib");
    if !folder.exists() {
        eprintln!("building core for {target} with {}", compiler.rustc.display());
        // Side by side with others that do the same; whoever is last finds it done.
        let scratch = sysroot.join(format!("scratch-{}-{target}", process::id()));
        let built = build(compiler, target, &scratch, &folder);
        fs::remove_dir_all(&scratch).ok();
        built?;
    }
    Ok(sysroot)
}

/// Names a compiler: another one, or the next version, has another name.
fn identity(compiler: &Compiler) -> Result<String> {
    let version = compiler.says(&["-vV"])?;
    let mut hasher = DefaultHasher::new();
    version.hash(&mut hasher);
    let release = version.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or("unknown");
    Ok(format!("{release}-{:016x}", hasher.finish()))
}

/// Has cargo build an empty crate and `core` with it, and takes what it made of `core`.
fn build(compiler: &Compiler, target: &str, scratch: &Path, folder: &Path) -> Result<()> {
    let write = |name: &str, text: &str| {
        let path = scratch.join(name);
        fs::create_dir_all(path.parent().unwrap_or(scratch))
            .and_then(|()| fs::write(&path, text))
            .with_context(|| path.display().to_string())
    };
    write("Cargo.toml", SEED)?;
    write("src/lib.rs", "#![no_std]\n")?;

    let mut cargo = compiler.cargo();
    cargo.args(["build", "--release", "--quiet", "-Zbuild-std=core", "--target", target]);
    cargo.arg("--manifest-path").arg(scratch.join("Cargo.toml"));
    cargo.arg("--target-dir").arg(scratch.join("target"));
    // The switch above is not for everyday's use; here it makes what rustup has ready for download.
    cargo.env("RUSTC_BOOTSTRAP", "1");
    // What link-time optimization reads.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Cembed-bitcode=yes");
    let status = cargo.status().with_context(|| compiler.cargo.display().to_string())?;
    if !status.success() {
        bail!("core for {target} does not build: {} ended with {status}", compiler.cargo.display());
    }

    let libraries = scratch.join("libraries");
    fs::create_dir(&libraries).with_context(|| libraries.display().to_string())?;
    let built = scratch.join("target").join(target).join("release/deps");
    let mut found = 0;
    for entry in fs::read_dir(&built).with_context(|| built.display().to_string())? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(".rlib") && LIBRARIES.iter().any(|library| name.starts_with(library)) {
            fs::rename(entry.path(), libraries.join(&*name))?;
            found += 1;
        }
    }
    if found != LIBRARIES.len() {
        bail!("{}: {found} libraries of core, not {}", built.display(), LIBRARIES.len());
    }
    fs::create_dir_all(folder.parent().unwrap_or(folder))?;
    match fs::rename(&libraries, folder) {
        Err(_) if folder.exists() => Ok(()),
        renamed => renamed.with_context(|| folder.display().to_string()),
    }
}

/// An empty crate, which has cargo build what every crate needs.
const SEED: &str = r#"[package]
name = "seed"
version = "0.0.0"
edition = "2024"

[workspace]

[profile.release]
panic = "abort"
"#;
