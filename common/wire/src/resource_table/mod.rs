//! The resource table, version 1: what a firmware image asks of whoever loads it, and what it offers.
//!
//! ```text
//! 0         4         8               16                     16 + 4 count
//! | version | count   | reserved 2x4  | offset of each entry | entries, anywhere behind |
//! ```
//!
//! Every entry begins with a 32-bit type. Source: Linux `include/linux/rsc_table.h` and
//! `drivers/remoteproc/remoteproc_core.c`; OpenAMP reads and writes the same.
//!
//! [`Table::parse`] checks the frame, [`Table::entries`] each entry by itself, so that a bad one costs no other.
//! [`Table::findings`] lists what is legible but odd. A table is written by a [`Builder`], or at compile time from the
//! `const` `emit` of each part.

pub mod vdev;
pub mod vendor;
pub mod vring;

mod builder;
mod carveout;
mod devmem;
mod finding;
mod name;
mod table;
mod trace;
mod trace_words;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod totality;

pub use self::{
    builder::{BuildError, Builder},
    carveout::Carveout,
    devmem::Devmem,
    finding::Finding,
    name::FixedName,
    table::{Entries, Entry, Header, Located, Table, TableError},
    trace::Trace,
    trace_words::TraceWords,
    vdev::{Vdev, VdevHeader, Vrings},
    vring::Vring,
};

/// In a device or physical address: whoever loads the firmware chooses, and writes the choice back.
pub const ADDR_ANY: u32 = 0xFFFF_FFFF;
