//! The same images on every board that this machine has: what they do is what they do in the sandbox.
//!
//! `cargo xtask images --all` builds them. A board without images, or without its emulator, is told as not run.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bench::{Place, ended, plain, sidecore};

/// A board with images for it.
pub(crate) struct Board {
    pub(crate) on: String,
    pub(crate) images: PathBuf,
}

/// Every board that can be run here, each in its turn.
pub(crate) fn on_every_board(test: impl Fn(&Board)) {
    let output = sidecore().args(["boards", "--json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    for row in document["boards"].as_array().unwrap() {
        let text = |key: &str| row[key].as_str().unwrap().to_owned();
        let (on, target) = (text("on"), text("target"));
        if on == "sandbox" {
            continue;
        }
        let program = Path::new(env!("CARGO_BIN_EXE_sidecore"));
        let images = program.ancestors().nth(2).unwrap().join("images").join(&target).join("firmware");
        if row["runs"] != true {
            eprintln!("not run: {on}: {}", text("why"));
        } else if !images.join("echo").exists() {
            eprintln!("not run: {on}: no images; cargo xtask images --target {target}");
        } else {
            test(&Board { on, images });
        }
    }
}

impl Board {
    pub(crate) fn command(&self, verb: &str, image: &str) -> assert_cmd::Command {
        let mut command = sidecore();
        command.args([verb, "--on", &self.on]).arg(self.images.join(image));
        command
    }
}

#[test]
fn consoles_arguments_and_files_work_on_every_board() {
    let place = Place::new();
    let bytes: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    place.write("from", &bytes);
    let directory = place.path().to_str().unwrap();
    on_every_board(|board| {
        let on = &board.on;
        let output = board.command("run", "hello").args(["--", "Ann"]).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "Hello from the remote, Ann!\n",
            "{on}: {output:?}"
        );
        assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0), "{on}: {output:?}");

        let output = board.command("run", "cat").write_stdin(&bytes[..]).output().unwrap();
        assert!(output.status.success() && output.stdout == bytes, "{on}: {:?}", output.status);

        let mut copy = board.command("run", "copy");
        let output = copy.args(["--dir", directory, "--", "from", "to"]).output().unwrap();
        assert!(output.status.success(), "{on}: {output:?}");
        assert!(fs::read(place.path().join("to")).unwrap() == bytes, "{on}");
        fs::remove_file(place.path().join("to")).unwrap();

        let checksum = |output: &[u8]| {
            let text = String::from_utf8_lossy(output).into_owned();
            text.split(',').next().map(str::to_owned)
        };
        let here = sidecore().args(["run", "matmul"]).output().unwrap();
        let there = board.command("run", "matmul").output().unwrap();
        assert_eq!(checksum(&there.stdout), checksum(&here.stdout), "{on}");
    });
}

#[test]
fn round_trips_are_answered_on_every_board() {
    on_every_board(|board| {
        let on = &board.on;
        let output =
            board.command("ping", "echo").args(["--json", "-c", "300", "-s", "0,max"]).output().unwrap();
        let document: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{on}: {error}: {output:?}"));
        let counts: Vec<_> =
            document["results"].as_array().unwrap().iter().map(|row| &row["count"]).collect();
        assert_eq!(counts, [300, 300], "{on}");
        let output =
            board.command("ping", "echo").args(["-c", "300", "-s", "64", "--flood"]).output().unwrap();
        assert!(output.status.success(), "{on}: {output:?}");
    });
}

