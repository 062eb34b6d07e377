//! The life of a remote processor: firmware, resource table, states, backends.
#![no_std]

extern crate alloc;

mod backend;

pub use backend::{
    Access, Backend, BackendError, Boot, Crash, CrashKind, Doorbell, Event, Memory, MemoryMap, Registers,
};
