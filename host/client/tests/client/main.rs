//! The client library over a daemon on a bus of its own, and over sandboxes without one.
//!
//! This program is also the sandboxes of the direct half, so that it has a `main` of its own.

#![allow(clippy::unwrap_used, unreachable_pub)] // Tests.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

mod aio;
mod bench;
mod both;
mod halves;
mod hostile;

use bench::{Bench, Half};

fn main() -> ExitCode {
    sidecore_client::hook();
    let on = |half: Half, (name, test): (&'static str, fn(&mut Bench))| {
        let run = move || {
            test(&mut Bench::new(half));
            Ok(())
        };
        Trial::test(format!("{half}::{name}"), run)
    };
    let of_both = [both::TESTS, aio::TESTS].concat();
    let mut trials = Vec::new();
    for half in [Half::Daemon, Half::Direct] {
        trials.extend(of_both.iter().map(|test| on(half, *test)));
    }
    trials.extend(halves::DAEMON.iter().chain(hostile::DAEMON).map(|test| on(Half::Daemon, *test)));
    trials.extend(halves::DIRECT.iter().chain(hostile::DIRECT).map(|test| on(Half::Direct, *test)));
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// A row for each test.
macro_rules! tests {
    ($table:ident: $($name:ident,)*) => {
        pub const $table: &[(&str, fn(&mut crate::bench::Bench))] = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use tests;
