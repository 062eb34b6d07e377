//! The programs as they are released, for those chores that run them.

use std::path::PathBuf;

use anyhow::Result;

use crate::{report::Step, source};

/// The programs, and of which packages.
const PROGRAMS: &[(&str, &str)] =
    &[("sidecore", "sidecore"), ("sidecored", "sidecored"), ("sidecore-sim", "kill")];

/// Builds them, all at once, and gives their folder. One by one they would ask for other features of what they share, and
/// that would be built for each.
pub(super) fn programs(step: &Step) -> Result<PathBuf> {
    let mut cargo = source::cargo();
    cargo.args(["build", "--locked", "--release"]);
    for (package, program) in PROGRAMS {
        cargo.args(["--package", package, "--bin", program]);
    }
    step.run(&mut cargo)?;
    Ok(source::target_directory(source::MAIN)?.join("release"))
}
