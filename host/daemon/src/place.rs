//! The directory in which keepers are found, and the lock of the one daemon.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use sidecore_os::{Channel, Errno, Listener};

/// Below the runtime directory.
const KEEPERS: &str = "keepers";

/// What is locked by the daemon that there is.
const LOCK: &str = "daemon.lock";

/// Where keepers listen: one socket a remote, for this user alone.
#[derive(Debug)]
pub(crate) struct Place(OwnedFd);

impl Place {
    /// Below a runtime directory; made if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or somebody else could write to it.
    pub(crate) fn open(runtime_dir: &Path) -> io::Result<Self> {
        let path = runtime_dir.join(KEEPERS);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::open(&path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&fd)?;
        let others = Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
        if others || stat.st_uid != rustix::process::geteuid().as_raw() {
            let why = format!("{} is not ours alone (chmod 700 it)", path.display());
            return Err(io::Error::new(ErrorKind::PermissionDenied, why));
        }
        Ok(Self(fd))
    }

    /// Listens as the keeper of a remote. What a dead one left by that name goes.
    pub(crate) fn listen(&self, name: &str) -> io::Result<Listener> {
        if let Err(refused) = Channel::connect(self.0.as_fd(), name)
            && refused.errno == Errno::CONNREFUSED
        {
            self.forget(name);
        }
        Listener::bind(self.0.as_fd(), name).map_err(|refused| io::Error::from(refused.errno))
    }

    /// Removes a keeper's socket.
    pub(crate) fn forget(&self, name: &str) {
        // It may be gone already.
        let _ = rustix::fs::unlinkat(&self.0, name, AtFlags::empty());
    }

    /// The keepers that there are, by their remotes' names, but those that are known.
    pub(crate) fn keepers(&self, known: &BTreeSet<String>) -> Vec<(String, Channel)> {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.0) else { return Vec::new() };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name().to_str().unwrap_or_default();
            if name.is_empty() || name.starts_with('.') || known.contains(name) {
                continue;
            }
            match Channel::connect(self.0.as_fd(), name) {
                Ok(channel) if channel.peer().is_ok_and(|peer| peer.is_trusted()) => {
                    found.push((name.to_owned(), channel));
                }
                Err(refused) if refused.errno == Errno::CONNREFUSED => self.forget(name),
                _ => {}
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        found
    }
}

/// Makes sure that there is one daemon for a runtime directory: as long as what is answered is kept.
///
/// # Errors
/// There is one already, or the directory cannot be used.
pub(crate) fn lock(runtime_dir: &Path) -> io::Result<OwnedFd> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(runtime_dir)?;
    let path: PathBuf = runtime_dir.join(LOCK);
    let file = fs::File::options().create(true).truncate(false).write(true).open(&path)?;
    if file.metadata()?.uid() != rustix::process::geteuid().as_raw() {
        let why = format!("{} is not ours", path.display());
        return Err(io::Error::new(ErrorKind::PermissionDenied, why));
    }
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file.into()),
        Err(Errno::AGAIN) => {
            let why = format!("another daemon is at work in {}", runtime_dir.display());
            Err(io::Error::new(ErrorKind::AlreadyExists, why))
        }
        Err(errno) => Err(errno.into()),
    }
}
