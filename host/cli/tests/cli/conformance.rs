//! `conformance`: the protocol suite against images, and against peers in other processes.

use std::fs;
use std::path::PathBuf;

use crate::bench::{Place, sidecore};

/// What one of our own remotes is started with, and where it is met.
struct Meeting {
    file: PathBuf,
    place: Place,
}

impl Meeting {
    fn new(name: &str) -> Self {
        let file = PathBuf::from(format!("/dev/shm/sidecore-conformance-{}-{name}", std::process::id()));
        Self { file, place: Place::new() }
    }

    fn arguments(&self) -> Vec<String> {
        let socket = self.place.path().join("event");
        let text = |path: PathBuf| path.to_string_lossy().into_owned();
        vec!["--memory".into(), text(self.file.clone()), "--socket".into(), text(socket)]
    }

    /// `sidecore attach` at this place, as a command of the shell's.
    fn attach(&self, more: &str) -> String {
        format!("{} attach shm:openamp {} {more}", env!("CARGO_BIN_EXE_sidecore"), self.arguments().join(" "))
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

#[test]
fn an_image_follows_and_the_report_is_a_page_data_and_a_recording() {
    let place = Place::new();
    let (page, frames) = (place.path().join("page.html"), place.path().join("frames.pcapng"));
    let mut command = sidecore();
    command.args(["conformance", "echo", "--json", "--only", "MESSAGE-11", "--only", "RING-10", "--html"]);
    let output = command.arg(&page).arg("--pcap").arg(&frames).output().unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["schema"], &report["role"]), (&1.into(), &"remote".into()));
    for finding in report["findings"].as_array().unwrap() {
        assert_eq!(finding["verdict"], "follows", "{finding}");
    }
    assert_eq!(output.status.code(), Some(0));
    assert!(fs::read_to_string(&page).unwrap().contains("id=\"MESSAGE-11\""));
    assert!(fs::read(&frames).unwrap().starts_with(&[0x0A, 0x0D, 0x0D, 0x0A]));
}

#[test]
fn a_program_that_wants_a_console_follows_the_clauses_of_services() {
    let mut command = sidecore();
    let clauses: Vec<String> = (1..=6).map(|number| format!("SERVICE-{number}")).collect();
    command
        .args(["conformance", "hello", "--json"])
        .args(clauses.iter().flat_map(|clause| ["--only", clause]));
    let output = command.output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), clauses.len());
    for finding in findings {
        assert_eq!(finding["verdict"], "follows", "{finding}");
    }
}

#[test]
fn two_of_our_processes_follow_in_both_roles() {
    let only = ["--only", "START-4", "--only", "NOTIFY-2", "--only", "RESET-4", "--only", "NOTIFY-6"];
    let hosts = ["--only", "START-4", "--only", "NOTIFY-6", "--only", "RING-7"];
    let messages: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let talk = format!("--timeout 20 --service rpmsg-echo {}", messages.join(" "));
    for (role, only, more) in [("remote", &only[..], "--role remote"), ("host", &hosts, &talk)] {
        let meeting = Meeting::new(role);
        let output = sidecore()
            .args(["conformance", "shm:openamp", "--role", role, "--command", &meeting.attach(more)])
            .args(meeting.arguments())
            .args(only)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(!said.contains("deviates") && said.contains("follows"), "{role}: {said}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn a_peer_that_is_not_there_or_dies_at_once_shows_nothing_and_is_given_up() {
    let meeting = Meeting::new("dies");
    let output = sidecore()
        .args(["conformance", "shm:openamp", "--role", "host", "--command", "true"])
        .args(meeting.arguments())
        .args(["--only", "RING-7", "--only", "RING-8"])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("the peer was not met: no host came") && said.contains("2 not shown"), "{said}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_cannot_be_tested_is_refused() {
    for (arguments, part, code) in [
        (&["echo", "--only", "MEM-5"][..], "no test for a clause MEM-5", 2),
        (&["echo", "--role", "host"], "an image is a remote", 2),
        (&["shm:/nope.toml"], "/nope.toml", 2),
        (&["no-such-image"], "no-such-image", 127),
    ] {
        let output = sidecore().arg("conformance").args(arguments).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(error.contains(part), "{arguments:?}: {error}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
}
