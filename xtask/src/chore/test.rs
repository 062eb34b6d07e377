//! `cargo xtask test`: everything that can fail, run.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Chore, images, loom, size};
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "test",
    about: "Build the images, then run every suite",
    arguments: |command: Command| {
        command.arg(
            Arg::new("quick")
                .long("quick")
                .action(ArgAction::SetTrue)
                .help("Leave out what takes more than a minute"),
        )
    },
    run: |arguments: &ArgMatches, report| {
        steps(report, arguments.get_flag("quick"));
        Ok(())
    },
};

/// The targets whose tests are programs: all but the measurements, and the examples in the documentation.
pub(super) const PROGRAMS: &[&str] = &["--workspace", "--lib", "--bins", "--tests", "--examples"];

/// The folder of the programs as the tests have built them; built if need be. By themselves they would have other features
/// of what they are made of, and all that would be built again.
pub(super) fn programs(step: &Step) -> Result<PathBuf> {
    step.run(source::cargo().arg("test").args(PROGRAMS).args(["--no-run", "--quiet"]))?;
    Ok(source::target_directory(source::MAIN)?.join("debug"))
}

pub(super) fn steps(report: &mut Report, quick: bool) {
    images::steps(report);
    images::boards(report);
    size::steps(report);
    report.step("tests, built", |step| programs(step).map(drop));
    report.step("tests", |step| step.test(source::cargo().arg("test").args(PROGRAMS).arg("--no-fail-fast")));
    report.step("documentation's examples", |step| {
        step.test(source::cargo().args(["test", "--workspace", "--doc", "--no-fail-fast"]))
    });
    if quick {
        report.not_run("loom", "--quick");
    } else {
        loom::steps(report);
    }
}
