//! The guest's one program.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result};

use super::directory;
use crate::{report::Step, source};

/// Builds it, with all that it needs inside, for it is alone; its bytes.
pub(super) fn build(step: &Step) -> Result<Vec<u8>> {
    let target = source::host()?;
    let folder: PathBuf = directory()?.join("guest");
    let mut cargo = source::cargo();
    cargo.args(["build", "--quiet", "--release", "--package", "sidecore-guest", "--target", &target]);
    cargo.arg("--target-dir").arg(&folder).env("CARGO_PROFILE_RELEASE_STRIP", "true");
    // It stands above what concerns a single target, and takes precedence over flags that are meant for others.
    step.run(cargo.env("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static"))?;
    let program = folder.join(target).join("release/sidecore-guest");
    fs::read(&program).with_context(|| program.display().to_string())
}
