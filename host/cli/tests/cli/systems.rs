//! Whole systems on boards: two cores that talk with each other, with and without us; images that are not ours; and
//! what is left when somebody is killed.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};

use crate::bench::{Place, ended, plain, until};
use crate::boards::{Board, on_every_board};

/// The image for the second core of a board, where it has one.
pub(crate) fn beside(board: &Board, image: &str) -> Option<PathBuf> {
    let images = board.images.ancestors().nth(2).unwrap();
    let target = board.images.parent().unwrap().file_name().unwrap();
    let image = images.join("core-1").join(target).join("firmware").join(image);
    image.exists().then_some(image)
}

fn on_every_pair(test: impl Fn(&Board, &Path)) {
    on_every_board(|board| {
        if let Some(echo) = beside(board, "echo") {
            test(board, &echo);
        }
    });
}

#[test]
fn two_cores_talk_with_each_other_with_no_main_side() {
    on_every_pair(|board, echo| {
        let on = &board.on;
        let output =
            board.command("run", "caller").arg("--trace").arg("--beside").arg(echo).output().unwrap();
        let trace = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(0), 0), "{on}: {trace}");
        let lines: Vec<&str> = trace.lines().collect();
        assert_eq!(lines[..2], ["caller: connected", "caller: rpmsg-echo is at 0x400"], "{on}: {trace}");
        assert!(lines[2].starts_with("caller: 1000 calls, each answered in "), "{on}: {trace}");
    });
}

#[test]
fn a_core_is_the_main_sides_remote_and_the_other_cores_host_at_once() {
    on_every_pair(|board, echo| {
        let on = &board.on;
        let mut ping = board.command("ping", "relay");
        let output = ping.args(["-c", "200", "-s", "0,max", "--beside"]).arg(echo).output().unwrap();
        assert!(output.status.success(), "{on}: {output:?}");
        let mut ping = board.command("ping", "relay");
        let output = ping.args(["-c", "200", "-s", "64", "--flood", "--beside"]).arg(echo).output().unwrap();
        assert!(output.status.success(), "{on}: {output:?}");
    });
}

#[test]
fn an_image_beside_is_refused_where_it_cannot_be() {
    on_every_board(|board| {
        let image = board.images.join("echo");
        let output = board.command("run", "hello").arg("--beside").arg(&image).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        let part = match beside(board, "echo") {
            // It is linked where the first core's image is.
            Some(_) => "overlaps",
            None => "this kind of remote cannot run an image beside another",
        };
        assert!(error.starts_with("error[E04") && error.contains(part), "{}: {error}", board.on);
        let output = board.command("run", "hello").args(["--beside", "hello"]).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(error.starts_with("error[E0107]: cannot use hello as firmware"), "{}: {error}", board.on);
        assert_eq!(output.status.code(), Some(126), "{}", board.on);
    });
    let output = crate::bench::sidecore().args(["run", "hello", "--beside", "echo"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("the sandbox has one core"), "{output:?}");
}

/// Changes bytes of an image: finds `from` in it, from which on `change` may do as it likes.
fn changed(image: &Path, from: &[u8], change: impl Fn(&mut [u8])) -> Vec<u8> {
    let mut bytes = fs::read(image).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from).unwrap();
    change(&mut bytes[at..]);
    bytes
}

/// How the resource table of `hello` begins: version 1, three entries, two reserved words, the offset of the first.
const TABLE: [u8; 20] = [1, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 28, 0, 0, 0];

#[test]
fn images_of_others_run_or_are_refused_in_clear_words() {
    on_every_board(|board| {
        let (on, place) = (&board.on, Place::new());
        let hello = board.images.join("hello");
        let run = |name: &str, bytes: &[u8]| {
            let image = place.write(name, bytes);
            let mut command = crate::bench::sidecore();
            command.args(["run", "--on", on]).arg(image).args(["--", "Bob"]).output().unwrap()
        };
        // An entry that only its vendor knows, and one that nobody does: skipped.
        for kind in [200, 77] {
            let output = run("theirs", &changed(&hello, &TABLE, |table| table[28] = kind));
            assert_eq!(output.stdout, b"Hello from the remote, Bob!\n", "{on}: {kind}: {output:?}");
        }
        let refused = [
            ("newer", 0, 2, "version is 2 (0x2): only 1 (0x1) is supported"),
            ("many", 5, 0x40, "count is 16387 (0x4003): must be between 0 and 256"),
            ("outside", 23, 0x7f, "offset is 2130706508 (0x7f00004c): needs"),
        ];
        for (name, at, byte, why) in refused {
            let output = run(name, &changed(&hello, &TABLE, |table| table[at] = byte));
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(error.starts_with("error[E02") && error.contains(why), "{on}: {name}: {error}");
            assert!(
                output.stdout.is_empty() && output.status.code() == Some(126),
                "{on}: {name}: {output:?}"
            );
        }
    });
}

/// A command that runs; killed when dropped, whatever becomes of its test.
struct Running {
    child: Child,
    /// The first line on its standard error.
    line: String,
    errors: BufReader<ChildStderr>,
}

