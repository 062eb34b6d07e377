//! Directories that the user grants to a remote, behind the file service.
//!
//! Every path is resolved by the kernel beneath the directory that was granted (`openat2` with `RESOLVE_BENEATH`), at
//! the very moment it is used: neither `..`, symbolic links and magic links nor names that somebody exchanges meanwhile
//! lead out. What is changed by name (removed, renamed, made) is changed in a directory that was resolved so, and by a
//! last name that is not followed. A file is looked at before it is opened, so no device, FIFO or socket ever is.
//!
//! What these checks cannot see: a hard link, or a mount, that somebody put beneath the directory belongs to it.

mod grant;

pub use grant::{Grant, GrantError};

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, CWD, FileType, Mode, OFlags, RawDir, ResolveFlags, SeekFrom},
    io::{Errno, retry_on_intr},
    process::{Resource, getrlimit},
};
use sidecore_services::file::{Entry, Error, Files, Flags, Info, Kind, Path, server::Page};

/// How much a remote may take of what was granted to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes that a file may have after the remote has written to it. Default: 4 GiB.
    pub file_size: u64,
    /// Bytes that the remote may write in all. Default: 64 GiB.
    pub written: u64,
    /// Files and directories that the remote may make. Default: 65536.
    pub made: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_size: 4 << 30, written: 64 << 30, made: 1 << 16 }
    }
}

/// What was granted to one remote.
#[derive(Debug)]
pub struct Grants {
    /// The longest guest path first, so that the first match is the closest one.
    grants: Vec<Opened>,
    /// What is left of them; the size is for every file.
    limits: Limits,
}

/// A file or directory that a remote has open.
#[derive(Debug)]
pub struct File {
    fd: OwnedFd,
    appends: bool,
}

#[derive(Debug)]
struct Opened {
    grant: Grant,
    fd: OwnedFd,
}

/// Where a path leads: to a granted directory and names beneath it, slashes between them.
struct Place<'g> {
    top: &'g Opened,
    beneath: Vec<u8>,
}

/// A name in a directory.
struct Name {
    directory: OwnedFd,
    name: Vec<u8>,
}

impl Grants {
    /// Opens the directories. From now on they are meant, even if others get their names.
    ///
    /// # Errors
    /// A directory cannot be opened, two are to have the same guest path, one that may only be read is in one that may
    /// be written, or the kernel cannot do what this module needs.
    pub fn open(grants: impl IntoIterator<Item = Grant>, limits: Limits) -> Result<Grants, GrantError> {
        let mut opened = Vec::new();
        for grant in grants {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = rustix::fs::openat(CWD, grant.host(), flags, Mode::empty());
            let fd = fd.map_err(|error| grant.cannot_open(error))?;
            opened.push(Opened { grant, fd });
        }
        grant::check_together(opened.iter().map(|opened| &opened.grant))?;
        if let Some(Opened { grant, fd }) = opened.first() {
            // Whether the kernel has `openat2`, and /proc is there to open again what was looked at.
            let fd = beneath(fd.as_fd(), b".", OFlags::PATH, Mode::empty()).map_err(|error| match error {
                Errno::NOSYS | Errno::PERM => GrantError::NoOpenat2(error.into()),
                error => grant.cannot_open(error),
            })?;
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            rustix::fs::open(link_to(&fd), flags, Mode::empty())
                .map_err(|error| GrantError::NoProc(error.into()))?;
        }
        opened.sort_by_key(|opened| std::cmp::Reverse(opened.grant.names().count()));
        // To write past this one would kill the process.
        let file_size = limits.file_size.min(getrlimit(Resource::Fsize).current.unwrap_or(u64::MAX));
        Ok(Grants { grants: opened, limits: Limits { file_size, ..limits } })
    }

    /// What was granted.
    pub fn iter(&self) -> impl Iterator<Item = &Grant> {
        self.grants.iter().map(|opened| &opened.grant)
    }

    /// The closest granted directory above a path.
    fn place(&self, path: Path<'_>) -> Result<Place<'_>, Error> {
        for top in &self.grants {
            let mut names = path.components();
            if top.grant.names().all(|name| names.next() == Some(name)) {
                let beneath = names.collect::<Vec<_>>().join(&b'/');
                return Ok(Place { top, beneath });
            }
        }
        Err(Error::Outside)
    }

    /// Counts something that was made.
    fn count_made(&mut self) {
        self.limits.made = self.limits.made.saturating_sub(1);
    }

    fn may_make(&self) -> Result<(), Error> {
        match self.limits.made {
            0 => Err(Error::NoSpace),
            _ => Ok(()),
        }
    }
}

impl Files for Grants {
    type File = File;

