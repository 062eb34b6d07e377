//! The directory in which wardens listen: one socket a remote, for this user alone.

use std::env;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use sidecore_os::{Channel, Listener};
use sidecore_remoteproc::BackendError;

/// What the names of sockets end in.
const SUFFIX: &str = ".sock";
/// Entries that one sweep looks at.
const SWEEP_LIMIT: usize = 1024;
/// How long another starter may keep the directory locked.
const LOCK_TIME: Duration = Duration::from_secs(2);
/// How long a warden that hung up may take to be gone.
const DYING_TIME: Duration = Duration::from_secs(1);
/// How long a warden may have no room for another connection.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// An open runtime directory.
#[derive(Debug)]
pub(super) struct RuntimeDir {
    fd: OwnedFd,
    path: PathBuf,
    /// Device and number of the socket that was made here.
    made: Option<(u64, u64)>,
}

impl RuntimeDir {
    /// Opens the directory that was asked for, or the first that can be used of the usual ones, and makes it if need
    /// be.
    pub(super) fn open(asked: Option<&Path>) -> Result<Self, BackendError> {
        let mut reasons = Vec::new();
        for path in candidates(asked) {
            match Self::open_at(&path) {
                Ok(dir) => return Ok(dir),
                Err(reason) => reasons.push(format!("{}: {reason}", path.display())),
            }
        }
        let operation = "use a runtime directory".to_owned();
        Err(BackendError::System { operation, reason: reasons.join("; ") })
    }

    /// Connects to the warden of the remote `name`, in whichever of the directories it is.
    pub(super) fn connect(asked: Option<&Path>, name: &str) -> Result<(Self, Channel), BackendError> {
        let operation = format!("attach to the remote {name:?}");
        let mut reason = "no such remote".to_owned();
        for path in candidates(asked) {
            let Ok(fd) = open_dir(&path) else { continue };
            match connect_patiently(fd.as_fd(), &file_name(name)) {
                Ok(channel) => match check_peer(&channel) {
                    Ok(()) => return Ok((Self { fd, path, made: None }, channel)),
                    Err(why) => reason = why,
                },
                Err(Errno::NOENT) => {}
                Err(Errno::CONNREFUSED) => reason = "its warden is gone; the next start sweeps it".to_owned(),
                Err(Errno::AGAIN) => reason = "its warden is busy; try again".to_owned(),
                Err(errno) => reason = errno.to_string(),
            }
        }
        Err(BackendError::System { operation, reason })
    }

