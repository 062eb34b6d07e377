//! What can go wrong for a client.

use std::time::Duration;

use sidecore_dbus::action;
use sidecore_processor::codes as processor;
use sidecore_remoteproc::codes::Code;

use crate::codes;

/// What a call answers.
pub type Result<T> = std::result::Result<T, Error>;

/// Why something was not done. The cases up to [`Failed`](Self::Failed) are the daemon's errors, by their names on the bus;
/// without a daemon they mean the same.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is a remote of that name already.
    #[error("{why}")]
    NameTaken {
        /// In words.
        why: String,
    },
    /// The firmware cannot be run.
    #[error("{why}")]
    BadFirmware {
        /// In words.
        why: String,
    },
    /// An option is not known, or has a value that cannot be used.
    #[error("{why}")]
    BadOption {
        /// In words.
        why: String,
    },
    /// The remote does not allow it in the state that it is in.
    #[error("{why}")]
    WrongState {
        /// In words.
        why: String,
    },
    /// The service was not announced in time.
    #[error("{why}")]
    NotAnnounced {
        /// In words, with the services that are there.
        why: String,
    },
    /// There is no room for more.
    #[error("{why}")]
    NoRoom {
        /// In words.
        why: String,
    },
    /// There is no such remote.
    #[error("{why}")]
    NotFound {
        /// In words, with the remotes that there are.
        why: String,
    },
    /// Another client has the remote to itself.
    #[error("{why}")]
    Leased {
        /// In words.
        why: String,
    },
    /// The kind of remote, or this way to it, cannot do that.
    #[error("{why}")]
    Unsupported {
        /// In words.
        why: String,
    },
    /// The caller may not do that.
    #[error("{why}")]
    NotAuthorized {
        /// The polkit action that is asked for, where the answer names one.
        action: Option<&'static str>,
        /// In words.
        why: String,
    },
    /// The remote, or what executes it, refused.
    #[error("{why}")]
    Failed {
        /// What explains it best.
        code: Code,
        /// In words.
        why: String,
    },

    /// Several remotes go by that name.
    #[error("{selector} is not one remote: it may be {}", .candidates.join(" or "))]
    Ambiguous {
        /// What was asked for.
        selector: String,
        /// Names of which each stands for one of them.
        candidates: Vec<String>,
    },
    /// There is no daemon there.
    #[error("there is no daemon: {why}")]
    NoDaemon {
        /// In words.
        why: String,
    },
    /// The bus went away in the middle of a call.
    #[error("the bus went away: {why}")]
    BusGone {
        /// In words.
        why: String,
    },
    /// The daemon did not answer in time.
    #[error("no answer of the daemon within {} s", .waited.as_secs())]
    NoAnswer {
        /// How long was waited.
        waited: Duration,
    },

    /// A message was not sent: there is no room for it now, or was none in time.
    #[error("all transmit buffers are in use")]
    Full,
    /// A message was not sent, and can never be: it is too long.
    #[error("a message of {len} bytes: at most {max} fit a buffer")]
    TooLong {
        /// Its bytes.
        len: usize,
        /// Bytes of the longest.
        max: usize,
    },
    /// A message was not sent: one without a byte cannot pass the daemon.
    #[error("a message without a byte cannot be sent through the daemon")]
    Empty,
    /// A message was not sent: the endpoint has no peer before one has written to it.
    #[error("the endpoint has no peer yet")]
    NoPeer,
    /// No message came in time.
    #[error("no message within {} ms", .waited.as_millis())]
    TimedOut {
        /// How long was waited.
        waited: Duration,
    },
    /// The message that is next is longer than the buffer for it, and stays the next.
    #[error("a message of {len} bytes for a buffer of {room}")]
    BufferTooSmall {
        /// Its bytes.
        len: usize,
        /// Bytes of the buffer.
        room: usize,
    },
    /// The endpoint, or what else was open, came to its end: what came before has been received.
    #[error("{why}")]
    Ended {
        /// What explains it best.
        code: Code,
        /// In words.
        why: String,
    },

    /// A call of the blocking half in an asynchronous task.
    #[error("a call that waits in an asynchronous task: sidecore_client::aio is for those")]
    InsideRuntime,
    /// The system refused something.
    #[error("cannot {operation}: {reason}")]
    System {
        /// What was tried.
        operation: String,
        /// The system's reason.
        reason: String,
    },
}

