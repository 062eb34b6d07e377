//! `cargo xtask files`: no source file grows past what a person can hold in mind.

use anyhow::{Result, bail};
use clap::ArgMatches;

use super::{Chore, none};
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "files",
    about: "Check that no source file is too long: 500 lines are advised, 800 the limit",
    arguments: none,
    run: |_: &ArgMatches, report| {
        steps(report);
        Ok(())
    },
};

/// Lines from which on a file should be split.
const ADVISED: usize = 500;
/// Lines that no file exceeds.
const LIMIT: usize = 800;

pub(super) fn steps(report: &mut Report) {
    report.step("files", check);
}

fn check(_: &mut Step) -> Result<()> {
    let mut too_long = 0;
    for path in source::rust_files()? {
        let lines = source::read(&path)?.lines().count();
        match verdict(lines) {
            Verdict::Fine => {}
            Verdict::Long => println!("warning: {}: {lines} lines, {ADVISED} are advised", path.display()),
            Verdict::TooLong => {
                println!("error: {}: {lines} lines, {LIMIT} are the limit", path.display());
                too_long += 1;
            }
        }
    }
    if too_long > 0 {
        bail!("{too_long} files are too long");
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    Long,
    TooLong,
}

fn verdict(lines: usize) -> Verdict {
    if lines <= ADVISED {
        Verdict::Fine
    } else if lines <= LIMIT {
        Verdict::Long
    } else {
        Verdict::TooLong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_belong_to_what_they_allow() {
        assert_eq!(verdict(ADVISED), Verdict::Fine);
        assert_eq!(verdict(ADVISED + 1), Verdict::Long);
        assert_eq!(verdict(LIMIT), Verdict::Long);
        assert_eq!(verdict(LIMIT + 1), Verdict::TooLong);
    }
}
