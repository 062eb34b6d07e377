use std::{
    ffi::{OsStr, OsString},
    fmt, fs, io,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::{self, PathBuf},
    str::FromStr,
};

use rustix::io::Errno;
use sidecore_services::file;

/// A directory that a user grants to a remote: `HOST[:GUEST][:ro]`.
///
/// `HOST` is the directory. `GUEST` is the relative path at which the remote finds it; without one, what is in the
/// directory is what the remote finds at all (its `.`). With `ro` the remote can only read; `rw`, which is the default,
/// can be written, too. No colon can be part of the paths.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Grant {
    host: PathBuf,
    /// Names with slashes between them; empty for the remote's `.`.
    guest: Vec<u8>,
    read_only: bool,
}

/// Directories cannot be granted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GrantError {
    /// The text is no `HOST[:GUEST][:ro]`.
    #[error("`{text}` is no directory to grant: {reason}; write HOST[:GUEST][:ro]")]
    Syntax {
        /// The text.
        text: String,
        /// What is wrong.
        reason: Reason,
    },
    /// The directory cannot be opened.
    #[error("the directory {} cannot be granted", host.display())]
    Open {
        /// The directory.
        host: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Two directories are to be at the same place.
    #[error("{} and {} cannot both be at `{guest}`; give one of them another GUEST", first.display(), second.display())]
    SameGuest {
        /// One directory.
        first: PathBuf,
        /// The other one.
        second: PathBuf,
        /// The place.
        guest: String,
    },
    /// A directory may be written by way of another one.
    #[error(
        "{} is to be read only, but is in {}, where it can be written; grant that one with `:ro`, too",
        read_only.display(), writable.display()
    )]
    Writable {
        /// The directory that is to be read only.
        read_only: PathBuf,
        /// The directory that it is in.
        writable: PathBuf,
    },
    /// The kernel has no `openat2` (Linux 5.6), or a sandbox around this program forbids it.
    #[error("the kernel does not let this program resolve paths beneath a directory (openat2, Linux 5.6)")]
    NoOpenat2(#[source] io::Error),
    /// There is no `/proc`, which opening files safely needs.
    #[error("files cannot be opened safely without /proc/self/fd; mount /proc")]
    NoProc(#[source] io::Error),
}

/// What is wrong with the text of a grant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Reason {
    /// HOST is empty.
    #[error("there is no HOST")]
    NoHost,
    /// There are more than HOST, GUEST and an option.
    #[error("there are {parts} parts")]
    TooManyParts {
        /// How many there are.
        parts: usize,
    },
    /// GUEST is no path that a remote could use.
    #[error("as GUEST, {0}")]
    Guest(file::PathError),
}

impl Grant {
    /// Reads `HOST[:GUEST][:ro]`.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &OsStr) -> Result<Grant, GrantError> {
        let wrong = |reason| GrantError::Syntax { text: text.to_string_lossy().into_owned(), reason };
        let mut parts: Vec<&[u8]> = text.as_bytes().split(|&byte| byte == b':').collect();
        let count = parts.len();
        let read_only = match parts.last() {
            Some(&(b"ro" | b"rw")) if count > 1 => parts.pop() == Some(b"ro"),
            _ => false,
        };
        let (host, guest) = match *parts {
            [b"", ..] | [] => return Err(wrong(Reason::NoHost)),
            [host] => (host, None),
            [host, guest] => (host, Some(guest)),
            _ => return Err(wrong(Reason::TooManyParts { parts: count })),
        };
        let guest = match guest.map(file::Path::new) {
            None => Vec::new(),
            Some(Ok(guest)) => guest.components().collect::<Vec<_>>().join(&b'/'),
            Some(Err(error)) => return Err(wrong(Reason::Guest(error))),
        };
        let host = PathBuf::from(OsString::from_vec(host.to_vec()));
        Ok(Grant { host, guest, read_only })
    }

    /// The directory.
    #[must_use]
    pub fn host(&self) -> &path::Path {
        &self.host
    }

    /// Where the remote finds it.
    #[must_use]
    pub fn guest(&self) -> String {
        match &*self.guest {
            [] => ".".into(),
            guest => guest.escape_ascii().to_string(),
        }
    }

    /// Whether the remote can only read it.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.read_only
    }

    /// The names of which the guest path is made.
    pub(super) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.guest.split(|&byte| byte == b'/').filter(|name| !name.is_empty())
    }

    pub(super) fn cannot_open(&self, error: Errno) -> GrantError {
        GrantError::Open { host: self.host.clone(), source: error.into() }
    }
}

