//! Sandboxes that outlive their main sides.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::bench::{Place, plain, sidecore, until};

/// A sandbox that stays, with directories of its own; stopped with this.
pub(crate) struct Left {
    pub(crate) place: Place,
    pub(crate) name: String,
}

impl Left {
    /// Nothing runs there yet.
    pub(crate) fn new(name: &str) -> Self {
        Self { place: Place::new(), name: format!("sandbox:{name}-{}", std::process::id()) }
    }

    pub(crate) fn start(name: &str) -> Self {
        let left = Self::new(name);
        left.sidecore("start").arg("echo").assert().success().stdout("").stderr("");
        left
    }

    /// A command about it.
    pub(crate) fn sidecore(&self, command: &str) -> assert_cmd::Command {
        let mut sidecore = sidecore();
        sidecore.env("XDG_RUNTIME_DIR", self.place.path()).env("XDG_STATE_HOME", self.place.path());
        sidecore.args([command, &self.name]);
        sidecore
    }

    /// A main side that stays.
    fn stay(&self) -> Command {
        let mut sidecore = plain();
        sidecore.env("XDG_RUNTIME_DIR", self.place.path()).args(["attach", &self.name]);
        sidecore.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        sidecore
    }

    /// Sends messages to the echo and wants them back.
    fn talk(&self, message: &str) -> assert_cmd::assert::Assert {
        let mut attach = self.sidecore("attach");
        attach.args(["--verbose", "--service", "rpmsg-echo", message, "again"]).assert()
    }

    fn socket(&self) -> PathBuf {
        let name = self.name.strip_prefix("sandbox:").unwrap();
        self.place.path().join("sidecore").join(format!("{name}.sock"))
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        let _ = self.sidecore("stop").output();
    }
}

/// What a command says on its standard error.
pub(crate) trait Says {
    fn says(self, words: &str);
}

impl Says for assert_cmd::assert::Assert {
    #[track_caller]
    fn says(self, words: &str) {
        let error = String::from_utf8_lossy(&self.get_output().stderr);
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn main_sides_come_and_go_and_one_that_is_killed_is_followed_where_it_stood() {
    let left = Left::start("radio");
    left.talk("one").success().stdout("one\nagain\n").says("vdev0: up");
    left.talk("two").success().stdout("two\nagain\n");
    let mut ps = sidecore();
    let listed = ps.env("XDG_RUNTIME_DIR", left.place.path()).arg("ps").assert().success();
    let listed = String::from_utf8_lossy(&listed.get_output().stdout).into_owned();
    assert!(listed.lines().any(|line| line.starts_with(&left.name) && line.contains("running")), "{listed}");

    let mut killed = left.stay().spawn().unwrap();
    let mut lines = BufReader::new(killed.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("rpmsg-echo announced")), "it never came up");
    let second = left.talk("busy").code(125);
    second.says(&format!("process {} is its main side", killed.id()));
    killed.kill().unwrap();
    killed.wait().unwrap();
    left.talk("three").success().stdout("three\nagain\n").says("goes on where its main side died");
    left.talk("four").success().says("vdev0: up");
}

#[test]
fn a_name_is_one_remotes_and_a_remote_that_is_stopped_is_gone() {
    let left = Left::start("twice");
    let taken = left.sidecore("start").arg("echo").assert().code(125);
    taken.says("the name is taken; attach to it or choose another");
    left.sidecore("stop").assert().success();
    until("its socket is gone", || !left.socket().exists());
    left.talk("late").code(125).says("no such remote");
    left.sidecore("stop").assert().code(125).says("no such remote");
}

#[test]
fn firmware_is_replaced_where_nobody_is_its_main_side() {
    let left = Left::start("other");
    left.talk("one").success().stdout("one\nagain\n");
    let mut main_side = left.stay().spawn().unwrap();
    let mut lines = BufReader::new(main_side.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("rpmsg-echo announced")), "it never came up");
    let refused = left.sidecore("start").args(["--replace", "storm"]).assert().code(125);
    refused.says(&format!("process {} is its main side", main_side.id()));
    main_side.kill().unwrap();
    main_side.wait().unwrap();
    left.sidecore("start").args(["--replace", "no such file"]).assert().code(127);
    left.talk("two").success().stdout("two\nagain\n");

