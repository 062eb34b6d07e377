//! The firmware side: entry, resource table, trace, console, files and endpoints for a coprocessor.
//!
//! An image is a crate with [`image!`] and a `main` that is handed a [`Remote`]. That is connected to the main side once
//! its driver is there; a [`Connection`] has [`Endpoint`]s, a [`Console`] and [`Files`]. Whatever may take time is an
//! [`Operation`]: waited for in a plain loop, awaited in a task, or tried once.
//!
//! ```
//! use sidecore_firmware::{Connection, Error, Remote, join};
//!
//! fn firmware(remote: Remote) -> Result<i32, Error> {
//!     let connection = remote.connect()?;
//!     let mut console = connection.console().wait()?;
//!     console.print("serving\n").wait()?;
//!     connection.machine().block_on(join(upper(&connection), lower(&connection))).0?;
//!     Ok(0)
//! }
//!
//! /// In a task: sends everything back in capitals.
//! async fn upper(connection: &Connection<'_>) -> Result<(), Error> {
//!     let endpoint = connection.open("upper").await?;
//!     loop {
//!         let message = endpoint.receive().await?;
//!         let mut bytes = [0; 496];
//!         let len = message.copy_to(&mut bytes)?.len();
//!         bytes.make_ascii_uppercase();
//!         endpoint.send_to(message.src(), &bytes[..len]).await?;
//!     }
//! }
//! # async fn lower(connection: &Connection<'_>) -> Result<(), Error> { upper(connection).await }
//! ```
//!
//! On a board with two cores the firmware of one can be the host of the other's, with no main side: [`Host`].
//!
//! What differs between machines is behind [`platform::Platform`]; nothing here needs a heap.
//!
//! For the sandbox an image is linked by the host's own tool chain. Its build script passes on what the SDK asks of the
//! linker, and its profiles say `panic = "abort"`:
//!
//! ```no_run
//! // build.rs, in a package that depends on `sidecore-firmware`
//! for argument in std::env::var("DEP_SIDECORE_FIRMWARE_LINK_ARGS").unwrap().split(' ') {
//!     println!("cargo::rustc-link-arg-bins={argument}");
//! }
//! ```
//!
//! On machines without a platform only the parts that need none are here, and there is no `image!`.
#![no_std]

pub mod platform;

mod panic;
mod resources;
mod text;
mod trace;

#[cfg(test)]
mod bench;
#[cfg(sidecore_native)]
mod connection;
#[cfg(sidecore_native)]
mod endpoint;
#[cfg(sidecore_native)]
mod error;
#[cfg(sidecore_native)]
mod host;
#[cfg(sidecore_native)]
mod image;
#[cfg(sidecore_native)]
mod machine;
#[cfg(sidecore_native)]
mod mailbox;
#[cfg(sidecore_native)]
mod operation;
#[cfg(sidecore_native)]
mod remote;
#[cfg(sidecore_native)]
mod service;
#[cfg(all(sidecore_native, target_has_atomic = "32", not(loom)))]
mod spinlock;

pub use platform::{MainSide, Misbehaviour, SharedMap};
pub use resources::{BufferSizes, Resources, Rpmsg};

#[cfg(sidecore_native)]
pub use {
    connection::{Connection, Doorbell, Message, Outgoing, Wire},
    endpoint::Endpoint,
    error::Error,
    host::{Host, SiblingBell, SiblingEndpoint, SiblingEvent, SiblingLink, SiblingOutgoing},
    image::Outcome,
    machine::Machine,
    operation::{Either, Operation, join, race},
    remote::Remote,
    service::{Console, File, Files},
};

#[cfg(all(sidecore_native, target_has_atomic = "32", not(loom)))]
pub use spinlock::{SpinlockGuard, Spinlocks};

pub use sidecore_rpmsg::{ADDR_ANY, Event, LinkError, SendError};
pub use sidecore_services::console::{Arguments, Stream};
pub use sidecore_services::file::{Entry, Flags, Handle, Info, Kind};
pub use sidecore_wire::features;

#[doc(hidden)]
pub use trace::{Trace as __Trace, trace_line as __trace_line};

/// What `image!` expands to; no interface of its own.
#[cfg(sidecore_native)]
#[doc(hidden)]
pub mod __image {
    pub use crate::image::{Image, Outcome};
    pub use crate::panic::panic;
    pub use crate::platform::{FILLED, Native, Platform, StaticTable};
    pub use crate::resources::TRACE_WORDS;
    pub use crate::trace::Trace;
    pub use sidecore_mem::Memory;
}
