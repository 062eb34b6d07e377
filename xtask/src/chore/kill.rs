//! `cargo xtask kill`: real processes, killed at random moments.

use std::process::Command;

use clap::ArgMatches;

use super::{Chore, given, images, number, release};
use crate::{report::Report, source};

pub(crate) const CHORE: Chore = Chore {
    name: "kill",
    about: "Kill main sides, remotes, wardens and dumpers at random moments, and see that nothing is lost in silence",
    arguments: |command| {
        command.arg(number("rounds", "N", "200", "How many are killed")).arg(number(
            "seed",
            "S",
            "1",
            "What decides when, as far as a real machine lets it",
        ))
    },
    run: |arguments: &ArgMatches, report| {
        images::steps(report);
        steps(report, given(arguments, "rounds"), given(arguments, "seed"));
        Ok(())
    },
};

/// Wants the images.
pub(super) fn steps(report: &mut Report, rounds: u64, seed: u64) {
    report.step("kill", |step| {
        let image = images::directory()?.join(source::host()?).join("release/echo");
        let mut kill = Command::new(release::programs(step)?.join("kill"));
        step.run(kill.args([rounds.to_string(), seed.to_string()]).arg(image))
    });
}
