//! What the kernel refuses, and what to do about it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// The udev rule that lets a group use remote processors, for `/etc/udev/rules.d/70-sidecore.rules`.
pub const RULE: &str = r#"# Remote processors and their channels are for the group `sidecore`.
SUBSYSTEM=="remoteproc", ACTION=="add", GROUP="sidecore", MODE="0660", RUN+="/bin/sh -c 'cd /sys%p && chgrp sidecore state firmware recovery coredump; chmod g+w state firmware recovery coredump'"
SUBSYSTEM=="rpmsg", ACTION=="add", GROUP="sidecore", MODE="0660"
"#;

/// Something of the kernel's that could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SysfsError {
    /// The kernel drives no remote processors.
    #[error("this kernel drives no remote processors: there is no {}", .0.display())]
    NoClass(PathBuf),
    /// There is none of that name.
    #[error("there is no remote processor {name} (there {})", there_are(.known))]
    NoSuch {
        /// The name.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// It is not for this user.
    #[error("{}: {who}", .path.display())]
    Denied {
        /// The file.
        path: PathBuf,
        /// Who may, and what is missing.
        who: String,
    },
    /// The kernel refused, or the file is not there.
    #[error("{}: {errno}", .path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// The kernel's answer.
        errno: Errno,
    },
    /// A file says what it never should.
    #[error("{} says `{value}`", .path.display())]
    Strange {
        /// The file.
        path: PathBuf,
        /// What it says, shortened.
        value: String,
    },
    /// The remote announced no channel of that name.
    #[error("{remote} announces no channel {name} (it announces {})", listed(.known))]
    NoChannel {
        /// The remote.
        remote: String,
        /// The channel.
        name: String,
        /// Those that it announces.
        known: Vec<String>,
    },
    /// The kernel offers no way to open endpoints on that remote.
    #[error(
        "no /dev/rpmsg_ctrl* belongs to {remote}: load the module rpmsg_ctrl (before Linux 5.18: rpmsg_char)"
    )]
    NoControl {
        /// The remote.
        remote: String,
    },
    /// The endpoint went: the remote withdrew its channel, stopped or crashed.
    #[error("{} went: the remote stopped, crashed or withdrew the channel", .path.display())]
    Gone {
        /// The endpoint's device.
        path: PathBuf,
    },
}

impl SysfsError {
    /// What an operation on a file came to.
    pub(super) fn of(path: &Path, writing: bool, error: &io::Error) -> Self {
        let path = path.to_owned();
        match Errno::from_io_error(error).unwrap_or(Errno::IO) {
            Errno::ACCESS | Errno::PERM => Self::Denied { who: who_may(&path, writing), path },
            Errno::PIPE | Errno::NODEV | Errno::NXIO => Self::Gone { path },
            errno => Self::Refused { path, errno },
        }
    }

    /// Whether a rule or a group would help.
    #[must_use]
    pub const fn is_denied(&self) -> bool {
        matches!(self, Self::Denied { .. })
    }
}

/// In whose hands a file is, and what this user is missing.
fn who_may(path: &Path, writing: bool) -> String {
    // The file itself may be behind a folder that is closed.
    let mut place = path;
    let metadata = loop {
        match fs::metadata(place) {
            Ok(metadata) => break metadata,
            Err(_) => match place.parent() {
                Some(parent) => place = parent,
                None => return "it is not for this user".to_owned(),
            },
        }
    };
    let (mode, group) = (metadata.mode() & 0o777, group_name(metadata.gid()));
    let bit = if writing { 0o020 } else { 0o040 };
    let user = rustix::process::geteuid().as_raw();
    let missing = if mode & bit == 0 || metadata.gid() == 0 {
        "a udev rule has to give it to a group of this user".to_owned()
    } else {
        format!("members of the group {group} may: `usermod -aG {group} USER` as root, then log in again")
    };
    let place = if place == path { String::new() } else { format!("{} is closed: ", place.display()) };
    format!(
        "{place}it belongs to {}:{group} with mode {mode:03o}, and this is user {user}; {missing}",
        metadata.uid()
    )
}

fn group_name(gid: u32) -> String {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    let name = groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(gid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| gid.to_string())
}

fn there_are(names: &[String]) -> String {
    match names {
        [] => "is none".to_owned(),
        names => format!("are {}", names.join(", ")),
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
