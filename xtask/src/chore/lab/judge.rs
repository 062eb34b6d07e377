//! What a guest says on its console, and whether that is good.

use std::process::ExitStatus;

use anyhow::{Result, bail};

use crate::report::Step;

/// Reads the console.
#[derive(Default)]
pub(super) struct Judge {
    lines: Vec<String>,
    /// What people want to see even if all is well.
    told: Vec<String>,
    passed: Vec<String>,
    wrong: Vec<String>,
    good: bool,
    /// The device was asked to go.
    pub(super) is_parting: bool,
}

/// What User-Mode Linux says of every device that goes by itself: it tells the one that went that its rings are disabled.
const PARTING: &[&str] = &["at arch/um/drivers/virtio_uml.c:", "Call Trace:"];

/// What a kernel says of itself when it is broken.
const TROUBLE: &[&str] = &[
    "BUG",
    "WARNING",
    "Oops",
    "Call Trace",
    "Kernel panic",
    "nobody cared",
    "scheduling while atomic",
    "blocked for more than",
];

impl Judge {
    /// Takes a line.
    pub(super) fn hear(&mut self, line: &str) {
        let line = line.trim_end();
        match line.strip_prefix("test ").and_then(|test| test.rsplit_once(" ... ")) {
            Some((name, "ok")) => self.passed.push(name.to_owned()),
            Some(_) => self.wrong.push(line.to_owned()),
            None if self.is_parting && PARTING.iter().any(|words| line.contains(words)) => {}
            None if TROUBLE.iter().any(|trouble| line.contains(trouble)) => self.wrong.push(line.to_owned()),
            None if line.starts_with("measured: ") => self.told.push(line.to_owned()),
            None => self.good |= line == "guest: good",
        }
        self.lines.push(line.to_owned());
    }

    /// Tells what people want to see, and all of it if something went wrong.
    pub(super) fn close(self, step: &mut Step, status: ExitStatus) -> Result<()> {
        self.told.iter().for_each(|line| println!("{line}"));
        self.passed.iter().for_each(|_| step.passes());
        if self.good && self.wrong.is_empty() && status.success() {
            return Ok(());
        }
        self.lines.iter().for_each(|line| println!("    {line}"));
        bail!("the guest ended with {status}; {}", self.verdict())
    }

    fn verdict(&self) -> String {
        match self.wrong.first() {
            Some(first) => format!("{} things went wrong, first: {first}", self.wrong.len()),
            None => "it did not say that all is good".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(lines: &[&str]) -> Judge {
        let mut judge = Judge::default();
        lines.iter().for_each(|line| judge.hear(line));
        judge
    }

    #[test]
    fn a_console_without_trouble_is_good() {
        let judge =
            judge(&["virtio_rpmsg_bus virtio0: rpmsg host is online", "test a ... ok", "guest: good\r"]);
        assert!(judge.good && judge.wrong.is_empty());
        assert_eq!(judge.passed, ["a"]);
    }

    #[test]
    fn trouble_of_the_kernel_and_of_checks_is_seen() {
        let judge = judge(&["test a ... FAILED: x", "BUG: scheduling while atomic: init/1", "guest: bad"]);
        assert_eq!(judge.wrong, ["test a ... FAILED: x", "BUG: scheduling while atomic: init/1"]);
        assert!(!judge.good && judge.verdict().starts_with("2 things went wrong, first: test a"));
    }
}
