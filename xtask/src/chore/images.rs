//! `cargo xtask images`: firmware for this machine's sandbox.

use std::fs;

use anyhow::{Context, Result};
use clap::ArgMatches;

use super::{Chore, none};
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "images",
    about: "Build the demonstration and test images for the sandbox, into target/images",
    arguments: none,
    run: |_: &ArgMatches, report| {
        steps(report);
        Ok(())
    },
};

/// A workspace of its own, for its profiles and link arguments are those of firmware.
const MANIFEST: &str = "remote/images/Cargo.toml";

pub(super) fn steps(report: &mut Report) {
    report.step("images", build);
}

fn build(step: &mut Step) -> Result<()> {
    let target = source::host()?;
    let images = source::target_directory(source::MAIN)?.join("images");
    // As `host/cli/build.rs` builds those that the command carries: where everything lies is the link script's matter,
    // and messages name files as they are named in the tree.
    let flags = ["-Crelocation-model=static", &format!("--remap-path-prefix={}=.", source::root().display())]
        .join("\x1f");
    let mut cargo = source::cargo();
    cargo.args(["build", "--release", "--bins", "--manifest-path", MANIFEST, "--target", &target]);
    step.run(cargo.arg("--target-dir").arg(&images).env("CARGO_ENCODED_RUSTFLAGS", flags))?;

    let folder = images.join(&target).join("release");
    for bin in source::metadata(MANIFEST)?.packages.iter().flat_map(|package| package.binaries()) {
        let image = folder.join(bin);
        let size = fs::metadata(&image).with_context(|| image.display().to_string())?.len();
        println!("{} ({size} bytes)", source::from_root(&image).display());
    }
    Ok(())
}
