//! The life of a remote processor: firmware, resource table, states, backends.
//!
//! - [`Firmware`] is an ELF file, checked and taken apart.
//! - A [`resource::Plan`] says which memories it needs and what goes where; [`resource::Resources`] where it all lies.
//! - [`lifecycle`] is the table of a remote's states, and a [`Remote`] carries it out on a [`Backend`].
//! - [`recovery`] says what becomes of a remote that crashed, and [`coredump`] is a crashed remote as a file for debuggers.
//! - [`held`] is what a remote holds of others' resources, which is taken back when it ends.
//! - Errors and findings carry a [`codes::Code`] that can be explained.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod codes;
pub mod coredump;
pub mod firmware;
pub mod held;
pub mod lifecycle;
pub mod recovery;
pub mod resource;
pub mod trace;

mod backend;
mod finding;
mod limits;
mod log;
mod remote;
mod text;

#[cfg(test)]
mod testing;

pub use backend::{
    Access, Backend, BackendError, Boot, Crash, CrashKind, Doorbell, Event, Memory, MemoryMap, Registers,
    Standing, Waker,
};
pub use finding::{Finding, Severity};
pub use firmware::{Firmware, FirmwareError};
pub use lifecycle::State;
pub use limits::Limits;
pub use log::{Log, LogEntry, What};
pub use remote::{Found, Remote, RemoteError};

/// Most memories that a remote can have: the windows of a [`MemoryMap`].
pub const MAX_MEMORIES: usize = 32;
