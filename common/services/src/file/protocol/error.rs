use core::{error, fmt};

use embedded_io::ErrorKind;
use sidecore_wire::Malformed;

use crate::bytes::out_of_range;

/// Why a request failed, as the remote is told: no errno, for its numbers differ from machine to machine, and no more
/// than the remote may know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Error {
    /// 1: A field of the request has no meaning.
    Malformed = 1,
    /// 2: There is no such request.
    Unsupported = 2,
    /// 3: A request came before the hello.
    NoHello = 3,
    /// 4: The path is empty, absolute, or has a `..` or a NUL in it.
    BadPath = 4,
    /// 5: The path, or a name in it, is too long.
    PathTooLong = 5,
    /// 6: The flags do not go together.
    BadFlags = 6,
    /// 7: Nothing is open under this handle.
    BadHandle = 7,
    /// 8: It was not opened for this.
    NotOpenedFor = 8,
    /// 9: Too many files are open.
    TooManyOpen = 9,
    /// 10: The path leads out of the directories that were granted.
    Outside = 10,
    /// 11: The directory was granted to be read only.
    ReadOnly = 11,
    /// 12: The main side may not do this.
    NotPermitted = 12,
    /// 13: There is nothing of this name.
    NotFound = 13,
    /// 14: There is something of this name already.
    Exists = 14,
    /// 15: It is a directory.
    IsDirectory = 15,
    /// 16: It is no directory.
    NotDirectory = 16,
    /// 17: It is neither a regular file nor a directory.
    NotRegular = 17,
    /// 18: The directory is not empty.
    NotEmpty = 18,
    /// 19: The file would be larger than the user allows, or than the position can say.
    TooLarge = 19,
    /// 20: There is no space left.
    NoSpace = 20,
    /// 21: Something else is at it.
    Busy = 21,
    /// 22: The two names are not on the same file system, or not in the same granted directory.
    CrossesDevices = 22,
    /// 23: The name of an entry does not fit a message.
    NoRoom = 23,
    /// 24: The main side's device, or file system, failed.
    Failed = 24,
}

impl Error {
    /// Every error, in the order of its number.
    pub const ALL: [Error; 24] = [
        Self::Malformed,
        Self::Unsupported,
        Self::NoHello,
        Self::BadPath,
        Self::PathTooLong,
        Self::BadFlags,
        Self::BadHandle,
        Self::NotOpenedFor,
        Self::TooManyOpen,
        Self::Outside,
        Self::ReadOnly,
        Self::NotPermitted,
        Self::NotFound,
        Self::Exists,
        Self::IsDirectory,
        Self::NotDirectory,
        Self::NotRegular,
        Self::NotEmpty,
        Self::TooLarge,
        Self::NoSpace,
        Self::Busy,
        Self::CrossesDevices,
        Self::NoRoom,
        Self::Failed,
    ];

    pub(super) fn parse(status: u8) -> Result<Error, Malformed> {
        let error = usize::from(status).checked_sub(1).and_then(|at| Self::ALL.get(at));
        error.copied().ok_or(out_of_range("status", status.into(), 0, Self::ALL.len() as u64))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the main side cannot read the request",
            Self::Unsupported => "the main side does not know the request",
            Self::NoHello => "the request came before the hello",
            Self::BadPath => "a path must be relative, without `..` and NUL, and not empty",
            Self::PathTooLong => "the path, or a name in it, is too long",
            Self::BadFlags => "the flags for opening do not go together",
            Self::BadHandle => "nothing is open under this handle",
            Self::NotOpenedFor => "the file was not opened for this",
            Self::TooManyOpen => "too many files are open",
            Self::Outside => "the path leads out of the granted directories",
            Self::ReadOnly => "the directory was granted to be read only",
            Self::NotPermitted => "the main side has no permission to do this",
            Self::NotFound => "there is no such file or directory",
            Self::Exists => "there is something of this name already",
            Self::IsDirectory => "it is a directory",
            Self::NotDirectory => "it is not a directory",
            Self::NotRegular => "it is neither a regular file nor a directory",
            Self::NotEmpty => "the directory is not empty",
            Self::TooLarge => "the file would be too large",
            Self::NoSpace => "there is no space left on the device",
            Self::Busy => "the file or directory is in use",
            Self::CrossesDevices => "the two names are not on the same file system",
            Self::NoRoom => "a name does not fit a message",
            Self::Failed => "the main side's file system failed",
        })
    }
}

impl error::Error for Error {}

impl embedded_io::Error for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed | Self::BadPath | Self::PathTooLong | Self::BadFlags | Self::BadHandle => {
                ErrorKind::InvalidInput
            }
            Self::Unsupported => ErrorKind::Unsupported,
            Self::NoHello => ErrorKind::NotConnected,
            Self::NotOpenedFor | Self::Outside | Self::ReadOnly | Self::NotPermitted => {
                ErrorKind::PermissionDenied
            }
            Self::TooManyOpen | Self::NoSpace | Self::NoRoom => ErrorKind::OutOfMemory,
            Self::NotFound => ErrorKind::NotFound,
            Self::Exists => ErrorKind::AlreadyExists,
            Self::IsDirectory
            | Self::NotDirectory
            | Self::NotRegular
            | Self::NotEmpty
            | Self::TooLarge
            | Self::Busy
            | Self::CrossesDevices
            | Self::Failed => ErrorKind::Other,
        }
    }
}
