//! `cargo xtask images`: firmware for this machine's sandbox and for other instruction sets.

mod sysroot;
mod toolchain;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::{Arg, ArgAction, Command, builder::PossibleValuesParser};

pub(crate) use toolchain::Toolchain;

use super::Chore;
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "images",
    about: "Build the demonstration and test images, for the sandbox or for microcontrollers, into target/images",
    arguments,
    run: |arguments, report| {
        let chosen: Vec<&str> = if arguments.get_flag("all") {
            TARGETS.to_vec()
        } else {
            arguments.get_many::<String>("target").into_iter().flatten().map(String::as_str).collect()
        };
        if chosen.is_empty() || arguments.get_flag("all") {
            steps(report);
        }
        for triple in chosen {
            report.step(format!("images for {triple}"), |step| build_for(step, triple));
        }
        Ok(())
    },
};

/// Instruction sets other than this machine's that there is a platform of the SDK for.
const TARGETS: &[&str] = &[
    "aarch64-unknown-none",
    "armv7r-none-eabihf",
    "riscv32imac-unknown-none-elf",
    "thumbv7em-none-eabihf",
    "thumbv8m.main-none-eabihf",
];

fn arguments(command: Command) -> Command {
    let target = Arg::new("target")
        .long("target")
        .value_name("T")
        .action(ArgAction::Append)
        .value_parser(PossibleValuesParser::new(TARGETS))
        .help("Build for this target in place of the sandbox; may be given several times");
    let all = Arg::new("all")
        .long("all")
        .action(ArgAction::SetTrue)
        .conflicts_with("target")
        .help("Build for the sandbox and for every target");
    command.arg(target).arg(all)
}

/// A workspace of its own, for its profiles and link arguments are those of firmware.
const MANIFEST: &str = "remote/images/Cargo.toml";
const FOLDER: &str = "remote/images";

pub(super) fn steps(report: &mut Report) {
    report.step("images", build);
}

fn build(step: &mut Step) -> Result<()> {
    let target = source::host()?;
    // As `host/cli/build.rs` builds those that the command carries: where everything lies is the link script's matter,
    // debuggers find callers, and messages name files as they are named in the tree.
    let flags = ["-Crelocation-model=static", "-Cforce-frame-pointers=yes", &remapped()].join("\x1f");
    for which in [&["--bins"][..], WITH_DEFMT] {
        let mut cargo = source::cargo();
        cargo.args(["build", "--release", "--manifest-path", MANIFEST, "--target", &target]).args(which);
        step.run(cargo.arg("--target-dir").arg(directory()?).env("CARGO_ENCODED_RUSTFLAGS", &flags))?;
    }
    list(&directory()?.join(&target).join("release"))
}

/// Builds the images for every instruction set that there is a compiler for.
pub(super) fn boards(report: &mut Report) {
    for triple in TARGETS {
        let name = format!("images for {triple}");
        match Toolchain::of(triple) {
            Ok(_) => report.step(name, |step| build_for(step, triple)),
            Err(error) => report.not_run(&name, error),
        }
    }
}

/// The image that logs by `defmt`, which the others are built without: its sections are nothing for their link scripts.
const WITH_DEFMT: &[&str] = &["--features", "defmt", "--bin", "logs"];

/// Those whose boards have a second core, with firmware of its own.
const TWO_CORES: &[&str] = &["armv7r-none-eabihf", "thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf"];

/// The images that are built for it.
const FOR_SECOND_CORE: &[&str] = &["echo", "liar"];

/// Another board of a target, for which all images are built, too.
const OTHER_BOARDS: &[(&str, &str)] = &[("riscv32imac-unknown-none-elf", "riscv32-soc")];

/// Builds all images for another instruction set; they lie in `target/images/<target>/firmware`, those for the second
/// core of a board in `target/images/core-1/<target>/firmware`, those for another board in
/// `target/images/<board>/<target>/firmware`.
fn build_for(step: &mut Step, target: &str) -> Result<()> {
    let toolchain = Toolchain::of(target)?;
    let cargo = |directory: &Path| {
        let mut cargo = toolchain.cargo_build(target, &[remapped()]);
        cargo.args(["--profile", "firmware", "--manifest-path", MANIFEST, "--target-dir"]).arg(directory);
        cargo
    };
    step.run(cargo(&directory()?).arg("--bins"))?;
    step.run(cargo(&directory()?).args(WITH_DEFMT))?;
    list(&directory()?.join(target).join("firmware"))?;
    if TWO_CORES.contains(&target) {
        let mut cargo = cargo(&directory()?.join("core-1"));
        cargo.args(FOR_SECOND_CORE.iter().flat_map(|image| ["--bin", image]));
        step.run(cargo.env("SIDECORE_CORE", "1"))?;
    }
    let others = OTHER_BOARDS.iter().filter(|(triple, _)| *triple == target);
    others.into_iter().try_for_each(|(_, board)| build_for_board(step, target, board).map(drop))
}

/// Builds all images for one board of several that a target has; gives the folder that they are in.
pub(crate) fn build_for_board(step: &mut Step, target: &str, board: &str) -> Result<PathBuf> {
    let directory = directory()?.join(board);
    let mut cargo = Toolchain::of(target)?.cargo_build(target, &[remapped()]);
    cargo.args(["--profile", "firmware", "--manifest-path", MANIFEST, "--target-dir"]).arg(&directory);
    step.run(cargo.arg("--bins").env("SIDECORE_BOARD", board))?;
    Ok(directory.join(target).join("firmware"))
}

/// Builds one image for another instruction set as fast as the compiler can make it, in place of as small; gives the
/// folder that it is in.
pub(super) fn build_fast(step: &mut Step, target: &str, images: &[&str]) -> Result<PathBuf> {
    let directory = directory()?.join("fast");
    let mut cargo = Toolchain::of(target)?.cargo_build(target, &[remapped()]);
    cargo.args(["--profile", "firmware", "--manifest-path", MANIFEST, "--target-dir"]).arg(&directory);
    cargo.args(images.iter().flat_map(|image| ["--bin", image]));
    step.run(cargo.env("CARGO_PROFILE_FIRMWARE_OPT_LEVEL", "3"))?;
    Ok(directory.join(target).join("firmware"))
}

/// Where images are built.
pub(crate) fn directory() -> Result<PathBuf> {
    Ok(source::target_directory(source::MAIN)?.join("images"))
}

/// Has the compiler name files as they are named in the tree.
pub(crate) fn remapped() -> String {
    format!("--remap-path-prefix={}=.", source::root().display())
}

/// Says which images there are.
fn list(folder: &Path) -> Result<()> {
    let packages = source::metadata(MANIFEST)?.packages;
    let images = packages.iter().filter(|package| package.folder() == Path::new(FOLDER));
    for bin in images.flat_map(|package| package.binaries()) {
        let image = folder.join(bin);
        let size = fs::metadata(&image).with_context(|| image.display().to_string())?.len();
        println!("{} ({size} bytes)", source::from_root(&image).display());
    }
    Ok(())
}
