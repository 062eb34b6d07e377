//! The verbs of every day: the book's page of them, word by word, and what goes wrong.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bench::{Place, ended, until};
use crate::left_running::Says as _;

const PAGE: &str = include_str!("../../../../book/src/guide/everyday.md");

/// A user of his own: directories, and where it is wanted a bus with a daemon.
pub(crate) struct User {
    pub(crate) place: Place,
    bus: Option<(Child, String)>,
    daemon: Option<Child>,
}

impl User {
    pub(crate) fn alone() -> Self {
        let place = Place::new();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o700)).unwrap();
        Self { place, bus: None, daemon: None }
    }

    pub(crate) fn with_daemon() -> Self {
        let mut user = Self::alone();
        let socket = user.place.path().join("bus");
        let mut bus = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!("--address=unix:path={}", socket.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("there is a dbus-daemon (Debian: dbus)");
        let mut address = String::new();
        BufReader::new(bus.stdout.take().unwrap()).read_line(&mut address).unwrap();
        user.bus = Some((bus, address.trim_end().to_owned()));
        user.start_daemon();
        user
    }

    pub(crate) fn start_daemon(&mut self) {
        let mut daemon = Command::new(sidecored());
        daemon.arg("--session").stdin(Stdio::null()).stderr(Stdio::null());
        self.own(&mut daemon);
        self.daemon = Some(daemon.spawn().unwrap());
        until("the daemon is there", || {
            self.sidecore(&["ps", "--bus", "session"]).output().unwrap().status.success()
        });
    }

    pub(crate) fn kill_daemon(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Has a program run as this user.
    pub(crate) fn own(&self, command: &mut Command) {
        let programs = Path::new(env!("CARGO_BIN_EXE_sidecore")).parent().unwrap();
        command.env_clear().env("PATH", format!("{}:/usr/bin:/bin", programs.display()));
        command.env("XDG_RUNTIME_DIR", self.place.path()).env("XDG_STATE_HOME", self.place.path());
        command.env("XDG_CONFIG_HOME", self.place.path()).env("TZ", "UTC").current_dir(self.place.path());
        match &self.bus {
            Some((_, address)) => command.env("DBUS_SESSION_BUS_ADDRESS", address),
            None => command.env("SIDECORE_BUS", "none"),
        };
    }

    /// The command as this user runs it.
    pub(crate) fn sidecore(&self, arguments: &[&str]) -> Command {
        let mut sidecore = Command::new(env!("CARGO_BIN_EXE_sidecore"));
        sidecore.args(arguments).stdin(Stdio::null());
        self.own(&mut sidecore);
        sidecore
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.sidecore(arguments).output().unwrap()
    }

    /// Runs it, and wants it to have done what was asked.
    #[track_caller]
    pub(crate) fn done(&self, arguments: &[&str]) -> String {
        let Output { status, stdout, stderr } = self.run(arguments);
        let (stdout, stderr) = (text(stdout), text(stderr));
        assert!(status.success(), "{arguments:?}: {status}\n{stdout}{stderr}");
        stdout
    }

    /// Runs it, and wants this exit code and these words.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], code: i32, words: &str) {
        let Output { status, stdout, stderr } = self.run(arguments);
        let stderr = text(stderr);
        assert_eq!(status.code(), Some(code), "{arguments:?}: {}{stderr}", text(stdout));
        assert!(stderr.contains(words), "{arguments:?}: {stderr}");
    }

    /// Runs the commands of a part of the page, and compares.
    fn does_what_is_written(&self, heading: &str) {
        let part = PAGE.split("\n## ").find(|part| part.starts_with(heading)).unwrap();
        let block = part.split("```console\n").nth(1).unwrap().split("```").next().unwrap();
        let mut commands = block.split("$ ").filter(|command| !command.is_empty()).peekable();
        assert!(commands.peek().is_some());
        for command in commands {
            let (line, written) = command.split_once('\n').unwrap();
            let mut written: Vec<&str> = written.lines().collect();
            let status = written.first().and_then(|line| line.strip_prefix("? "));
            let status: i32 = status.map_or(0, |status| status.parse().unwrap());
            written.retain(|line| !line.starts_with("? "));
            let mut shell = Command::new("sh");
            shell.args(["-c", &format!("exec 2>&1; {line}")]).stdin(Stdio::null());
            self.own(&mut shell);
            let output = shell.env("NO_COLOR", "1").output().unwrap();
            let printed = text(output.stdout);
            // Those that `run` has beside us, in the directory of all.
            let is_anothers = |line: &&str| line.contains("sandbox:remote-") && !line.starts_with("  why:");
            let mut lines: Vec<&str> = printed.lines().filter(|line| !is_anothers(line)).collect();
            // Both streams are one here, and the order between them is nobody's promise.
            let at_the_end = written.last().is_some_and(|line| line.starts_with("sidecore: "));
            if at_the_end && lines.first().is_some_and(|line| line.starts_with("sidecore: ")) {
                lines.rotate_left(1);
            }
            let is_same =
                written.len() == lines.len() && written.iter().zip(&lines).all(|(a, b)| matches(a, b));
            assert!(
                is_same && output.status.code() == Some(status),
                "$ {line}\n{printed}? {}",
                output.status
            );
        }
    }
}

