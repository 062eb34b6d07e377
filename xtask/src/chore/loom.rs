//! `cargo xtask loom`: every interleaving of two peers that the memory model allows.

use std::env;

use clap::ArgMatches;

use super::{Chore, none};
use crate::{report::Report, source};

pub(crate) const CHORE: Chore = Chore {
    name: "loom",
    about: "Explore all interleavings of the models in lab/tests/loom_*.rs",
    arguments: none,
    run: |_: &ArgMatches, report| {
        steps(report);
        Ok(())
    },
};

pub(super) fn steps(report: &mut Report) {
    report.step("loom", |step| {
        let flags = env::var("RUSTFLAGS").unwrap_or_default() + " --cfg loom";
        let mut cargo = source::cargo();
        // Optimised, for the time goes into the exploration.
        cargo.args(["test", "--release", "--package", "sidecore-lab", "--test", "loom_*", "--no-fail-fast"]);
        step.test(cargo.env("RUSTFLAGS", flags.trim()))
    });
}
