//! `run --restart`: firmware that crashes is started again, within limits.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Place, ended, plain, sidecore};

#[test]
fn firmware_that_crashes_is_started_again_with_its_console_until_it_is_given_up() {
    let place = Place::new();
    let dumps = format!("--dump={}", place.path().display());
    let output =
        sidecore().args(["run", "--restart", "on-crash:2", &dumps, "crash", "--", "panic"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(134), "that of the last crash: {stderr}");
    // Its arguments come over the console, in every run.
    let crashes = stderr.matches("own words (not checked):\n    src/bin/crash.rs:").count();
    assert_eq!(crashes, 3, "{stderr}");
    for part in
        ["restart 1 of 2 at most", "restarted in 100ms: restart 2 of 2", "given up: 3 crashes within 60 s"]
    {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert_eq!(stderr.matches("kept a dump: sidecore dump gdb crash-2").count(), 3, "{stderr}");
    let kept = std::fs::read_dir(place.path()).unwrap().count();
    assert_eq!(kept, 3);
}

#[test]
fn a_silent_restart_says_what_goes_on() {
    let output = sidecore()
        .args(["run", "--restart", "on-crash:2,silent", "--verbose", "crash", "--", "panic"])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(134), "that of the last crash: {stderr}");
    for part in
        ["crash is restarted silently: restart 1 of 2 at most", "restarted silently in 100ms: restart 2 of 2"]
    {
        assert!(stderr.contains(part), "{part}: {stderr}");
    }
    assert_eq!(stderr.matches("vdev0: goes on after the restart, features: ").count(), 2, "{stderr}");
    assert_eq!(stderr.matches(" announced at 0x").count(), 1, "it is the same one: {stderr}");
}

#[test]
fn firmware_that_ends_by_itself_is_not_started_again() {
    let output =
        sidecore().args(["run", "--restart", "on-crash", "crash", "--", "exit", "3"]).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.len()), (Some(3), 0), "{output:?}");
}

#[test]
fn a_restart_that_is_put_off_ends_at_once_with_ctrl_c() {
    let mut command = plain();
    command.args(["run", "--restart", "on-crash:20", "crash", "--", "illegal"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("restarted in 3.2s: restart 7")));
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
    assert!(!lines.any(|line| line.contains("restart 8")));
    assert_eq!(ended(&mut child).code(), Some(130));
}

#[test]
fn policies_that_are_none_are_refused() {
    for policy in
        ["always", ",silent", "on-crash:2,loud", "on-crash:", "on-crash:x", "on-crash5", "on-crash:-1"]
    {
        let output = sidecore().args(["run", "--restart", policy, "hello"]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(125), "{policy}: {stderr}");
        assert!(stderr.contains("neither on-crash nor on-crash:N"), "{policy}: {stderr}");
    }
}

/// The built-in image of this name as a file.
fn image(place: &Place, name: &str) -> std::path::PathBuf {
    let built = std::path::Path::new(env!("SIDECORE_IMAGES")).join(name);
    place.write(name, std::fs::read(built).unwrap())
}

#[test]
fn a_file_that_vanishes_or_changes_under_the_loader_is_what_was_read_once() {
    let place = Place::new();
    for replace in [false, true] {
        let file = image(&place, "crash");
        let mut command = plain();
        command.args(["run", "--restart", "on-crash:2"]).arg(&file).args(["--", "panic"]);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("restart 1 of 2")));
        match replace {
            true => std::fs::write(&file, b"\x7fELF, and then something else").unwrap(),
            false => std::fs::remove_file(&file).unwrap(),
        }
        let crashes =
            lines.filter(|line| line.contains("src/bin/crash.rs:") && line.contains("as it was told"));
        assert!(crashes.count() >= 2, "{replace}");
        assert_eq!(ended(&mut child).code(), Some(134), "{replace}");
    }
}

#[test]
fn a_file_that_is_cut_short_while_it_is_read_is_an_error_that_names_the_field() {
    let place = Place::new();
    let whole = std::fs::read(image(&place, "crash")).unwrap();
    for (number, len) in [0, 1, 63, 64, 200, 4096, whole.len() / 2, whole.len() - 1].into_iter().enumerate() {
        // What a reader sees of a file that somebody writes over: as much as there is at that moment.
        let pipe = place.path().join(format!("pipe{number}"));
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let (to, part) = (pipe.clone(), whole[..len].to_vec());
        let writer = std::thread::spawn(move || std::fs::write(to, part));
        let output = sidecore().arg("run").arg(&pipe).output().unwrap();
        // A reader that has seen enough closes early.
        let _ = writer.join().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(126), "{len}: {stderr}");
        assert!(stderr.starts_with("error[E01"), "{len}: {stderr}");
    }
}

#[test]
fn locks_that_firmware_dies_or_ends_with_are_taken_back_before_it_runs_again() {
    let run = |arguments: &[&str]| {
        let output = sidecore().args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let base = ["run", "--verbose", "--restart", "on-crash:2", "locks", "--"];
    let (code, told) = run(&[&base[..], &["die", "3", "5", "1023"]].concat());
    assert_eq!(code, Some(134), "{told}");
    for lock in [3, 5, 1023] {
        // Three runs, of which each could take them.
        let line = format!("sidecore: taken back: spinlock {lock} of the bank at 0x");
        assert_eq!(told.matches(&line).count(), 3, "{told}");
    }
    assert_eq!(told.matches("taken back").count(), 9, "{told}");
    let order = ["taken back: spinlock 1023", "crash: running -> crashed", "restarted: restart 1 of 2"];
    let places = order.map(|part| told.find(&format!("sidecore: {part}")).unwrap());
    assert!(places.is_sorted(), "{told}");
    assert_eq!(run(&["run", "locks", "--", "count"]), (Some(0), String::new()));
}