impl Drop for User {
    fn drop(&mut self) {
        for remote in ["radio", "radar", "voice"] {
            let _ = self.run(&["stop", "--remove", remote]);
            let _ = self.run(&["stop", "--bus", "none", &format!("sandbox:{remote}")]);
        }
        for child in self.daemon.iter_mut().chain(self.bus.iter_mut().map(|(bus, _)| bus)) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The daemon beside the command; built where nobody has built it.
fn sidecored() -> PathBuf {
    let beside = Path::new(env!("CARGO_BIN_EXE_sidecore")).with_file_name("sidecored");
    if !beside.exists() {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--package", "sidecored"]).current_dir(env!("CARGO_MANIFEST_DIR"));
        if beside.components().any(|part| part.as_os_str() == "release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().unwrap().success());
    }
    beside
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap()
}

/// Whether a line is as it is written: `[..]` is anything, a number any number, blanks as many as there are.
fn matches(written: &str, line: &str) -> bool {
    let plain = |line: &str| {
        let mut plain = String::new();
        for word in line.split_whitespace() {
            for c in word.chars() {
                match c {
                    '0'..='9' if plain.ends_with('#') => {}
                    '0'..='9' => plain.push('#'),
                    c => plain.push(c),
                }
            }
            plain.push(' ');
        }
        plain.trim_end().replace("ms", "us").replace("#.#", "#")
    };
    let (written, line) = (plain(written), plain(line));
    let mut parts = written.split("[..]");
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut last = None;
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else { return false };
        (rest, last) = (behind, Some(part));
    }
    rest.is_empty() || last == Some("") || last.is_some_and(|last| line.ends_with(last))
}

#[test]
fn the_page_is_true_without_a_daemon() {
    User::alone().does_what_is_written("Without a daemon");
}

#[test]
fn the_page_is_true_with_a_daemon() {
    User::with_daemon().does_what_is_written("With a daemon");
}

#[test]
fn the_page_is_true_about_the_configuration() {
    let user = User::alone();
    let write = |name: &str, text: &str| {
        let path = user.place.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("book/sidecored.toml", "[defaults]\nrestart = \"on-crash\"\n[limits]\nqueue = 4\n");
    write("book/sidecored.toml.d/10-queue.toml", "[limits]\nqueue = 8\n");
    write("broken/sidecored.toml", "[limits]\nremots = 8\n");
    user.does_what_is_written("What the daemon is told");
    // And what is written of the files can be said.
    let example = PAGE.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    write("example/sidecored.toml", example);
    let shown = user.done(&["config", "show", "--directory", "example"]);
    assert!(
        shown.contains("start-unit = \"mourn@.service\"") && shown.contains("restart = \"on-crash:3\""),
        "{shown}"
    );
    write("again/sidecored.toml", &shown);
    assert_eq!(user.done(&["config", "show", "--directory", "again"]), shown);
    let json: Value =
        serde_json::from_str(&user.done(&["config", "show", "--json", "--directory", "book"])).unwrap();
    assert_eq!(json["schema"], "sidecore.config/1");
    assert_eq!(json["sections"][0]["settings"][2]["line"], 2);
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    let user = User::alone();
    for arguments in [
        &["send", "radio"][..],
        &["send", "radio", "service"],
        &["send", "radio", "service", "data", "--addr", "5"],
        &["send", "radio", "service", "data", "--file", "/dev/null"],
        &["send", "radio", "service", "0", "--hex", "--addr"],
        &["recv", "radio"],
        &["recv", "radio", "service", "--addr", "5"],
        &["recv", "radio", "service", "--raw", "--json"],
        &["wait", "radio", "--for", "everything"],
        &["wait", "radio", "--for", "channel:"],
        &["ps", "--bus", "other"],
        &["events", "--since", "soon"],
        &["channel"],
        &["config"],
        &["start", "sandbox:x", "echo", "--lease", "tied"],
    ] {
        let output = user.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", text(output.stderr));
    }
    let output = user.sidecore(&["ps"]).env("SIDECORE_BUS", "moon").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(output.stderr).contains("neither session, system nor none"));
}

#[test]
fn who_is_not_there_is_said_by_a_code_of_its_own() {
    let user = User::alone();
    for arguments in [
        &["status", "radio"][..],
        &["send", "radio", "service", "data"],
        &["recv", "radio", "service"],
        &["channel", "ls", "radio"],
        &["console", "radio"],
        &["restart", "radio"],
        &["detach", "radio"],
        &["events", "radio"],
        &["attach", "radio"],
        &["stop", "radio"],
        &["logs", "radio"],
        &["start", "radio"],
        &["ping", "--on", "radio"],
    ] {
        user.fails(arguments, 3, "error[E0709]: there is no remote radio");
    }
    user.fails(&["status", "\u{1b}[2Jx"], 3, "there is no remote \u{fffd}[2Jx");
    user.fails(&["ps", "--bus", "session"], 125, "error[E0701]");
    let output = user.run(&["status", "radio", "--json"]);
    let error: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(error["code"], "E0709");
}

#[test]
fn data_of_any_kind_and_size_is_sent_or_refused() {
    let user = User::alone();
    user.done(&["start", "radio", "echo"]);
    let file = user.place.write("data", [0, 0xff, b'\n', 0x1b]);
    let file = file.to_str().unwrap();
    assert_eq!(
        user.done(&["send", "radio", "rpmsg-echo", "--file", file, "--reply", "--hex"]),
        "00 ff 0a 1b\n"
    );
    let raw = user.run(&["send", "radio", "rpmsg-echo", "--file", file, "--reply", "--raw"]);
    assert_eq!(raw.stdout, [0, 0xff, b'\n', 0x1b]);
    assert_eq!(
        user.done(&["send", "radio", "rpmsg-echo", "--file", file, "--reply"]),
        "\\0\u{fffd}\\n\\u{1b}\n"
    );
    let longest = "x".repeat(496);
    assert_eq!(user.done(&["send", "radio", "rpmsg-echo", &longest, "--reply"]), longest + "\n");
    user.fails(&["send", "radio", "rpmsg-echo", &"x".repeat(497)], 1, "at most 496 fit");
    let huge = user.place.write("huge", vec![0; 1 << 20]);
    user.fails(
        &["send", "radio", "rpmsg-echo", "--file", huge.to_str().unwrap()],
        2,
        "more than 65535 bytes",
    );
    user.fails(&["send", "radio", "rpmsg-echo", "--file", "nowhere"], 2, "No such file");
    user.fails(&["send", "radio", "rpmsg-echo", "xyz", "--hex"], 2, "no hexadecimal digit");
    let mut endless = user.sidecore(&["send", "radio", "rpmsg-echo", "-"]);
    let output = endless.stdin(fs::File::open("/dev/zero").unwrap()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(output.stderr).contains("line 1 is longer than any message"));
}

#[test]
fn a_remote_that_floods_costs_no_memory_and_a_reader_that_leaves_ends_it() {
    let user = User::with_daemon();
    user.done(&["start", "radio", "storm", "--", "messages", "1000000"]);
    let said = user.done(&["recv", "radio", "rpmsg-discard", "--greet", "go", "-n", "20000", "--hex"]);
    assert_eq!(said.lines().filter(|line| line.starts_with("5a 5a")).count(), 20_000);
    user.done(&["start", "radar", "storm", "--", "messages", "1000000"]);
    // As `| head -1` does it.
    let mut recv = user.sidecore(&["recv", "radar", "rpmsg-discard", "--greet", "go", "--json"]);
    let mut child = recv.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let first: Value = serde_json::from_str(&first).unwrap();
    assert_eq!((&first["schema"], &first["number"]), (&"sidecore.recv/1".into(), &0.into()));
    assert_eq!(ended(&mut child).code(), Some(141));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn ctrl_c_ends_whoever_waits() {
    let user = User::alone();
    user.done(&["start", "radio", "echo"]);
    for arguments in
        [&["recv", "radio", "rpmsg-echo"][..], &["wait", "radio", "--for", "crashed"], &["events"]]
    {
        let mut child = user.sidecore(arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        kill_process(Pid::from_raw(child.id() as i32).unwrap(), Signal::INT).unwrap();
        assert_eq!(ended(&mut child).code(), Some(130), "{arguments:?}");
    }
}

#[test]
fn events_are_seen_from_outside_and_waited_for() {
    let user = User::alone();
    let mut events = user.sidecore(&["events", "--json"]);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(events.stdout.take().unwrap()).lines();
    // Nobody knows when it looks: remotes come until it has seen one.
    let seen = std::thread::spawn(move || {
        let mut kinds = vec!["added", "removed"];
        for line in lines {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            assert_eq!(event["schema"], "sidecore.events/1");
            // There are others beside us.
            kinds.retain(|kind| event["remote"] != "sandbox:radio" || event["kind"] != *kind);
            if kinds.is_empty() {
                return;
            }
        }
    });
    until("both kinds of events", || {
        let mut waiting = user.sidecore(&["wait", "radio", "--timeout", "60"]).spawn().unwrap();
        user.done(&["start", "radio", "echo"]);
        assert!(ended(&mut waiting).success());
        std::thread::sleep(Duration::from_millis(300));
        user.done(&["stop", "radio"]);
        std::thread::sleep(Duration::from_millis(300));
        seen.is_finished()
    });
    seen.join().unwrap();
    events.kill().unwrap();
    events.wait().unwrap();
}

#[test]
fn a_daemon_that_is_killed_ends_those_who_wait_and_its_place_can_be_taken() {
    let mut user = User::with_daemon();
    user.done(&["start", "radio", "echo"]);
    let spawn = |arguments: &[&str]| {
        let mut command = user.sidecore(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut recv = spawn(&["recv", "radio", "rpmsg-echo"]);
    let waiting = [spawn(&["events"]), spawn(&["wait", "radio", "--for", "crashed"])];
    std::thread::sleep(Duration::from_secs(1));
    user.kill_daemon();
    for (mut child, what) in waiting.into_iter().zip(["events", "wait"]) {
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let code = ended(&mut child).code();
        assert!(code == Some(125) && said.contains("error[E07"), "{what}: {code:?} {said}");
    }
    // Links go on without the daemon, and a new one finds the remote.
    assert!(recv.try_wait().unwrap().is_none());
    recv.kill().unwrap();
    recv.wait().unwrap();
    user.start_daemon();
    user.done(&["ps"]);
}

#[test]
fn the_daemons_events_are_data_for_programs() {
    let user = User::with_daemon();
    let mut events = user.sidecore(&["events", "--json"]);
    let mut events = events.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(events.stdout.take().unwrap()).lines();
    // Nobody knows when it listens: remotes come until it has heard of one.
    let heard = std::thread::spawn(move || {
        let events = lines.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
        let mut kinds = vec!["added", "name-appeared", "removed"];
        for event in events {
            assert_eq!((&event["schema"], &event["remote"]), (&"sidecore.events/1".into(), &"radio".into()));
            if event["kind"] == "name-appeared" {
                assert_eq!(event["details"]["service"], "rpmsg-echo");
            }
            kinds.retain(|kind| event["kind"] != *kind);
            if kinds.is_empty() {
                return;
            }
        }
    });
    until("all kinds of events", || {
        user.done(&["start", "radio", "echo"]);
        user.done(&["wait", "radio", "--for", "channel:rpmsg-echo", "--timeout", "30"]);
        user.done(&["stop", "--remove", "radio"]);
        heard.is_finished()
    });
    heard.join().unwrap();
    events.kill().unwrap();
    events.wait().unwrap();
}

#[test]
fn a_tied_remote_ends_with_the_command_that_it_is_tied_to() {
    let user = User::with_daemon();
    let mut tied =
        user.sidecore(&["start", "--lease", "tied", "radio", "echo"]).stderr(Stdio::null()).spawn().unwrap();
    user.done(&["wait", "radio", "--timeout", "60"]);
    tied.kill().unwrap();
    tied.wait().unwrap();
    user.done(&["wait", "radio", "--for", "offline", "--timeout", "60"]);
}

#[test]
fn status_and_lists_are_data_for_programs() {
    let user = User::alone();
    user.done(&["start", "radio", "echo"]);
    let json = |arguments: &[&str]| serde_json::from_str::<Value>(&user.done(arguments)).unwrap();
    let status = json(&["status", "radio", "--json"]);
    assert_eq!((&status["schema"], &status["state"]), (&"sidecore.status/1".into(), &"running".into()));
    assert_eq!((&status["firmware"], &status["keeper"]), (&"echo".into(), &"nobody".into()));
    assert!(status["channels"].is_null() && status["log"].as_array().is_some_and(|log| !log.is_empty()));
    let channels = json(&["channel", "ls", "radio", "--json"]);
    assert_eq!(channels["channels"][0]["name"], "rpmsg-echo");
    let top = json(&["top", "--json"]);
    assert_eq!(
        (&top["schema"], &top["remotes"][0]["remote"]),
        (&"sidecore.top/1".into(), &"sandbox:radio".into())
    );
    let ps = json(&["ps", "--json"]);
    assert_eq!((&ps["remotes"][0]["kind"], &ps["remotes"][0]["daemon"]), (&"sandbox".into(), &false.into()));
    crate::bench::sidecore().args(["explain", "E0709"]).assert().success().says("");
}
