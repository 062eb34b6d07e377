//! Core dumps on disk: one compressed file each, in a directory that is kept within limits.
//!
//! A dump is called after its firmware and the time, `blinky-20261121T152651Z`, and lies in `<id>.core.gz`; `gunzip` makes
//! a core file of it that debuggers open. It is written as `<id>.part`, locked, and renamed when it is complete, so that
//! whoever dies while writing (or a full disk) leaves nothing that looks like a dump; such rests go when the next one is
//! saved.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, ErrorKind, Read, Seek as _, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::fs::FlockOperation;
use sidecore_mem::Region;
use sidecore_os::{Extent, Mapping};
use sidecore_remoteproc::coredump::{CoreDump, Found, Include, Piece, Told};
use sidecore_remoteproc::{Backend, RemoteError};

use crate::processor::Processor;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all dumps together, compressed. The oldest ones go first; one that is larger by itself is not kept.
    pub bytes: u64,
    /// How old a dump may be.
    pub age: Duration,
}

impl Limits {
    /// 1 GiB, 30 days.
    pub const DEFAULT: Self = Self { bytes: 1 << 30, age: Duration::from_secs(30 * 24 * 60 * 60) };
}

/// A directory of dumps. Any number of processes may use it at once.
#[derive(Clone, Debug)]
pub struct Store {
    directory: PathBuf,
    limits: Limits,
}

/// A dump that is there.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stored {
    /// What it is called.
    pub id: String,
    /// The compressed file.
    pub path: PathBuf,
    /// Bytes of that.
    pub bytes: u64,
    /// When it was complete.
    pub time: SystemTime,
}

/// What became of a dump that was to be kept.
#[derive(Debug)]
#[non_exhaustive]
pub struct Saved {
    /// The dump.
    pub stored: Stored,
    /// Older ones that went, for they were beyond the limits.
    pub removed: Vec<String>,
}

const SUFFIX: &str = ".core.gz";
const PART: &str = ".part";

/// Characters of a firmware's name in a dump's.
const NAME: usize = 64;

impl Store {
    /// Dumps in a directory, which is made when the first one is saved, for its owner alone: memory has secrets.
    #[must_use]
    pub fn new(directory: PathBuf, limits: Limits) -> Self {
        Self { directory, limits }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes a dump of firmware that is called `name`, and removes what is beyond the limits then.
    ///
    /// # Errors
    /// The directory or file cannot be written, or the dump is larger than the limit by itself ([`ErrorKind::FileTooLarge`]).
    /// Nothing of it is left then.
    pub fn save(&self, name: &str, dump: &CoreDump<Arc<Mapping>>) -> io::Result<Saved> {
        self.keep(name, |packer| dump.write_by(&mut look, &mut |piece| packer.put(piece)))
    }

    /// Keeps a core file that somebody else has written, from where it is read next to its end.
    ///
    /// # Errors
    /// As of [`save`](Self::save), or the file cannot be read.
    pub fn import(&self, name: &str, core: impl Read) -> io::Result<Saved> {
        self.keep(name, |packer| pieces(core, &mut |piece| packer.put(piece)))
    }

    /// Writes a dump, and removes what is beyond the limits then.
    fn keep(&self, name: &str, write: impl FnOnce(&mut Packer) -> io::Result<()>) -> io::Result<Saved> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        self.sweep();
        let (id, file) = self.create(name)?;
        let part = self.directory.join(format!("{id}{PART}"));
        let path = self.path(&id);
        let kept = pack(file, self.limits.bytes, write).and_then(|()| fs::rename(&part, &path));
        if let Err(error) = kept {
            // It was ours; whoever removed it meanwhile did what we want.
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        let removed = self.trim(&id);
        Ok(Saved { stored: self.stored(id)?, removed })
    }

    /// All dumps, the newest first.
    ///
    /// # Errors
    /// The directory cannot be read. One that is not there has no dumps.
    pub fn list(&self) -> io::Result<Vec<Stored>> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let ids = names.filter_map(|name| name.strip_suffix(SUFFIX).map(str::to_owned));
        // What goes meanwhile is not there.
        let mut all: Vec<Stored> = ids.filter_map(|id| self.stored(id).ok()).collect();
        all.sort_by(|a, b| (b.time, &b.id).cmp(&(a.time, &a.id)));
        Ok(all)
    }

    /// The dump of this name.
    ///
    /// # Errors
    /// There is none ([`ErrorKind::NotFound`]), or it cannot be looked at.
    pub fn find(&self, id: &str) -> io::Result<Stored> {
        if id.contains('/') {
            return Err(ErrorKind::NotFound.into());
        }
        self.stored(id.to_owned())
    }

