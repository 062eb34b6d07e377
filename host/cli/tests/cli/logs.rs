//! What remotes say, kept and read again.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::bench::{Place, ended, plain, sidecore, until};
use crate::left_running::{Left, Says as _};

/// What its main sides find of one that stays.
impl Left {
    fn logs(&self, arguments: &[&str]) -> Vec<String> {
        let mut logs = self.sidecore("logs");
        let output = logs.args(arguments).assert().success().stderr("");
        String::from_utf8_lossy(&output.get_output().stdout).lines().map(str::to_owned).collect()
    }

    fn greet(&self) {
        let mut attach = self.sidecore("attach");
        attach.args(["--service", "rpmsg-echo", "hello"]).assert().success().stdout("hello\n");
    }
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How often the echo said that it was there.
fn count(lines: &[String], what: &str) -> usize {
    lines.iter().filter(|line| line.contains(what)).count()
}

#[test]
fn what_a_sandbox_says_is_kept_whoever_comes_and_goes_and_when_it_is_gone() {
    let left = Left::start("kept");
    let connected = "trace0: echo: connected";
    for _ in 0..3 {
        // Whoever started it may have gone before it saw them.
        let before = count(&left.logs(&[]), connected);
        left.greet();
        until("it says that somebody came", || count(&left.logs(&[]), connected) > before);
    }
    left.sidecore("stop").assert().success();
    let lines = left.logs(&[]);
    assert!(lines[0].ends_with(" remote -- started echo --"), "{lines:?}");
    assert!(lines.last().unwrap().ends_with(" remote -- stopped --"), "{lines:?}");
    assert!(count(&lines, connected) >= 3 && count(&lines, "lost") == 0, "{lines:?}");
    assert!(lines.is_sorted(), "each line has its time: {lines:?}");
    assert_eq!(left.logs(&["-n", "1"]), lines[lines.len() - 1..]);
    assert_eq!(left.logs(&["-n", "0"]), [""; 0]);
    assert_eq!(left.logs(&["--since", "10min ago"]), lines);
    assert_eq!(left.logs(&["--since", "-1h", "--lines", "2"]), lines[lines.len() - 2..]);
    assert_eq!(left.logs(&["--since", "tomorrow"]), [""; 0]);
    let stamp = lines[1].split(' ').next().unwrap();
    assert_eq!(left.logs(&["--since", stamp]), lines[1..]);

    let objects: Vec<Value> =
        left.logs(&["--json"]).iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), lines.len());
    assert_eq!((&objects[0]["trace"], &objects[0]["note"]), (&"remote".into(), &"started echo".into()));
    assert_eq!((&objects[1]["trace"], &objects[1]["text"]), (&"trace0".into(), &"echo: connected".into()));
    assert_eq!(objects[1]["schema"], "sidecore.logs/1");
    assert_eq!(objects[1]["remote"], *left.name);
    assert!(objects[1]["time"].as_str().is_some_and(|time| time.ends_with('Z')));

    left.sidecore("logs").args(["--since", "soon"]).assert().code(2);
}

#[test]
fn a_log_is_followed_until_ctrl_c() {
    let left = Left::start("followed");
    let mut logs = plain();
    logs.env("XDG_RUNTIME_DIR", left.place.path()).env("XDG_STATE_HOME", left.place.path());
    logs.args(["logs", &left.name, "-f", "-n", "0"]).stdout(Stdio::piped());
    let mut logs = Guard(logs.spawn().unwrap());
    let lines = BufReader::new(logs.0.stdout.take().unwrap()).lines();
    let (tell, told) = mpsc::channel();
    let reader = thread::spawn(move || {
        lines.map_while(Result::ok).for_each(|line| tell.send(line).unwrap_or_default())
    });
    // It may begin to follow at any time; what is said then is shown.
    let mut line = None;
    until("a line that is new", || {
        left.greet();
        line = told.recv_timeout(Duration::from_millis(100)).ok();
        line.is_some()
    });
    assert!(line.unwrap().contains("trace0: echo: "));
    kill_process(Pid::from_child(&logs.0), Signal::INT).unwrap();
    assert_eq!(ended(&mut logs.0).code(), Some(130));
    reader.join().unwrap();
}

#[test]
fn a_sandbox_runs_though_no_log_can_be_kept() {
    let left = Left::new("unkept");
    left.place.write("file", "");
    let nowhere = left.place.path().join("file");
    let mut start = left.sidecore("start");
    let started = start.arg("echo").env("XDG_STATE_HOME", &nowhere).assert().success();
    let said = String::from_utf8_lossy(&started.get_output().stderr).into_owned();
    assert!(said.contains("no log of its traces is kept: "), "{said}");
    left.greet();
    let nobody = Left::new("nobody");
    nobody.sidecore("logs").assert().code(1).says("has no log");
}

