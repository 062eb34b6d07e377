//! The main side's half of the file service.

use core::{error, fmt};

use super::{
    Entry, Error, Flags, Handle, Info, Path,
    protocol::{Answer, HEADER, Request, RequestError, ToMain, ToRemote, VERSION, id_of, kind},
};
use crate::{
    NoRoom, PeerError,
    bytes::{Writer, room},
};

/// Where the files are.
///
/// Paths come from a remote and have been [checked](Path::new), but that a symbolic link does not lead out of what was
/// granted is for the implementation to see to. No call should wait for anybody but a disk.
pub trait Files {
    /// An open file or directory; closed by dropping it.
    type File;

    /// Opens a file, or with [`Flags::DIRECTORY`] a directory. The flags [are valid](Flags::are_valid).
    ///
    /// # Errors
    /// Whatever the remote is to be told.
    fn open(&mut self, path: Path<'_>, flags: Flags) -> Result<Self::File, Error>;

    /// Reads from a file that was opened to read. Answers the number of bytes: zero only at its end. `offset` plus the
    /// length of `to` is not above `i64::MAX`, as for writing.
    ///
    /// # Errors
    /// Whatever the remote is to be told.
    fn read_at(&mut self, file: &mut Self::File, offset: u64, to: &mut [u8]) -> Result<usize, Error>;

    /// Writes to a file that was opened to write: at `offset`, or at its end where it was opened to append. Answers
    /// the number of bytes, at least one of those that are there.
    ///
    /// # Errors
    /// Whatever the remote is to be told.
    fn write_at(&mut self, file: &mut Self::File, offset: u64, bytes: &[u8]) -> Result<usize, Error>;

    /// What and how long an open file or directory is.
    ///
    /// # Errors
    /// Whatever the remote is to be told.
    fn stat(&mut self, file: &mut Self::File) -> Result<Info, Error>;

    /// Brings what was written to the disk.
    ///
    /// # Errors
    /// Whatever the remote is to be told.
    fn sync(&mut self, file: &mut Self::File) -> Result<(), Error>;

    /// Puts entries of a directory, without `.` and `..`, on a page until it is full or there are no more. The position
    /// is zero, or what an entry had for `next`; a remote can also make one up.
    ///
    /// # Errors
    /// Whatever the remote is to be told.
    fn list(&mut self, directory: &mut Self::File, position: u64, page: &mut Page<'_>) -> Result<(), Error>;

    /// What and how long the thing at a path is. Symbolic links are not followed in the last place.
    ///
    /// # Errors
    /// Whatever the remote is to be told.
    fn stat_path(&mut self, path: Path<'_>) -> Result<Info, Error>;

    /// Removes a file, a symbolic link or an empty directory.
    ///
    /// # Errors
    /// Whatever the remote is to be told.
    fn remove(&mut self, path: Path<'_>) -> Result<(), Error>;

    /// Gives something another path, in place of what is there.
    ///
    /// # Errors
    /// Whatever the remote is to be told.
    fn rename(&mut self, from: Path<'_>, to: Path<'_>) -> Result<(), Error>;

    /// Makes a directory.
    ///
    /// # Errors
    /// Whatever the remote is to be told.
    fn make_directory(&mut self, path: Path<'_>) -> Result<(), Error>;
}

/// Room for entries of a directory in an answer.
#[derive(Debug)]
pub struct Page<'p> {
    room: &'p mut [u8],
    len: usize,
    refused: bool,
}

impl Page<'_> {
    /// Puts an entry on the page; `false` where it does not fit, or its name is none. Nothing follows what did not.
    #[must_use]
    pub fn push(&mut self, entry: &Entry<'_>) -> bool {
        let room = self.room.get_mut(self.len..).unwrap_or_default();
        let pushed = entry.emit(room).filter(|_| !self.refused);
        match pushed {
            Some(len) => self.len += len,
            None => self.refused = true,
        }
        !self.refused
    }
}

/// Files as the main side serves them to one remote, which can have `HANDLES` of them open at once.
///
/// [`hello`](Self::hello) is the first message; then [`answer`](Self::answer) whatever comes. Dropping the server
/// closes everything.
#[derive(Debug)]
pub struct Server<F: Files, const HANDLES: usize = 32> {
    files: F,
    greeted: bool,
    /// Bytes of the longest message that the remote takes.
    longest: u16,
    open: [Slot<F::File>; HANDLES],
}

#[derive(Debug)]
struct Slot<T> {
    /// How often something was opened here, so that a handle of before is not one of now.
    generation: u16,
    open: Option<(T, Flags)>,
}

/// A message that got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unanswered {
    /// The remote broke the rules so that there is no request to answer.
    Peer(PeerError),
    /// The caller's buffer is shorter than [`MIN_MESSAGE`](super::MIN_MESSAGE); nothing was done.
    NoRoom(NoRoom),
}

impl<F: Files, const HANDLES: usize> Server<F, HANDLES> {
    /// A server with nothing open.
    pub fn new(files: F) -> Self {
        const { assert!(HANDLES > 0 && HANDLES <= u16::MAX as usize, "a handle has 16 bits for the slot") };
        Self {
            files,
            greeted: false,
            longest: u16::MAX,
            open: core::array::from_fn(|_| Slot { generation: 0, open: None }),
        }
    }

    /// The files, once nobody is served any more; what is open is closed.
    #[must_use]
    pub fn into_files(self) -> F {
        self.files
    }

    /// Writes the first message.
    ///
    /// # Errors
    /// `out` is shorter than [`MIN_MESSAGE`](super::MIN_MESSAGE).
    pub fn hello<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        ToRemote::Hello { version: VERSION, handles: HANDLES as u16, path_max: Path::MAX_LEN as u16 }
            .emit(out)
    }

    /// Takes a message of the remote, does what it asks for and writes the answer; only the hello has none. Where the
    /// answer has room for fewer bytes than the remote wants, it gets fewer.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub fn answer<'o>(&mut self, message: &[u8], out: &'o mut [u8]) -> Result<Option<&'o [u8]>, Unanswered> {
        let out = room(out, self.longest).map_err(Unanswered::NoRoom)?;
        let (first, id) = id_of(message).map_err(PeerError::from)?;
        let outcome = match ToMain::parse(message) {
            Ok(ToMain::Hello { .. }) if self.greeted => {
                let why = "there was one already";
                return Err(PeerError::OutOfTurn { message: "a hello", why }.into());
            }
            Ok(ToMain::Hello { longest, .. }) => {
                self.greeted = true;
                self.longest = longest;
                return Ok(None);
            }
            Ok(ToMain::Request { request, .. }) if self.greeted => {
                let body = out.get_mut(HEADER..).unwrap_or_default();
                self.serve(&request, body)
            }
            Ok(ToMain::Request { .. }) => Err(Error::NoHello),
            // A hello has no number.
            Err(RequestError::Malformed(malformed)) if first == kind::HELLO => {
                return Err(PeerError::from(malformed).into());
            }
            Err(error) => Err(error.answer()),
        };
        let (status, len) = match outcome {
            Ok(len) => (0, len),
            Err(error) => (error as u8, 0),
        };
        let [low, high] = id.to_le_bytes();
        if let Some(header) = out.first_chunk_mut::<HEADER>() {
            *header = [first | kind::ANSWER, status, low, high];
        }
        Ok(out.get(..HEADER + len))
    }

