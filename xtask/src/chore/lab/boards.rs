//! `cargo xtask lab boards`: the suites over real firmware, on every board that this machine has.

use std::fs;

use anyhow::{Context, Result, bail};
use clap::{Arg, ArgAction, ArgMatches};

use super::super::images;
use crate::{report::Report, source};

pub(super) fn command() -> clap::Command {
    let board = Arg::new("board").long("board").value_name("B").action(ArgAction::Append);
    clap::Command::new("boards")
        .about(
            "Run the suites of protocol, restarts and hostile remotes on emulated boards, and in the sandbox",
        )
        .arg(board.help("Only on this board (or `sandbox`); may be given several times"))
}

pub(super) fn run(arguments: &ArgMatches, report: &mut Report) -> Result<()> {
    let known = boards()?;
    let chosen: Vec<&String> = arguments.get_many("board").into_iter().flatten().collect();
    if let Some(unknown) = chosen.iter().find(|name| !known.contains(name)) {
        bail!("there is no board {unknown}; there are {}", known.join(", "));
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
        cargo.args(["test", "--package", "sidecore-lab", "--features", "boards", "--test", "boards", "--"]);
        // Emulators want a processor each.
        cargo.args(["--test-threads", "2"]);
        step.test(cargo.args(board.map(|board| format!("{board}::"))))
    });
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