    /// The remotes whose wardens listen in any of the directories, by name, in order.
    pub(super) fn names(asked: Option<&Path>) -> Vec<String> {
        let mut names = Vec::new();
        for path in candidates(asked) {
            let Ok(fd) = open_dir(&path) else { continue };
            let Ok(entries) = rustix::fs::Dir::read_from(&fd) else { continue };
            for entry in entries.take(SWEEP_LIMIT).flatten() {
                let file = entry.file_name().to_str().unwrap_or_default();
                // Others' sockets, and those of the dead, are not shown.
                let is_alive =
                    || Channel::connect(fd.as_fd(), file).is_ok_and(|peer| check_peer(&peer).is_ok());
                if let Some(name) = file.strip_suffix(SUFFIX).filter(|_| is_alive()) {
                    names.push(name.to_owned());
                }
            }
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Removes what dead wardens left, then listens as `name`.
    pub(super) fn listen(&mut self, name: &str) -> Result<Listener, BackendError> {
        let listener = self.bind(name)?;
        self.made = self.identity(&file_name(name));
        Ok(listener)
    }

    fn bind(&self, name: &str) -> Result<Listener, BackendError> {
        let operation = || format!("listen for the remote {name:?} in {}", self.path.display());
        let refuse = |reason: String| BackendError::System { operation: operation(), reason };
        let _lock = self.lock().map_err(refuse)?;
        self.sweep();
        Listener::bind(self.fd.as_fd(), &file_name(name)).map_err(|refused| {
            refuse(match refused.errno {
                Errno::ADDRINUSE => "the name is taken; attach to it or choose another".to_owned(),
                Errno::NOSPC | Errno::DQUOT => format!("the directory is full ({})", refused.errno),
                errno => errno.to_string(),
            })
        })
    }

    /// Removes the socket of a warden that is gone. Another that lives meanwhile by that name keeps its own.
    pub(super) fn forget(&self, name: &str) {
        let Ok(_lock) = self.lock() else { return };
        if self.made.is_some() && self.made == self.identity(&file_name(name)) {
            return remove(self.fd.as_fd(), name);
        }
        // Somebody else's. A dying process closes its descriptors one by one.
        let deadline = Instant::now() + DYING_TIME;
        while !self.remove_if_dead(&file_name(name)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn open_at(path: &Path) -> Result<Self, String> {
        let fd = match open_dir(path) {
            Err(Errno::NOENT) => {
                let mut builder = std::fs::DirBuilder::new();
                std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
                builder.recursive(true).create(path).map_err(|error| error.to_string())?;
                open_dir(path)
            }
            other => other,
        };
        let fd = fd.map_err(|errno| match errno {
            Errno::LOOP | Errno::NOTDIR => "it is no directory".to_owned(),
            errno => errno.to_string(),
        })?;
        let stat = rustix::fs::fstat(&fd).map_err(|errno| errno.to_string())?;
        let me = rustix::process::geteuid().as_raw();
        if stat.st_uid != me {
            return Err(format!("it belongs to user {}, not to us ({me})", stat.st_uid));
        }
        let mode = Mode::from_raw_mode(stat.st_mode);
        if mode.intersects(Mode::WGRP | Mode::WOTH) {
            let mode = mode.bits() & 0o777;
            return Err(format!("others may write to it (mode {mode:03o}); chmod 700 it"));
        }
        let wanted = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
        rustix::fs::accessat(&fd, ".", wanted, AtFlags::EACCESS)
            .map_err(|errno| format!("we may not write to it ({errno})"))?;
        Ok(Self { fd, path: path.to_owned(), made: None })
    }

    /// One starter at a time: between finding a dead socket and making a new one, nobody else may do so.
    fn lock(&self) -> Result<Lock<'_>, String> {
        let deadline = Instant::now() + LOCK_TIME;
        loop {
            match rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Lock(self.fd.as_fd())),
                Err(Errno::AGAIN) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(Errno::AGAIN) => return Err("another process keeps it locked".to_owned()),
                Err(Errno::INTR) => {}
                // File systems without locks: a race between two starters is the lesser evil.
                Err(_) => return Ok(Lock(self.fd.as_fd())),
            }
        }
    }

    fn identity(&self, file: &str) -> Option<(u64, u64)> {
        let stat = rustix::fs::statat(&self.fd, file, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((stat.st_dev, stat.st_ino))
    }

    fn sweep(&self) {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.fd) else { return };
        for entry in entries.take(SWEEP_LIMIT).flatten() {
            let Ok(name) = entry.file_name().to_str() else { continue };
            if name.ends_with(SUFFIX) && matches!(entry.file_type(), FileType::Socket | FileType::Unknown) {
                self.remove_if_dead(name);
            }
        }
    }

    /// Whether it is gone, or was and is removed.
    fn remove_if_dead(&self, file: &str) -> bool {
        // A socket refuses connections only when its listener is gone, however busy it is.
        match Channel::connect(self.fd.as_fd(), file).map_err(|refused| refused.errno) {
            Err(Errno::CONNREFUSED) => {
                // It may be gone already.
                let _ = rustix::fs::unlinkat(&self.fd, file, AtFlags::empty());
                true
            }
            Err(Errno::NOENT) => true,
            _ => false,
        }
    }
}

impl AsFd for RuntimeDir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Removes the socket of the remote `name`, by its own warden.
pub(super) fn remove(dir: BorrowedFd<'_>, name: &str) {
    // It may be gone already.
    let _ = rustix::fs::unlinkat(dir, file_name(name), AtFlags::empty());
}

/// Whether a remote may have this name, or why not.
pub(super) fn check_name(name: &str) -> Result<(), BackendError> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if (1..=64).contains(&name.len()) && name.chars().all(good) && !name.starts_with('.') {
        return Ok(());
    }
    let shown: String = name.chars().take(80).collect();
    Err(BackendError::System {
        operation: format!("name a remote {shown:?}"),
        reason: "a name is 1 to 64 letters, digits, `.`, `_` and `-`, not beginning with a dot".to_owned(),
    })
}

/// A warden takes connections as they come, but may not get to it at once.
fn connect_patiently(dir: BorrowedFd<'_>, file: &str) -> Result<Channel, Errno> {
    let deadline = Instant::now() + CONNECT_TIME;
    loop {
        match Channel::connect(dir, file) {
            Err(refused) if refused.errno == Errno::AGAIN && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => return other.map_err(|refused| refused.errno),
        }
    }
}

/// Under `/tmp` anyone could have made the directory and listen in it.
fn check_peer(channel: &Channel) -> Result<(), String> {
    let peer = channel.peer().map_err(|refused| refused.to_string())?;
    if peer.is_trusted() || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(format!("its warden belongs to another user ({})", peer.uid))
}

struct Lock<'a>(BorrowedFd<'a>);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Explicitly: the warden gets a copy of the descriptor, which would keep the lock.
        let _ = rustix::fs::flock(self.0, FlockOperation::Unlock);
    }
}

fn file_name(name: &str) -> String {
    format!("{name}{SUFFIX}")
}

fn open_dir(path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn candidates(asked: Option<&Path>) -> Vec<PathBuf> {
    if let Some(path) = asked {
        return vec![path.to_owned()];
    }
    let user = rustix::process::geteuid();
    let session = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    let mut paths = Vec::new();
    paths.extend(session.map(|path| path.join("sidecore")));
    paths.extend(user.is_root().then(|| PathBuf::from("/run/sidecore")));
    paths.push(PathBuf::from(format!("/tmp/sidecore-{}", user.as_raw())));
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for bad in ["", ".", "..", ".hidden", "a/b", "a b", "a\n", "ü", &"x".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "M4.core-0_x", &"x".repeat(64)] {
            check_name(good).unwrap();
        }
    }
}