    /// How many files and directories are open.
    pub fn open_count(&self) -> usize {
        self.open.iter().filter(|slot| slot.open.is_some()).count()
    }

    /// Serves a request and writes what follows the header of the answer; answers how many bytes that are.
    fn serve(&mut self, request: &Request<'_>, body: &mut [u8]) -> Result<usize, Error> {
        match *request {
            Request::Open { path, flags } => {
                if !flags.are_valid() {
                    return Err(Error::BadFlags);
                }
                let free = self.open.iter_mut().zip(0u16..).find(|(slot, _)| slot.open.is_none());
                let (slot, index) = free.ok_or(Error::TooManyOpen)?;
                let file = self.files.open(path, flags)?;
                slot.generation = slot.generation.wrapping_add(1);
                slot.open = Some((file, flags));
                let handle = Handle(u32::from(slot.generation) << 16 | u32::from(index));
                Ok(put(body, &Answer::Opened(handle)))
            }
            Request::Close { handle } => {
                let slot = slot(&mut self.open, handle)?;
                slot.open = None;
                Ok(0)
            }
            Request::Read { handle, offset, len } => {
                let file = opened_for(&mut self.open, handle, Flags::READ)?;
                let len = body.len().min(len as usize);
                let to = body.get_mut(..len).unwrap_or_default();
                within_a_file(offset, len)?;
                Ok(self.files.read_at(file, offset, to)?.min(len))
            }
            Request::Write { handle, offset, bytes } => {
                let file = opened_for(&mut self.open, handle, Flags::WRITE)?;
                within_a_file(offset, bytes.len())?;
                let written = match bytes {
                    [] => 0,
                    bytes => self.files.write_at(file, offset, bytes)?.min(bytes.len()),
                };
                Ok(put(body, &Answer::Written(written as u32)))
            }
            Request::Stat { handle } => {
                let (file, _) = opened(&mut self.open, handle)?;
                Ok(put(body, &Answer::Info(self.files.stat(file)?)))
            }
            Request::Sync { handle } => {
                let (file, _) = opened(&mut self.open, handle)?;
                self.files.sync(file).map(|()| 0)
            }
            Request::List { handle, position } => {
                let directory = match opened(&mut self.open, handle)? {
                    (directory, flags) if flags.has(Flags::DIRECTORY) => directory,
                    _ => return Err(Error::NotDirectory),
                };
                let mut page = Page { room: body, len: 0, refused: false };
                self.files.list(directory, position, &mut page)?;
                match page {
                    Page { len: 0, refused: true, .. } => Err(Error::NoRoom),
                    Page { len, .. } => Ok(len),
                }
            }
            Request::StatPath { path } => Ok(put(body, &Answer::Info(self.files.stat_path(path)?))),
            Request::Remove { path } => self.files.remove(path).map(|()| 0),
            Request::Rename { from, to } => self.files.rename(from, to).map(|()| 0),
            Request::MakeDirectory { path } => self.files.make_directory(path).map(|()| 0),
        }
    }
}

