//! `cargo xtask sim`: both sides, clients and faults in virtual time, by schedules that a seed decides.

use std::env;

use clap::{Arg, ArgMatches, value_parser};

use super::Chore;
use crate::{report::Report, source};

pub(crate) const CHORE: Chore = Chore {
    name: "sim",
    about: "Simulate misfortune: main sides that die at any store, crashes, restarts, late and early kicks",
    arguments: |command| {
        let number = |name: &'static str, default: &'static str| {
            let value = if name == "seed" { "S" } else { "N" };
            Arg::new(name)
                .long(name)
                .value_name(value)
                .value_parser(value_parser!(u64))
                .default_value(default)
        };
        command
            .arg(number("schedules", "100000").help("How many schedules are run"))
            .arg(number("seed", "1").help("The seed of the first one; each has the next"))
    },
    run: |arguments: &ArgMatches, report| {
        let number = |name| *arguments.get_one::<u64>(name).expect("it has a default");
        steps(report, number("schedules"), number("seed"));
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
