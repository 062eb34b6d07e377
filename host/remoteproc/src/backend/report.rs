//! What a backend tells: events, crashes, errors.

use alloc::string::String;
use alloc::vec::Vec;

use sidecore_mem::{DeviceAddr, MapError};

use crate::codes::{self, Code};

/// Something that happened to a remote.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// It rang, or may have: look at every ring.
    Kick,
    /// It ended by itself with this exit code.
    Exited {
        /// 0 for success, as in a process.
        code: i32,
    },
    /// It crashed or was found hung, and is halted.
    Crashed(Crash),
}

/// How a remote crashed. What the executor observed is a fact; what the firmware wrote before it died is an
/// allegation, kept apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// What happened.
    pub kind: CrashKind,
    /// Number of the POSIX signal that stands for it (11 for a bad access), for exit codes and dumps.
    pub signal: u8,
    /// Address of the instruction at which the remote was halted, where known.
    pub pc: Option<DeviceAddr>,
    /// All registers, where the executor can read them.
    pub registers: Option<Registers>,
    /// What the firmware says about it: its panic record, cleaned of control characters. Not to be trusted.
    pub allegation: Option<String>,
}

/// What kind of crash it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CrashKind {
    /// A memory access that the remote may not make.
    Fault {
        /// The address that was accessed.
        address: DeviceAddr,
    },
    /// An instruction that does not exist, or that the remote may not execute.
    IllegalInstruction,
    /// The firmware gave up by itself: a panic or abort.
    Abort,
    /// It asked a debugger for something (semihosting), and nobody answers that.
    SemihostingCall,
    /// It asked the system for something that its confinement forbids.
    ForbiddenCall {
        /// Number of the system call.
        number: u64,
    },
    /// It did not feed its watchdog in time.
    Hang,
    /// Its core locked up: it came upon a fault that it could not even handle.
    LockUp,
    /// It reset its own processor, and with that everything that was agreed on with it.
    Reset,
    /// Someone else killed it.
    Killed,
    /// Any other fatal condition; the signal number tells.
    Other,
}

impl CrashKind {
    /// The word that dumps and documents have for it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Fault { .. } => "fault",
            Self::IllegalInstruction => "illegal-instruction",
            Self::Abort => "abort",
            Self::SemihostingCall => "semihosting-call",
            Self::ForbiddenCall { .. } => "forbidden-call",
            Self::Hang => "hang",
            Self::LockUp => "lock-up",
            Self::Reset => "reset",
            Self::Killed => "killed",
            Self::Other => "signal",
        }
    }
}

/// A remote's registers as ELF core notes carry them (`NT_PRSTATUS` `pr_reg`), with the ELF machine they are of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// ELF `e_machine` whose register layout this is.
    pub machine: u16,
    /// The register set in that machine's order.
    pub bytes: Vec<u8>,
}

/// Where a remote stands that was halted, as far as that can be seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Address of the next instruction.
    pub pc: Option<DeviceAddr>,
    /// Its registers.
    pub registers: Option<Registers>,
}

/// Why a backend could not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// A memory that the remote needs cannot be had.
    #[error("memory {name:?}: {error}")]
    Memory {
        /// Name of the memory.
        name: String,
        /// What is wrong with it.
        error: MapError,
    },
    /// A memory is refused for a reason of the backend's own.
    #[error("memory {name:?}{} of {len:#x} bytes: {reason}", place(*at))]
    MemoryRefused {
        /// Name of the memory.
        name: String,
        /// Where it was wanted.
        at: Option<DeviceAddr>,
        /// Its length in bytes.
        len: u64,
        /// The reason, in words.
        reason: String,
    },
    /// Bytes that are in no memory which the backend can write.
    #[error("{len} bytes at {at} cannot be reached")]
    Unreachable {
        /// First byte.
        at: DeviceAddr,
        /// Number of bytes.
        len: usize,
    },
    /// The call does not fit the state that the remote is in.
    #[error("cannot {operation}: the remote is {state}")]
    WrongState {
        /// What was asked.
        operation: &'static str,
        /// What the remote is.
        state: &'static str,
    },
    /// The kind of remote cannot do that.
    #[error("this kind of remote cannot {operation}")]
    Unsupported {
        /// What was asked.
        operation: &'static str,
    },
    /// The system refused something that the backend needs.
    #[error("{operation}: {reason}")]
    System {
        /// What was tried, with its object.
        operation: String,
        /// The system's answer, and what to do about it where we know.
        reason: String,
    },
    /// The program that executes such remotes is not here, or too old.
    #[error("{program}: {reason}")]
    ExecutorMissing {
        /// Its name or path.
        program: String,
        /// What is wrong with it, and which package has a better one.
        reason: String,
    },
    /// The executor (warden, emulator, kernel) is gone.
    #[error("{executor} is gone: {reason}")]
    ExecutorLost {
        /// Which one.
        executor: &'static str,
        /// What is known of its end.
        reason: String,
    },
}

impl BackendError {
    /// The code that stands for this kind of error.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::Memory { .. } => codes::BACKEND_MEMORY,
            Self::MemoryRefused { .. } => codes::BACKEND_MEMORY_REFUSED,
            Self::Unreachable { .. } => codes::BACKEND_UNREACHABLE,
            Self::WrongState { .. } => codes::BACKEND_STATE,
            Self::Unsupported { .. } => codes::BACKEND_UNSUPPORTED,
            Self::System { .. } => codes::BACKEND_SYSTEM,
            Self::ExecutorMissing { .. } => codes::BACKEND_EXECUTOR_MISSING,
            Self::ExecutorLost { .. } => codes::BACKEND_EXECUTOR_LOST,
        }
    }
}

/// Where a memory was wanted, for a text.
fn place(at: Option<DeviceAddr>) -> String {
    at.map_or_else(String::new, |at| alloc::format!(" at {at}"))
}