fn slot<T>(open: &mut [Slot<T>], handle: Handle) -> Result<&mut Slot<T>, Error> {
    let (generation, index) = (handle.0 >> 16, handle.0 as u16);
    let slot = open.get_mut(usize::from(index)).ok_or(Error::BadHandle)?;
    match slot.open {
        Some(_) if u32::from(slot.generation) == generation => Ok(slot),
        _ => Err(Error::BadHandle),
    }
}

fn opened<T>(open: &mut [Slot<T>], handle: Handle) -> Result<(&mut T, Flags), Error> {
    let (file, flags) = slot(open, handle)?.open.as_mut().ok_or(Error::BadHandle)?;
    Ok((file, *flags))
}

/// A file, not a directory, that was opened to read or to write.
fn opened_for<T>(open: &mut [Slot<T>], handle: Handle, purpose: Flags) -> Result<&mut T, Error> {
    match opened(open, handle)? {
        (_, flags) if flags.has(Flags::DIRECTORY) => Err(Error::IsDirectory),
        (file, flags) if flags.has(purpose) => Ok(file),
        _ => Err(Error::NotOpenedFor),
    }
}

/// Files are no longer than a signed 64-bit number can say.
fn within_a_file(offset: u64, len: usize) -> Result<(), Error> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= i64::MAX as u64 => Ok(()),
        _ => Err(Error::TooLarge),
    }
}

/// Writes an answer of fixed length, for which every body has room.
fn put(body: &mut [u8], answer: &Answer<'_>) -> usize {
    answer.emit(Writer::new(body)).finish().map_or(0, <[u8]>::len)
}

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(error) => error.fmt(f),
            Self::NoRoom(error) => error.fmt(f),
        }
    }
}

impl error::Error for Unanswered {}

impl From<PeerError> for Unanswered {
    fn from(error: PeerError) -> Self {
        Self::Peer(error)
    }
}
