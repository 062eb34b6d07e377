//! The messages of the console, version 1.
//!
//! Our own layout, little endian, every field at a multiple of its size. The first byte says which message it is; from
//! the main side its highest bit is set. Bytes between fields are sent as zero and not looked at. A hello may be
//! longer than described here: what follows belongs to later versions. Every other message has just its length.

use core::{error, fmt};

use sidecore_wire::Malformed;

use crate::{
    NoRoom,
    bytes::{Reader, Writer, longest, out_of_range, version},
};

/// The version that is described here, and the highest one.
pub const VERSION: u16 = 1;

/// Bytes of all arguments of a remote together, the NUL behind each included.
pub const ARGUMENTS_MAX: usize = 1 << 20;

/// Bytes of a message before its [output](ToMain::Output).
pub const OUTPUT_HEADER: usize = 2;

/// Bytes of a message before its [input](ToRemote::Input).
pub const INPUT_HEADER: usize = 1;

/// Bytes of a message before its [arguments](ToRemote::Arguments).
pub const ARGUMENTS_HEADER: usize = 8;

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
    /// `02`, stream `u8`, the bytes.
    Output {
        /// Which stream they are for.
        stream: Stream,
        /// What the remote prints: any bytes, at any boundary.
        bytes: &'m [u8],
    },
    /// `03`, 7 zeros, total `u64`.
    InputLimit {
        /// So many bytes of input may have come since the beginning.
        total: u64,
    },
    /// `04`, 3 zeros, offset `u32`.
    ArgumentsRequest {
        /// The first wanted byte of the [arguments](Arguments).
        offset: u32,
    },
    /// `05`, 3 zeros, code `i32`. The remote's last message.
    Exit {
        /// The exit code.
        code: i32,
    },
}

/// A message of the main side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ToRemote<'m> {
    /// `81`, zero, version `u16`, bytes of the arguments `u32`, total `u64`, number of arguments `u32`. The first
    /// message of all.
    Hello {
        /// The highest version that the main side speaks.
        version: u16,
        /// Bytes of all arguments, the NUL behind each included; at most [`ARGUMENTS_MAX`].
        arguments_len: u32,
        /// How many arguments there are.
        arguments: u32,
        /// As in an output limit.
        output_limit: u64,
    },
    /// `82`, 7 zeros, total `u64`.
    OutputLimit {
        /// So many bytes of output, of both streams together, may have come since the beginning.
        total: u64,
    },
    /// `83`, the bytes.
    Input {
        /// Input for the remote: any bytes, at any boundary.
        bytes: &'m [u8],
    },
    /// `84`. No input follows.
    InputEnd,
    /// `85`, 3 zeros, offset `u32`, the bytes. The answer to one request.
    Arguments {
        /// The offset that was asked for.
        offset: u32,
        /// The [arguments](Arguments) from there on, as many as fit and at least one byte; none at the end alone.
        bytes: &'m [u8],
    },
}

/// Where output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// The standard output, 1.
    Out = 1,
    /// The standard error, 2.
    Err = 2,
}

impl<'m> ToMain<'m> {
    /// Reads a message.
    ///
    /// # Errors
    /// The message has no meaning.
    pub fn parse(message: &'m [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message);
        let parsed = match reader.u8()? {
            kind::HELLO => {
                reader.skip::<1>()?;
                return Ok(Self::Hello { version: version(&mut reader)?, longest: longest(&mut reader)? });
            }
            kind::OUTPUT => {
                let stream = match reader.u8()? {
                    1 => Stream::Out,
                    2 => Stream::Err,
                    other => return Err(out_of_range("stream", other.into(), 1, 2)),
                };
                return Ok(Self::Output { stream, bytes: reader.all() });
            }
            kind::INPUT_LIMIT => {
                reader.skip::<7>()?;
                Self::InputLimit { total: reader.u64()? }
            }
            kind::ARGUMENTS_REQUEST => {
                reader.skip::<3>()?;
                Self::ArgumentsRequest { offset: offset(&mut reader)? }
            }
            kind::EXIT => {
                reader.skip::<3>()?;
                Self::Exit { code: reader.i32()? }
            }
            other => {
                return Err(out_of_range(
                    "message kind",
                    other.into(),
                    kind::HELLO.into(),
                    kind::EXIT.into(),
                ));
            }
        };
        reader.end()?;
        Ok(parsed)
    }

