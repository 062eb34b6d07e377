//! What happened to a remote, in order: nothing is hidden, and nothing grows without a bound.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::codes::Code;
use crate::finding::Finding;
use crate::lifecycle::{Action, Input, State};
use crate::recovery::Decision;
use crate::{Crash, CrashKind};

/// The last entries of a remote's history, [`CAPACITY`](Self::CAPACITY) of them at most.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: VecDeque<LogEntry>,
    next: u64,
}

/// One thing that happened to a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    /// Its number in the remote's history, from 0; a gap tells that older entries were dropped.
    pub number: u64,
    /// What happened.
    pub what: What,
}

/// What happened to a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// Its state changed.
    Changed {
        /// From this state.
        from: State,
        /// To this one; the same for firmware loaded while offline.
        to: State,
        /// Because of this.
        why: Input,
    },
    /// A report that came too late to change anything.
    Late {
        /// The state.
        state: State,
        /// The report.
        report: Input,
    },
    /// Memories were given and firmware put there.
    Loaded {
        /// Number of memories.
        memories: usize,
        /// Bytes of all memories.
        bytes: u64,
    },
    /// A remote that runs already was taken over, with what its resource table says.
    TookOver {
        /// Number of its virtio devices.
        devices: usize,
        /// Bytes of the memories that the table names.
        bytes: u64,
    },
    /// Something about the firmware is odd.
    Found(Finding),
    /// It ended by itself.
    Exited {
        /// With this exit code.
        code: i32,
    },
    /// It crashed.
    Crashed(Crash),
    /// What was decided about a crash.
    Decided(Decision),
    /// It was restarted, though some had not acknowledged its crash in the time that they were given.
    NotAcknowledged {
        /// Who.
        clients: Vec<String>,
    },
    /// The remote ended while it held this of others', and it was freed.
    Reclaimed {
        /// What.
        what: String,
    },
    /// It could not be found out what of others' the remote held when it ended.
    NotReclaimed {
        /// Why.
        why: String,
    },
    /// Something could not be done.
    Failed {
        /// What.
        action: Action,
        /// The error's code.
        code: Code,
        /// The error, in words.
        why: String,
    },
    /// What executes the remote is gone, and with it the remote.
    ExecutorLost {
        /// What is known about it.
        why: String,
    },
}

impl Log {
    /// Entries that are kept.
    pub const CAPACITY: usize = 256;

    /// The entries that are still there, oldest first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &LogEntry> {
        self.entries.iter()
    }

    /// The entries from this number on. Remember the last number plus one, and ask with it the next time.
    pub fn since(&self, number: u64) -> impl Iterator<Item = &LogEntry> {
        self.entries.iter().skip_while(move |entry| entry.number < number)
    }

    pub(crate) fn push(&mut self, what: What) {
        if self.entries.len() == Self::CAPACITY {
            self.entries.pop_front();
        }
        self.entries.push_back(LogEntry { number: self.next, what });
        self.next += 1;
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { from, to, why } => write!(f, "{why}: {from} -> {to}"),
            Self::Late { state, report } => write!(f, "late report of {report}: already {state}"),
            Self::Loaded { memories, bytes } => {
                write!(f, "firmware loaded: {memories} memories, {bytes:#x} bytes")
            }
            Self::TookOver { devices, bytes } => {
                write!(f, "taken over: virtio devices: {devices}, {bytes:#x} bytes")
            }
            Self::Found(finding) => finding.fmt(f),
            Self::Exited { code } => write!(f, "ended by itself with exit code {code}"),
            Self::Crashed(crash) => describe(crash, f),
            Self::Decided(decision) => decision.fmt(f),
            Self::NotAcknowledged { clients } => {
                write!(f, "restarted without the word of {}", clients.join(", "))
            }
            Self::Reclaimed { what } => write!(f, "taken back: {what}"),
            Self::NotReclaimed { why } => write!(f, "what it held was not taken back: {why}"),
            Self::Failed { action, code, why } => write!(f, "{action} failed: error[{code}]: {why}"),
            Self::ExecutorLost { why } => write!(f, "the remote is lost: {why}"),
        }
    }
}

fn describe(crash: &Crash, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    match crash.kind {
        CrashKind::Fault { address } => write!(f, "crashed: bad access to {address}")?,
        CrashKind::IllegalInstruction => f.write_str("crashed: illegal instruction")?,
        CrashKind::Abort => f.write_str("crashed: gave up by itself")?,
        CrashKind::SemihostingCall => f.write_str("crashed: semihosting call that nobody answers")?,
        CrashKind::ForbiddenCall { number } => write!(f, "crashed: forbidden system call {number}")?,
        CrashKind::Hang => f.write_str("hung: its watchdog was not fed")?,
        CrashKind::LockUp => f.write_str("locked up")?,
        CrashKind::Reset => f.write_str("reset its own processor")?,
        CrashKind::Killed => f.write_str("was killed")?,
        CrashKind::Other => f.write_str("crashed")?,
    }
    write!(f, " (signal {}", crash.signal)?;
    if let Some(pc) = crash.pc {
        write!(f, ", pc {pc}")?;
    }
    f.write_str(")")?;
    match &crash.allegation {
        Some(text) => write!(f, "; it says: {text}"),
        None => Ok(()),
    }
}