    /// Removes a dump.
    ///
    /// # Errors
    /// There is none, or it cannot be removed.
    pub fn remove(&self, stored: &Stored) -> io::Result<()> {
        fs::remove_file(&stored.path)
    }

    fn path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}{SUFFIX}"))
    }

    fn stored(&self, id: String) -> io::Result<Stored> {
        let path = self.path(&id);
        let metadata = fs::symlink_metadata(&path)?;
        Ok(Stored { id, path, bytes: metadata.len(), time: metadata.modified()? })
    }

    /// A new file to write a dump to, locked, and what the dump is called.
    fn create(&self, name: &str) -> io::Result<(String, File)> {
        let usual = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name: String = name.chars().map(|c| if usual(c) { c } else { '_' }).take(NAME).collect();
        let name = if name.is_empty() || name.starts_with('.') { format!("_{name}") } else { name };
        let time = Timestamp::now().to_zoned(TimeZone::UTC).strftime("%Y%m%dT%H%M%SZ").to_string();
        for number in 1_u32.. {
            let more = if number == 1 { String::new() } else { format!("-{number}") };
            let id = format!("{name}-{time}{more}");
            if self.path(&id).exists() {
                continue;
            }
            let part = self.directory.join(format!("{id}{PART}"));
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(part) {
                Ok(file) => {
                    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
                    return Ok((id, file));
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(ErrorKind::AlreadyExists.into())
    }

    /// Removes what writers left that died.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.extension().is_none_or(|extension| extension != &PART[1..]) {
                continue;
            }
            let Ok(file) = File::open(&path) else { continue };
            let is_dead = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
            // One that was made this moment may not be locked yet.
            let is_old = file.metadata().and_then(|metadata| metadata.modified());
            let is_old = is_old.is_ok_and(|time| time.elapsed().is_ok_and(|age| age > GRACE));
            if is_dead && is_old {
                let _ = fs::remove_file(&path);
            }
        }
    }

    /// Removes what is beyond the limits, but for the newest one; what was removed.
    fn trim(&self, newest: &str) -> Vec<String> {
        let (mut sum, mut removed) = (0_u64, Vec::new());
        for stored in self.list().unwrap_or_default() {
            sum = sum.saturating_add(stored.bytes);
            let is_old = stored.time.elapsed().is_ok_and(|age| age > self.limits.age);
            if stored.id != newest && (is_old || sum > self.limits.bytes) && self.remove(&stored).is_ok() {
                sum -= stored.bytes;
                removed.push(stored.id);
            }
        }
        removed
    }
}

/// How long a file without a lock is left alone.
const GRACE: Duration = Duration::from_secs(10);

impl Stored {
    /// The core file, from its beginning.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(&self) -> io::Result<impl Read + use<>> {
        Ok(MultiGzDecoder::new(File::open(&self.path)?))
    }

    /// Writes the core file to a new file, with holes where memory is zero.
    ///
    /// # Errors
    /// This one cannot be read, or that one not written. Part of the dump may be in it then.
    pub fn extract(&self, to: &File) -> io::Result<()> {
        let mut to = Sparse { file: to, at: 0 };
        pieces(self.open()?, &mut |piece| to.put(piece))?;
        to.finish()
    }

    /// What the dump tells without its memory.
    ///
    /// # Errors
    /// The file cannot be read, or is no dump of ours ([`ErrorKind::InvalidData`]).
    pub fn told(&self) -> io::Result<Told> {
        let mut head = Vec::new();
        self.open()?.take(Told::ENOUGH as u64).read_to_end(&mut head)?;
        Told::parse(&head)
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "it is no core dump of sidecore's"))
    }
}

impl<B: Backend> Processor<B> {
    /// A dump of the remote while it runs: see [`Remote::dump_running`](sidecore_remoteproc::Remote::dump_running).
    ///
    /// # Errors
    /// As there.
    pub fn dump_running<T>(
        &self,
        include: Include,
        facts: &[(&str, &str)],
        write: impl FnOnce(&CoreDump<B::Owner>) -> T,
    ) -> Result<T, RemoteError> {
        self.remote.borrow_mut().dump_running(include, facts, write)
    }
}

/// Writes a dump to a file as it is, with holes where memory is zero.
///
/// # Errors
/// The system's, of the file. Part of the dump may be in it then.
pub fn write_plain(dump: &CoreDump<Arc<Mapping>>, file: &File) -> io::Result<()> {
    let mut to = Sparse { file, at: 0 };
    dump.write_by(&mut look, &mut |piece| to.put(piece))?;
    to.finish()?;
    file.sync_all()
}

