//! `attach --role remote`: the other end of main sides in other processes.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::{Place, ended, plain, sidecore};

/// File and socket of one test, gone with it.
struct Meeting {
    peer: &'static str,
    file: PathBuf,
    place: Place,
}

impl Meeting {
    fn new(name: &str) -> Self {
        Self::at(name, "shm:openamp")
    }

    fn at(name: &str, peer: &'static str) -> Self {
        let file = PathBuf::from(format!("/dev/shm/sidecore-cli-remote-{}-{name}", std::process::id()));
        Self { peer, file, place: Place::new() }
    }

    fn socket(&self) -> PathBuf {
        self.place.path().join("event")
    }

    fn arguments(&self, command: &mut Command) {
        command.args(["attach", self.peer, "--memory"]).arg(&self.file);
        command.arg("--socket").arg(self.socket());
    }

    /// A remote with these services, ready.
    fn remote(&self, services: &[&str]) -> Remote {
        let mut command = plain();
        self.arguments(&mut command);
        command.args(["--role", "remote", "-v"]);
        command.args(services.iter().flat_map(|service| ["--service", service]));
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let mut remote = Remote { child, stderr };
        remote.until("ready for a main side");
        remote
    }

    /// A main side that sends messages to a service.
    fn host(&self, service: &str, messages: &[&str]) -> Output {
        let mut command = plain();
        self.arguments(&mut command);
        assert_cmd::Command::from_std(command)
            .args(["--service", service])
            .args(messages)
            .timeout(std::time::Duration::from_secs(60))
            .output()
            .unwrap()
    }
}