impl FromStr for Grant {
    type Err = GrantError;

    fn from_str(text: &str) -> Result<Grant, GrantError> {
        Grant::parse(text.as_ref())
    }
}

impl fmt::Display for Grant {
    /// As [`Grant::parse`] reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let option = if self.read_only { "ro" } else { "rw" };
        write!(f, "{}:{}:{option}", self.host.display(), self.guest())
    }
}

/// Whether the directories, all of which are there, go together.
pub(super) fn check_together<'g>(grants: impl Iterator<Item = &'g Grant> + Clone) -> Result<(), GrantError> {
    for (i, first) in grants.clone().enumerate() {
        let real = fs::canonicalize(&first.host);
        let real = real.map_err(|source| GrantError::Open { host: first.host.clone(), source })?;
        for (k, second) in grants.clone().enumerate() {
            if i < k && first.guest == second.guest {
                let (first, second, guest) = (first.host.clone(), second.host.clone(), first.guest());
                return Err(GrantError::SameGuest { first, second, guest });
            }
            let within = || fs::canonicalize(&second.host).is_ok_and(|outer| real.starts_with(outer));
            if first.read_only && !second.read_only && within() {
                return Err(GrantError::Writable {
                    read_only: first.host.clone(),
                    writable: second.host.clone(),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sidecore_services::file::PathError;

    use super::*;

    #[test]
    fn grants_are_read_as_they_are_written() {
        let cases = [
            ("dir", "dir", ".", false),
            ("/a/b", "/a/b", ".", false),
            ("dir:ro", "dir", ".", true),
            ("dir:rw", "dir", ".", false),
            ("dir:in", "dir", "in", false),
            ("dir:in/./deep//:ro", "dir", "in/deep", true),
            ("dir:ro:ro", "dir", "ro", true),
            ("dir:.:ro", "dir", ".", true),
            ("ro", "ro", ".", false),
            ("..", "..", ".", false),
        ];
        for (text, host, guest, read_only) in cases {
            let grant: Grant = text.parse().unwrap();
            assert_eq!(
                (grant.host(), &*grant.guest(), grant.is_read_only()),
                (path::Path::new(host), guest, read_only),
                "{text}"
            );
            assert_eq!(grant.to_string().parse::<Grant>().unwrap(), grant, "{text}");
        }
        let odd = Grant::parse(OsStr::from_bytes(b"\xFFdir:\xFE")).unwrap();
        assert_eq!((odd.host().as_os_str().as_bytes(), &*odd.guest()), (&b"\xFFdir"[..], "\\xfe"));
    }

    #[test]
    fn grants_that_make_no_sense_say_why() {
        let cases = [
            ("", Reason::NoHost),
            (":in", Reason::NoHost),
            (":ro", Reason::NoHost),
            ("a:b:c", Reason::TooManyParts { parts: 3 }),
            ("a:b:c:ro", Reason::TooManyParts { parts: 4 }),
            ("a:", Reason::Guest(PathError::Empty)),
            ("a::ro", Reason::Guest(PathError::Empty)),
            ("a:/in", Reason::Guest(PathError::Absolute)),
            ("a:in/../..", Reason::Guest(PathError::Parent { at: 3 })),
            ("a:in\0", Reason::Guest(PathError::Nul { at: 2 })),
        ];
        for (text, expected) in cases {
            match text.parse::<Grant>() {
                Err(GrantError::Syntax { text: named, reason }) => {
                    assert_eq!((&*named, reason), (text, expected))
                }
                other => panic!("{text}: {other:?}"),
            }
        }
    }
}
