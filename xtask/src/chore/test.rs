//! `cargo xtask test`: everything that can fail, run.

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::{Chore, images, loom, size};
use crate::{report::Report, source};

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

pub(super) fn steps(report: &mut Report, quick: bool) {
    images::steps(report);
    images::boards(report);
    size::steps(report);
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
