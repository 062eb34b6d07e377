//! `cargo xtask demo`: a coprocessor on this machine, booted, talked to and shown.

use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::ArgMatches;

use super::{Chore, none};
use crate::source;

pub(crate) const CHORE: Chore = Chore {
    name: "demo",
    about: "Boot firmware in the sandbox, talk to it and show what there is to see",
    arguments: none,
    run: |_: &ArgMatches, _| demo(),
};

/// What is shown: a word on it, and the arguments of `sidecore`.
const SCENES: &[(&str, &[&str])] = &[
    ("A firmware file: segments, resource table and memory map.", &["inspect", "echo"]),
    ("It runs like a program: console, arguments, exit code.", &["run", "hello", "--", "world"]),
    (
        "A remote that echoes: boot, trace, names and latencies.",
        &["ping", "--verbose", "--count", "5000", "echo"],
    ),
];

fn demo() -> Result<()> {
    eprintln!("Building sidecore and its firmware images …");
    let mut cargo = source::cargo();
    cargo.args(["build", "--release", "--quiet", "--package", "sidecore"]);
    if !cargo.status().context("cargo cannot be run")?.success() {
        bail!("sidecore does not build");
    }
    let program = source::target_directory(source::MAIN)?.join("release/sidecore");
    for (word, arguments) in SCENES {
        println!("\n# {word}\n$ sidecore {}", arguments.join(" "));
        let status = Command::new(&program).args(*arguments).status();
        let status = status.with_context(|| format!("{} cannot be run", program.display()))?;
        if !status.success() {
            bail!("sidecore {} ended with {status}", arguments.join(" "));
        }
    }
    println!("\nAll of it in one binary: cargo install --path host/cli");
    Ok(())
}
