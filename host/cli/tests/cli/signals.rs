//! Signals, and what is left when someone dies.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use sidecore_backends::sandbox::Role;

use crate::bench::{Place, ended, plain, remotes_of, until};

/// `run` with these arguments, and its runtime directory; returns when the firmware has announced its console.
fn running(arguments: &[&str]) -> (Child, Place) {
    let place = Place::new();
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let mut command = plain();
    command.env("XDG_RUNTIME_DIR", place.path()).args(["run", "-v"]).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains("console: started") {
        assert!(stderr.read_line(&mut said).unwrap() > 0, "it ended: {said}");
    }
    // Somebody has to take the rest.
    std::thread::spawn(move || stderr.read_to_string(&mut said));
    (child, place)
}

fn kill(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

/// No process and no file is left of a main side that is gone.
fn nothing_is_left(main: u32, place: &Place) {
    until("the end of warden and remote", || remotes_of(main).is_empty());
    let left: Vec<_> = fs::read_dir(place.path().join("sidecore")).into_iter().flatten().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn the_first_signal_stops_the_remote_and_the_exit_code_names_it() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let (mut child, place) = running(&["cat"]);
        let id = child.id();
        // Waiting would close it, and the firmware end by itself.
        let stdin = child.stdin.take();
        kill(&child, signal);
        assert_eq!(ended(&mut child).code(), Some(code));
        drop(stdin);
        nothing_is_left(id, &place);
    }
}

#[test]
fn a_second_signal_ends_it_at_once_even_if_nobody_takes_its_output() {
    let (mut child, place) = running(&["cat"]);
    let id = child.id();
    let mut stdin = child.stdin.take().unwrap();
    // More than the pipe takes, of which nothing is read: it waits in the middle of writing.
    let feeder = std::thread::spawn(move || while stdin.write_all(&[b'x'; 4096]).is_ok() {});
    std::thread::sleep(Duration::from_millis(300));
    kill(&child, Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().unwrap().is_none(), "it waits for its output to be taken");
    kill(&child, Signal::INT);
    assert_eq!(ended(&mut child).code(), Some(130));
    nothing_is_left(id, &place);
    drop(child);
    feeder.join().unwrap();
}

#[test]
fn nothing_is_left_when_the_command_is_killed() {
    let (mut child, place) = running(&["cat"]);
    let id = child.id();
    let remotes = remotes_of(id);
    assert_eq!(remotes.len(), 2, "a warden and a remote: {remotes:?}");
    kill(&child, Signal::KILL);
    child.wait().unwrap();
    nothing_is_left(id, &place);
}

#[test]
fn nothing_is_left_after_any_end() {
    for arguments in
        [&["hello"][..], &["crash", "--", "fault"], &["crash", "--watchdog", "0.1", "--", "hang"]]
    {
        let (mut child, place) = running(arguments);
        let id = child.id();
        ended(&mut child);
        nothing_is_left(id, &place);
    }
}

#[test]
fn a_warden_that_is_killed_is_told_and_costs_the_remote() {
    let (mut child, place) = running(&["cat"]);
    let id = child.id();
    let stdin = child.stdin.take();
    let wardens = remotes_of(id).into_iter().filter(|process| process.role == Role::Warden);
    wardens.for_each(|warden| warden.kill().unwrap());
    assert_eq!(child.wait().unwrap().code(), Some(125));
    drop(stdin);
    nothing_is_left(id, &place);
}