    fn open(&mut self, path: Path<'_>, flags: Flags) -> Result<File, Error> {
        let place = self.place(path)?;
        if flags.has(Flags::WRITE) {
            place.writable()?;
        }
        let appends = flags.has(Flags::APPEND);
        if flags.has(Flags::DIRECTORY) {
            let fd = place.open(OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
            return Ok(File { fd, appends });
        }
        // Whatever is there may come and go meanwhile, but not for ever.
        for _ in 0..RACES {
            if !flags.has(Flags::EXCLUSIVE) {
                match place.open(OFlags::PATH, Mode::empty()) {
                    Ok(fd) => return Ok(File { fd: open_again(&fd, access(flags))?, appends }),
                    Err(Error::NotFound) if flags.has(Flags::CREATE) => {}
                    Err(error) => return Err(error),
                }
            }
            self.may_make()?;
            // What is exclusively created is new, and a regular file.
            let create = access(flags) | OFlags::CREATE | OFlags::EXCL;
            match place.open(create, Mode::from_raw_mode(0o666)) {
                Ok(fd) => {
                    self.count_made();
                    return Ok(File { fd, appends });
                }
                Err(Error::Exists) if !flags.has(Flags::EXCLUSIVE) => {}
                Err(error) => return Err(error),
            }
        }
        // A symbolic link to nothing is there, and is not, every time.
        Err(Error::Exists)
    }

    fn read_at(&mut self, file: &mut File, offset: u64, to: &mut [u8]) -> Result<usize, Error> {
        retry_on_intr(|| rustix::io::pread(&file.fd, &mut *to, offset)).map_err(answer)
    }

    fn write_at(&mut self, file: &mut File, offset: u64, bytes: &[u8]) -> Result<usize, Error> {
        let start = match file.appends {
            true => info(&file.fd)?.size,
            false => offset,
        };
        let room = match self.limits.file_size.saturating_sub(start) {
            0 => return Err(Error::TooLarge),
            room => room.min(self.limits.written),
        };
        let len = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        // With a descriptor that appends, Linux does not look at the offset.
        match retry_on_intr(|| rustix::io::pwrite(&file.fd, &bytes[..len], offset)).map_err(answer)? {
            0 => Err(Error::NoSpace),
            written => {
                self.limits.written -= written as u64;
                Ok(written)
            }
        }
    }

    fn stat(&mut self, file: &mut File) -> Result<Info, Error> {
        info(&file.fd)
    }

    fn sync(&mut self, file: &mut File) -> Result<(), Error> {
        retry_on_intr(|| rustix::fs::fsync(&file.fd)).map_err(answer)
    }

    fn list(&mut self, directory: &mut File, position: u64, page: &mut Page<'_>) -> Result<(), Error> {
        let fd = directory.fd.as_fd();
        rustix::fs::seek(fd, SeekFrom::Start(position)).map_err(|_| Error::Malformed)?;
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut entries = RawDir::new(fd, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(answer)?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let kind = match entry.file_type() {
                // Some file systems do not know without a look at it.
                FileType::Unknown => match rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW) {
                    Ok(stat) => kind(FileType::from_raw_mode(stat.st_mode)),
                    Err(_) => Kind::Other,
                },
                known => kind(known),
            };
            let next = entry.next_entry_cookie();
            if !page.push(&Entry { next, kind, name: name.to_bytes() }) {
                break;
            }
        }
        Ok(())
    }

    fn stat_path(&mut self, path: Path<'_>) -> Result<Info, Error> {
        info(&self.place(path)?.open(OFlags::PATH, Mode::empty())?)
    }

    fn remove(&mut self, path: Path<'_>) -> Result<(), Error> {
        let Name { directory, name } = self.place(path)?.name()?;
        match rustix::fs::unlinkat(&directory, &*name, AtFlags::empty()) {
            Err(Errno::ISDIR) => rustix::fs::unlinkat(&directory, &*name, AtFlags::REMOVEDIR),
            result => result,
        }
        .map_err(answer)
    }

    fn rename(&mut self, from: Path<'_>, to: Path<'_>) -> Result<(), Error> {
        let (from, to) = (self.place(from)?.name()?, self.place(to)?.name()?);
        match rustix::fs::renameat(&from.directory, &*from.name, &to.directory, &*to.name) {
            Err(Errno::XDEV) => Err(Error::CrossesDevices),
            result => result.map_err(answer),
        }
    }

    fn make_directory(&mut self, path: Path<'_>) -> Result<(), Error> {
        self.may_make()?;
        let Name { directory, name } = self.place(path)?.name()?;
        rustix::fs::mkdirat(&directory, &*name, Mode::from_raw_mode(0o777)).map_err(answer)?;
        self.count_made();
        Ok(())
    }
}

/// How often to try again what somebody else's renaming got in the way of.
const RACES: usize = 64;

impl Place<'_> {
    fn writable(&self) -> Result<(), Error> {
        match self.top.grant.is_read_only() {
            true => Err(Error::ReadOnly),
            false => Ok(()),
        }
    }

