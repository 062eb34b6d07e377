//! `cargo xtask lab boards`: the suites over real firmware, on every board that this machine has.

use std::{fs, process::Command};

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches};

use super::super::images;
use crate::{
    report::{Report, Step},
    source,
};

pub(super) fn command() -> clap::Command {
    let board = Arg::new("board").long("board").value_name("B").action(ArgAction::Append);
    let measure = Arg::new("measure").long("measure").action(ArgAction::SetTrue);
    clap::Command::new("boards")
        .about(
            "Run the suites of protocol, restarts and hostile remotes on emulated boards, and in the sandbox",
        )
        .arg(board.help("Only on this board (or `sandbox`); may be given several times"))
        .arg(measure.help("Measure round trips in place of that, beside bare exchanges of the same bytes"))
}

pub(super) fn run(arguments: &ArgMatches, report: &mut Report) -> Result<()> {
    let known = boards()?;
    let chosen: Vec<&String> = arguments.get_many("board").into_iter().flatten().collect();
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(name)) {
        bail!("there is no board {unknown}; there are {}", known.join(", "));
    }
    if arguments.get_flag("measure") {
        for (board, target, how) in MEASURED {
            if chosen.is_empty() || chosen.iter().any(|name| name == board) {
                report.step(format!("measure {board}"), |step| measure(step, board, target, how));
            }
        }
        return Ok(());
    }
    images::steps(report);
    images::boards(report);
    match chosen.is_empty() {
        true => work(report, None),
        false => chosen.iter().for_each(|board| work(report, Some(board))),
    }
    Ok(())
}

/// The same where the images are built already.
pub(super) fn steps(report: &mut Report) {
    work(report, None);
}

fn work(report: &mut Report, board: Option<&str>) {
    let name = board.map_or("boards".to_owned(), |board| format!("board {board}"));
    report.step(name, |step| {
        let mut cargo = source::cargo();
        // With the whole workspace's features, so that little is built that the other tests have not built already.
        cargo.args(["test", "--workspace", "--features", "sidecore-lab/boards", "--test", "boards", "--"]);
        // Emulators want a processor each.
        cargo.args(["--test-threads", "2"]);
        step.test(cargo.args(board.map(|board| format!("{board}::"))))
    });
}

/// The boards that are measured, their targets, and what the exchange is: by interrupts on one processor, or by looking at
/// memory, where barriers work and both ends have a processor.
const MEASURED: &[(&str, &str, &str)] = &[
    ("mps2-an386", "thumbv7em-none-eabihf", "bell"),
    ("mps2-an521", "thumbv8m.main-none-eabihf", "flag"),
    ("riscv32-virt", "riscv32imac-unknown-none-elf", "flag"),
    ("aarch64-virt", "aarch64-unknown-none", "flag"),
    ("zcu102-r5", "armv7r-none-eabihf", "flag"),
];

fn measure(step: &mut Step, board: &str, target: &str, how: &str) -> Result<()> {
    let images = images::build_fast(step, target, &["bare", "busy", "echo"])?;
    let mut cargo = source::cargo();
    step.run(cargo.args(["build", "--release", "--quiet", "--package", "sidecore-bench"]))?;
    let program = source::target_directory(source::MAIN)?.join("release/bench-boards");
    let mut line = String::new();
    let status = step.read(Command::new(program).args([how, board]).arg(images), |text| {
        line = text.to_owned();
        Ok(())
    })?;
    let numbers: Vec<f64> = line.split(' ').skip(2).filter_map(|word| word.parse().ok()).collect();
    let [bare, message, ratio, least, most] = numbers[..] else { bail!("{status}: {line}") };
    println!(
        "{board}, {how}: bare {:.1} us, message of 64 bytes {:.1} us: {ratio:.2} times ({least:.2} to {most:.2})",
        bare / 1e3,
        message / 1e3
    );
    Ok(())
}

/// The names of all boards, which are those of their files.
fn boards() -> Result<Vec<String>> {
    let folder = source::root().join("host/backends/boards");
    let mut names = vec!["sandbox".to_owned()];
    for entry in fs::read_dir(&folder).with_context(|| folder.display().to_string())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.strip_suffix(".toml").map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    #[test]
    fn boards_are_known_by_the_names_of_their_files() {
        let boards = super::boards().unwrap();
        assert!(
            boards.iter().any(|board| board == "mps2-an386") && boards.iter().any(|board| board == "sandbox")
        );
    }
}
