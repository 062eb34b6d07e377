//! The remote's half of the file service.

use core::{error, fmt};

use embedded_io::ErrorKind;

use super::{
    Error, Flags, Handle,
    protocol::{Answer, REQUESTS_MAX, Request, ToMain, ToRemote, VERSION, WRITE_HEADER},
};
use crate::{Chunk, MIN_MESSAGE, NoRoom, PeerError, USUAL_MESSAGE, bytes::out_of_range};

/// Files as a remote sees them, with up to `REQUESTS` requests on their way at once.
#[derive(Debug)]
pub struct Client<const REQUESTS: usize = 4> {
    session: Option<Session>,
    /// Bytes of the longest message that is taken.
    longest: u16,
    hello_due: bool,
    next: u16,
    asked: [Option<Asked>; REQUESTS],
}

/// What the main side said in its hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The version that both speak.
    pub version: u16,
    /// How many files and directories can be open at once.
    pub handles: u16,
    /// Bytes of the longest path.
    pub path_max: u16,
}

/// The number of a request that is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(u16);

/// What a message brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'m> {
    /// The main side has said hello; [`Client::poll`] has the answer. From then on requests can be made.
    Started,
    /// The answer to a request.
    Answer {
        /// The request.
        id: RequestId,
        /// What came of it.
        answer: Result<Answer<'m>, Error>,
    },
}

/// A request that was not made; nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The buffer for the message is too short.
    NoRoom(NoRoom),
    /// The main side has not said hello yet.
    NotStarted,
    /// As many requests as possible are on their way.
    TooManyRequests {
        /// How many that are.
        max: usize,
    },
    /// The flags do not go together.
    BadFlags {
        /// The flags.
        flags: Flags,
    },
}

/// A request that waits for its answer.
#[derive(Clone, Copy, Debug)]
struct Asked {
    id: u16,
    kind: u8,
    /// The most bytes that can be read or written.
    len: usize,
}

