//! `cargo xtask fuzz`: hostile bytes without end, for each parser and each role of a ring.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgMatches, value_parser};

use super::Chore;
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "fuzz",
    about: "Fuzz each parser and each role of a ring",
    arguments: |command| {
        command
            .arg(
                Arg::new("seconds")
                    .long("seconds")
                    .value_name("N")
                    .value_parser(value_parser!(u32).range(1..))
                    .default_value("60")
                    .help("How long each target is fuzzed"),
            )
            .arg(Arg::new("target").value_name("TARGET").help("Only this one"))
    },
    run: |arguments: &ArgMatches, report| {
        let seconds = *arguments.get_one("seconds").expect("it has a default");
        let only = arguments.get_one::<String>("target").map(String::as_str);
        let targets = targets()?;
        if let Some(unknown) = only.filter(|only| !targets.iter().any(|target| target == only)) {
            bail!("there is no target {unknown}, but {}", targets.join(", "));
        }
        steps(report, seconds, only);
        Ok(())
    },
};

/// A workspace of its own, for all in it is built with a sanitizer.
const FOLDER: &str = "lab/fuzz";

/// How much of a failed target's output is shown.
const TAIL: usize = 60;

/// Fuzzes all targets, or only one.
pub(super) fn steps(report: &mut Report, seconds: u32, only: Option<&str>) {
    report.step("fuzz", |step| {
        let folder = source::root().join(FOLDER);
        // Cargo reads the flags from the folder that it runs in.
        step.run(source::cargo().args(["build", "--release", "--bins"]).current_dir(&folder))?;
        let target = source::target_directory(&manifest())?;
        let programs = target.join(source::host()?).join("release");
        for name in targets()?.iter().filter(|name| only.is_none_or(|only| only == *name)) {
            println!("{name}, {seconds} s");
            fuzz(step, &programs.join(name), &target.join("corpus").join(name), name, seconds)?;
        }
        if step.failed() > 0 {
            bail!("{} targets failed", step.failed());
        }
        Ok(())
    });
}

/// The names of all targets.
fn targets() -> Result<Vec<String>> {
    let packages = source::metadata(&manifest())?.packages;
    Ok(packages.iter().flat_map(|package| package.binaries()).map(str::to_owned).collect())
}

fn manifest() -> String {
    format!("{FOLDER}/Cargo.toml")
}

/// Fuzzes one target, from the seeds in the tree and what earlier runs have found.
fn fuzz(step: &mut Step, program: &Path, found: &Path, name: &str, seconds: u32) -> Result<()> {
    let folder = source::root().join(FOLDER);
    let (seeds, artifacts) = (folder.join("corpus").join(name), folder.join("artifacts").join(name));
    for folder in [found, &artifacts] {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={seconds}"))
        // An input that takes this long has found a loop.
        .arg("-timeout=10")
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args([found, &seeds])
        // Containers forbid the tracing that the leak sanitizer needs.
        .env("ASAN_OPTIONS", "detect_leaks=0");
    let mut lines = Vec::new();
    let status = step.read(&mut command, |line| {
        lines.push(line.to_owned());
        Ok(())
    })?;
    if status.success() {
        // `Done N runs in M second(s)`
        lines.iter().filter(|line| line.starts_with("Done ")).for_each(|line| println!("    {line}"));
        step.passes();
    } else {
        lines[lines.len().saturating_sub(TAIL)..].iter().for_each(|line| println!("    {line}"));
        step.fails(format_args!(
            "{name} ended with {status}; its input lies in {}. Once it is understood, keep it in {}, which the \
             tests replay.",
            source::from_root(&artifacts).display(),
            source::from_root(&seeds).display(),
        ));
    }
    Ok(())
}