#[test]
fn every_end_is_told_on_every_board() {
    on_every_board(|board| {
        let nowhere = 0xf000_0000_u32.to_string();
        let ends: [(&[&str], i32, &str); 6] = [
            (&["exit", "3"], 3, ""),
            (&["fault", &nowhere], 139, "it accessed 0xf0000000, which it may not, at pc 0x"),
            (&["illegal"], 132, "an instruction that it cannot execute, at pc 0x"),
            (&["panic"], 134, "own words (not checked):\n    src/bin/crash.rs:"),
            (&["abort"], 134, "aborted, as it was told"),
            (&["hang"], 124, "it did not feed its watchdog in time, at pc 0x"),
        ];
        for (arguments, code, part) in ends {
            let output = board.command("run", "crash").arg("--").args(arguments).output().unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{}: {arguments:?}: {stderr}", board.on);
            assert!(stderr.contains(part), "{}: {arguments:?}: {stderr}", board.on);
        }
    });
}

#[test]
fn a_storm_from_a_board_is_told_and_costs_nothing_else() {
    on_every_board(|board| {
        for how in ["messages", "nobody", "names"] {
            let output = board.command("run", "storm").args(["--", how, "3000"]).output().unwrap();
            let stdout = String::from_utf8_lossy(&output.stdout);
            assert!(stdout.starts_with("3000 sent"), "{}: {how}: {output:?}", board.on);
            assert!(output.status.success(), "{}: {how}: {output:?}", board.on);
        }
    });
}

#[test]
fn a_debugger_has_the_image_and_the_held_core_of_every_board() {
    if Command::new("gdb-multiarch").arg("--version").output().is_err() {
        eprintln!(
            "not run: debugging: gdb-multiarch: not installed; on Debian and Ubuntu: apt install gdb-multiarch"
        );
        return;
    }
    let place = Place::new();
    // Both have the same terminal; what the debugger says is not to come in the middle of what the firmware says.
    let words = place.path().join("words");
    let quiet = format!("#!/bin/sh\nexec gdb-multiarch \"$@\" > {} 2>&1\n", words.display());
    let quiet = place.write("gdb", quiet);
    fs::set_permissions(&quiet, Permissions::from_mode(0o755)).unwrap();
    on_every_board(|board| {
        let script = "set confirm off\ninfo files\nstepi\ncontinue\nquit\n";
        let mut command = board.command("gdb", "hello");
        let output =
            command.arg("--gdb").arg(&quiet).args(["--", "Ann"]).write_stdin(script).output().unwrap();
        let said = fs::read_to_string(&words).unwrap();
        assert!(said.contains("Entry point: 0x"), "{}: {said}", board.on);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "Hello from the remote, Ann!\n",
            "{}: {said}",
            board.on
        );
        assert_eq!(output.status.code(), Some(0), "{}: {output:?}", board.on);
    });
}

#[test]
fn a_dump_from_every_board_leads_a_debugger_to_the_crash() {
    if Command::new("gdb-multiarch").arg("--version").output().is_err() {
        eprintln!(
            "not run: debugging dumps of boards: gdb-multiarch: not installed; on Debian and Ubuntu: apt install gdb-multiarch"
        );
        return;
    }
    let place = Place::new();
    let dumps = place.path().join("dumps");
    on_every_board(|board| {
        let dump = format!("--dump={}", dumps.display());
        let output = board.command("run", "crash").args([&dump, "--", "hang"]).output().unwrap();
        assert_eq!(output.status.code(), Some(124), "{}: {output:?}", board.on);
        let mut gdb = sidecore();
        gdb.arg("dump").arg("--dumps").arg(&dumps).args(["gdb", "--", "-batch", "-ex", "bt"]);
        let output = gdb.output().unwrap();
        let stdout = String::from_utf8_lossy(&output.stdout);
        assert!(
            stdout.contains("crash::hang (") && stdout.contains("src/bin/crash.rs:"),
            "{}: {output:?}",
            board.on
        );
        assert!(stdout.contains("crash::main"), "{}: its caller: {output:?}", board.on);
    });
}

#[test]
fn a_dump_is_taken_of_firmware_that_runs_on_every_board_and_it_runs_on() {
    let place = Place::new();
    taken_while_it_runs(&place, "sandbox", "cat".as_ref());
    on_every_board(|board| taken_while_it_runs(&place, &board.on, board.images.join("cat").as_os_str()));
}

