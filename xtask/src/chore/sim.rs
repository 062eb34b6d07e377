//! `cargo xtask sim`: both sides, clients and faults in virtual time, by schedules that a seed decides.

use std::env;

use clap::ArgMatches;

use super::{Chore, given, number};
use crate::{report::Report, source};

pub(crate) const CHORE: Chore = Chore {
    name: "sim",
    about: "Simulate misfortune: main sides that die at any store, lost and late kicks, crash storms, stuck clients",
    arguments: |command| {
        command.arg(number("schedules", "N", "100000", "How many schedules are run")).arg(number(
            "seed",
            "S",
            "1",
            "The seed of the first one; each has the next",
        ))
    },
    run: |arguments: &ArgMatches, report| {
        steps(report, given(arguments, "schedules"), given(arguments, "seed"));
        Ok(())
    },
};

pub(super) fn steps(report: &mut Report, schedules: u64, seed: u64) {
    report.step("sim", |step| {
        let flags = env::var("RUSTFLAGS").unwrap_or_default() + " --cfg mortal";
        let target = source::target_directory("Cargo.toml")?.join("mortal");
        let mut cargo = source::cargo();
        cargo.args(["run", "--quiet", "--profile", "sim", "--package", "sidecore-sim", "--bin", "sim", "--"]);
        cargo.args([schedules.to_string(), seed.to_string()]);
        // Another folder, so that what is built otherwise is not built again.
        step.run(cargo.env("RUSTFLAGS", flags.trim()).env("CARGO_TARGET_DIR", target))
    });
}
