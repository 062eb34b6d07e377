//! `sidecore boards`: what this machine can run, and why not the rest.

use std::collections::HashMap;
use std::process::ExitCode;

use serde::Serialize;
use sidecore_backends::qemu::{self, Board};
use sidecore_remoteproc::firmware::Machine;

use crate::failure::{Outcome, printable};
use crate::output::{lines, print, print_json, table};

/// List what this machine can run firmware on, and why not on the rest
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The first column is what `run`, `ping` and `gdb` take with --on. A board of your own is a file like those in \
host/backends/boards: --on qemu:FILE.toml."
)]
pub(crate) struct Args {
    /// Print JSON (schema sidecore.boards/1)
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let mut emulators = HashMap::new();
    let mut boards = vec![sandbox()];
    for board in Board::all() {
        // Boards share emulators, and asking one for its version takes a moment.
        let found = emulators.entry(board.emulator.program.clone()).or_insert_with(|| {
            let found = qemu::check(&board).map(|(_, version)| format!("QEMU {version}"));
            found.map_err(|error| error.to_string())
        });
        boards.push(Row::new(&board, found.clone()));
    }
    if args.json {
        print_json("sidecore.boards/1", &Boards { boards })?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(&["on", "what it is", "target", "runs here"]);
    for row in &boards {
        let here = if row.runs { format!("yes: {}", row.why) } else { format!("no: {}", row.why) };
        table.add_row([&row.on, &row.summary, &row.target, &printable(&here)]);
    }
    print(&lines(&table))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Boards {
    boards: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    /// What `--on` takes.
    on: String,
    summary: String,
    /// The Rust target of its firmware.
    target: String,
    runs: bool,
    /// With what, or why not.
    why: String,
}

impl Row {
    fn new(board: &Board, found: Result<String, String>) -> Self {
        let runs = found.is_ok();
        let why = found.unwrap_or_else(|reason| reason);
        let (summary, target) = (board.summary.clone(), board.target.clone());
        Self { on: format!("qemu:{}", board.name), summary, target, runs, why }
    }
}

fn sandbox() -> Row {
    let native = Machine::NATIVE.filter(|machine| [Machine::X86_64, Machine::AARCH64].contains(machine));
    let arch = std::env::consts::ARCH;
    Row {
        on: "sandbox".to_owned(),
        summary: "a confined process".to_owned(),
        target: format!("{arch}-unknown-linux-gnu"),
        runs: native.is_some(),
        why: if native.is_some() { "Linux".to_owned() } else { format!("there is no sandbox for {arch}") },
    }
}