impl<const REQUESTS: usize> Client<REQUESTS> {
    /// Files of which nothing is known yet.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(REQUESTS > 0 && REQUESTS <= REQUESTS_MAX, "the main side keeps no more requests") };
        Self { session: None, longest: USUAL_MESSAGE, hello_due: false, next: 0, asked: [None; REQUESTS] }
    }

    /// The same, but taking messages of up to `longest` bytes (at least [`MIN_MESSAGE`]) instead of [`USUAL_MESSAGE`].
    /// To be said before the first message comes.
    #[must_use]
    pub const fn taking(mut self, longest: u16) -> Self {
        self.longest = if longest < MIN_MESSAGE as u16 { MIN_MESSAGE as u16 } else { longest };
        self
    }

    /// What the main side said; `None` before its hello came.
    #[must_use]
    pub const fn session(&self) -> Option<Session> {
        self.session
    }

    /// Writes the next message that is due by itself, which is the hello. To be called after [`Event::Started`].
    ///
    /// # Errors
    /// `out` is shorter than [`MIN_MESSAGE`]; nothing has changed.
    pub fn poll<'o>(&mut self, out: &'o mut [u8]) -> Result<Option<&'o [u8]>, NoRoom> {
        if !self.hello_due {
            return Ok(None);
        }
        let message = ToMain::Hello { version: VERSION, longest: self.longest }.emit(out)?;
        self.hello_due = false;
        Ok(Some(message))
    }

    /// Writes a message with a request. The answer comes as [`Event::Answer`] with the same number.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn request<'o>(
        &mut self,
        request: Request<'_>,
        out: &'o mut [u8],
    ) -> Result<(RequestId, &'o [u8]), CallError> {
        if self.session.is_none() || self.hello_due {
            return Err(CallError::NotStarted);
        }
        let len = match request {
            Request::Open { flags, .. } if !flags.are_valid() => return Err(CallError::BadFlags { flags }),
            Request::Read { len, .. } => len as usize,
            Request::Write { bytes, .. } => bytes.len(),
            _ => 0,
        };
        let id = self.free_id();
        let free = self.asked.iter_mut().find(|asked| asked.is_none());
        let asked = free.ok_or(CallError::TooManyRequests { max: REQUESTS })?;
        let message = ToMain::Request { id, request }.emit(out)?;
        *asked = Some(Asked { id, kind: request.kind(), len });
        self.next = id.wrapping_add(1);
        Ok((RequestId(id), message))
    }

    /// Writes a message that asks to write as many of the bytes as fit it.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn write<'o>(
        &mut self,
        handle: Handle,
        offset: u64,
        bytes: &[u8],
        out: &'o mut [u8],
    ) -> Result<(RequestId, Chunk<'o>), CallError> {
        let room = out.len();
        let most = room.checked_sub(WRITE_HEADER).filter(|&most| most > 0 || bytes.is_empty());
        let taken = most.ok_or(NoRoom { needed: WRITE_HEADER + 1, room })?.min(bytes.len());
        let bytes = bytes.get(..taken).unwrap_or(bytes);
        let (id, message) = self.request(Request::Write { handle, offset, bytes }, out)?;
        Ok((id, Chunk { message, taken }))
    }

    /// Takes a message of the main side.
    ///
    /// # Errors
    /// The main side broke the rules; nothing has changed.
    pub fn receive<'m>(&mut self, message: &'m [u8]) -> Result<Event<'m>, PeerError> {
        let (id, to, answer) = match (ToRemote::parse(message)?, self.session) {
            (ToRemote::Hello { version, handles, path_max }, None) => {
                self.session = Some(Session { version: version.min(VERSION), handles, path_max });
                self.hello_due = true;
                return Ok(Event::Started);
            }
            (ToRemote::Hello { .. }, Some(_)) => {
                return Err(PeerError::OutOfTurn { message: "a hello", why: "there was one already" });
            }
            (ToRemote::Answer { id, to, answer }, _) => (id, to, answer),
        };
        let asked = self.asked.iter_mut().find(|asked| asked.is_some_and(|asked| asked.id == id));
        let Some(place) = asked else { return Err(nobody_asked()) };
        let Some(asked) = *place else { return Err(nobody_asked()) };
        if to != asked.kind {
            return Err(
                out_of_range("request answered", to.into(), asked.kind.into(), asked.kind.into()).into()
            );
        }
        match answer {
            Ok(Answer::Data(bytes)) if bytes.len() > asked.len => {
                return Err(out_of_range("bytes read", bytes.len() as u64, 0, asked.len as u64).into());
            }
            // None written of some would be tried again and again.
            Ok(Answer::Written(len)) if len as usize > asked.len || len == 0 && asked.len > 0 => {
                return Err(out_of_range("bytes written", len.into(), 1, asked.len as u64).into());
            }
            _ => {}
        }
        *place = None;
        Ok(Event::Answer { id: RequestId(id), answer })
    }

    /// A number that no request on its way has.
    fn free_id(&self) -> u16 {
        // There are fewer requests on their way than numbers, or no room for another one anyway.
        let mut ids = (0..=u16::MAX).map(|more| self.next.wrapping_add(more));
        ids.find(|&id| self.asked.iter().flatten().all(|asked| asked.id != id)).unwrap_or(self.next)
    }
}

impl<const REQUESTS: usize> Default for Client<REQUESTS> {
    fn default() -> Self {
        Self::new()
    }
}

const fn nobody_asked() -> PeerError {
    PeerError::OutOfTurn { message: "an answer", why: "no request on its way has its number" }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom(no_room) => no_room.fmt(f),
            Self::NotStarted => f.write_str("the main side has not answered on the files' channel yet"),
            Self::TooManyRequests { max } => write!(f, "{max} requests are on their way, and no more can be"),
            Self::BadFlags { flags } => write!(f, "{flags:?} do not go together"),
        }
    }
}

impl error::Error for CallError {}

impl embedded_io::Error for CallError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRoom(_) | Self::TooManyRequests { .. } => ErrorKind::OutOfMemory,
            Self::NotStarted => ErrorKind::NotConnected,
            Self::BadFlags { .. } => ErrorKind::InvalidInput,
        }
    }
}

impl From<NoRoom> for CallError {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}
