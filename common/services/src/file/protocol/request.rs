use core::{error, fmt};

use sidecore_wire::Malformed;

use super::{Error, Flags, Handle, Path, PathError, kind};
use crate::{
    NoRoom,
    bytes::{Reader, Writer, longest, version},
};

/// A message of the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToMain<'m> {
    /// `01`, zero, version `u16`, longest message `u16`. The answer to the main side's hello; before it the remote
    /// sends nothing.
    Hello {
        /// The highest version that the remote speaks.
        version: u16,
        /// Bytes of the longest message that the remote takes, at least [`MIN_MESSAGE`](crate::MIN_MESSAGE). The main side sends no
        /// longer one, but for its hello.
        longest: u16,
    },
    /// Any other message.
    Request {
        /// The number that the answer repeats.
        id: u16,
        /// What is asked for.
        request: Request<'m>,
    },
}

/// What a remote can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'m> {
    /// `02`: flags `u16`, 2 zeros, the path. Opens a file or a directory. Answered by a handle.
    Open {
        /// What.
        path: Path<'m>,
        /// What for.
        flags: Flags,
    },
    /// `03`: handle `u32`. Closes it. Whatever happens, the handle is gone.
    Close {
        /// What.
        handle: Handle,
    },
    /// `04`: handle `u32`, offset `u64`, length `u32`. Reads from a file. Answered by the bytes: fewer than asked for
    /// where fewer fit a message or the file ends, none at its end.
    Read {
        /// Of what.
        handle: Handle,
        /// The first byte's place in the file.
        offset: u64,
        /// How many bytes at most.
        len: u32,
    },
    /// `05`: handle `u32`, offset `u64`, the bytes. Writes to a file. Answered by how many were written.
    Write {
        /// To what.
        handle: Handle,
        /// The first byte's place in the file. Not looked at where the file was opened to append.
        offset: u64,
        /// What.
        bytes: &'m [u8],
    },
    /// `06`: handle `u32`. What and how long it is.
    Stat {
        /// What.
        handle: Handle,
    },
    /// `07`: handle `u32`. What was written is on the disk when the answer comes.
    Sync {
        /// What.
        handle: Handle,
    },
    /// `08`: handle `u32`, position `u64`. What is in a directory. Answered by [`Entries`](super::Entries) in no order, as many as fit
    /// a message; none where there are no more.
    List {
        /// The directory.
        handle: Handle,
        /// Where to go on: zero, or what an [entry](super::Entry) had for `next`.
        position: u64,
    },
    /// `09`: the path. What and how long it is, unopened.
    StatPath {
        /// Where.
        path: Path<'m>,
    },
    /// `0a`: the path. Removes a file or an empty directory.
    Remove {
        /// What.
        path: Path<'m>,
    },
    /// `0b`: length of the old path `u16`, 2 zeros, the old path, the new path. What is at the new path is replaced.
    Rename {
        /// The old path.
        from: Path<'m>,
        /// The new path.
        to: Path<'m>,
    },
    /// `0c`: the path. Makes a directory.
    MakeDirectory {
        /// Where.
        path: Path<'m>,
    },
}

impl<'m> ToMain<'m> {
    /// Reads a message.
    ///
    /// # Errors
    /// The message has no meaning. [`id_of`] knows whom to tell.
    pub fn parse(message: &'m [u8]) -> Result<Self, RequestError> {
        let mut reader = Reader::new(message);
        let kind = reader.u8()?;
        reader.skip::<1>()?;
        if kind == kind::HELLO {
            return Ok(Self::Hello { version: version(&mut reader)?, longest: longest(&mut reader)? });
        }
        let id = reader.u16()?;
        let handle = |reader: &mut Reader<'_>| reader.u32().map(Handle);
        let request = match kind {
            kind::OPEN => {
                let flags = Flags::from_bits(reader.u16()?);
                reader.skip::<2>()?;
                Request::Open { path: Path::new(reader.all())?, flags }
            }
            kind::CLOSE => Request::Close { handle: handle(&mut reader)? },
            kind::READ => {
                let handle = handle(&mut reader)?;
                Request::Read { handle, offset: reader.u64()?, len: reader.u32()? }
            }
            kind::WRITE => {
                let handle = handle(&mut reader)?;
                Request::Write { handle, offset: reader.u64()?, bytes: reader.all() }
            }
            kind::STAT => Request::Stat { handle: handle(&mut reader)? },
            kind::SYNC => Request::Sync { handle: handle(&mut reader)? },
            kind::LIST => {
                let handle = handle(&mut reader)?;
                Request::List { handle, position: reader.u64()? }
            }
            kind::STAT_PATH => Request::StatPath { path: Path::new(reader.all())? },
            kind::REMOVE => Request::Remove { path: Path::new(reader.all())? },
            kind::RENAME => {
                let len = reader.u16()?;
                reader.skip::<2>()?;
                let from = Path::new(reader.bytes(len.into())?)?;
                Request::Rename { from, to: Path::new(reader.all())? }
            }
            kind::MAKE_DIRECTORY => Request::MakeDirectory { path: Path::new(reader.all())? },
            other => return Err(RequestError::Unknown { kind: other }),
        };
        reader.end()?;
        Ok(Self::Request { id, request })
    }

