//! `cargo xtask lab`: real firmware, and peers that nobody here wrote, at the other end.

mod archive;
mod boards;
mod conformance;
mod guest;
mod judge;
mod kernel;
mod linux;
mod packages;
mod soc;

use std::{env, path::PathBuf};

use anyhow::{Result, bail};
use clap::{ArgMatches, Command};

use super::Chore;
use crate::{report::Report, source};

pub(crate) const CHORE: Chore = Chore {
    name: "lab",
    about: "Put real firmware and real kernels at the other end",
    arguments: |command: Command| {
        command
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommand(boards::command())
            .subcommand(conformance::command())
            .subcommand(linux::command())
            .subcommand(soc::command())
    },
    run: |arguments: &ArgMatches, report| match arguments.subcommand() {
        Some(("boards", arguments)) => boards::run(arguments, report),
        Some(("conformance", arguments)) => conformance::run(arguments, report),
        Some(("linux", arguments)) => linux::run(arguments, report),
        Some(("soc", arguments)) => soc::run(arguments, report),
        _ => unreachable!("clap demands a rig that it knows"),
    },
};

/// What of it every change must pass; what this machine has not got is said and left out.
pub(super) fn steps(report: &mut Report) {
    boards::steps(report);
    linux::steps(report);
    soc::steps(report);
}

/// Where rigs keep what they build.
fn directory() -> Result<PathBuf> {
    Ok(source::target_directory(source::MAIN)?.join("lab"))
}

/// Something that a rig needs of this machine.
struct Need {
    /// A program, or the path of a file.
    what: &'static str,
    /// Debian's package with it.
    package: &'static str,
}

/// Whether all of it is here.
///
/// # Errors
/// Something is not; the error says what to install.
fn check(needs: &[Need]) -> Result<()> {
    let path = env::var_os("PATH").unwrap_or_default();
    let there = |need: &&Need| env::split_paths(&path).any(|folder| folder.join(need.what).exists());
    let missing: Vec<&Need> = needs.iter().filter(|need| !there(need)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let words = |word: fn(&Need) -> &'static str| missing.iter().map(|need| word(need)).collect::<Vec<_>>();
    let mut packages = words(|need| need.package);
    packages.dedup();
    bail!(
        "{} is missing here: apt-get install --no-install-recommends {}",
        words(|need| need.what).join(", "),
        packages.join(" ")
    )
}
