//! A crash in words.

use std::fmt;

use sidecore_remoteproc::{Crash, CrashKind};

/// A crash in one line: what happened, and where. What the firmware itself says is not in it.
pub struct Summary<'c>(pub &'c Crash);

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(crash) = self;
        match crash.kind {
            CrashKind::Fault { address } => write!(f, "it accessed {address}, which it may not")?,
            CrashKind::IllegalInstruction => {
                f.write_str("it came upon an instruction that it cannot execute")?
            }
            CrashKind::Abort => f.write_str("it gave up by itself (panic or abort)")?,
            CrashKind::SemihostingCall => {
                f.write_str("it made what looks like a semihosting call, which nobody answers")?
            }
            CrashKind::ForbiddenCall { number } => {
                write!(f, "it made system call {number}, which is forbidden")?
            }
            CrashKind::Hang => f.write_str("it did not feed its watchdog in time")?,
            CrashKind::LockUp => f.write_str("its core locked up: a fault that it could not even handle")?,
            CrashKind::Reset => f.write_str("it reset its own processor")?,
            CrashKind::Killed => write!(f, "someone killed it with signal {}", crash.signal)?,
            _ => write!(f, "signal {}", crash.signal)?,
        }
        crash.pc.map_or(Ok(()), |pc| write!(f, ", at pc {pc}"))
    }
}

impl fmt::Debug for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