impl Running {
    /// Starts a command, and waits until there is a line on its standard error.
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut errors = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        errors.read_line(&mut line).unwrap();
        Self { child, line, errors }
    }

    /// The emulators that it started, by their numbers.
    fn emulators(&self) -> Vec<i32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let children =
            |task: std::io::Result<fs::DirEntry>| fs::read_to_string(task.unwrap().path().join("children"));
        let children: Vec<String> = tasks.map(children).map(Result::unwrap_or_default).collect();
        children.iter().flat_map(|line| line.split_whitespace()).map(|pid| pid.parse().unwrap()).collect()
    }

    /// How it ended, and what else it said.
    fn wait(&mut self) -> (ExitStatus, String) {
        let mut rest = String::new();
        self.errors.read_to_string(&mut rest).unwrap();
        (ended(&mut self.child), rest)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lives(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn kill(pid: i32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn an_image_with_no_resource_table_runs_and_that_is_said() {
    on_every_board(|board| {
        let place = Place::new();
        let hidden = |name: &mut [u8]| name[1] = b'R';
        let bytes = changed(&board.images.join("echo"), b".resource_table\0", hidden);
        let image = place.write("none", bytes);
        let mut running = Running::start(plain().args(["run", "--on", &board.on]).arg(image));
        let expected =
            "sidecore: none has no resource table: it runs, but there is no console and no channel to it\n";
        assert_eq!(running.line, expected, "{}", board.on);
        assert!(running.child.try_wait().unwrap().is_none(), "{}: it goes on", board.on);
    });
}

#[test]
fn whoever_is_killed_nothing_is_left_and_the_next_run_works() {
    let before = files();
    on_every_board(|board| {
        let pair = beside(board, "echo");
        for who in ["the emulator", "the main side", "both"] {
            let mut command = plain();
            command.args(["run", "--trace", "--on", &board.on]);
            match &pair {
                Some(echo) => command.arg(board.images.join("relay")).arg("--beside").arg(echo),
                None => command.arg(board.images.join("echo")),
            };
            let mut running = Running::start(&mut command);
            let line = &running.line;
            assert!(line.starts_with("relay: ") || line.starts_with("echo: "), "{}: {line}", board.on);
            let emulators = running.emulators();
            assert!(!emulators.is_empty() && emulators.iter().all(|pid| lives(*pid)), "{}", board.on);
            if who != "the main side" {
                // The last one: the second of two machines.
                kill(*emulators.last().unwrap());
            }
            if who != "the emulator" {
                running.child.kill().unwrap();
            }
            let (status, rest) = running.wait();
            if who == "the emulator" {
                let told = rest.contains("QEMU is gone: it was killed by SIGKILL");
                assert!(told && status.code() == Some(125), "{}: {status}: {rest}", board.on);
            }
            until("the emulators are gone", || !emulators.iter().any(|pid| lives(*pid)));
        }
        let output = board.command("run", "hello").args(["--", "again"]).output().unwrap();
        assert_eq!(output.stdout, b"Hello from the remote, again!\n", "{}: {output:?}", board.on);
    });
    assert_eq!(files(), before);
}

/// What lies where emulators and remotes could leave something.
fn files() -> Vec<String> {
    let directories = ["/dev/shm".into(), std::env::temp_dir()];
    let entries = directories.iter().flat_map(|directory| fs::read_dir(directory).unwrap());
    let names = entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
    names.filter(|name| name.contains("qemu") || name.contains("sidecore: ram")).collect()
}

/// An emulator that is nobody's but this test's; gone with it, and its memory too.
struct Emulator(Child, PathBuf);

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_file(&self.1);
    }
}

#[test]
fn a_board_that_somebody_else_started_is_there_before_its_main_sides() {
    let place = Place::new();
    on_every_board(|board| {
        if board.on != "qemu:mps2-an386" {
            return;
        }
        let image = board.images.join("echo");
        let inspected = crate::bench::sidecore().args(["inspect", "--json"]).arg(&image).output().unwrap();
        let inspected: serde_json::Value = serde_json::from_slice(&inspected.stdout).unwrap();
        let table = inspected["resource_table"]["address"].as_u64().unwrap() - 0x2100_0000;

        // As a boot loader leaves it: started, and waiting for a main side.
        let ram = PathBuf::from(format!("/dev/shm/sidecore-test-{}", std::process::id()));
        let socket = place.path().join("mailbox");
        let mut qemu = Command::new("qemu-system-arm");
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-serial", "null"]);
        qemu.args(["-M", "mps2-an386,memory-backend=ram", "-global", "armv7m.init-nsvtor=0x21000000"]);
        qemu.arg("-object");
        qemu.arg(format!("memory-backend-file,id=ram,size=16M,share=on,mem-path={}", ram.display()));
        qemu.arg("-chardev").arg(format!("socket,id=mailbox,server=on,wait=off,path={}", socket.display()));
        qemu.args(["-serial", "chardev:mailbox", "-kernel"]).arg(&image);
        let qemu = qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let _emulator = Emulator(qemu.spawn().unwrap(), ram.clone());

        let text = format!(
            "memory = {ram:?}\nsocket = {socket:?}\nbase = 0x2100_0000\nlen = 0x100_0000\n\
             table = {table}\nfree = [0x80_1000, 0x100_0000]\n"
        );
        let shm = format!("shm:{}", place.write("an386.toml", text).display());
        until("there is a mailbox", || socket.exists());
        for round in ["one", "two", "three"] {
            let mut attach = crate::bench::sidecore();
            let output = attach.args(["attach", &shm, "--service", "rpmsg-echo", "hello", round]).output();
            let output = output.unwrap();
            let expected = format!("hello\n{round}\n");
            assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{round}: {output:?}");
            assert!(output.status.success(), "{round}: {output:?}");
        }
    });
}
