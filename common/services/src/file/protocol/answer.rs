use core::fmt;

use sidecore_wire::Malformed;

use super::{Error, Handle, kind};
use crate::{
    NoRoom,
    bytes::{Reader, Writer, out_of_range, version},
};

/// A message of the main side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToRemote<'m> {
    /// `81`, zero, version `u16`, open files at once `u16`, longest path `u16`. The first message of all.
    Hello {
        /// The highest version that the main side speaks.
        version: u16,
        /// How many files and directories can be open at once.
        handles: u16,
        /// Bytes of the longest path.
        path_max: u16,
    },
    /// Any other message.
    Answer {
        /// The request's number.
        id: u16,
        /// The request's first byte, which says how to read the rest.
        to: u8,
        /// What came of it.
        answer: Result<Answer<'m>, Error>,
    },
}

/// What a request that succeeded is answered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'m> {
    /// To `Open`: handle `u32`.
    Opened(Handle),
    /// To `Read`: the bytes.
    Data(&'m [u8]),
    /// To `Write`: how many bytes were written, `u32`.
    Written(u32),
    /// To `Stat` and `StatPath`: kind `u8`, 3 zeros, size `u64`.
    Info(Info),
    /// To `List`: the entries.
    Entries(Entries<'m>),
    /// To all others: nothing.
    Done,
}

impl<'m> ToRemote<'m> {
    /// Reads a message.
    ///
    /// # Errors
    /// The message has no meaning.
    pub fn parse(message: &'m [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message);
        let (first, status) = (reader.u8()?, reader.u8()?);
        let to = first & !kind::ANSWER;
        if first != to | kind::ANSWER || !(kind::HELLO..=kind::MAKE_DIRECTORY).contains(&to) {
            let (min, max) = (kind::HELLO | kind::ANSWER, kind::MAKE_DIRECTORY | kind::ANSWER);
            return Err(out_of_range("message kind", first.into(), min.into(), max.into()));
        }
        if to == kind::HELLO {
            let (version, handles, path_max) = (version(&mut reader)?, reader.u16()?, reader.u16()?);
            return Ok(Self::Hello { version, handles, path_max });
        }
        let id = reader.u16()?;
        if status != 0 {
            reader.end()?;
            return Ok(Self::Answer { id, to, answer: Err(Error::parse(status)?) });
        }
        let answer = match to {
            kind::OPEN => Answer::Opened(Handle(reader.u32()?)),
            kind::READ => Answer::Data(reader.all()),
            kind::WRITE => Answer::Written(reader.u32()?),
            kind::STAT | kind::STAT_PATH => {
                let kind = Kind::parse(reader.u8()?)?;
                reader.skip::<3>()?;
                Answer::Info(Info { kind, size: reader.u64()? })
            }
            kind::LIST => Answer::Entries(Entries::parse(reader.all())?),
            _ => Answer::Done,
        };
        reader.end()?;
        Ok(Self::Answer { id, to, answer: Ok(answer) })
    }

    /// Writes the message to the beginning of `out` and answers that part of it.
    ///
    /// # Errors
    /// `out` is too short.
    pub fn emit<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        let writer = Writer::new(out);
        match self {
            Self::Hello { version, handles, path_max } => writer
                .put(&[kind::HELLO | kind::ANSWER, 0])
                .put(&version.to_le_bytes())
                .put(&handles.to_le_bytes())
                .put(&path_max.to_le_bytes()),
            Self::Answer { id, to, answer } => {
                let status = answer.as_ref().err().map_or(0, |&error| error as u8);
                let header = writer.put(&[to | kind::ANSWER, status]).put(&id.to_le_bytes());
                match answer {
                    Ok(answer) => answer.emit(header),
                    Err(_) => header,
                }
            }
        }
        .finish()
    }
}

impl Answer<'_> {
    /// Writes the answer behind its header.
    pub(crate) fn emit<'o>(&self, header: Writer<'o>) -> Writer<'o> {
        match self {
            Self::Opened(handle) => header.put(&handle.0.to_le_bytes()),
            Self::Data(bytes) | Self::Entries(Entries(bytes)) => header.put(bytes),
            Self::Written(len) => header.put(&len.to_le_bytes()),
            Self::Info(Info { kind, size }) => header.put(&[*kind as u8, 0, 0, 0]).put(&size.to_le_bytes()),
            Self::Done => header,
        }
    }
}

/// What something with a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file, 1.
    File = 1,
    /// A directory, 2.
    Directory = 2,
    /// Something that cannot be opened (a symbolic link, a device, a socket, ...), 3.
    Other = 3,
}

impl Kind {
    fn parse(byte: u8) -> Result<Kind, Malformed> {
        match byte {
            1 => Ok(Kind::File),
            2 => Ok(Kind::Directory),
            3 => Ok(Kind::Other),
            other => Err(out_of_range("kind of file", other.into(), 1, 3)),
        }
    }
}

/// What is known of a file or a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Info {
    /// What it is.
    pub kind: Kind,
    /// How long it is, in bytes; zero where it is no file.
    pub size: u64,
}

/// Something in a directory: next `u64`, kind `u8`, length of the name `u8`, the name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Entry<'m> {
    /// The position behind it, at which listing goes on.
    pub next: u64,
    /// What it is.
    pub kind: Kind,
    /// Its name: 1 to 255 bytes without NUL and slash.
    pub name: &'m [u8],
}

impl<'m> Entry<'m> {
    fn parse(reader: &mut Reader<'m>) -> Result<Self, Malformed> {
        let next = reader.u64()?;
        let kind = Kind::parse(reader.u8()?)?;
        let len = reader.u8()?;
        let name = reader.bytes(len.into())?;
        check_name(name)?;
        Ok(Self { next, kind, name })
    }

    /// Writes the entry; `None` where there is no room, or the name is none.
    pub(crate) fn emit(&self, out: &mut [u8]) -> Option<usize> {
        let len = u8::try_from(self.name.len()).ok().filter(|_| check_name(self.name).is_ok())?;
        let header = Writer::new(out).put(&self.next.to_le_bytes()).put(&[self.kind as u8, len]);
        header.put(self.name).finish().ok().map(<[u8]>::len)
    }
}

fn check_name(name: &[u8]) -> Result<(), Malformed> {
    if name.is_empty() {
        return Err(out_of_range("length of a name", 0, 1, 255));
    }
    match name.iter().filter(|&&byte| byte == 0 || byte == b'/').count() {
        0 => Ok(()),
        some => Err(out_of_range("number of NULs and slashes in a name", some as u64, 0, 0)),
    }
}

impl fmt::Debug for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry({:?} {}, next {:#x})", self.kind, self.name.escape_ascii(), self.next)
    }
}

/// Entries of a directory, one behind the other, each of which has been checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entries<'m>(&'m [u8]);

impl<'m> Entries<'m> {
    /// Reads entries.
    ///
    /// # Errors
    /// One of them has no meaning.
    pub fn parse(bytes: &'m [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            Entry::parse(&mut reader)?;
        }
        Ok(Self(bytes))
    }

    /// The entries.
    pub fn iter(self) -> impl Iterator<Item = Entry<'m>> {
        let mut reader = Reader::new(self.0);
        // They have been checked: no error but the end.
        core::iter::from_fn(move || Entry::parse(&mut reader).ok())
    }
}
