//! The remote's half of the console.

use core::{error, fmt};

use embedded_io::ErrorKind;

use super::{
    Stream,
    protocol::{OUTPUT_HEADER, ToMain, ToRemote, VERSION},
};
use crate::{
    Chunk, MIN_MESSAGE, NoRoom, PeerError, USUAL_MESSAGE,
    bytes::{out_of_range, room},
};

/// A console as a remote sees it, with a buffer for `INPUT` bytes that came before they were read (with none, there is
/// no input).
///
/// Whenever a message has come, and after [`read`](Self::read), there may be one to send: [`poll`](Self::poll).
#[derive(Debug)]
pub struct Client<const INPUT: usize = 256> {
    session: Option<Session>,
    /// Bytes of the longest message that is taken.
    longest: u16,
    hello_due: bool,
    /// Bytes of output sent, and how many may be.
    output: u64,
    output_limit: u64,
    input: Buffer<INPUT>,
    /// Bytes of input that came, and how many may.
    received: u64,
    input_limit: u64,
    /// The firmware has tried to read.
    reads: bool,
    ended: bool,
    /// The offset of the arguments that were asked for.
    asked: Option<u32>,
    exited: bool,
}

/// What the main side said in its hello.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The version that both speak.
    pub version: u16,
    /// Number of arguments.
    pub arguments: u32,
    /// Bytes of all arguments, the NUL behind each included.
    pub arguments_len: u32,
}

/// What a message brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'m> {
    /// The main side has said hello. From now on everything else works.
    Started,
    /// More output may be sent.
    OutputRoom,
    /// There is something to read.
    Input,
    /// Nothing comes behind what is there to read.
    InputEnded,
    /// An answer to [`request_arguments`](Client::request_arguments).
    Arguments {
        /// The offset that was asked for.
        offset: u32,
        /// What is there.
        bytes: &'m [u8],
    },
}

/// What reading brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Read {
    /// So many bytes, at least one (or none, where none were asked for).
    Bytes(usize),
    /// Nothing will ever come.
    End,
    /// Nothing yet. [`Client::poll`] asks for more.
    Wait,
}

/// A call that cannot be served; nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CallError {
    /// The buffer for the message is too short.
    NoRoom(NoRoom),
    /// The main side has not said hello yet.
    NotStarted,
    /// The exit code was sent.
    Exited,
    /// The arguments that were asked for before have not come yet.
    AskedAlready {
        /// The offset that was asked for.
        offset: u32,
    },
    /// There are fewer arguments.
    BeyondArguments {
        /// The offset that was asked for.
        offset: u32,
        /// Bytes of all arguments.
        len: u32,
    },
}

