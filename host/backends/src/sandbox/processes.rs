//! The processes of sandboxed remotes, for those who look after them from outside: tests, tools, people.

use std::{fs, io};

use rustix::process::{Pid, Signal, kill_process};

use super::{REMOTE_NAME, WARDEN_NAME};

/// A process of a sandboxed remote, as `ps` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Process {
    /// Its number.
    pub pid: Pid,
    /// What it is to the remote.
    pub role: Role,
    /// What the remote is called. Its processes say so; anybody's could.
    pub remote: String,
}

/// Which of a remote's two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The one that owns its memory and its end.
    Warden,
    /// The one that executes its firmware.
    Remote,
}

impl Process {
    /// All of them that `/proc` shows, whoever their main sides are.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?));
        pids.filter_map(Self::look).collect()
    }

    /// Those of one remote.
    #[must_use]
    pub fn of(remote: &str) -> Vec<Self> {
        let mut all = Self::all();
        all.retain(|process| process.remote == remote);
        all
    }

    /// The one with this role of one remote.
    #[must_use]
    pub fn find(remote: &str, role: Role) -> Option<Self> {
        Self::of(remote).into_iter().find(|process| process.role == role)
    }

    /// Kills it at once.
    ///
    /// # Errors
    /// It is gone, or another user's.
    pub fn kill(&self) -> io::Result<()> {
        Ok(kill_process(self.pid, Signal::KILL)?)
    }

    fn look(pid: Pid) -> Option<Self> {
        // proc(5): arguments, each with a zero behind it. A process that has ended has none.
        let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).ok()?;
        let mut arguments = line.split(|byte| *byte == 0).map(str::from_utf8);
        let role = match arguments.next()?.ok()? {
            WARDEN_NAME => Role::Warden,
            REMOTE_NAME => Role::Remote,
            _ => return None,
        };
        Some(Self { pid, role, remote: arguments.next()?.ok()?.to_owned() })
    }
}
