//! The messages of the file service, version 1.
//!
//! Our own layout, little endian, every field at a multiple of its size. Every message begins with four bytes: which
//! it is, a status (zero in requests), and the request's number `id`, which the answer repeats. The first byte of an
//! answer is that of the request with its highest bit set; where the status is not zero it is an [`Error`] and nothing
//! follows. Bytes between fields are sent as zero and not looked at. A hello may be longer than described here: what
//! follows belongs to later versions. Every other message has just its length.

mod answer;
mod error;
mod flags;
mod path;
mod request;

pub use answer::{Answer, Entries, Entry, Info, Kind, ToRemote};
pub use error::Error;
pub use flags::Flags;
pub use path::{Path, PathError};
pub use request::{Request, RequestError, ToMain, id_of};

use core::fmt;

/// The version that is described here, and the highest one.
pub const VERSION: u16 = 1;

/// Bytes that every message begins with.
pub const HEADER: usize = 4;

/// Requests of one remote that the main side keeps while it has no buffer for their answers. What comes then is lost.
pub const REQUESTS_MAX: usize = 256;

/// Bytes of a request before the bytes [to write](Request::Write).
pub const WRITE_HEADER: usize = 16;

/// An open file or directory, as the main side numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u32);

impl fmt::Display for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "handle {:#x}", self.0)
    }
}

/// The first bytes of requests. An answer's is that of the request and [`ANSWER`](kind::ANSWER).
pub(crate) mod kind {
    pub(crate) const ANSWER: u8 = 0x80;

    pub(crate) const HELLO: u8 = 0x01;
    pub(crate) const OPEN: u8 = 0x02;
    pub(crate) const CLOSE: u8 = 0x03;
    pub(crate) const READ: u8 = 0x04;
    pub(crate) const WRITE: u8 = 0x05;
    pub(crate) const STAT: u8 = 0x06;
    pub(crate) const SYNC: u8 = 0x07;
    pub(crate) const LIST: u8 = 0x08;
    pub(crate) const STAT_PATH: u8 = 0x09;
    pub(crate) const REMOVE: u8 = 0x0A;
    pub(crate) const RENAME: u8 = 0x0B;
    pub(crate) const MAKE_DIRECTORY: u8 = 0x0C;
}
