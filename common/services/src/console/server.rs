//! The main side's half of the console.

use super::{
    Arguments, ArgumentsError, Stream,
    protocol::{ARGUMENTS_HEADER, INPUT_HEADER, ToMain, ToRemote, VERSION},
};
use crate::{
    Chunk, NoRoom, PeerError,
    bytes::{out_of_range, room},
};

/// A console as the main side serves it to one remote, with the remote's arguments in `A`.
///
/// [`poll`](Self::poll) has the first message, and may have one whenever one has come and after
/// [`written`](Self::written).
#[derive(Debug)]
pub struct Server<A> {
    arguments: A,
    state: State,
    /// Bytes of the longest message that the remote takes.
    longest: u16,
    /// Bytes of output that may wait here to be written out.
    window: u64,
    /// Bytes of output that came, were written out, and may come.
    received: u64,
    written: u64,
    output_limit: u64,
    /// Bytes of input sent, and how many may be.
    input: u64,
    input_limit: u64,
    ended: bool,
    /// The offset of the arguments that the remote waits for.
    asked: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Our hello is due.
    New,
    /// The remote's is.
    Greeting,
    Running,
    Exited(i32),
}

/// What a message brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'m> {
    /// The remote has said hello.
    Started {
        /// The version that both speak.
        version: u16,
    },
    /// The remote prints. Once this is written out: [`Server::written`].
    Output {
        /// Where.
        stream: Stream,
        /// What.
        bytes: &'m [u8],
    },
    /// The remote wants input: [`Server::input`].
    InputWanted,
    /// The remote wants its arguments: [`Server::poll`] has them.
    ArgumentsWanted,
    /// The remote is done. Nothing follows.
    Exited {
        /// Its exit code.
        code: i32,
    },
}

impl<A: AsRef<[u8]>> Server<A> {
    /// A console for a remote with these arguments (laid out as [`Arguments`] says), of whose output at most `window`
    /// bytes wait to be written out.
    ///
    /// # Errors
    /// The bytes are no arguments.
    pub fn new(arguments: A, window: u32) -> Result<Self, ArgumentsError> {
        Arguments::new(arguments.as_ref())?;
        let window = u64::from(window.max(1));
        Ok(Self {
            arguments,
            state: State::New,
            longest: u16::MAX,
            window,
            received: 0,
            written: 0,
            output_limit: window,
            input: 0,
            input_limit: 0,
            ended: false,
            asked: None,
        })
    }