impl Drop for Meeting {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

struct Remote {
    child: Child,
    stderr: BufReader<ChildStderr>,
}

impl Remote {
    /// Reads what it tells up to a line with this in it.
    fn until(&mut self, part: &str) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.stderr.read_line(&mut line).unwrap(), 0, "it ended before it said: {part}");
            if line.contains(part) {
                return line;
            }
        }
    }

    fn interrupt(mut self) -> Option<i32> {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), Signal::INT).unwrap();
        ended(&mut self.child).code()
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn refusal(place: &Meeting) -> String {
    let mut command = plain();
    place.arguments(&mut command);
    let output = assert_cmd::Command::from_std(command).args(["--role", "remote"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125));
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn two_of_our_processes_meet_where_no_resource_table_says_what_lies_where() {
    let meeting = Meeting::at("bare", "shm:rpmsg-lite");
    let mut remote = meeting.remote(&["echo"]);
    for _ in 0..2 {
        let output = meeting.host("rpmsg-echo", &["first", "second"]);
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        assert_eq!(output.stdout, b"first\nsecond\n");
        remote.until("the link is up (F_NS)");
        remote.until("ready for a main side");
    }
    assert_eq!(remote.interrupt(), Some(130));
}

#[test]
fn two_of_our_processes_meet_and_the_remote_outlives_main_sides() {
    let meeting = Meeting::new("two");
    let mut remote = meeting.remote(&["rpmsg-one=echo", "echo"]);
    for _ in 0..3 {
        for service in ["rpmsg-one", "rpmsg-echo"] {
            let output = meeting.host(service, &["first", "second"]);
            assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
            assert_eq!(output.stdout, b"first\nsecond\n");
            remote.until("the link is up (F_NS)");
            remote.until("ready for a main side");
        }
    }
    assert_eq!(remote.interrupt(), Some(130));
    assert!(!meeting.file.exists() && !meeting.socket().exists(), "nothing is left");
}

#[test]
fn a_main_side_that_hears_of_the_end_of_its_remote_says_so() {
    let meeting = Meeting::new("ends");
    let mut remote = meeting.remote(&[]);
    let mut command = plain();
    meeting.arguments(&mut command);
    let host = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    remote.until("the link is up");
    assert_eq!(remote.interrupt(), Some(130));
    let output = host.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("withdrawn") && told.contains("it closed the socket"), "{told}");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn what_others_left_or_have_at_the_place_is_taken_over_or_refused() {
    let meeting = Meeting::new("places");
    // A socket that nobody listens at, and a file that a main side made.
    drop(UnixListener::bind(meeting.socket()).unwrap());
    File::create(&meeting.file).unwrap();
    let remote = meeting.remote(&[]);
    assert!(refusal(&meeting).contains("another remote sits there"));
    assert_eq!(meeting.host("rpmsg-echo", &["still here"]).stdout, b"still here\n");
    drop(remote);
    let _ = fs::remove_file(meeting.socket());
    let listener = UnixListener::bind(meeting.socket()).unwrap();
    assert!(refusal(&meeting).contains("somebody listens there"));
    drop(listener);
    fs::remove_file(meeting.socket()).unwrap();
    fs::write(meeting.socket(), "no socket").unwrap();
    assert!(refusal(&meeting).contains("there is something that is no socket"));
    assert_eq!(fs::read(meeting.socket()).unwrap(), b"no socket");
    let _ = fs::remove_file(&meeting.file);
    std::os::unix::fs::symlink("/etc/passwd", &meeting.file).unwrap();
    assert!(refusal(&meeting).contains("make /dev/shm/"));
    fs::remove_file(&meeting.file).unwrap();
    fs::create_dir(&meeting.file).unwrap();
    assert!(refusal(&meeting).contains("make /dev/shm/"));
    fs::remove_dir(&meeting.file).unwrap();
}

#[test]
fn a_file_that_shrinks_ends_the_remote_with_a_reason() {
    let meeting = Meeting::new("shrinks");
    let mut remote = meeting.remote(&[]);
    let main_side = connect(&meeting.socket());
    remote.until("a main side came");
    File::options().write(true).open(&meeting.file).unwrap().set_len(0).unwrap();
    let told = remote.until("its file was cut short under us");
    assert!(!told.is_empty());
    assert_eq!(ended(&mut remote.child).code(), Some(125));
    drop(main_side);
}

#[test]
fn a_main_side_that_says_nothing_or_goes_at_once_costs_nobody_anything() {
    let meeting = Meeting::new("silent");
    let mut remote = meeting.remote(&[]);
    for _ in 0..5 {
        drop(connect(&meeting.socket()));
        remote.until("it closed the socket");
        remote.until("ready for a main side");
    }
    assert_eq!(meeting.host("rpmsg-echo", &["x"]).stdout, b"x\n");
}

fn connect(socket: &Path) -> UnixStream {
    UnixStream::connect(socket).unwrap()
}

#[test]
fn arguments_that_do_not_go_together_are_refused() {
    for arguments in [
        &["--role", "remote", "--service", "echo", "message"][..],
        &["--role", "remote", "--service", "toast"],
        &["--service", "echo"],
        &["--service", "a", "--service", "b", "message"],
    ] {
        let output = sidecore().args(["attach", "shm:openamp"]).args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stderr.starts_with(b"error[E0620]"), "{arguments:?}");
    }
}

#[test]
fn two_of_our_processes_meet_at_a_place_of_their_own() {
    let meeting = Meeting::new("own");
    let text = format!(
        "memory = {:?}\nsocket = {:?}\nlen = 0x9000\ntable = 0x100\ntable-len = 0x200\nfree = [0x1000, 0x9000]\n",
        meeting.file,
        meeting.socket()
    );
    let place = format!("shm:{}", meeting.place.write("place.toml", text).display());
    let mut command = plain();
    command.args(["attach", &place, "--role", "remote", "-v"]);
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let mut remote = Remote { child, stderr };
    remote.until("ready for a main side");
    let long = "x".repeat(496);
    for _ in 0..2 {
        let output =
            sidecore().args(["attach", &place, "--service", "rpmsg-echo", "one", &long]).output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
        assert_eq!(output.stdout, format!("one\n{long}\n").into_bytes());
        remote.until("ready for a main side");
    }
}
