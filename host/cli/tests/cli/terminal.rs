//! Verbs that have the terminal to themselves: what they draw, and that they give it back.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::bench::ended;
use crate::everyday::User;

/// A terminal, and a program on it.
struct Terminal {
    keys: File,
    /// Where the program is.
    inner: OwnedFd,
    before: Termios,
    child: Child,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(mut command: Command, columns: u16, rows: u16) -> Self {
        let outer = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&outer).unwrap();
        unlockpt(&outer).unwrap();
        let name = ptsname(&outer, Vec::new()).unwrap();
        let inner =
            rustix::fs::open(&name, OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        tcsetwinsize(&inner, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let before = tcgetattr(&inner).unwrap();
        let stream = || Stdio::from(inner.try_clone().unwrap());
        let child =
            command.env("TERM", "xterm").stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let mut from = File::from(outer.try_clone().unwrap());
        let (tell, output) = channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            loop {
                match from.read(&mut piece) {
                    Ok(len @ 1..) if tell.send(piece[..len].to_vec()).is_ok() => {}
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    _ => return,
                }
            }
        });
        Self { keys: File::from(outer), inner, before, child, output, seen: String::new() }
    }

    /// Waits for words on it.
    #[track_caller]
    fn shows(&mut self, words: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.seen.contains(words) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(_) => panic!("never came: {words}: {:?}", self.seen),
            }
        }
    }

    fn press(&mut self, keys: &[u8]) {
        self.keys.write_all(keys).unwrap();
    }

    /// Waits for the program's end, and wants the terminal to be as it was.
    #[track_caller]
    fn ends(mut self, code: i32) {
        assert_eq!(ended(&mut self.child).code(), Some(code), "{:?}", self.seen);
        let after = tcgetattr(self.inner.as_fd()).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert!(after.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What ends another screen.
const BACK: &str = "\u{1b}[?1049l";

#[test]
fn top_draws_remotes_and_gives_the_terminal_back() {
    let user = User::alone();
    user.done(&["start", "radio", "echo"]);
    user.done(&["start", "radar", "echo"]);
    let mut terminal = Terminal::start(user.sidecore(&["top", "--interval", "0.2"]), 80, 24);
    terminal.shows("sidecore: no daemon,");
    terminal.shows("q leaves");
    terminal.shows("sandbox:radar: running");
    // Blanks that were there already are not drawn.
    terminal.shows("started");
    terminal.seen.clear();
    terminal.press(b"\x1b[B");
    terminal.shows("sandbox:radio");
    // Another size; what is drawn anew fits it.
    tcsetwinsize(&terminal.inner, Winsize { ws_row: 5, ws_col: 20, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    kill_process(Pid::from_raw(terminal.child.id() as i32).unwrap(), Signal::WINCH).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    terminal.press(b"q");
    terminal.shows(BACK);
    terminal.ends(0);
}

#[test]
fn top_gives_the_terminal_back_whatever_ends_it() {
    let user = User::alone();
    for (end, code) in [(Some(Signal::TERM), 143), (Some(Signal::INT), 130), (None, 0)] {
        let mut terminal = Terminal::start(user.sidecore(&["top"]), 80, 24);
        terminal.shows("sidecore: no daemon,");
        match end {
            Some(signal) => kill_process(Pid::from_raw(terminal.child.id() as i32).unwrap(), signal).unwrap(),
            // Ctrl-C, which is a key here.
            None => terminal.press(b"\x03"),
        }
        terminal.shows(BACK);
        terminal.ends(code);
    }
}

#[test]
fn top_ends_when_its_daemon_does() {
    let mut user = User::with_daemon();
    let mut terminal = Terminal::start(user.sidecore(&["top", "--interval", "0.2"]), 80, 24);
    terminal.shows("the session's daemon");
    user.kill_daemon();
    terminal.shows(BACK);
    terminal.shows("error[E07");
    terminal.ends(125);
}

#[test]
fn the_console_passes_keys_on_until_it_is_left() {
    let user = User::with_daemon();
    user.done(&["start", "voice", "cat"]);
    let mut terminal = Terminal::start(user.sidecore(&["console", "voice"]), 80, 24);
    terminal.shows("Ctrl-] leaves it");
    terminal.press(b"hello, you\n");
    terminal.shows("hello, you");
    terminal.press(b"\x1d");
    terminal.ends(0);
    assert!(user.done(&["status", "voice"]).contains("running"));
}

#[test]
fn keys_pressed_before_the_console_is_there_count() {
    let user = User::with_daemon();
    user.done(&["start", "voice", "cat"]);
    let mut late = std::process::Command::new("sh");
    late.args(["-c", "read _; exec \"$0\" console voice", env!("CARGO_BIN_EXE_sidecore")]);
    user.own(&mut late);
    let mut terminal = Terminal::start(late, 80, 24);
    terminal.press(b"\nthen this\n\x1d");
    terminal.shows("Ctrl-] leaves it");
    terminal.ends(0);
}

#[test]
fn the_console_of_a_remote_that_nobody_has_is_there_as_often_as_it_is_asked_for() {
    let user = User::alone();
    user.done(&["start", "voice", "cat"]);
    for round in 0..5 {
        let mut console = user.sidecore(&["console", "voice", "--linger", "0.5"]);
        let mut console = console.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let line = format!("line {round}\n");
        console.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
        assert!(ended(&mut console).success());
        let mut said = String::new();
        console.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert_eq!(said, line);
    }
    assert!(user.done(&["status", "voice"]).contains("running"));
}
