//! `cargo xtask protocol`: the protocol's chapters, tables and C header are those of the code.

mod book;
mod clause;
mod header;
#[cfg(test)]
mod machines;

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches};

use super::Chore;
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "protocol",
    about: "Check the protocol's clauses against the tests, and the tables and the C header against the code",
    arguments: |command| {
        command.arg(
            Arg::new("write")
                .long("write")
                .action(ArgAction::SetTrue)
                .help("Write the tables and the C header instead of comparing them"),
        )
    },
    run: |arguments: &ArgMatches, report| {
        let made = if arguments.get_flag("write") { Made::Write } else { Made::Compare };
        run(report, made);
        Ok(())
    },
};

pub(super) fn steps(report: &mut Report) {
    run(report, Made::Compare);
}

fn run(report: &mut Report, made: Made) {
    report.step("clauses", |step| book::check(step, made));
    report.step("C header", |step| header::check(step, made));
}

/// What to do with a text that is made of the code.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Made {
    /// It must be what the file holds.
    Compare,
    /// The file shall hold it.
    Write,
}

impl Made {
    /// Deals with the text that belongs into a file, which is named from the root of the tree.
    fn file(self, step: &mut Step, path: &str, text: &str) -> Result<()> {
        let there = fs::read_to_string(source::root().join(path)).unwrap_or_default();
        match self {
            _ if there == text => step.passes(),
            Made::Compare => {
                let mut lines = (1..).zip(there.lines().zip(text.lines()));
                let differing = lines.find(|(_, (there, made))| there != made);
                let at = differing.map_or("the end".to_owned(), |(line, _)| format!("line {line}"));
                step.fails(format_args!("{path} is stale from {at} on: cargo xtask protocol --write"));
            }
            Made::Write => {
                fs::write(source::root().join(path), text).with_context(|| path.to_owned())?;
                println!("{path} is written");
                step.passes();
            }
        }
        Ok(())
    }
}

/// Fails a step that has counted failures.
fn judge(step: &Step) -> Result<()> {
    match step.failed() {
        0 => Ok(()),
        count => bail!("{count} things are not as they should be"),
    }
}

/// Reads a file of the tree.
fn read(path: &str) -> Result<String> {
    source::read(Path::new(path))
}
