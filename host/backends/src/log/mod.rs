//! Logs of traces: what remotes said, a line each with the time, in files that people and programs read.
//!
//! A line of a log is the time in UTC with microseconds (when it was read, which is soon after it was written), the name of
//! the trace, and the text, or a note about it between dashes:
//!
//! ```text
//! 2026-11-21T20:15:00.123456Z trace0: listening on rpmsg-echo
//! 2026-11-21T20:15:02.000017Z trace0 -- 1234 bytes lost --
//! 2026-11-21T20:15:03.000017Z defmt = 037e
//! 2026-11-21T20:15:09.500000Z remote -- exited with code 0 --
//! ```
//!
//! (A frame of the `defmt` crate stands as it is, in hexadecimal digits: what it says is in the firmware's file.)
//!
//! Text of a remote is never taken for a note: a name has neither colons nor blanks.

pub mod journal;

mod file;

use std::fs::DirBuilder;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::{fmt, io};

use jiff::Timestamp;
use rustix::fs::{Mode, OFlags};
use sidecore_remoteproc::trace::{Line, Lost};

pub use file::{LIMIT, LogFile, file_name};

/// Whose notes are about the remote itself, and not about a trace.
pub const REMOTE: &str = "remote";

/// Opens a directory of logs, and makes it if need be, for its owner alone: firmware may say secrets.
///
/// # Errors
/// The system's.
pub fn directory(path: &Path) -> io::Result<OwnedFd> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// A line of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was read from the remote.
    pub time: Timestamp,
    /// Which trace it is of, or [`REMOTE`].
    pub trace: String,
    /// What it says.
    pub what: What,
}

/// What a line of a log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// What the firmware wrote.
    Text(String),
    /// A frame of the `defmt` crate.
    Frame(Vec<u8>),
    /// So many bytes were overwritten before they were read.
    Lost(u64),
    /// What else there is to say.
    Note(String),
}

impl Record {
    /// A line of a trace, read just now.
    #[must_use]
    pub fn of(trace: &str, line: &Line) -> Record {
        let what = match line {
            Line::Text(text) => What::Text(text.clone()),
            Line::Frame(bytes) => What::Frame(bytes.clone()),
            Line::Lost(Lost::Bytes(bytes)) => What::Lost(*bytes),
            Line::Lost(lost) => What::Note(lost.to_string()),
            Line::Trouble(trouble) => What::Note(trouble.to_string()),
        };
        Record::now(trace, what)
    }

    /// A note about the remote itself, made just now.
    #[must_use]
    pub fn note(text: impl fmt::Display) -> Record {
        Record::now(REMOTE, What::Note(text.to_string()))
    }

    fn now(trace: &str, what: What) -> Record {
        let plain = |c: char| if c.is_whitespace() || c == ':' { '_' } else { c };
        // A line is a line, whoever says it.
        let what = match what {
            What::Text(text) => What::Text(one_line(text)),
            What::Note(text) => What::Note(one_line(text)),
            What::Frame(_) | What::Lost(_) => what,
        };
        Record { time: Timestamp::now(), trace: trace.chars().map(plain).collect(), what }
    }

    /// Reads a line of a log, without its end; none if it is no such line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Record> {
        let (time, rest) = line.split_once(' ')?;
        let end = rest.find([':', ' '])?;
        let (trace, rest) = rest.split_at(end);
        let what = match rest.strip_prefix(": ") {
            Some(text) => What::Text(text.to_owned()),
            None if let Some(digits) = rest.strip_prefix(" = ") => What::Frame(bytes(digits)?),
            None => {
                let note = rest.strip_prefix(" -- ")?.strip_suffix(" --")?;
                match lost(note) {
                    Some(bytes) => What::Lost(bytes),
                    None => What::Note(note.to_owned()),
                }
            }
        };
        Some(Record { time: time.parse().ok()?, trace: trace.to_owned(), what })
    }
}

/// Text without ends of lines and other characters that control.
fn one_line(text: String) -> String {
    let controls = |c: char| c.is_control() && c != '\t';
    match text.contains(controls) {
        true => text.chars().map(|c| if controls(c) { char::REPLACEMENT_CHARACTER } else { c }).collect(),
        false => text,
    }
}

/// The bytes that hexadecimal digits stand for.
fn bytes(digits: &str) -> Option<Vec<u8>> {
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some((16 * char::from(*high).to_digit(16)? + char::from(*low).to_digit(16)?) as u8),
        _ => None,
    };
    pairs.map(byte).collect()
}

/// The number of a note about lost bytes.
fn lost(note: &str) -> Option<u64> {
    let bytes = note.split(' ').next()?.parse().ok()?;
    (Lost::Bytes(bytes).to_string() == note).then_some(bytes)
}

impl fmt::Display for Record {
    /// The line, without its end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Record { time, trace, what } = self;
        write!(f, "{time:.6} {trace}{what}")
    }
}

impl fmt::Display for What {
    /// The line behind the trace's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            What::Text(text) => write!(f, ": {text}"),
            What::Frame(bytes) => write!(f, " = {}", Line::Frame(bytes.clone())),
            What::Lost(bytes) => write!(f, " -- {} --", Lost::Bytes(*bytes)),
            What::Note(note) => write!(f, " -- {note} --"),
        }
    }
}

#[cfg(test)]
mod tests {
    use sidecore_remoteproc::trace::Trouble;

    use super::*;

    #[test]
    fn lines_are_read_as_they_were_written() {
        let lines = [
            Line::Text("listening: -- 5 bytes lost --".into()),
            Line::Text(String::new()),
            Line::Frame(vec![0, 0x7F, 0xFF]),
            Line::Lost(Lost::Bytes(1)),
            Line::Lost(Lost::Bytes(1234)),
            Line::Lost(Lost::Unknown),
            Line::Trouble(Trouble::WentBack { from: 7, to: 3 }),
        ];
        let records = lines
            .iter()
            .map(|line| Record::of("a: b", line))
            .chain([Record::note("it ended\n2026-11-21T20:15:00Z")]);
        for mut record in records {
            let text = record.to_string();
            assert!(!text.contains('\n') && text.as_bytes()[26] == b'Z', "{text}");
            // To the microsecond.
            record.time = text[..27].parse().unwrap();
            assert_eq!(Record::parse(&text), Some(record), "{text}");
        }
    }

    #[test]
    fn what_is_no_line_of_a_log_is_not_read() {
        for line in [
            "",
            " ",
            "2026-11-21T20:15:00Z",
            "2026-11-21T20:15:00Z trace0",
            "2026-11-21T20:15:00Z trace0:no blank",
            "2026-11-21T20:15:00Z trace0 -- a note",
            "2026-11-21T20:15:00Z trace0 --",
            "2026-11-21T20:15:00Z trace0 = 123",
            "2026-11-21T20:15:00Z trace0 = 1g",
            "yesterday trace0: text",
        ] {
            assert_eq!(Record::parse(line), None, "{line}");
        }
        let note = Record::parse("2026-11-21T20:15:00Z trace0 -- 01 bytes lost --").unwrap();
        assert_eq!(note.what, What::Note("01 bytes lost".into()));
    }
}
