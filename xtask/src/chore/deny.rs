//! `cargo xtask deny`: what is imported from elsewhere has a licence, a source and a name that we accept.

use anyhow::{Context, Result, bail};
use clap::ArgMatches;

use super::{Chore, none};
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "deny",
    about: "Check licences, sources and bans of the dependencies with cargo-deny, by deny.toml",
    arguments: none,
    run: |_: &ArgMatches, report| {
        steps(report);
        Ok(())
    },
};

/// What installs the tool in under a minute: its release build takes three times as long and gains nothing here.
const INSTALL: &str = "cargo install cargo-deny --locked --debug --no-default-features";

pub(super) fn steps(report: &mut Report) {
    report.step("deny", check);
    report.not_run(
        "deny: advisories",
        "the database of advisories lies on the network; `cargo deny check advisories`",
    );
}

fn check(step: &mut Step) -> Result<()> {
    let version = source::cargo().args(["deny", "--version"]).output().context("cargo cannot be run")?;
    if !version.status.success() {
        bail!("cargo-deny is not installed: {INSTALL}");
    }
    for manifest in source::workspaces() {
        println!("{manifest}");
        let mut cargo = source::cargo();
        cargo.args(["deny", "--locked", "--config", "deny.toml", "--manifest-path", manifest]);
        step.run(cargo.args(["check", "--hide-inclusion-graph", "bans", "licenses", "sources"]))?;
    }
    Ok(())
}
