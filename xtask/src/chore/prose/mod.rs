//! `cargo xtask prose`: what is written is true.

mod rooms;
mod transcript;

use std::{env, iter, path::Path, process::Command};

use anyhow::{Result, bail};
use clap::ArgMatches;

use self::transcript::{Prompt, difference, prompts};
use super::{Chore, none, release};
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "prose",
    about: "Check what is written: the rooms of ARCHITECTURE.md, descriptions, transcripts",
    arguments: none,
    run: |_: &ArgMatches, report| {
        steps(report);
        Ok(())
    },
};

/// What has transcripts.
const PAGES: &[&str] = &["README.md"];

pub(super) fn steps(report: &mut Report) {
    report.step("rooms and descriptions", |_| rooms::check());
    report.step("transcripts", transcripts);
}

/// Runs every command of a transcript, and compares.
fn transcripts(step: &mut Step) -> Result<()> {
    // What the pages show is the command as people install it.
    let programs = release::programs(step)?;
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(iter::once(programs).chain(env::split_paths(&path)))?;

    for page in PAGES {
        let page_text = source::read(Path::new(page))?;
        for Prompt { line, command, status, output } in prompts(&page_text) {
            println!("{page}:{line}: {command}");
            let mut shell = Command::new("sh");
            shell.args(["-c", command]).current_dir(source::root()).env("PATH", &path).env("NO_COLOR", "1");
            let mut printed = Vec::new();
            let ended = step.read(&mut shell, |line| {
                printed.push(line.to_owned());
                Ok(())
            })?;
            let difference = match difference(&output, &printed) {
                None if ended.code() != Some(status) => Some(format!("it ends with {ended}, not {status}")),
                difference => difference,
            };
            match difference {
                None => step.passes(),
                Some(difference) => {
                    printed.iter().for_each(|line| println!("    {line}"));
                    step.fails(difference);
                }
            }
        }
    }
    if step.failed() > 0 {
        bail!("{} commands do something else than is written", step.failed());
    }
    Ok(())
}
