//! Files: a remote works with files and directories that the user of the main side has granted to it.
//!
//! ```text
//! remote                                 main side
//!   ── announcement of `sidecore-file` ──►
//!   ◄── Hello: version, open files at once, longest path
//!   ── Hello: version ──►
//!   ── request, id ──►
//!   ◄── answer, id, status                 one for each request, in their order
//! ```
//!
//! The remote numbers its requests, and several may be on their way. Positions are part of the requests, so there is
//! nothing that a request could get out of step with; reading, writing and listing go in pieces as large as a message.
//!
//! What the main side opens, reads and writes in the end is behind a trait ([`server::Files`]): directories of its
//! machine, or a table in memory in a test.

pub mod client;
pub mod protocol;
pub mod server;

pub use client::Client;
pub use protocol::{Entries, Entry, Error, Flags, Handle, Info, Kind, Path, PathError};
pub use server::{Files, Server};

pub use crate::MIN_MESSAGE;
use crate::Service;

/// The files' row in the table of services.
pub const SERVICE: Service = Service {
    name: "file",
    channel: "sidecore-file",
    summary: "files and directories that the user grants to a remote",
};

#[cfg(test)]
mod tests;
