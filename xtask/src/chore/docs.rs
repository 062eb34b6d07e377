//! `cargo xtask docs`: the documentation builds without a warning.

use std::env;

use clap::ArgMatches;

use super::{Chore, none};
use crate::{report::Report, source};

pub(crate) const CHORE: Chore = Chore {
    name: "docs",
    about: "Build the documentation of every crate, warnings denied",
    arguments: none,
    run: |_: &ArgMatches, report| {
        steps(report);
        Ok(())
    },
};

pub(super) fn steps(report: &mut Report) {
    report.step("docs", |step| {
        let flags = env::var("RUSTDOCFLAGS").unwrap_or_default() + " -Dwarnings";
        step.run(source::cargo().args(["doc", "--no-deps", "--workspace"]).env("RUSTDOCFLAGS", flags.trim()))
    });
}