    fn open(&self, flags: OFlags, mode: Mode) -> Result<OwnedFd, Error> {
        let path = match &*self.beneath {
            [] => b".",
            path => path,
        };
        beneath(self.top.fd.as_fd(), path, flags, mode).map_err(answer)
    }

    /// The place as a name in a directory, to be changed there.
    fn name(mut self) -> Result<Name, Error> {
        self.writable()?;
        let slash = self.beneath.iter().rposition(|&byte| byte == b'/');
        let name = self.beneath.split_off(slash.map_or(0, |slash| slash + 1));
        if name.is_empty() {
            // The granted directory itself is not the remote's.
            return Err(Error::NotPermitted);
        }
        Ok(Name { directory: self.open(OFlags::PATH | OFlags::DIRECTORY, Mode::empty())?, name })
    }
}

/// Opens a path beneath a directory, wherever the names on the way lead meanwhile.
fn beneath(top: BorrowedFd<'_>, path: &[u8], flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let open = || match rustix::fs::openat2(top, path, flags | OFlags::CLOEXEC, mode, resolve) {
        // The path led out, or round in a circle.
        Err(Errno::XDEV | Errno::LOOP) => Err(Errno::XDEV),
        result => result,
    };
    // The kernel gives up when names are exchanged while it is not sure to be beneath.
    let settled = |result: &Result<_, _>| !matches!(result, Err(Errno::AGAIN | Errno::INTR));
    (0..RACES).map(|_| open()).find(settled).unwrap_or(Err(Errno::AGAIN))
}

/// Opens a regular file that was opened only to be looked at: the very same, whatever its name means by now.
fn open_again(seen: &OwnedFd, access: OFlags) -> Result<OwnedFd, Error> {
    match info(seen)?.kind {
        Kind::File => {}
        Kind::Directory => return Err(Error::IsDirectory),
        Kind::Other => return Err(Error::NotRegular),
    }
    retry_on_intr(|| rustix::fs::open(link_to(seen), access | OFlags::CLOEXEC, Mode::empty())).map_err(answer)
}

/// The kernel's own link to an open file.
fn link_to(fd: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", fd.as_raw_fd())
}

fn access(flags: Flags) -> OFlags {
    let access = match (flags.has(Flags::READ), flags.has(Flags::WRITE)) {
        (true, true) => OFlags::RDWR,
        (false, true) => OFlags::WRONLY,
        _ => OFlags::RDONLY,
    };
    let also = [(Flags::TRUNCATE, OFlags::TRUNC), (Flags::APPEND, OFlags::APPEND)];
    let also = also.iter().filter(|(flag, _)| flags.has(*flag)).map(|&(_, also)| also);
    // A lease that somebody has on the file must not keep us waiting.
    also.fold(access | OFlags::NONBLOCK | OFlags::NOCTTY, |all, also| all | also)
}

fn info(fd: &OwnedFd) -> Result<Info, Error> {
    let stat = rustix::fs::fstat(fd).map_err(answer)?;
    let kind = kind(FileType::from_raw_mode(stat.st_mode));
    let size = match kind {
        Kind::File => u64::try_from(stat.st_size).unwrap_or(0),
        Kind::Directory | Kind::Other => 0,
    };
    Ok(Info { kind, size })
}

fn kind(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        _ => Kind::Other,
    }
}

/// What the remote is told of a system call that failed.
fn answer(errno: Errno) -> Error {
    match errno {
        Errno::XDEV => Error::Outside,
        Errno::NOENT => Error::NotFound,
        Errno::EXIST => Error::Exists,
        Errno::ISDIR => Error::IsDirectory,
        Errno::NOTDIR => Error::NotDirectory,
        Errno::NOTEMPTY => Error::NotEmpty,
        Errno::NAMETOOLONG => Error::PathTooLong,
        Errno::ROFS => Error::ReadOnly,
        // `EINVAL`: a directory cannot be moved beneath itself.
        Errno::ACCESS | Errno::PERM | Errno::INVAL => Error::NotPermitted,
        Errno::NOSPC | Errno::DQUOT | Errno::MLINK => Error::NoSpace,
        Errno::FBIG | Errno::OVERFLOW => Error::TooLarge,
        Errno::MFILE | Errno::NFILE => Error::TooManyOpen,
        Errno::BUSY | Errno::TXTBSY | Errno::AGAIN => Error::Busy,
        Errno::NXIO | Errno::NODEV => Error::NotRegular,
        _ => Error::Failed,
    }
}

#[cfg(test)]
mod tests;