impl<const INPUT: usize> Client<INPUT> {
    /// A console of which nothing is known yet.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            session: None,
            longest: USUAL_MESSAGE,
            hello_due: false,
            output: 0,
            output_limit: 0,
            input: Buffer::new(),
            received: 0,
            input_limit: 0,
            reads: false,
            ended: false,
            asked: None,
            exited: false,
        }
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

    /// Takes a message of the main side.
    ///
    /// # Errors
    /// The main side broke the rules; nothing has changed.
    pub fn receive<'m>(&mut self, message: &'m [u8]) -> Result<Event<'m>, PeerError> {
        let message = ToRemote::parse(message)?;
        let out_of_turn = |why| PeerError::OutOfTurn { message: message.name(), why };
        match (message, self.session) {
            (ToRemote::Hello { version, arguments_len, arguments, output_limit }, None) => {
                self.session = Some(Session { version: version.min(VERSION), arguments, arguments_len });
                self.output_limit = output_limit;
                self.hello_due = true;
                Ok(Event::Started)
            }
            (ToRemote::Hello { .. }, Some(_)) => Err(out_of_turn("there was one already")),
            (_, None) => Err(out_of_turn("there was no hello yet")),
            (ToRemote::OutputLimit { total }, _) => {
                self.output_limit = self.output_limit.max(total);
                Ok(Event::OutputRoom)
            }
            (ToRemote::Input { .. } | ToRemote::InputEnd, _) if self.ended => {
                Err(out_of_turn("the input has ended"))
            }
            (ToRemote::Input { bytes }, _) => {
                let total = self.received.saturating_add(bytes.len() as u64);
                if total > self.input_limit {
                    return Err(out_of_range("total of input", total, 0, self.input_limit).into());
                }
                self.received = total;
                self.input.put(bytes);
                Ok(Event::Input)
            }
            (ToRemote::InputEnd, _) => {
                self.ended = true;
                Ok(Event::InputEnded)
            }
            (ToRemote::Arguments { offset, bytes }, Some(session)) => {
                let Some(asked) = self.asked else { return Err(out_of_turn("nobody asked for them")) };
                if offset != asked {
                    return Err(out_of_range(
                        "offset of arguments",
                        offset.into(),
                        asked.into(),
                        asked.into(),
                    )
                    .into());
                }
                // An answer without a byte would be asked for again and again.
                let (len, rest) =
                    (bytes.len() as u64, u64::from(session.arguments_len.saturating_sub(offset)));
                if len > rest || len == 0 && rest != 0 {
                    return Err(out_of_range("length of arguments", len, 1, rest).into());
                }
                self.asked = None;
                Ok(Event::Arguments { offset, bytes })
            }
        }
    }

    /// Writes the next message that is due by itself: the hello, or a higher limit of input. To be called until there
    /// is none.
    ///
    /// # Errors
    /// `out` is shorter than [`MIN_MESSAGE`]; nothing has changed.
    pub fn poll<'o>(&mut self, out: &'o mut [u8]) -> Result<Option<&'o [u8]>, NoRoom> {
        if self.hello_due {
            let message = ToMain::Hello { version: VERSION, longest: self.longest }.emit(out)?;
            self.hello_due = false;
            return Ok(Some(message));
        }
        let Some(total) = self.input_limit_due() else { return Ok(None) };
        let message = ToMain::InputLimit { total }.emit(out)?;
        self.input_limit = total;
        Ok(Some(message))
    }

    /// Whether output would be taken now.
    #[must_use]
    pub const fn has_output_room(&self) -> bool {
        !self.exited && !self.hello_due && self.output < self.output_limit
    }

    /// Writes a message with as much of the output as may go now, or `None` where the main side takes none yet: to be
    /// called again at [`Event::OutputRoom`].
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn output<'o>(
        &mut self,
        stream: Stream,
        bytes: &[u8],
        out: &'o mut [u8],
    ) -> Result<Option<Chunk<'o>>, CallError> {
        if self.exited {
            return Err(CallError::Exited);
        }
        let out = room(out, u16::MAX)?;
        if !self.has_output_room() {
            return Ok(None);
        }
        let allowed = usize::try_from(self.output_limit - self.output).unwrap_or(usize::MAX);
        let taken = bytes.len().min(allowed).min(out.len() - OUTPUT_HEADER);
        let bytes = bytes.get(..taken).unwrap_or(bytes);
        let message = ToMain::Output { stream, bytes }.emit(out)?;
        self.output += taken as u64;
        Ok(Some(Chunk { message, taken }))
    }

    /// Takes input that has come.
    pub fn read(&mut self, to: &mut [u8]) -> Read {
        if to.is_empty() {
            return Read::Bytes(0);
        }
        self.reads = true;
        match self.input.take(to) {
            0 if self.ended || INPUT == 0 => Read::End,
            0 => Read::Wait,
            len => Read::Bytes(len),
        }
    }

    /// Writes a message that asks for the arguments from byte `offset` on; the answer is [`Event::Arguments`]. They
    /// are laid out as [`Arguments`](super::Arguments) says, and one answer need not hold all.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn request_arguments<'o>(&mut self, offset: u32, out: &'o mut [u8]) -> Result<&'o [u8], CallError> {
        let session = self.started()?;
        if let Some(offset) = self.asked {
            return Err(CallError::AskedAlready { offset });
        }
        if offset > session.arguments_len {
            return Err(CallError::BeyondArguments { offset, len: session.arguments_len });
        }
        let message = ToMain::ArgumentsRequest { offset }.emit(out)?;
        self.asked = Some(offset);
        Ok(message)
    }

    /// Writes the remote's last message.
    ///
    /// # Errors
    /// See [`CallError`].
    pub fn exit<'o>(&mut self, code: i32, out: &'o mut [u8]) -> Result<&'o [u8], CallError> {
        self.started()?;
        let message = ToMain::Exit { code }.emit(out)?;
        self.exited = true;
        Ok(message)
    }

    /// Both hellos are through, and nothing was ended.
    fn started(&self) -> Result<Session, CallError> {
        match self.session {
            _ if self.exited => Err(CallError::Exited),
            Some(session) if !self.hello_due => Ok(session),
            _ => Err(CallError::NotStarted),
        }
    }

    /// The limit to announce: not before the firmware reads, and not for a few bytes only.
    fn input_limit_due(&self) -> Option<u64> {
        let (free, promised) = (INPUT - self.input.len, self.input_limit - self.received);
        let more = (free as u64).saturating_sub(promised);
        let due = self.reads && !self.ended && !self.exited && self.session.is_some();
        (due && more > 0 && more >= INPUT as u64 / 2).then(|| self.input_limit.saturating_add(more))
    }
}

impl<const INPUT: usize> Default for Client<INPUT> {
    fn default() -> Self {
        Self::new()
    }
}

/// The last bytes that came and were not read, in a circle.
#[derive(Debug)]
struct Buffer<const N: usize> {
    bytes: [u8; N],
    /// Where the oldest byte is.
    first: usize,
    len: usize,
}

impl<const N: usize> Buffer<N> {
    const fn new() -> Self {
        Self { bytes: [0; N], first: 0, len: 0 }
    }

    /// Takes bytes in, as far as there is room.
    fn put(&mut self, bytes: &[u8]) {
        for &byte in bytes.iter().take(N - self.len) {
            if let Some(place) = self.bytes.get_mut((self.first + self.len) % N) {
                *place = byte;
                self.len += 1;
            }
        }
    }

    /// Gives the oldest bytes out, as many as there are and fit.
    fn take(&mut self, to: &mut [u8]) -> usize {
        let taken = self.len.min(to.len());
        for place in to.iter_mut().take(taken) {
            *place = self.bytes.get(self.first).copied().unwrap_or(0);
            self.first = (self.first + 1) % N;
        }
        self.len -= taken;
        taken
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom(no_room) => no_room.fmt(f),
            Self::NotStarted => f.write_str("the main side has not answered on the console's channel yet"),
            Self::Exited => f.write_str("the exit code was sent already"),
            Self::AskedAlready { offset } => {
                write!(f, "the arguments from byte {offset} on were asked for and have not come yet")
            }
            Self::BeyondArguments { offset, len } => {
                write!(f, "byte {offset} of the arguments was asked for, but they have {len}")
            }
        }
    }
}

impl error::Error for CallError {}

impl embedded_io::Error for CallError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::NoRoom(_) => ErrorKind::OutOfMemory,
            Self::NotStarted => ErrorKind::NotConnected,
            Self::Exited => ErrorKind::BrokenPipe,
            Self::AskedAlready { .. } | Self::BeyondArguments { .. } => ErrorKind::InvalidInput,
        }
    }
}

impl From<NoRoom> for CallError {
    fn from(no_room: NoRoom) -> Self {
        Self::NoRoom(no_room)
    }
}