    /// Writes the message to the beginning of `out` and answers that part of it.
    ///
    /// # Errors
    /// `out` is too short.
    pub fn emit<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        let writer = Writer::new(out);
        match self {
            Self::Hello { version, longest } => {
                writer.put(&[kind::HELLO, 0]).put(&version.to_le_bytes()).put(&longest.to_le_bytes())
            }
            Self::Output { stream, bytes } => writer.put(&[kind::OUTPUT, *stream as u8]).put(bytes),
            Self::InputLimit { total } => {
                writer.put(&[kind::INPUT_LIMIT, 0, 0, 0, 0, 0, 0, 0]).put(&total.to_le_bytes())
            }
            Self::ArgumentsRequest { offset } => {
                writer.put(&[kind::ARGUMENTS_REQUEST, 0, 0, 0]).put(&offset.to_le_bytes())
            }
            Self::Exit { code } => writer.put(&[kind::EXIT, 0, 0, 0]).put(&code.to_le_bytes()),
        }
        .finish()
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "a hello",
            Self::Output { .. } => "output",
            Self::InputLimit { .. } => "an input limit",
            Self::ArgumentsRequest { .. } => "a request for arguments",
            Self::Exit { .. } => "an exit code",
        }
    }
}

impl<'m> ToRemote<'m> {
    /// Reads a message.
    ///
    /// # Errors
    /// The message has no meaning.
    pub fn parse(message: &'m [u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(message);
        let parsed = match reader.u8()? {
            kind::MAIN_HELLO => {
                reader.skip::<1>()?;
                let version = version(&mut reader)?;
                let arguments_len = offset(&mut reader)?;
                let output_limit = reader.u64()?;
                let arguments = reader.u32()?;
                if arguments > arguments_len {
                    // Each has a NUL at least.
                    return Err(out_of_range(
                        "number of arguments",
                        arguments.into(),
                        0,
                        arguments_len.into(),
                    ));
                }
                return Ok(Self::Hello { version, arguments_len, arguments, output_limit });
            }
            kind::OUTPUT_LIMIT => {
                reader.skip::<7>()?;
                Self::OutputLimit { total: reader.u64()? }
            }
            kind::INPUT => return Ok(Self::Input { bytes: reader.all() }),
            kind::INPUT_END => Self::InputEnd,
            kind::ARGUMENTS => {
                reader.skip::<3>()?;
                return Ok(Self::Arguments { offset: offset(&mut reader)?, bytes: reader.all() });
            }
            other => {
                let (min, max) = (kind::MAIN_HELLO.into(), kind::ARGUMENTS.into());
                return Err(out_of_range("message kind", other.into(), min, max));
            }
        };
        reader.end()?;
        Ok(parsed)
    }

    /// Writes the message to the beginning of `out` and answers that part of it.
    ///
    /// # Errors
    /// `out` is too short.
    pub fn emit<'o>(&self, out: &'o mut [u8]) -> Result<&'o [u8], NoRoom> {
        let writer = Writer::new(out);
        match self {
            Self::Hello { version, arguments_len, arguments, output_limit } => writer
                .put(&[kind::MAIN_HELLO, 0])
                .put(&version.to_le_bytes())
                .put(&arguments_len.to_le_bytes())
                .put(&output_limit.to_le_bytes())
                .put(&arguments.to_le_bytes()),
            Self::OutputLimit { total } => {
                writer.put(&[kind::OUTPUT_LIMIT, 0, 0, 0, 0, 0, 0, 0]).put(&total.to_le_bytes())
            }
            Self::Input { bytes } => writer.put(&[kind::INPUT]).put(bytes),
            Self::InputEnd => writer.put(&[kind::INPUT_END]),
            Self::Arguments { offset, bytes } => {
                writer.put(&[kind::ARGUMENTS, 0, 0, 0]).put(&offset.to_le_bytes()).put(bytes)
            }
        }
        .finish()
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Hello { .. } => "a hello",
            Self::OutputLimit { .. } => "an output limit",
            Self::Input { .. } => "input",
            Self::InputEnd => "the end of input",
            Self::Arguments { .. } => "arguments",
        }
    }
}

