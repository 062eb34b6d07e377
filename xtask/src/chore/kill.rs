//! `cargo xtask kill`: real processes, killed at random moments.

use clap::{Arg, ArgMatches, value_parser};

use super::{Chore, images};
use crate::{report::Report, source};

pub(crate) const CHORE: Chore = Chore {
    name: "kill",
    about: "Kill main sides, remotes and wardens at random moments, and see that nothing is lost in silence",
    arguments: |command| {
        let number = |name: &'static str, value: &'static str, default: &'static str| {
            Arg::new(name)
                .long(name)
                .value_name(value)
                .value_parser(value_parser!(u64))
                .default_value(default)
        };
        command
            .arg(number("rounds", "N", "200").help("How many are killed"))
            .arg(number("seed", "S", "1").help("What decides when, as far as a real machine lets it"))
    },
    run: |arguments: &ArgMatches, report| {
        let number = |name| *arguments.get_one::<u64>(name).expect("it has a default");
        images::steps(report);
        steps(report, number("rounds"), number("seed"));
        Ok(())
    },
};

/// Wants the images.
pub(super) fn steps(report: &mut Report, rounds: u64, seed: u64) {
    report.step("kill", |step| {
        let image = images::directory()?.join(source::host()?).join("release/echo");
        let mut cargo = source::cargo();
        cargo.args(["run", "--quiet", "--release", "--package", "sidecore-sim", "--bin", "kill", "--"]);
        step.run(cargo.args([rounds.to_string(), seed.to_string()]).arg(image))
    });
}
