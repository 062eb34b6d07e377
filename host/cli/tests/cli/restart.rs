//! `run --restart`: firmware that crashes is started again, within limits.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Place, plain, sidecore};

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
    assert_eq!(child.wait().unwrap().code(), Some(130));
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