mod kind {
    pub(super) const HELLO: u8 = 0x01;
    pub(super) const OUTPUT: u8 = 0x02;
    pub(super) const INPUT_LIMIT: u8 = 0x03;
    pub(super) const ARGUMENTS_REQUEST: u8 = 0x04;
    pub(super) const EXIT: u8 = 0x05;

    pub(super) const MAIN_HELLO: u8 = 0x81;
    pub(super) const OUTPUT_LIMIT: u8 = 0x82;
    pub(super) const INPUT: u8 = 0x83;
    pub(super) const INPUT_END: u8 = 0x84;
    pub(super) const ARGUMENTS: u8 = 0x85;
}

/// An offset into the arguments, or their length.
fn offset(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    match reader.u32()? {
        offset if offset as usize <= ARGUMENTS_MAX => Ok(offset),
        offset => Err(out_of_range("offset of arguments", offset.into(), 0, ARGUMENTS_MAX as u64)),
    }
}

/// Arguments as they travel: one behind the other, a NUL behind each. Any bytes but NUL can be in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arguments<'b>(&'b [u8]);

impl<'b> Arguments<'b> {
    /// Takes bytes for arguments.
    ///
    /// # Errors
    /// There are more than [`ARGUMENTS_MAX`], or the last one is no NUL.
    pub const fn new(bytes: &'b [u8]) -> Result<Self, ArgumentsError> {
        if bytes.len() > ARGUMENTS_MAX {
            return Err(ArgumentsError::TooLong { len: bytes.len() });
        }
        match bytes {
            [] | [.., 0] => Ok(Self(bytes)),
            _ => Err(ArgumentsError::Unterminated),
        }
    }

    /// Puts one more argument, and its NUL, behind those in `to`.
    ///
    /// # Errors
    /// There is a NUL in the argument; `to` is as it was.
    pub fn append(to: &mut impl Extend<u8>, argument: &[u8]) -> Result<(), ArgumentsError> {
        if let Some(at) = argument.iter().position(|&byte| byte == 0) {
            return Err(ArgumentsError::Nul { at });
        }
        to.extend(argument.iter().copied().chain([0]));
        Ok(())
    }

    /// The arguments, without their NULs.
    pub fn iter(self) -> impl Iterator<Item = &'b [u8]> + Clone {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (argument, behind) = rest.split_at_checked(rest.iter().position(|&byte| byte == 0)?)?;
            rest = behind.get(1..)?;
            Some(argument)
        })
    }

    /// Number of arguments.
    #[must_use]
    pub fn count(self) -> usize {
        self.0.iter().filter(|&&byte| byte == 0).count()
    }

    /// The bytes that were taken.
    #[must_use]
    pub const fn as_bytes(self) -> &'b [u8] {
        self.0
    }
}

/// Bytes cannot be arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArgumentsError {
    /// An argument holds a NUL.
    Nul {
        /// Where, in bytes from the beginning of the argument.
        at: usize,
    },
    /// There are too many bytes.
    TooLong {
        /// How many, with a NUL behind each argument.
        len: usize,
    },
    /// The last argument does not end with a NUL.
    Unterminated,
}

impl fmt::Display for ArgumentsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nul { at } => write!(f, "byte {at} of an argument is a NUL"),
            Self::TooLong { len } => {
                write!(f, "the arguments have {len} bytes, at most {ARGUMENTS_MAX} are allowed")
            }
            Self::Unterminated => f.write_str("the last argument does not end with a NUL"),
        }
    }
}

impl error::Error for ArgumentsError {}
