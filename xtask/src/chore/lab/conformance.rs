//! `cargo xtask lab conformance`: the protocol suite against our own peers, right and wrong ones.

use anyhow::Result;
use clap::{Arg, ArgAction, ArgMatches};

use crate::{report::Report, source};

pub(super) fn command() -> clap::Command {
    let bless = Arg::new("bless").long("bless").action(ArgAction::SetTrue);
    clap::Command::new("conformance")
        .about("Run the protocol suite against our peers in both roles, wrong peers, and what releases said")
        .arg(bless.help("Write the golden dialogues of this release anew; the difference is for the review"))
}

/// The tests are ordinary ones, and so in `cargo xtask test`, too.
pub(super) fn run(arguments: &ArgMatches, report: &mut Report) -> Result<()> {
    let bless = arguments.get_flag("bless");
    report.step("conformance", |step| {
        let mut cargo = source::cargo();
        cargo.args(["test", "--package", "sidecore-lab", "--test", "conformance", "--test", "dissector"]);
        cargo.envs(bless.then_some(("SIDECORE_BLESS", "1")));
        step.test(&mut cargo)
    });
    Ok(())
}