    /// Takes a message of the remote.
    ///
    /// # Errors
    /// The remote broke the rules; nothing has changed.
    pub fn receive<'m>(&mut self, message: &'m [u8]) -> Result<Event<'m>, PeerError> {
        let message = ToMain::parse(message)?;
        let out_of_turn = |why| PeerError::OutOfTurn { message: message.name(), why };
        match (self.state, message) {
            (State::New, _) => Err(out_of_turn("the main side speaks first")),
            (State::Exited(_), _) => Err(out_of_turn("the remote has exited")),
            (State::Greeting, ToMain::Hello { version, longest }) => {
                self.longest = longest;
                self.state = State::Running;
                Ok(Event::Started { version: version.min(VERSION) })
            }
            (State::Greeting, _) => Err(out_of_turn("there was no hello yet")),
            (State::Running, ToMain::Hello { .. }) => Err(out_of_turn("there was one already")),
            (State::Running, ToMain::Output { stream, bytes }) => {
                let total = self.received.saturating_add(bytes.len() as u64);
                if total > self.output_limit {
                    return Err(out_of_range("total of output", total, 0, self.output_limit).into());
                }
                self.received = total;
                Ok(Event::Output { stream, bytes })
            }
            (State::Running, ToMain::InputLimit { total }) => {
                self.input_limit = self.input_limit.max(total);
                Ok(Event::InputWanted)
            }
            (State::Running, ToMain::ArgumentsRequest { offset }) => {
                if self.asked.is_some() {
                    return Err(out_of_turn("the one before was not answered yet"));
                }
                let len = self.arguments.as_ref().len();
                if offset as usize > len {
                    return Err(out_of_range("offset of arguments", offset.into(), 0, len as u64).into());
                }
                self.asked = Some(offset);
                Ok(Event::ArgumentsWanted)
            }
            (State::Running, ToMain::Exit { code }) => {
                self.state = State::Exited(code);
                Ok(Event::Exited { code })
            }
        }
    }

    /// Writes the next message that is due by itself: the hello, arguments, or a higher limit of output. To be called
    /// until there is none.
    ///
    /// # Errors
    /// `out` is shorter than [`MIN_MESSAGE`](super::MIN_MESSAGE); nothing has changed.
    pub fn poll<'o>(&mut self, out: &'o mut [u8]) -> Result<Option<&'o [u8]>, NoRoom> {
        let out = room(out, self.longest)?;
        let arguments = self.arguments.as_ref();
        match self.state {
            State::New => {
                // `Arguments` has a bound that fits.
                let (arguments_len, count) = (arguments.len() as u32, count(arguments));
                let output_limit = self.output_limit;
                let hello =
                    ToRemote::Hello { version: VERSION, arguments_len, arguments: count, output_limit };
                let message = hello.emit(out)?;
                self.state = State::Greeting;
                Ok(Some(message))
            }
            State::Greeting | State::Exited(_) => Ok(None),
            State::Running => {
                if let Some(offset) = self.asked {
                    let rest = arguments.get(offset as usize..).unwrap_or_default();
                    let len = rest.len().min(out.len() - ARGUMENTS_HEADER);
                    let bytes = rest.get(..len).unwrap_or_default();
                    let message = ToRemote::Arguments { offset, bytes }.emit(out)?;
                    self.asked = None;
                    return Ok(Some(message));
                }
                let total = self.written.saturating_add(self.window);
                if total == self.output_limit || total - self.output_limit < self.window / 2 {
                    return Ok(None);
                }
                let message = ToRemote::OutputLimit { total }.emit(out)?;
                self.output_limit = total;
                Ok(Some(message))
            }
        }
    }

    /// Counts `len` bytes of output as written out: so much more may come.
    pub fn written(&mut self, len: usize) {
        self.written = self.written.saturating_add(len as u64).min(self.received);
    }

    /// How many bytes of input the remote takes now. As long as there are none, nobody should read any for it.
    #[must_use]
    pub fn input_room(&self) -> u64 {
        match self.state {
            State::Running if !self.ended => self.input_limit.saturating_sub(self.input),
            _ => 0,
        }
    }

    /// Writes a message with as much of the input as may go now, or `None` where the remote takes none yet: to be
    /// called again at [`Event::InputWanted`].
    ///
    /// # Errors
    /// `out` is shorter than [`MIN_MESSAGE`](super::MIN_MESSAGE); nothing has changed.
    pub fn input<'o>(&mut self, bytes: &[u8], out: &'o mut [u8]) -> Result<Option<Chunk<'o>>, NoRoom> {
        let out = room(out, self.longest)?;
        let allowed = usize::try_from(self.input_room()).unwrap_or(usize::MAX);
        let taken = bytes.len().min(allowed).min(out.len() - INPUT_HEADER);
        if taken == 0 {
            return Ok(None);
        }
        let bytes = bytes.get(..taken).unwrap_or(bytes);
        let message = ToRemote::Input { bytes }.emit(out)?;
        self.input += taken as u64;
        Ok(Some(Chunk { message, taken }))
    }

    /// Writes the message that no input follows, or `None` where the remote does not listen (yet, or any more) or
    /// knows already. It needs no room at the remote.
    ///
    /// # Errors
    /// `out` is shorter than [`MIN_MESSAGE`](super::MIN_MESSAGE); nothing has changed.
    pub fn end_input<'o>(&mut self, out: &'o mut [u8]) -> Result<Option<&'o [u8]>, NoRoom> {
        let out = room(out, self.longest)?;
        if self.state != State::Running || self.ended {
            return Ok(None);
        }
        let message = ToRemote::InputEnd.emit(out)?;
        self.ended = true;
        Ok(Some(message))
    }

    /// The exit code, once the remote has sent it.
    #[must_use]
    pub const fn exit_code(&self) -> Option<i32> {
        match self.state {
            State::Exited(code) => Some(code),
            _ => None,
        }
    }
}

fn count(arguments: &[u8]) -> u32 {
    arguments.iter().map(|&byte| u32::from(byte == 0)).sum()
}
