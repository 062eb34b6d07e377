//! The console: what a remote prints and reads, its arguments, and its exit code.
//!
//! ```text
//! remote                                 main side
//!   ── announcement of `sidecore-console` ──►
//!   ◄── Hello: version, arguments, how much output may come
//!   ── Hello: version ──►
//!   ── ArgumentsRequest ──►     ◄── Arguments          as often as it takes
//!   ── Output ──►               ◄── OutputLimit        once output has been written out
//!   ── InputLimit ──►           ◄── Input … InputEnd   once the remote reads
//!   ── Exit ──►
//! ```
//!
//! Nobody is flooded and nothing is lost: each direction has a limit, a total of bytes since the beginning, that the
//! receiver raises when it has room again. Limits only grow, so one that comes twice or late does no harm. The main
//! side touches its own input only once the remote has asked for some.

pub mod client;
pub mod protocol;
pub mod server;

pub use client::Client;
pub use protocol::{Arguments, ArgumentsError, Stream};
pub use server::Server;

pub use crate::MIN_MESSAGE;
use crate::Service;

/// The console's row in the table of services.
pub const SERVICE: Service = Service {
    name: "console",
    channel: "sidecore-console",
    summary: "output, input, arguments and the exit code of a remote",
};

#[cfg(test)]
mod tests;
