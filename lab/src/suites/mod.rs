//! What each seam promises, as cases that are written once and run against every implementation.
//!
//! A suite is a table of [`Case`]s and a table of implementations; a test binary of one line runs the product
//! ([`run`]). A case that its table forgets does not compile (dead code), and an implementation is one row.

#![allow(clippy::unwrap_used, reason = "these are tests: where a case fails it panics")]

pub mod link;
pub mod ring;

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

use crate::watchdog;

/// A case that takes longer hangs. Generous: machines are shared, and sanitizers slow.
const LIMIT: Duration = Duration::from_secs(120);

/// One promise of a seam, to be kept by every `B`.
#[derive(Debug)]
pub struct Case<B: ?Sized> {
    /// What is promised, with the clause that says so.
    pub name: &'static str,
    /// Panics where the promise is broken.
    pub run: fn(&B),
}

/// An implementation of a seam in one configuration.
#[derive(Debug)]
pub struct Row<B: ?Sized + 'static> {
    /// Its name, unique in the table.
    pub name: &'static str,
    /// How to make it.
    pub bench: &'static B,
}

/// Runs every case on every row as a test named `row::case`, under a watchdog. Understands the command line of
/// `cargo test`.
///
/// # Panics
/// Two tests would have the same name.
#[must_use]
pub fn run<B: ?Sized + Sync>(rows: &'static [Row<B>], cases: &'static [Case<B>]) -> ExitCode {
    let product = rows.iter().flat_map(|row| cases.iter().map(move |case| (row, case)));
    let mut names = HashSet::new();
    let trials = product.map(|(row, case)| {
        let name = format!("{}::{}", row.name, case.name);
        assert!(names.insert(name.clone()), "{name} is there twice");
        Trial::test(name, || {
            watchdog::within(LIMIT, || (case.run)(row.bench));
            Ok(())
        })
    });
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

/// A table of cases, each named as its path.
macro_rules! cases {
    ($($case:path),* $(,)?) => {
        &[$($crate::suites::Case { name: stringify!($case), run: $case }),*]
    };
}
use cases;