    left.sidecore("start").args(["--replace", "storm"]).assert().success().stderr("");
    let attached =
        left.sidecore("attach").args(["--verbose", "-s", "rpmsg-echo", "--timeout", "1", "x"]).assert();
    attached.code(125);
    left.sidecore("start").args(["--replace", "echo"]).assert().success();
    left.talk("three").success().stdout("three\nagain\n");
    left.sidecore("stop").assert().success();
    until("its socket is gone", || !left.socket().exists());
    left.sidecore("start").args(["--replace", "echo"]).assert().success();
    left.talk("four").success().stdout("four\nagain\n");
}

#[test]
fn what_makes_no_sense_for_a_sandbox_is_refused() {
    let place = Place::new();
    let mut start = sidecore();
    start.env("XDG_RUNTIME_DIR", place.path()).args(["start", "sandbox:none"]);
    start.assert().code(2).says("there is no firmware to start");
    let refused = |arguments: &[&str]| {
        let mut attach = sidecore();
        attach.env("XDG_RUNTIME_DIR", place.path()).args(["attach", "sandbox:none"]).args(arguments);
        attach.assert().code(2);
    };
    refused(&["--role", "remote"]);
    refused(&["--memory", "/dev/shm/x"]);
    let mut stop = sidecore();
    stop.env("XDG_RUNTIME_DIR", place.path()).args(["stop", "--detach", "sandbox:none"]);
    stop.assert().code(2).says("main sides let go of a sandbox by themselves");
}

#[test]
fn a_dump_is_taken_of_a_remote_that_runs_and_it_runs_on() {
    let left = Left::start("live");
    left.talk("one").success();
    let dumps = left.place.path().join("dumps");
    let dump = |arguments: &[&str]| {
        let mut dump = sidecore();
        dump.env("XDG_RUNTIME_DIR", left.place.path()).args(["dump", "--dumps"]).arg(&dumps).args(arguments);
        dump
    };
    let mut main_side = left.stay().spawn().unwrap();
    let mut lines = BufReader::new(main_side.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("rpmsg-echo announced")), "it never came up");
    let saved = dump(&["save", &left.name]).assert().success();
    let id = String::from_utf8_lossy(&saved.get_output().stdout).trim_end().to_owned();
    saved.says(&format!("next: sidecore dump gdb {id} --image FIRMWARE"));
    let info = dump(&["info"]).assert().success();
    let info = String::from_utf8_lossy(&info.get_output().stdout).into_owned();
    for part in ["state       running", "registers   yes", "pc          0x10", "in the dump"] {
        assert!(info.contains(part), "{part}: {info}");
    }
    let core = left.place.path().join("core");
    dump(&["save", &left.name, "-o", core.to_str().unwrap()]).assert().success().stdout("");
    if let Ok(read) = Command::new("readelf").arg("-hn").arg(&core).output() {
        let read = String::from_utf8_lossy(&read.stdout).into_owned();
        assert!(read.contains("CORE (Core file)") && read.contains("NT_PRSTATUS"), "{read}");
    }
    let debugged = dump(&["gdb", &id, "--image", "echo", "--", "-batch", "-ex", "bt"]).output().unwrap();
    let text = String::from_utf8_lossy(&debugged.stdout).into_owned();
    let is_there = !String::from_utf8_lossy(&debugged.stderr).contains("cannot start a debugger");
    assert!(!is_there || text.contains("sidecore_firmware"), "where it waits: {text}");
    main_side.kill().unwrap();
    main_side.wait().unwrap();
    left.talk("two").success().stdout("two\nagain\n");

    dump(&["save"]).assert().code(2).says("--output FILE says where");
    dump(&["save", "sandbox:nobody"]).assert().code(125).says("cannot dump sandbox:nobody");
    dump(&["save", &left.name, "-o", "/proc/nowhere"]).assert().code(1).says("cannot write /proc/nowhere");
    dump(&["save", &left.name, "-o", "/dev/full"]).assert().code(1).says("cannot write /dev/full");
    left.sidecore("stop").assert().success();
    dump(&["save", &left.name]).assert().code(125).says("no such remote");
}