#[test]
fn a_run_keeps_a_log_where_it_is_told_to() {
    let place = Place::new();
    let path = place.path().join("hello.log");
    for _ in 0..2 {
        let mut run = sidecore();
        run.args(["run", "--log"]).arg(&path).args(["hello", "--", "Ann"]);
        run.assert().success().stdout("Hello from the remote, Ann!\n").stderr("");
    }
    let text = fs::read_to_string(&path).unwrap();
    let said: Vec<&str> = text.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        said[1..4],
        ["remote -- started hello --", "trace0: hello: up", "remote -- exited with code 0 --"]
    );
    assert_eq!(said.len(), 8, "{text}");

    let mut run = sidecore();
    run.args(["run", "--log"]).arg(&path).args(["crash", "--", "panic"]);
    run.assert().code(134);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.lines().last().unwrap().contains("remote -- crashed: it gave up by itself"), "{text}");

    let mut run = sidecore();
    run.args(["run", "--log", "/proc/nowhere/log", "hello"]);
    run.assert().code(125).stdout("").says("cannot keep a log in /proc/nowhere/log");
    let mut run = sidecore();
    // There is no journal in here, or there is one.
    let code = run.args(["run", "--log", "journal", "hello"]).output().unwrap().status.code();
    assert_eq!(code, Some(if fs::exists("/run/systemd/journal/socket").unwrap() { 0 } else { 125 }));
}

/// The image that logs by `defmt`, where images were built.
fn defmt_image() -> Option<PathBuf> {
    let program = Path::new(env!("CARGO_BIN_EXE_sidecore"));
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let image = program.ancestors().nth(2)?.join("images").join(target).join("release/logs");
    if !image.exists() {
        eprintln!("not run: frames of defmt: no images; cargo xtask images");
    }
    Some(image).filter(|image| image.exists())
}

#[test]
fn frames_of_defmt_are_shown_in_words() {
    let Some(image) = defmt_image() else { return };
    let place = Place::new();
    let path = place.path().join("run.log");
    let mut run = sidecore();
    run.args(["run", "--trace", "--log"]).arg(&path).arg(&image).args(["--", "Ann"]);
    let words = ["INFO logs: up", "WARN argument 0 is b\"Ann\"", "DEBUG that is all of 1"];
    run.assert().success().stderr(words.map(|line| format!("{line}\n")).concat());
    let text = fs::read_to_string(&path).unwrap();
    assert!(words.iter().all(|line| text.contains(&format!(" defmt: {line}"))), "{text}");

    let left = Left { place, name: format!("sandbox:defmt-{}", std::process::id()) };
    let mut start = left.sidecore("start");
    start.arg(&image).assert().success().stdout("").stderr("");
    until("its first frame", || count(&left.logs(&[]), "defmt: INFO logs: up") == 1);
}

#[test]
fn frames_that_make_no_sense_are_named_and_cost_no_others() {
    let Some(image) = defmt_image() else { return };
    let left = Left::new("nonsense");
    let mut start = left.sidecore("start");
    start.arg(&image).assert().success();
    until("its first frame", || count(&left.logs(&[]), "defmt: INFO logs: up") == 1);
    left.sidecore("stop").assert().success();
    let logs = left.place.path().join("sidecore/logs");
    let name = left.name.strip_prefix("sandbox:").unwrap();
    let path = logs.join(format!("{name}.log"));
    let mut text = fs::read_to_string(&path).unwrap();
    let good = text.lines().find(|line| line.contains(" defmt = ")).unwrap().to_owned();
    // Of every length, with every index that there is, and with lengths of which nothing is there.
    let mut random = 1_u32;
    for number in 0..500_u32 {
        let bytes = (0..1 + number % 40).map(|at| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            if at < 2 { (number % 16) as u8 } else { (random >> 24) as u8 }
        });
        let digits: String = bytes.map(|byte| format!("{byte:02x}")).collect();
        text += &format!("2026-11-21T20:15:00.123456Z defmt = {digits}\n");
    }
    text += &format!("{good}\n");
    fs::write(&path, text).unwrap();
    let lines = left.logs(&[]);
    assert!(count(&lines, "makes no sense") > 100, "{lines:?}");
    assert_eq!(count(&lines, " = "), 0);
    assert!(lines.last().unwrap().ends_with("defmt: INFO logs: up"), "{lines:?}");
    // Without the file they stand as they are.
    fs::remove_file(logs.join(format!("{name}.elf"))).unwrap();
    assert!(left.logs(&["-n", "1"])[0].contains(" defmt = "));
    // And one that is garbage is no file at all.
    fs::write(logs.join(format!("{name}.elf")), b"\x7fELF garbage").unwrap();
    assert!(left.logs(&["-n", "1"])[0].contains(" defmt = "));
}
