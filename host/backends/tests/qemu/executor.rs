//! Emulators that are killed, missing, too old, or none at all; main sides that are killed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sidecore_backends::qemu::{self, Config};
use sidecore_remoteproc::{Backend, BackendError};

use crate::bench::{PATIENCE, board, config, end, lives, load, run, shared, until};
use crate::tests;
use crate::thumb::{Firmware, IMAGE, SHARED};

tests! {
    a_killed_emulator_is_told_as_such_and_the_next_start_works,
    a_stopped_emulator_does_not_keep_us,
    nothing_is_left_of_a_main_side_that_was_killed,
    an_emulator_that_is_too_old_is_refused_with_its_version,
    a_program_that_is_no_emulator_is_named,
    a_machine_that_the_emulator_does_not_have_is_told_in_its_words,
}

/// Says to this program that it is to start a remote and to be killed.
pub const VICTIM: &str = "SIDECORE_TEST_VICTIM";

/// A main side that starts a remote, tells the emulator's process number, and waits to be killed.
pub fn victim(_board: &OsStr) -> ExitCode {
    let mut qemu = run(&Firmware::at(IMAGE).up().sleep());
    println!("{}", qemu.pid().unwrap());
    let ended = end(&mut qemu);
    eprintln!("{ended:?}");
    ExitCode::FAILURE
}

fn kill(pid: i32, signal: Signal) {
    kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
}

fn a_killed_emulator_is_told_as_such_and_the_next_start_works() {
    let (mut qemu, boot) = load(config(), &Firmware::at(IMAGE).increment(SHARED).up().sleep(), IMAGE);
    qemu.start(&boot).unwrap();
    until(&mut qemu, "it runs", |qemu| shared(qemu, 0) == 1);
    kill(qemu.pid().unwrap(), Signal::KILL);
    let error = loop {
        match qemu.wait(Some(PATIENCE), &mut || false) {
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(error.to_string(), "QEMU is gone: it was killed by SIGKILL");
    qemu.stop().unwrap();
    qemu.start(&boot).unwrap();
    until(&mut qemu, "it runs again", |qemu| shared(qemu, 0) == 2);
}

fn a_stopped_emulator_does_not_keep_us() {
    let mut qemu = run(&Firmware::at(IMAGE).up().sleep());
    let pid = qemu.pid().unwrap();
    kill(pid, Signal::STOP);
    let began = Instant::now();
    qemu.stop().unwrap();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert!(!lives(pid));
}

fn nothing_is_left_of_a_main_side_that_was_killed() {
    let mut victim = Command::new(std::env::current_exe().unwrap());
    let mut victim = victim.env(VICTIM, "1").stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(victim.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let emulator = line.trim().parse().unwrap();
    assert!(lives(emulator));
    victim.kill().unwrap();
    victim.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while lives(emulator) {
        assert!(Instant::now() < deadline, "QEMU outlives its main side");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A script in place of an emulator, removed when dropped.
struct Script(PathBuf);

impl Script {
    fn new(name: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("sidecore-test-{name}-{}", std::process::id()));
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        Self(path)
    }

    fn start(&self) -> BackendError {
        let config = Config { program: Some(self.0.clone()), ..config() };
        let (mut qemu, boot) = load(config, &Firmware::at(IMAGE).sleep(), IMAGE);
        qemu.start(&boot).unwrap_err()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn an_emulator_that_is_too_old_is_refused_with_its_version() {
    let script = Script::new(
        "old",
        "[ \"$1\" = --version ] && echo 'QEMU emulator version 6.2.0 (Debian 1:6.2)'; exit 1",
    );
    let text = script.start().to_string();
    assert!(text.contains("QEMU 6.2.0 (Debian 1:6.2); 7.2 or newer is needed"), "{text}");
    let mut board = board();
    board.emulator.program = script.0.display().to_string();
    assert!(qemu::check(&board).unwrap_err().to_string().contains("6.2.0"));
}

fn a_program_that_is_no_emulator_is_named() {
    let talker = Script::new(
        "talker",
        "for fd in 5 6 7 8 9 10 11 12 13 14 15 16; do echo hello >&$fd; done 2>/dev/null; sleep 1",
    );
    let text = talker.start().to_string();
    assert!(text.starts_with("QEMU is gone: "), "{text}");
    let liar = Script::new("liar", "exit 7");
    assert_eq!(liar.start().to_string(), "QEMU is gone: it ended with code 7");
}

fn a_machine_that_the_emulator_does_not_have_is_told_in_its_words() {
    let mut board = board();
    board.emulator.machine = "no-such-machine".to_owned();
    let (mut qemu, boot) = load(Config::new(board), &Firmware::at(IMAGE).sleep(), IMAGE);
    let text = qemu.start(&boot).unwrap_err().to_string();
    assert!(text.contains("unsupported machine type"), "{text}");
}
