//! What the kernel says.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt as _;

use anyhow::{Context, Result};

use crate::wait;

/// The kernel's log from its beginning.
pub(crate) struct Log {
    records: File,
    text: String,
}

impl Log {
    pub(crate) fn open() -> Result<Self> {
        let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
        let records = OpenOptions::new().read(true).custom_flags(nonblocking).open("/dev/kmsg");
        Ok(Self { records: records.context("/dev/kmsg")?, text: String::new() })
    }

    /// How often something has been said so far.
    pub(crate) fn count(&mut self, what: &str) -> usize {
        let mut record = [0; 8192];
        loop {
            match self.records.read(&mut record) {
                Ok(length) => self.text.push_str(&String::from_utf8_lossy(&record[..length])),
                // Records that were overwritten before we came.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
                Err(_) => break,
            }
        }
        self.text.matches(what).count()
    }

    /// The last of what was said.
    pub(crate) fn tail(&self) -> impl Iterator<Item = &str> {
        let lines: Vec<&str> = self.text.lines().collect();
        lines.into_iter().rev().take(80).collect::<Vec<_>>().into_iter().rev()
    }

    /// Waits until something has been said so often.
    pub(crate) fn said(&mut self, what: &str, times: usize) -> Result<()> {
        let expected = format!("the kernel does not say `{what}` {times} times");
        wait::until(&expected, || (self.count(what) >= times).then_some(()))
    }
}
