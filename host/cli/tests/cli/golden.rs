//! What the images print, which stands beside each of them: the same in the sandbox and on every board.
//!
//! `$ IMAGE ARGUMENTS` is a run, with the trace shown. Then the lines of its output, those of the standard error with
//! `! ` before them; every number stands for any other, except in a run's exit code, `? CODE` (or `? runs on`, of what
//! does not end by itself). `--beside IMAGE` is for boards with two cores, and the same image without it for all others.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::bench::{ended, plain};
use crate::boards::on_every_board;
use crate::systems::beside;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../remote/images/src/bin");

/// A run, and what it prints.
struct Run {
    image: String,
    arguments: Vec<String>,
    /// The image for the other core.
    beside: Option<String>,
    output: Vec<String>,
    errors: Vec<String>,
    end: String,
}

fn runs(path: &Path) -> Vec<Run> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut runs: Vec<Run> = Vec::new();
    for line in text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let (command, beside) = match command.split_once(" --beside ") {
                Some((command, beside)) => (command, Some(beside.to_owned())),
                None => (command, None),
            };
            let mut words = command.split(' ').map(str::to_owned);
            let (image, arguments) = (words.next().unwrap(), words.collect());
            let (output, errors, end) = (Vec::new(), Vec::new(), String::new());
            runs.push(Run { image, arguments, beside, output, errors, end });
            continue;
        }
        let run = runs.last_mut().unwrap_or_else(|| panic!("{}: no run", path.display()));
        match (line.strip_prefix("! "), line.strip_prefix("? ")) {
            (Some(line), _) => run.errors.push(any_number(line)),
            (_, Some(end)) => run.end = end.to_owned(),
            _ => run.output.push(any_number(line)),
        }
    }
    assert!(!runs.is_empty(), "{}", path.display());
    runs
}

/// A line in which every number is the same, without the place in the source that firmware with debug information adds to
/// its frames of `defmt`.
fn any_number(line: &str) -> String {
    let line =
        line.rsplit_once(" (").filter(|(_, place)| place.contains(".rs:")).map_or(line, |(line, _)| line);
    let mut text = String::new();
    for c in line.trim_end().chars() {
        match c {
            '0'..='9' if text.ends_with('0') => {}
            '0'..='9' => text.push('0'),
            c => text.push(c),
        }
    }
    text
}

impl Run {
    /// Runs it as `command` says, and compares.
    fn check(&self, place: &str, command: &mut Command) {
        let mut child = Guard(
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap(),
        );
        let errors = BufReader::new(child.0.stderr.take().unwrap()).lines();
        let mut errors = errors.map(|line| any_number(&line.unwrap()));
        let what = format!("{place}: {} {:?}", self.image, self.arguments);
        if self.end == "runs on" {
            let begun: Vec<String> = errors.by_ref().take(self.errors.len()).collect();
            assert_eq!(begun, self.errors, "{what}");
            assert!(child.0.try_wait().unwrap().is_none(), "{what}: it ended");
            return;
        }
        let errors: Vec<String> = errors.collect();
        let mut output = String::new();
        child.0.stdout.take().unwrap().read_to_string(&mut output).unwrap();
        let output: Vec<String> = output.lines().map(any_number).collect();
        let code = ended(&mut child.0).code();
        assert_eq!((&output, &errors), (&self.output, &self.errors), "{what}: {code:?}");
        assert_eq!(code.map(|code| code.to_string()).as_deref(), Some(&*self.end), "{what}");
    }

    fn command(&self, on: &str, image: &Path, beside: Option<&Path>) -> Command {
        let mut command = plain();
        command.args(["run", "--trace", "--on", on]).arg(image);
        command.args(beside.map(|_| "--beside")).args(beside).arg("--").args(&self.arguments);
        command
    }
}

/// A program that ends with its test.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The files of all images, one each.
fn golden() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "rs"));
    for file in &mut files {
        file.set_extension("txt");
    }
    files.sort();
    files
}

#[test]
fn images_print_what_stands_beside_them_in_the_sandbox() {
    let program = Path::new(env!("CARGO_BIN_EXE_sidecore"));
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let images = program.ancestors().nth(2).unwrap().join("images").join(target).join("release");
    if !images.join("liar").exists() {
        eprintln!("not run: what images print in the sandbox: no images; cargo xtask images");
        return;
    }
    for run in golden().iter().flat_map(|file| runs(file)).filter(|run| run.beside.is_none()) {
        run.check("sandbox", &mut run.command("sandbox", &images.join(&run.image), None));
    }
}

#[test]
fn images_print_what_stands_beside_them_on_every_board() {
    on_every_board(|board| {
        // A host of another core waits for ever where that one has no firmware.
        if !board.images.ancestors().nth(2).unwrap().join("core-1").exists() {
            eprintln!("not run: {}: no images for second cores; cargo xtask images --all", board.on);
            return;
        }
        let is_pair = beside(board, "echo").is_some();
        for file in golden() {
            let runs = runs(&file);
            let for_pairs = runs.iter().any(|run| run.beside.is_some()) && is_pair;
            for run in runs.iter().filter(|run| run.beside.is_some() == for_pairs) {
                let beside = run.beside.as_ref().and_then(|image| beside(board, image));
                let image = board.images.join(&run.image);
                run.check(&board.on, &mut run.command(&board.on, &image, beside.as_deref()));
            }
        }
    });
}
