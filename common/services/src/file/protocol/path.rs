use core::{error, fmt};

use super::Error;

/// A path beneath the granted directories: relative, not empty, without NUL and without `..`.
///
/// That says nothing of symbolic links, which only the one who opens it can keep from leading out.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Path<'b>(&'b [u8]);

impl<'b> Path<'b> {
    /// Bytes of the longest path.
    pub const MAX_LEN: usize = 1024;

    /// Takes bytes for a path.
    ///
    /// # Errors
    /// The bytes break a rule of paths.
    pub fn new(bytes: &'b [u8]) -> Result<Self, PathError> {
        if bytes.len() > Self::MAX_LEN {
            return Err(PathError::TooLong { len: bytes.len() });
        }
        if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
            return Err(PathError::Nul { at });
        }
        match bytes {
            [] => return Err(PathError::Empty),
            [b'/', ..] => return Err(PathError::Absolute),
            _ => {}
        }
        let mut at = 0;
        for component in bytes.split(|&byte| byte == b'/') {
            if component == b".." {
                return Err(PathError::Parent { at });
            }
            at += component.len() + 1;
        }
        Ok(Self(bytes))
    }

    /// The bytes that were taken.
    #[must_use]
    pub const fn as_bytes(self) -> &'b [u8] {
        self.0
    }

    /// The names in the path: no empty ones and no `.`, so that none are left of `.`, the top of what was granted.
    pub fn components(self) -> impl Iterator<Item = &'b [u8]> + Clone {
        self.0.split(|&byte| byte == b'/').filter(|&name| !matches!(name, b"" | b"."))
    }
}

impl fmt::Display for Path<'_> {
    /// Printable ASCII as it is, any other byte escaped.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Path({self})")
    }
}

/// Bytes cannot be a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// There are none.
    Empty,
    /// There are too many.
    TooLong {
        /// How many.
        len: usize,
    },
    /// It begins with a slash.
    Absolute,
    /// It goes up.
    Parent {
        /// Where the `..` is, in bytes from the beginning.
        at: usize,
    },
    /// There is a NUL in it.
    Nul {
        /// Where, in bytes from the beginning.
        at: usize,
    },
}

impl PathError {
    /// What a remote is told that asked for such a path.
    #[must_use]
    pub const fn answer(&self) -> Error {
        match self {
            Self::TooLong { .. } => Error::PathTooLong,
            Self::Empty | Self::Absolute | Self::Parent { .. } | Self::Nul { .. } => Error::BadPath,
        }
    }
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the path is empty"),
            Self::TooLong { len } => {
                write!(f, "the path has {len} bytes, at most {} are allowed", Path::MAX_LEN)
            }
            Self::Absolute => f.write_str("the path is absolute; paths begin at the granted directories"),
            Self::Parent { at } => write!(f, "the path goes up (`..` at byte {at})"),
            Self::Nul { at } => write!(f, "byte {at} of the path is a NUL"),
        }
    }
}

impl error::Error for PathError {}