    /// Writes the message to the beginning of `out` and answers that part of it.
    ///
    /// # Errors
    /// `out` is too short.
    pub fn emit<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        let writer = Writer::new(out);
        let (id, request) = match self {
            Self::Hello { version, longest } => {
                let writer = writer.put(&[kind::HELLO, 0]).put(&version.to_le_bytes());
                return writer.put(&longest.to_le_bytes()).finish();
            }
            Self::Request { id, request } => (id, request),
        };
        let writer = writer.put(&[request.kind(), 0]).put(&id.to_le_bytes());
        match request {
            Request::Open { path, flags } => {
                writer.put(&flags.bits().to_le_bytes()).put(&[0; 2]).put(path.as_bytes())
            }
            Request::Close { handle } | Request::Stat { handle } | Request::Sync { handle } => {
                writer.put(&handle.0.to_le_bytes())
            }
            Request::Read { handle, offset, len } => {
                writer.put(&handle.0.to_le_bytes()).put(&offset.to_le_bytes()).put(&len.to_le_bytes())
            }
            Request::Write { handle, offset, bytes } => {
                writer.put(&handle.0.to_le_bytes()).put(&offset.to_le_bytes()).put(bytes)
            }
            Request::List { handle, position } => {
                writer.put(&handle.0.to_le_bytes()).put(&position.to_le_bytes())
            }
            Request::StatPath { path } | Request::Remove { path } | Request::MakeDirectory { path } => {
                writer.put(path.as_bytes())
            }
            Request::Rename { from, to } => {
                // A path is shorter than 64 KiB.
                let len = from.as_bytes().len() as u16;
                writer.put(&len.to_le_bytes()).put(&[0; 2]).put(from.as_bytes()).put(to.as_bytes())
            }
        }
        .finish()
    }
}

impl fmt::Display for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open { path, flags } => write!(f, "open `{path}` ({flags:?})"),
            Self::Close { handle } => write!(f, "close {handle}"),
            Self::Read { handle, offset, len } => write!(f, "read {len} bytes of {handle} from {offset} on"),
            Self::Write { handle, offset, bytes } => {
                write!(f, "write {} bytes to {handle} from {offset} on", bytes.len())
            }
            Self::Stat { handle } => write!(f, "stat {handle}"),
            Self::Sync { handle } => write!(f, "sync {handle}"),
            Self::List { handle, position } => write!(f, "list {handle} from {position:#x} on"),
            Self::StatPath { path } => write!(f, "stat `{path}`"),
            Self::Remove { path } => write!(f, "remove `{path}`"),
            Self::Rename { from, to } => write!(f, "rename `{from}` to `{to}`"),
            Self::MakeDirectory { path } => write!(f, "make directory `{path}`"),
        }
    }
}

impl Request<'_> {
    /// The request's first byte.
    #[must_use]
    pub const fn kind(&self) -> u8 {
        match self {
            Self::Open { .. } => kind::OPEN,
            Self::Close { .. } => kind::CLOSE,
            Self::Read { .. } => kind::READ,
            Self::Write { .. } => kind::WRITE,
            Self::Stat { .. } => kind::STAT,
            Self::Sync { .. } => kind::SYNC,
            Self::List { .. } => kind::LIST,
            Self::StatPath { .. } => kind::STAT_PATH,
            Self::Remove { .. } => kind::REMOVE,
            Self::Rename { .. } => kind::RENAME,
            Self::MakeDirectory { .. } => kind::MAKE_DIRECTORY,
        }
    }
}

/// The first byte of a message and its number, which tell whom to answer even where the rest has no meaning.
///
/// # Errors
/// The message is too short to have a number.
pub fn id_of(message: &[u8]) -> Result<(u8, u16), Malformed> {
    let mut reader = Reader::new(message);
    let kind = reader.u8()?;
    reader.skip::<1>()?;
    Ok((kind, reader.u16()?))
}

/// A request has no meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RequestError {
    /// A field, or the length, is wrong.
    Malformed(Malformed),
    /// A path is none.
    Path(PathError),
    /// There is no such request in the version that both speak.
    Unknown {
        /// The request's first byte.
        kind: u8,
    },
}

impl RequestError {
    /// What the remote is told.
    #[must_use]
    pub const fn answer(&self) -> Error {
        match self {
            Self::Malformed(_) => Error::Malformed,
            Self::Path(error) => error.answer(),
            Self::Unknown { .. } => Error::Unsupported,
        }
    }
}

impl fmt::Display for RequestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(malformed) => malformed.fmt(f),
            Self::Path(error) => error.fmt(f),
            Self::Unknown { kind } => write!(f, "there is no request {kind:#04x}"),
        }
    }
}

impl error::Error for RequestError {}

impl From<Malformed> for RequestError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl From<PathError> for RequestError {
    fn from(error: PathError) -> Self {
        Self::Path(error)
    }
}
