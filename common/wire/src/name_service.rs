//! Announcements: a channel of some name has come to an address, or gone from it.
//!
//! Sent to [`NAME_SERVICE_ADDR`](crate::rpmsg::NAME_SERVICE_ADDR). Source: Linux `include/linux/rpmsg/ns.h`,
//! `struct rpmsg_ns_msg`, and `drivers/rpmsg/rpmsg_ns.c` for how it is read.

use core::{error, fmt, hash::Hash};

use crate::{
    bytes::{put, take, u32_at},
    layout::{Kind, Record, field},
    text,
};

/// `flags` of an announcement: the channel has come.
pub const CREATE: u32 = 0;

/// `flags` of an announcement: the channel has gone.
pub const DESTROY: u32 = 1;

/// One announcement, 40 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    /// Name of the channel.
    pub name: Name,
    /// Address of the endpoint behind it, on the announcing side.
    pub addr: u32,
    /// [`CREATE`] or [`DESTROY`]. Only bit 0 has a meaning; see [`is_destroy`](Self::is_destroy).
    pub flags: u32,
}

impl Announcement {
    /// Bytes on the wire. A message of any other length is no announcement (Linux drops it, too).
    pub const SIZE: usize = 40;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "announcement",
        text: "the payload of a message to the name service",
        size: Self::SIZE,
        fields: &[
            field("name", at::NAME, Kind::Bytes(Name::SIZE)),
            field("addr", at::ADDR, Kind::U32),
            field("flags", at::FLAGS, Kind::U32),
        ],
    };

    /// Reads an announcement; the name is read as [`Name::from_wire`] does.
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::SIZE]) -> Announcement {
        Announcement {
            name: Name::from_wire(take::<{ at::NAME }, _, _>(bytes)),
            addr: u32_at::<{ at::ADDR }, _>(bytes),
            flags: u32_at::<{ at::FLAGS }, _>(bytes),
        }
    }

    /// The announcement as it goes on the wire.
    #[must_use]
    pub const fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<{ at::NAME }, _, _>(&mut bytes, self.name.0);
        put::<{ at::ADDR }, _, _>(&mut bytes, self.addr.to_le_bytes());
        put::<{ at::FLAGS }, _, _>(&mut bytes, self.flags.to_le_bytes());
        bytes
    }

    /// Whether the channel goes. Looks at bit 0 alone, as Linux does.
    #[must_use]
    pub const fn is_destroy(&self) -> bool {
        self.flags & DESTROY != 0
    }
}

/// The name of a channel: at most 31 bytes, and NULs up to 32.
///
/// A name that was made here is printable ASCII. One that came over the wire may hold any bytes (and then is not
/// [valid](Self::is_valid)), but never a byte after its first NUL, so that names which look alike are equal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name([u8; Name::SIZE]);

impl Name {
    /// Bytes on the wire, the closing NUL included.
    pub const SIZE: usize = 32;

    /// Bytes of the longest name.
    pub const MAX_LEN: usize = Self::SIZE - 1;

    /// Makes a name.
    ///
    /// # Errors
    /// The text is empty, longer than [`MAX_LEN`](Self::MAX_LEN) bytes, or holds a byte that is not printable ASCII.
    pub const fn new(name: &str) -> Result<Name, NameError> {
        match pad(name) {
            Ok(bytes) => Ok(Name(bytes)),
            Err(error) => Err(error),
        }
    }

    /// The name that a peer sent, which need not be [valid](Self::is_valid). The last byte is taken for a NUL (Linux
    /// puts one there; other stacks send 32 bytes without) and what follows the first NUL is dropped.
    #[must_use]
    pub const fn from_wire(mut bytes: [u8; Self::SIZE]) -> Name {
        let mut ended = false;
        let mut i = 0;
        while i < Self::SIZE {
            ended |= bytes[i] == 0 || i == Self::MAX_LEN;
            if ended {
                bytes[i] = 0;
            }
            i += 1;
        }
        Name(bytes)
    }

    /// The bytes before the first NUL: 0 to 31 of them, any values.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let len = self.0.iter().position(|&byte| byte == 0).unwrap_or(Self::SIZE);
        self.0.get(..len).unwrap_or(&self.0)
    }

    /// The name as text, if it is [valid](Self::is_valid). For a text of any name use its `Display`.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        self.is_valid().then_some(self.as_bytes()).and_then(|bytes| core::str::from_utf8(bytes).ok())
    }

    /// Whether [`Name::new`] would make this name: not empty, and printable ASCII throughout.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let name = self.as_bytes();
        !name.is_empty() && name.iter().copied().all(text::is_printable)
    }

    /// Whether this is a channel of the service: it has the service's very name, or the name, a dash and the mark of
    /// an [instance](Self::instance). `rpmsg-tty` and `rpmsg-tty-1` match `rpmsg-tty`; `rpmsg-tty-` and `rpmsg-ttys`
    /// do not. Nothing matches an empty service.
    #[must_use]
    pub fn matches(&self, service: &str) -> bool {
        !service.is_empty() && self.as_bytes() == service.as_bytes() || self.instance(service).is_some()
    }

    /// What follows the service's name and a dash, at least one byte: `1` of `rpmsg-tty-1` for `rpmsg-tty`.
    #[must_use]
    pub fn instance(&self, service: &str) -> Option<&[u8]> {
        if service.is_empty() {
            return None;
        }
        let instance = self.as_bytes().strip_prefix(service.as_bytes())?.strip_prefix(b"-")?;
        (!instance.is_empty()).then_some(instance)
    }
}

impl AsRef<[u8]> for Name {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Display for Name {
    /// Printable ASCII as it is, a backslash doubled, any other byte as `\xNN`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        text::escape(self.as_bytes(), f)
    }
}

/// A text cannot be a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameError {
    /// It is empty.
    Empty,
    /// It leaves no room for a NUL.
    TooLong {
        /// Bytes of the text.
        len: usize,
    },
    /// It holds a byte that is not printable ASCII.
    Unprintable {
        /// Where, in bytes from the beginning.
        at: usize,
        /// The byte.
        byte: u8,
    },
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => f.write_str("the name is empty"),
            NameError::TooLong { len } => {
                write!(f, "the name has {len} bytes, at most {} fit", Name::MAX_LEN)
            }
            NameError::Unprintable { at, byte } => {
                write!(f, "byte {at} of the name is {byte:#04x}, which is not printable ASCII")
            }
        }
    }
}

impl error::Error for NameError {}

/// The text, checked and filled up with NULs.
pub(crate) const fn pad(name: &str) -> Result<[u8; Name::SIZE], NameError> {
    let name = name.as_bytes();
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    if name.len() > Name::MAX_LEN {
        return Err(NameError::TooLong { len: name.len() });
    }
    let mut padded = [0; Name::SIZE];
    let mut at = 0;
    while at < name.len() {
        let byte = name[at];
        if !text::is_printable(byte) {
            return Err(NameError::Unprintable { at, byte });
        }
        padded[at] = byte;
        at += 1;
    }
    Ok(padded)
}

mod at {
    pub(super) const NAME: usize = 0;
    pub(super) const ADDR: usize = 32;
    pub(super) const FLAGS: usize = 36;
}

#[cfg(test)]
mod tests;
