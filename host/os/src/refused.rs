//! The system said no.

use rustix::io::Errno;

/// What was tried, and the system's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation}: {errno}")]
pub struct Refused {
    /// What was tried, in words, with the name of the system call.
    pub operation: &'static str,
    /// The answer.
    pub errno: Errno,
}

impl Refused {
    /// For `map_err`: gives an error number its operation.
    pub(crate) fn to(operation: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self { operation, errno }
    }

    /// The same for the calls that leave their error in `errno`.
    pub(crate) fn last(operation: &'static str) -> Self {
        let error = std::io::Error::last_os_error();
        Self { operation, errno: Errno::from_io_error(&error).unwrap_or(Errno::IO) }
    }
}
