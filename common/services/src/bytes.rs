//! Messages read from the front and written from the front.

use core::{error, fmt};

use sidecore_wire::{Fault, Malformed};

use crate::MIN_MESSAGE;

/// The caller's buffer is too short for the message; nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom {
    /// Bytes that the message has.
    pub needed: usize,
    /// Bytes that the buffer has.
    pub room: usize,
}

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the message has {} bytes, the buffer for it {}", self.needed, self.room)
    }
}

impl error::Error for NoRoom {}

/// What is left of a received message.
pub(crate) struct Reader<'m> {
    len: usize,
    rest: &'m [u8],
}

impl<'m> Reader<'m> {
    pub(crate) const fn new(message: &'m [u8]) -> Self {
        Self { len: message.len(), rest: message }
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Malformed> {
        self.take().map(u8::from_le_bytes)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Malformed> {
        self.take().map(u16::from_le_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Malformed> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Malformed> {
        self.take().map(i32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_le_bytes)
    }

    /// Steps over bytes that mean nothing.
    pub(crate) fn skip<const N: usize>(&mut self) -> Result<(), Malformed> {
        self.take::<N>().map(|_| ())
    }

    /// The next `len` bytes.
    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'m [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(self.truncated(len))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// All that is left.
    pub(crate) fn all(&mut self) -> &'m [u8] {
        core::mem::take(&mut self.rest)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Nothing may be left.
    pub(crate) fn end(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            return Ok(());
        }
        let whole = (self.len - self.rest.len()) as u64;
        Err(Malformed {
            field: "message length",
            value: self.len as u64,
            fault: Fault::OutOfRange { min: whole, max: whole },
        })
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(self.truncated(N))?;
        self.rest = rest;
        Ok(*bytes)
    }

    fn truncated(&self, needed: usize) -> Malformed {
        let needed = (self.len - self.rest.len()).saturating_add(needed) as u64;
        let present = self.len as u64;
        Malformed { field: "message length", value: present, fault: Fault::Truncated { needed, present } }
    }
}

/// A message being written. Whether it fits is asked once, at the [end](Self::finish).
pub(crate) struct Writer<'o> {
    out: &'o mut [u8],
    len: usize,
}

impl<'o> Writer<'o> {
    pub(crate) const fn new(out: &'o mut [u8]) -> Self {
        Self { out, len: 0 }
    }

    pub(crate) fn put(mut self, bytes: &[u8]) -> Self {
        let rest = self.out.get_mut(self.len..).unwrap_or_default();
        if let Some(to) = rest.get_mut(..bytes.len()) {
            to.copy_from_slice(bytes);
        }
        self.len = self.len.saturating_add(bytes.len());
        self
    }

    pub(crate) fn finish(self) -> Result<&'o [u8], NoRoom> {
        let Self { out, len } = self;
        let room = out.len();
        out.get(..len).ok_or(NoRoom { needed: len, room })
    }
}

/// The version in a hello.
pub(crate) fn version(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    at_least("version", reader.u16()?, 1)
}

/// The longest message that a remote says it takes.
pub(crate) fn longest(reader: &mut Reader<'_>) -> Result<u16, Malformed> {
    at_least("longest message", reader.u16()?, MIN_MESSAGE as u16)
}

fn at_least(field: &'static str, value: u16, min: u16) -> Result<u16, Malformed> {
    match value {
        value if value >= min => Ok(value),
        value => Err(Malformed { field, value: value.into(), fault: Fault::TooSmall { min: min.into() } }),
    }
}

/// A buffer for a message, cut to what the receiver takes.
///
/// # Errors
/// It is shorter than [`MIN_MESSAGE`].
pub(crate) fn room(out: &mut [u8], longest: u16) -> Result<&mut [u8], NoRoom> {
    let room = out.len();
    if room < MIN_MESSAGE {
        return Err(NoRoom { needed: MIN_MESSAGE, room });
    }
    Ok(out.get_mut(..room.min(longest.into())).unwrap_or_default())
}

/// A field that is outside its range.
pub(crate) const fn out_of_range(field: &'static str, value: u64, min: u64, max: u64) -> Malformed {
    Malformed { field, value, fault: Fault::OutOfRange { min, max } }
}
