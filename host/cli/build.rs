//! Builds the firmware images that the command carries with it.
//!
//! They are a workspace of their own, for they have other profiles and another linking, so this is a cargo inside of
//! cargo: with a target directory of its own (a shared one would wait for us), and without what this build's caller
//! chose for host programs (flags, wrappers, profiles).

use std::{
    env,
    error::Error,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Where the images' source lies, from the root of the tree.
const IMAGES: &str = "remote/images";

/// What the images are made of, from the root of the tree.
const SOURCES: &[&str] = &[
    "Cargo.toml",
    "common",
    "remote/firmware",
    "remote/images/Cargo.toml",
    "remote/images/Cargo.lock",
    "remote/images/build.rs",
    "remote/images/src",
];

/// Variables that go through to the inner cargo though they begin with `CARGO_`: where its home is, how it reaches
/// registries, the job server that both share.
const KEPT: &[&str] = &["CARGO_HOME", "CARGO_HTTP_", "CARGO_MAKEFLAGS", "CARGO_NET_", "CARGO_REGISTR"];

/// What else would reach into the inner cargo: flags and wrappers that are meant for host programs, or that belong to
/// tools such as clippy.
const REMOVED: &[&str] = &["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTDOCFLAGS", "RUSTFLAGS"];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error=the built-in firmware images cannot be built: {error}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(builtin_images)");
    println!("cargo::rerun-if-changed=build.rs");

    let target = env::var("TARGET")?;
    let (os, arch) = (env::var("CARGO_CFG_TARGET_OS")?, env::var("CARGO_CFG_TARGET_ARCH")?);
    if os != "linux" || !["x86_64", "aarch64"].contains(&arch.as_str()) {
        println!("cargo::warning=there is no sandbox on {target}: the command has no built-in images");
        return Ok(());
    }

    let root = Path::new(&env::var_os("CARGO_MANIFEST_DIR").ok_or("no CARGO_MANIFEST_DIR")?).join("../..");
    for source in SOURCES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let linker = foreign_linker(&arch)?;
    if let Some(linker) =
        linker.as_ref().filter(|linker| Command::new(linker).arg("--version").output().is_err())
    {
        println!(
            "cargo::warning=there is no {linker} to link firmware with: the command has no built-in images"
        );
        return Ok(());
    }
    let directory = PathBuf::from(env::var_os("OUT_DIR").ok_or("no OUT_DIR")?).join("images");
    let mut cargo = cargo(&root.canonicalize()?, &target, &directory)?;
    if let Some(linker) = linker {
        cargo.env(format!("CARGO_TARGET_{}_LINKER", target.to_uppercase().replace('-', "_")), linker);
    }
    let output = cargo.output().map_err(|error| format!("{cargo:?}: {error}"))?;
    if !output.status.success() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        return Err(format!("{cargo:?} ended with {}", output.status).into());
    }
    println!("cargo::rustc-cfg=builtin_images");
    println!("cargo::rustc-env=SIDECORE_IMAGES={}", directory.join(target).join("release").display());
    Ok(())
}

/// What links for another architecture than this machine's, where nobody has said it: Debian's name for it.
fn foreign_linker(arch: &str) -> Result<Option<String>, Box<dyn Error>> {
    let native = env::var("HOST")?.split('-').next() == Some(arch);
    Ok((!native && env::var_os("RUSTC_LINKER").is_none()).then(|| format!("{arch}-linux-gnu-gcc")))
}

/// The inner cargo, which builds all images for the target.
fn cargo(root: &Path, target: &str, directory: &Path) -> Result<Command, Box<dyn Error>> {
    let mut cargo = Command::new(env::var_os("CARGO").ok_or("no CARGO")?);
    for (name, _) in env::vars_os().filter(|(name, _)| !passes(name)) {
        cargo.env_remove(name);
    }
    cargo
        .current_dir(root.join(IMAGES))
        .env("CARGO_ENCODED_RUSTFLAGS", flags(root, target).join("\x1f"))
        .args(["build", "--release", "--bins", "--target", target, "--target-dir"])
        .arg(directory);
    Ok(cargo)
}

/// Whether a variable of our environment is also one of the inner cargo's.
fn passes(name: &OsString) -> bool {
    // Whatever is no text is none of the names below.
    let name = name.to_string_lossy();
    let linker = name.starts_with("CARGO_TARGET_") && name.ends_with("_LINKER");
    let kept = linker || KEPT.iter().any(|kept| name.starts_with(kept));
    kept || !(name.starts_with("CARGO_") || REMOVED.contains(&name.as_ref()))
}

/// Flags for the compiler. Set even where there is nothing to say, for then no configuration of the user's adds its own.
fn flags(root: &Path, target: &str) -> Vec<String> {
    let mut flags = vec![
        // The link script says where everything lies.
        "-Crelocation-model=static".to_owned(),
        // Debuggers find the callers in a core dump, also without debug information.
        "-Cforce-frame-pointers=yes".to_owned(),
        // Panic messages name files as they are named in the source tree, on whatever machine they are built.
        format!("--remap-path-prefix={}=.", root.display()),
    ];
    if target.ends_with("-musl") {
        // The start-up objects that come with this target are not for firmware.
        flags.push("-Clink-self-contained=no".to_owned());
    }
    flags
}