/// A new file with holes where memory is zero.
struct Sparse<'f> {
    file: &'f File,
    at: u64,
}

impl Sparse<'_> {
    fn put(&mut self, piece: Piece<'_>) -> io::Result<()> {
        match piece {
            Piece::Bytes(bytes) => {
                self.file.write_all(bytes)?;
                self.at += bytes.len() as u64;
            }
            Piece::Zeros(len) => self.at = self.file.seek(SeekFrom::Start(self.at + len))?,
        }
        Ok(())
    }

    fn finish(self) -> io::Result<()> {
        self.file.set_len(self.at)
    }
}

/// Reads all of it; pages of zeros that follow each other are one piece.
fn pieces(mut from: impl Read, put: &mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> io::Result<()> {
    let (mut room, mut zeros) = (vec![0; PAGE], 0);
    loop {
        let mut len = 0;
        while len < room.len() {
            match from.read(&mut room[len..]) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let page = &room[..len];
        if len > 0 && page.iter().all(|byte| *byte == 0) {
            zeros += len as u64;
            continue;
        }
        if zeros > 0 {
            put(Piece::Zeros(std::mem::take(&mut zeros)))?;
        }
        if len == 0 {
            return Ok(());
        }
        put(Piece::Bytes(page))?;
    }
}

/// Bytes that become a hole together.
const PAGE: usize = 4096;

/// What a memory has, without making any of it a part of this process.
fn look(region: &Region<Arc<Mapping>>, at: usize, to: &mut [u8]) -> Found {
    match Mapping::extent(region, at) {
        Extent::Untouched(len) => Found::Zeros(len),
        Extent::Used(len) => {
            let len = len.min(to.len());
            Found::Copied(Mapping::peek(region, at, &mut to[..len]).unwrap_or(0))
        }
    }
}

/// Writes a compressed file of so many bytes at most.
fn pack(file: File, most: u64, write: impl FnOnce(&mut Packer) -> io::Result<()>) -> io::Result<()> {
    let limited = Limited { file: BufWriter::new(file), left: most };
    let mut packer = Packer { encoder: Some(encoder(limited)), zeros: Vec::new() };
    write(&mut packer)?;
    let file = packer.finish()?.file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// Memory is mostly zeros and repetition: what more effort saves is not worth the time.
fn encoder<W: Write>(to: W) -> GzEncoder<W> {
    GzEncoder::new(to, Compression::fast())
}

/// Compresses a dump. Many zeros are compressed once, and that is written as often as it is wanted: a gzip file is any
/// number of members, and says what they say one after the other (RFC 1952, 2.2).
struct Packer {
    /// The member that is being written; none after an error.
    encoder: Option<GzEncoder<Limited>>,
    /// The member that stands for [`MANY`] zeros, once it was wanted.
    zeros: Vec<u8>,
}

/// So many zeros have a member of their own.
const MANY: u64 = 16 << 20;

impl Packer {
    fn put(&mut self, piece: Piece<'_>) -> io::Result<()> {
        match piece {
            Piece::Bytes(bytes) => self.encoder()?.write_all(bytes),
            Piece::Zeros(len) => {
                if len >= MANY {
                    self.put_members(len / MANY)?;
                }
                io::copy(&mut io::repeat(0).take(len % MANY), self.encoder()?).map(drop)
            }
        }
    }

    fn put_members(&mut self, count: u64) -> io::Result<()> {
        if self.zeros.is_empty() {
            let mut member = GzEncoder::new(Vec::new(), Compression::best());
            io::copy(&mut io::repeat(0).take(MANY), &mut member)?;
            self.zeros = member.finish()?;
        }
        let mut file = self.finish()?;
        for _ in 0..count {
            file.write_all(&self.zeros)?;
        }
        self.encoder = Some(encoder(file));
        Ok(())
    }

    fn encoder(&mut self) -> io::Result<&mut GzEncoder<Limited>> {
        self.encoder.as_mut().ok_or_else(|| ErrorKind::BrokenPipe.into())
    }

    fn finish(&mut self) -> io::Result<Limited> {
        self.encoder.take().ok_or(ErrorKind::BrokenPipe)?.finish()
    }
}

/// A file of so many bytes at most.
struct Limited {
    file: BufWriter<File>,
    left: u64,
}

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.left = self.left.checked_sub(bytes.len() as u64).ok_or(ErrorKind::FileTooLarge)?;
        self.file.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
