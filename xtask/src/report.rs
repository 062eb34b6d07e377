//! Steps, one after the other, and what came of them.

mod watched;

use std::{
    fmt::Display,
    io::{self, Write},
    iter,
    path::Path,
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use crate::libtest::{Line, Tally};

/// Longest time that one program of a step may take. Whoever hangs is ended, and the step has failed.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// The same for a program that runs tests, all of which are over sooner than this together. One that hangs is to leave
/// time for what comes after it.
const TESTS_LIMIT: Duration = Duration::from_secs(10 * 60);

/// What came of the steps so far.
pub(crate) struct Report {
    start: Instant,
    verbose: bool,
    steps: Vec<Step>,
    not_run: Vec<String>,
}

/// One part of a chore, counted and timed.
pub(crate) struct Step {
    name: String,
    verbose: bool,
    tally: Tally,
    time: Duration,
}

impl Report {
    /// An empty report. A verbose one also names what went well.
    pub(crate) fn new(verbose: bool) -> Self {
        Report { start: Instant::now(), verbose, steps: Vec::new(), not_run: Vec::new() }
    }

    /// Does a step. An error of it is said and counted, and the next step goes on.
    pub(crate) fn step(&mut self, name: impl Into<String>, work: impl FnOnce(&mut Step) -> Result<()>) {
        let mut step =
            Step { name: name.into(), verbose: self.verbose, tally: Tally::default(), time: Duration::ZERO };
        let start = Instant::now();
        println!("== {} (after {} s)", step.name, (start - self.start).as_secs());
        let outcome = work(&mut step);
        step.time = start.elapsed();
        match outcome {
            Err(error) => {
                step.tally.failed = step.tally.failed.max(1);
                println!("failed: {}: {error:#}", step.name);
            }
            // What counts no tests of its own is one.
            Ok(()) if step.tally.passed + step.tally.failed == 0 => step.tally.passed = 1,
            Ok(()) => {}
        }
        let reasons = step.tally.not_run.drain(..).map(|what| format!("{}: {what}", step.name));
        self.not_run.extend(reasons);
        self.steps.push(step);
    }

    /// Notes a step that cannot be done here, or is not wanted.
    pub(crate) fn not_run(&mut self, what: &str, why: impl Display) {
        self.not_run.push(format!("{what}: {why}"));
    }

    /// Prints what came of all steps, the sum last. Returns whether nothing failed.
    pub(crate) fn finish(self) -> bool {
        let Report { steps, not_run, .. } = self;
        let passed: u64 = steps.iter().map(|step| step.tally.passed).sum();
        let failed: u64 = steps.iter().map(|step| step.tally.failed).sum();
        if steps.is_empty() {
            return true;
        }
        println!();
        if steps.len() > 1 {
            let width = steps.iter().map(|step| step.name.len()).max().unwrap_or(0);
            let total: Duration = steps.iter().map(|step| step.time).sum();
            println!("{:width$}  {:>6}  {:>6}  {:>8}", "step", "passed", "failed", "time");
            for Step { name, tally, time, .. } in &steps {
                println!(
                    "{name:width$}  {:>6}  {:>6}  {:>6.1} s",
                    tally.passed,
                    tally.failed,
                    time.as_secs_f64()
                );
            }
            println!("{:width$}  {passed:>6}  {failed:>6}  {:>6.1} s", "all", total.as_secs_f64());
        }
        for what in not_run {
            println!("not run: {what}");
        }
        println!("{passed} passed, {failed} failed");
        failed == 0
    }
}

impl Step {
    /// Runs a program, showing what it prints. Its failure is an error.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        let status = self.read(command, say)?;
        if !status.success() {
            bail!("{} ended with {status}", shown(command));
        }
        Ok(())
    }

    /// Runs a program whose lines and end are the caller's to judge.
    pub(crate) fn read(
        &self,
        command: &mut Command,
        on_line: impl FnMut(&str) -> Result<()>,
    ) -> Result<ExitStatus> {
        self.watch(command, LIMIT, on_line)
    }

    fn watch(
        &self,
        command: &mut Command,
        limit: Duration,
        on_line: impl FnMut(&str) -> Result<()>,
    ) -> Result<ExitStatus> {
        watched::run(command, limit, on_line).with_context(|| shown(command))
    }

    /// Runs a program that runs tests, and counts them.
    pub(crate) fn test(&mut self, command: &mut Command) -> Result<()> {
        let mut tally = Tally::default();
        let verbose = self.verbose;
        let status = self.watch(command, TESTS_LIMIT, |line| match tally.read(line) {
            Line::Detail if !verbose => Ok(()),
            _ => say(line),
        });
        let failed = tally.failed;
        self.tally.add(tally);
        match (status?.code(), failed) {
            (Some(0), 0) => Ok(()),
            (_, 1..) => Err(anyhow!("{failed} tests failed")),
            // It did not build, or died of something other than a failed test.
            (code, 0) => {
                self.tally.failed += 1;
                let code = code.map_or("a signal".to_owned(), |code| format!("code {code}"));
                Err(anyhow!("{} ended with {code}", shown(command)))
            }
        }
    }

    /// How much of this step has failed so far.
    pub(crate) fn failed(&self) -> u64 {
        self.tally.failed
    }

    /// Counts something that this step tried and that went well.
    pub(crate) fn passes(&mut self) {
        self.tally.passed += 1;
    }

    /// Counts something that this step tried, and says why it failed.
    pub(crate) fn fails(&mut self, why: impl Display) {
        self.tally.failed += 1;
        println!("error: {why}");
    }

    /// Notes something that this step cannot do here.
    pub(crate) fn not_run(&mut self, what: impl Into<String>) {
        self.tally.not_run.push(what.into());
    }
}

/// Prints a line. Nobody listening any more is the end.
fn say(line: &str) -> Result<()> {
    Ok(writeln!(io::stdout(), "{line}")?)
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