impl Error {
    /// The code that `sidecore explain` knows. Where the daemon's words name one it is that.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::NameTaken { .. } => codes::NAME_TAKEN,
            Self::BadFirmware { why } => named(why).unwrap_or(codes::BAD_FIRMWARE),
            Self::BadOption { .. } => codes::BAD_OPTION,
            Self::WrongState { why } => named(why).unwrap_or(codes::WRONG_STATE),
            Self::NotAnnounced { .. } => processor::NOT_ANNOUNCED,
            Self::NoRoom { why } => named(why).unwrap_or(codes::NO_ROOM),
            Self::NotFound { .. } => codes::REMOTE_NOT_FOUND,
            Self::Leased { .. } => codes::LEASED,
            Self::Unsupported { why } => named(why).unwrap_or(codes::NOT_SUPPORTED),
            Self::NotAuthorized { .. } => codes::NOT_AUTHORIZED,
            Self::Failed { code, .. } | Self::Ended { code, .. } => *code,
            Self::Ambiguous { .. } => codes::REMOTE_AMBIGUOUS,
            Self::NoDaemon { .. } => codes::NO_DAEMON,
            Self::BusGone { .. } => codes::BUS_GONE,
            Self::NoAnswer { .. } => codes::NO_ANSWER,
            Self::Full => processor::RING_FULL,
            Self::TooLong { .. } => processor::MESSAGE_TOO_LONG,
            Self::Empty => codes::EMPTY_MESSAGE,
            Self::NoPeer => processor::NO_PEER,
            Self::TimedOut { .. } => processor::RECEIVE_TIMED_OUT,
            Self::BufferTooSmall { .. } => codes::BUFFER_TOO_SMALL,
            Self::InsideRuntime => codes::INSIDE_RUNTIME,
            Self::System { .. } => codes::CLIENT_SYSTEM,
        }
    }

    /// An error of the daemon's, by the last part of its name.
    pub(crate) fn of_daemon(name: &str, why: String) -> Self {
        match name {
            "NameTaken" => Self::NameTaken { why },
            "BadFirmware" => Self::BadFirmware { why },
            "BadOption" => Self::BadOption { why },
            "WrongState" => Self::WrongState { why },
            "NotAnnounced" => Self::NotAnnounced { why },
            "NoRoom" => Self::NoRoom { why },
            "NotFound" => Self::NotFound { why },
            "Leased" => Self::Leased { why },
            "Unsupported" => Self::Unsupported { why },
            "NotAuthorized" => {
                let action = action::ALL.into_iter().find(|action| why.contains(action));
                Self::NotAuthorized { action, why }
            }
            _ => Self::Failed { code: named(&why).unwrap_or(codes::FAILED), why },
        }
    }

    pub(crate) fn system(operation: impl Into<String>, reason: impl ToString) -> Self {
        Self::System { operation: operation.into(), reason: reason.to_string() }
    }

    pub(crate) fn unsupported(why: impl Into<String>) -> Self {
        Self::Unsupported { why: why.into() }
    }
}

/// The code in words that begin with it, as those of keepers do: `error[E0113]: ...`.
fn named(why: &str) -> Option<Code> {
    let (digits, _) = why.strip_prefix("error[E")?.split_once(']')?;
    let is_number = digits.len() == 4 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_number).map(Code::error)
}

impl From<sidecore_os::Refused> for Error {
    fn from(refused: sidecore_os::Refused) -> Self {
        Self::system(refused.operation, refused.errno)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_daemons_errors_keep_their_kind_their_words_and_the_code_in_them() {
        let of = |name: &str, why: &str| Error::of_daemon(name, why.to_owned());
        assert_eq!(of("NoRoom", "full").code(), codes::NO_ROOM);
        assert_eq!(of("BadFirmware", "error[E0101]: no ELF").code(), sidecore_remoteproc::codes::ELF_NOT_ELF);
        assert_eq!(of("Failed", "error[E01]: x").code(), codes::FAILED);
        assert_eq!(of("Later", "unheard of").to_string(), "unheard of");
        let why = format!("polkit refuses {}", action::LIFECYCLE);
        let refused = of("NotAuthorized", &why);
        assert!(matches!(refused, Error::NotAuthorized { action: Some(action::LIFECYCLE), .. }));
        assert!(matches!(of("NotAuthorized", "no"), Error::NotAuthorized { action: None, .. }));
    }
}
