//! Why something could not be done with a remote.

use alloc::string::String;

use sidecore_mem::{DeviceAddr, MapError};

use crate::BackendError;
use crate::codes::{self, Code};
use crate::coredump::CoreDumpError;
use crate::firmware::FirmwareError;
use crate::lifecycle::{Refused, State};
use crate::resource::PlanError;

/// Why something could not be done with a remote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RemoteError {
    /// The file is no firmware for this remote.
    #[error(transparent)]
    Firmware(#[from] FirmwareError),
    /// The firmware asks for what cannot be.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The backend could not do it.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The state does not allow it.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// Nothing is to be heard from a remote that does not run.
    #[error("cannot wait: the remote is {state}")]
    NotRunning {
        /// What it is.
        state: State,
    },
    /// What does not run cannot be halted.
    #[error("cannot halt: the remote is {state}")]
    NotHalted {
        /// What it is.
        state: State,
    },
    /// It cannot be described by a core dump.
    #[error(transparent)]
    Dump(#[from] CoreDumpError),
    /// Nobody knows where the resource table of a remote lies that runs already.
    #[error("cannot attach: it is not known where the remote's resource table lies")]
    NoTable,
    /// The resource table of a remote that runs already is not where it should be.
    #[error("cannot attach: the resource table at {at} cannot be read: {error}")]
    TableUnreadable {
        /// Where it should be.
        at: DeviceAddr,
        /// The reason.
        error: MapError,
    },
    /// There is no firmware to start.
    #[error("cannot start: no firmware is loaded")]
    NoFirmware,
    /// The firmware has no such trace buffer.
    #[error("there is no trace buffer {number}")]
    NoTrace {
        /// Its number.
        number: usize,
    },
    /// A trace buffer is not in a memory that can be read.
    #[error("trace buffer {name:?} cannot be read: {error}")]
    TraceUnreadable {
        /// Its name.
        name: String,
        /// The reason.
        error: MapError,
    },
}

impl RemoteError {
    /// The code that stands for this kind of error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Firmware(error) => error.code(),
            Self::Plan(error) => error.code(),
            Self::Backend(error) => error.code(),
            Self::Refused(refused) => refused.code(),
            Self::NotRunning { .. } | Self::NotHalted { .. } => codes::REFUSED,
            Self::Dump(error) => error.code(),
            Self::NoFirmware => codes::NO_FIRMWARE,
            Self::NoTable | Self::TableUnreadable { .. } => codes::TABLE_NOT_FOUND,
            Self::NoTrace { .. } | Self::TraceUnreadable { .. } => codes::NO_TRACE,
        }
    }
}