fn taken_while_it_runs(place: &Place, on: &str, image: &OsStr) {
    let dumps = place.path().join("dumps");
    let mut run = plain();
    run.env("XDG_RUNTIME_DIR", place.path()).args(["run", "--on", on]);
    run.arg(format!("--dump={}", dumps.display())).arg(image);
    let mut child = run.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut notes = BufReader::new(child.stderr.take().unwrap()).lines();
    for round in 0..3 {
        writeln!(stdin, "round {round}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), format!("round {round}"), "{on}");
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::QUIT).unwrap();
        let told = notes.next().unwrap().unwrap();
        let id = told
            .strip_prefix("sidecore: kept a dump: sidecore dump gdb ")
            .unwrap_or_else(|| panic!("{on}: {told}"));
        let mut info = sidecore();
        let info = info.arg("dump").arg("--dumps").arg(&dumps).args(["info", id, "--json"]).output().unwrap();
        let info: Value = serde_json::from_slice(&info.stdout).unwrap();
        let told = &info["told"];
        assert_eq!(
            (&told["registers"], &told["facts"]["state"]),
            (&true.into(), &"running".into()),
            "{on}: {info}"
        );
        assert!(told["facts"]["pc"].is_string(), "{on}: {info}");
    }
    drop(stdin);
    assert_eq!(ended(&mut child).code(), Some(0), "{on}: {:?}", notes.next());
    let mut gdb = sidecore();
    gdb.arg("dump").arg("--dumps").arg(&dumps).args(["gdb", "--", "-batch", "-ex", "bt"]);
    let output = gdb.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let is_there = !String::from_utf8_lossy(&output.stderr).contains("cannot start a debugger");
    assert!(!is_there || text.contains("sidecore_firmware"), "{on}: where it waits: {output:?}");
}

/// This tree, in which the SDK is.
const TREE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

#[test]
fn a_project_builds_and_runs_with_the_two_commands_that_are_printed() {
    let place = Place::new();
    let path = std::env::var_os("PATH").unwrap();
    let mut new = sidecore();
    new.args(["new", "blinky", "--board", "mps2-an386", "--sdk", TREE]).current_dir(place.path());
    let output = new.env("PATH", &path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let commands = String::from_utf8(output.stdout).unwrap();
    assert_eq!(commands.lines().count(), 2, "{commands}");
    if !output.stderr.is_empty() {
        eprintln!("not run: a project of one's own: {}", String::from_utf8_lossy(&output.stderr).trim());
        return;
    }
    let document = sidecore().args(["boards", "--json"]).output().unwrap().stdout;
    let document: Value = serde_json::from_slice(&document).unwrap();
    let lines = if document["boards"][1]["runs"] == true { 2 } else { 1 };
    let script = commands.lines().take(lines).collect::<Vec<_>>().join(" && ");
    let programs = Path::new(env!("CARGO_BIN_EXE_sidecore")).parent().unwrap().to_owned();
    let path = std::env::join_paths([programs].into_iter().chain(std::env::split_paths(&path))).unwrap();
    let mut shell = Command::new("sh");
    // What was chosen for the tests is not for the project.
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC", "RUSTC_WRAPPER"] {
        shell.env_remove(name);
    }
    let output = shell.args(["-ec", &script]).current_dir(place.path()).env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.stdout, if lines == 2 { &b"Hello from blinky!\n"[..] } else { b"" });
}

#[test]
fn a_project_is_never_made_over_something_else() {
    let place = Place::new();
    place.write("taken", "mine");
    for (arguments, part) in [
        (&["new", "taken"][..], "File exists"),
        (&["new", "2fast"], "a name is a letter"),
        (&["new", "a/.."], "a name is a letter"),
        (&["new", "fine", "--sdk", "/proc"], "there is no remote/firmware in /proc"),
    ] {
        let output = sidecore().args(arguments).current_dir(place.path()).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with("error[E0616]") && stderr.contains(part), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(1));
    }
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
}
