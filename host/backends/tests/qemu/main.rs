//! The qemu backend over the real QEMU, with firmware written instruction by instruction.

#![allow(clippy::unwrap_used, unreachable_pub)] // Tests.

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};
use sidecore_backends::qemu::{self, Board};

mod bench;
mod boards;
mod ends;
mod executor;
mod runs;
mod semihosting;
mod thumb;

fn main() -> ExitCode {
    if let Some(board) = std::env::var_os(executor::VICTIM) {
        return executor::victim(&board);
    }
    let tests = [runs::TESTS, boards::TESTS, ends::TESTS, executor::TESTS, semihosting::TESTS].concat();
    if let Err(error) = qemu::check(&Board::find("mps2-an386").unwrap()) {
        eprintln!("not run: {} tests of boards: {error}", tests.len());
        return ExitCode::SUCCESS;
    }
    let trial = |(name, test): &(&str, fn())| {
        let test = *test;
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(*name, run)
    };
    libtest_mimic::run(&Arguments::from_args(), tests.iter().map(trial).collect()).exit_code()
}

/// A row for each test.
macro_rules! tests {
    ($($name:ident,)*) => {
        pub const TESTS: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}
pub(crate) use tests;
