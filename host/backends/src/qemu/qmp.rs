//! The emulator's control socket: QMP (QEMU's `docs/interop/qmp-spec.txt`), a line of JSON each way.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::{Value, json};

use super::console::Console;
use super::stream::{Broken, Stream};
use super::trouble::Trouble;

/// How long an answer may take. Nothing that is asked takes long, but the machine may be busy.
pub(super) const ANSWER_TIME: Duration = Duration::from_secs(20);
/// How often, while an answer is waited for, a look is taken at what the machine writes.
const ASIDE: Duration = Duration::from_millis(5);
/// Bytes of the longest line that is taken.
const LINE: usize = 1 << 20;
/// Events that wait to be looked at.
const EVENTS: usize = 256;

/// A connection over which an emulator is told what to do.
#[derive(Debug)]
pub(super) struct Qmp {
    stream: Stream,
    buffer: Vec<u8>,
    events: VecDeque<Happening>,
    /// Number of the last command.
    last: u64,
    /// Number of the last answer.
    answered: u64,
}

/// What the emulator says of the machine by itself, as far as it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Happening {
    /// The firmware reset the machine.
    Reset,
    /// The firmware turned the machine off: the emulator ends.
    Shutdown,
}

/// An emulator's version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The part before the first dot.
    pub major: u32,
    /// The part behind it.
    pub minor: u32,
    /// The third part.
    pub micro: u32,
    /// What the distribution says of it; may be empty.
    pub package: String,
}

#[derive(Deserialize)]
struct Line {
    #[serde(rename = "return")]
    answer: Option<Value>,
    error: Option<Refusal>,
    event: Option<String>,
    #[serde(default)]
    data: Value,
    id: Option<u64>,
    #[serde(rename = "QMP")]
    greeting: Option<Value>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

impl Qmp {
    /// Waits for the emulator to introduce itself and says that we listen.
    pub(super) fn open(stream: Stream) -> Result<(Self, Version), Trouble> {
        let mut qmp = Self { stream, buffer: Vec::new(), events: VecDeque::new(), last: 0, answered: 0 };
        let deadline = Instant::now() + ANSWER_TIME;
        let greeting = loop {
            let line = qmp.next(deadline, &mut Console::default())?;
            if let Some(greeting) = line.greeting {
                break greeting;
            }
        };
        let version = &greeting["version"];
        let part = |name: &str| {
            let part = version["qemu"][name].as_u64().and_then(|part| u32::try_from(part).ok());
            part.ok_or_else(|| Trouble::Nonsense(format!("a greeting without a {name} version: {greeting}")))
        };
        let package = version["package"].as_str().unwrap_or_default().to_owned();
        let version =
            Version { major: part("major")?, minor: part("minor")?, micro: part("micro")?, package };
        qmp.ask("qmp_capabilities", Value::Null, &mut Console::default())?;
        Ok((qmp, version))
    }

    /// Has a command carried out. The emulator answers nothing while nobody listens to what its machine writes to `aside`.
    pub(super) fn ask(
        &mut self,
        command: &str,
        arguments: Value,
        aside: &mut Console,
    ) -> Result<Value, Trouble> {
        let id = self.tell(command, arguments)?;
        let deadline = Instant::now() + ANSWER_TIME;
        loop {
            let line = self.next(deadline, aside)?;
            if line.id != Some(id) {
                continue; // An answer that nobody waits for.
            }
            return match (line.answer, line.error) {
                (_, Some(refusal)) => Err(Trouble::Refused(format!("{command}: {}", refusal.desc))),
                (Some(answer), None) => Ok(answer),
                (None, None) => Err(Trouble::Nonsense(format!("an answer to {command} without one"))),
            };
        }
    }

    /// Makes the emulator's main loop look at all of its devices once: it does at every command. Waits for nothing; one
    /// at a time is on its way.
    pub(super) fn nudge(&mut self) -> Result<(), Trouble> {
        if self.last == self.answered {
            self.tell("query-status", Value::Null)?;
        }
        Ok(())
    }

    /// What happened, if something did. Never waits.
    pub(super) fn happening(&mut self) -> Result<Option<Happening>, Trouble> {
        loop {
            // Answers are nothing that anybody waits for here.
            while self.line()?.is_some() {}
            if let Some(happening) = self.events.pop_front() {
                return Ok(Some(happening));
            }
            let mut some = [0; 4096];
            match self.stream.take(&mut some)? {
                0 => return Ok(None),
                len => self.buffer.extend_from_slice(&some[..len]),
            }
        }
    }

    fn tell(&mut self, command: &str, arguments: Value) -> Result<u64, Trouble> {
        self.last += 1;
        let mut message = json!({ "execute": command, "id": self.last });
        if !arguments.is_null() {
            message["arguments"] = arguments;
        }
        let line = format!("{message}\n");
        self.stream.send(line.as_bytes(), Instant::now() + ANSWER_TIME)?;
        Ok(self.last)
    }

    fn next(&mut self, deadline: Instant, aside: &mut Console) -> Result<Line, Trouble> {
        loop {
            if let Some(line) = self.line()? {
                return Ok(line);
            }
            let mut some = [0; 4096];
            let is_aside = !aside.streams().is_empty();
            let until = if is_aside { deadline.min(Instant::now() + ASIDE) } else { deadline };
            match self.stream.receive(&mut some, until) {
                Ok(len) => self.buffer.extend_from_slice(&some[..len]),
                Err(Broken::Late) if Instant::now() < deadline => aside.hear_out(),
                Err(Broken::Late) => {
                    return Err(Trouble::Late { what: "an answer to a command", within: ANSWER_TIME });
                }
                Err(Broken::Closed) => return Err(Trouble::Closed),
            }
        }
    }

