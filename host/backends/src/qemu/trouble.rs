//! What can be said against an emulator.

use std::time::Duration;

use sidecore_remoteproc::BackendError;

use super::stream::Broken;

/// Why an emulator did not do what it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// It closed the connection: most likely it is gone.
    #[error("it closed its connection")]
    Closed,
    /// It did not answer.
    #[error("{what} did not come within {} s", .within.as_secs())]
    Late {
        /// What was waited for.
        what: &'static str,
        /// For how long.
        within: Duration,
    },
    /// It answered what is no answer.
    #[error("it sent nonsense: {0}")]
    Nonsense(String),
    /// It says that it cannot.
    #[error("it refused {0}")]
    Refused(String),
}

impl From<Broken> for Trouble {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Closed => Self::Closed,
            Broken::Late => Self::Late { what: "room for a command", within: super::qmp::ANSWER_TIME },
        }
    }
}

/// The emulator is lost.
pub(super) fn lost(reason: impl Into<String>) -> BackendError {
    BackendError::ExecutorLost { executor: "QEMU", reason: reason.into() }
}

/// The system refused something that the emulator needs.
pub(super) fn system(operation: impl Into<String>, reason: impl ToString) -> BackendError {
    BackendError::System { operation: operation.into(), reason: reason.to_string() }
}
