//! The client library: one API, two halves, direct and through the daemon.
//!
//! A [`Client`] reaches remote processors through the daemon of a bus (`sidecored`), where one is, and otherwise directly: then
//! the program itself is the main side of sandboxes, and uses what Linux drives through the kernel. What can be done with a
//! [`Processor`] and an [`Endpoint`] is the same, and so are the errors.
//!
//! ```no_run
//! use std::time::Duration;
//! use sidecore_client::{Client, OpenOptions};
//!
//! fn main() -> sidecore_client::Result<()> {
//!     sidecore_client::hook();
//!     let client = Client::connect()?;
//!     let endpoint = client.processor("radio")?.open("rpmsg-echo", OpenOptions::new())?;
//!     endpoint.send(b"hello", Duration::from_secs(1))?;
//!     assert_eq!(endpoint.receive(Duration::from_secs(1))?, b"hello");
//!     Ok(())
//! }
//! ```
//!
//! The types here wait; those of the same names in [`aio`] are asynchronous. Messages go by plain system calls or through
//! shared memory, and never through the bus, the daemon, or a runtime. All types can be used from any thread.

pub mod aio;
pub mod codes;

mod bus;
mod client;
mod daemon;
mod direct;
mod endpoint;
mod error;
mod events;
mod lease;
mod options;
mod processor;
mod runtime;
mod select;
mod socket;

pub use client::Client;
pub use direct::Places;
pub use endpoint::Endpoint;
pub use error::{Error, Result};
pub use events::Events;
pub use lease::Lease;
pub use options::{Detail, Event, Info, LeaseMode, OpenOptions, Progress, Service, StartOptions, Way};
pub use processor::Processor;

/// Makes this process what a sandbox needs, if it was started to be that, and never returns then. Otherwise it returns at
/// once. To be called first thing in the `main` of a program that starts sandboxes without a daemon: their wardens and remotes
/// are the program itself, started again.
pub fn hook() {
    sidecore_backends::sandbox::hook();
}