    /// The next whole line; events are put aside.
    fn line(&mut self) -> Result<Option<Line>, Trouble> {
        loop {
            let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') else {
                let too_long = self.buffer.len() > LINE;
                return if too_long { Err(Trouble::Nonsense("a line without end".into())) } else { Ok(None) };
            };
            let bytes: Vec<u8> = self.buffer.drain(..=end).collect();
            let line: Line = serde_json::from_slice(&bytes).map_err(|error| {
                let text: String = String::from_utf8_lossy(&bytes).chars().take(80).collect();
                Trouble::Nonsense(format!("{text:?} ({error})"))
            })?;
            if let Some(id) = line.id {
                self.answered = self.answered.max(id);
            }
            let Some(event) = &line.event else { return Ok(Some(line)) };
            let by_firmware = line.data["guest"].as_bool() == Some(true);
            let happening = match event.as_str() {
                "RESET" if by_firmware => Happening::Reset,
                "SHUTDOWN" if by_firmware => Happening::Shutdown,
                _ => continue,
            };
            if self.events.len() < EVENTS {
                self.events.push_back(happening);
            }
        }
    }
}

impl AsFd for Qmp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Version {
    /// The oldest that works.
    pub const LEAST: (u32, u32) = (7, 2);

    /// Reads the first line of what `--version` prints.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.lines().find_map(|line| line.strip_prefix("QEMU emulator version "))?;
        let (number, package) = rest.split_once(' ').unwrap_or((rest, ""));
        let mut parts = number.split('.').map(|part| part.parse().ok());
        let mut part = || parts.next().flatten();
        let (major, minor, micro) = (part()?, part()?, part().unwrap_or(0));
        let package = package.trim_start_matches('(').trim_end_matches(')').to_owned();
        Some(Self { major, minor, micro, package })
    }

    /// Whether it is new enough.
    #[must_use]
    pub fn works(&self) -> bool {
        (self.major, self.minor) >= Self::LEAST
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { major, minor, micro, package } = self;
        write!(f, "{major}.{minor}.{micro}")?;
        if package.is_empty() { Ok(()) } else { write!(f, " ({package})") }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const GREETING: &str = r#"{"QMP": {"version": {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "x"}, "capabilities": []}}"#;

    /// An emulator that says these lines, whatever it is told.
    fn says(lines: &[&str]) -> Result<(Qmp, Version), Trouble> {
        let (ours, theirs) = Stream::pair().unwrap();
        let text = lines.join("\n") + "\n";
        let theirs = thread::spawn(move || {
            rustix::io::write(&theirs, text.as_bytes()).unwrap();
            // It says no more, but goes on to listen.
            rustix::net::shutdown(&theirs, rustix::net::Shutdown::Write).unwrap();
            theirs
        });
        let opened = Qmp::open(ours);
        drop(theirs.join().unwrap());
        opened
    }

    #[test]
    fn an_emulator_introduces_itself() {
        let (mut qmp, version) = says(&[GREETING, r#"{"return": {}, "id": 1}"#]).unwrap();
        assert_eq!(version.to_string(), "7.2.22 (x)");
        assert!(version.works());
        assert_eq!(qmp.happening(), Err(Trouble::Closed));
    }

    #[test]
    fn an_emulator_that_talks_nonsense_is_named() {
        let nonsense = |lines: &[&str]| match says(lines).map(drop) {
            Err(Trouble::Nonsense(what)) => what,
            other => panic!("{other:?}"),
        };
        assert!(nonsense(&["hello"]).contains("hello"));
        assert!(nonsense(&[r#"{"QMP": {}}"#]).contains("version"));
        assert!(nonsense(&[GREETING, r#"{"id": 1}"#]).contains("qmp_capabilities"));
        assert!(nonsense(&[&"x".repeat(LINE / 4)]).len() < 200);
    }

    #[test]
    fn refusals_and_a_closed_connection_are_told_apart() {
        let refused = says(&[GREETING, r#"{"error": {"class": "GenericError", "desc": "no"}, "id": 1}"#]);
        assert_eq!(refused.map(drop), Err(Trouble::Refused("qmp_capabilities: no".into())));
        assert_eq!(says(&[GREETING]).map(drop), Err(Trouble::Closed));
    }

    #[test]
    fn what_the_firmware_does_to_the_machine_is_told_and_what_we_do_is_not() {
        let (mut qmp, _) = says(&[
            GREETING,
            r#"{"event": "RESET", "data": {"guest": false}}"#,
            r#"{"event": "RESET", "data": {"guest": true}}"#,
            r#"{"event": "STOP"}"#,
            r#"{"return": {}, "id": 1}"#,
            r#"{"event": "SHUTDOWN", "data": {"guest": true}}"#,
        ])
        .unwrap();
        assert_eq!(qmp.happening(), Ok(Some(Happening::Reset)));
        assert_eq!(qmp.happening(), Ok(Some(Happening::Shutdown)));
    }

    #[test]
    fn versions_are_read_as_they_are_printed() {
        let debian = "QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)\nCopyright (c) ...\n";
        assert_eq!(Version::parse(debian).unwrap().to_string(), "7.2.22 (Debian 1:7.2+dfsg-7)");
        assert!(!Version::parse("QEMU emulator version 6.2.0\n").unwrap().works());
        assert!(Version::parse("QEMU emulator version 10.0.2").unwrap().works());
        assert_eq!(Version::parse("QEMU emulator version x"), None);
        assert_eq!(Version::parse(""), None);
    }
}
