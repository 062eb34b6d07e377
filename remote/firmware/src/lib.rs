//! The firmware side: entry, resource table, trace, console, files and endpoints for a coprocessor.
//!
//! An image is a crate with [`image!`] and a `main` that is handed a [`Remote`]. What differs between machines is
//! behind [`platform::Platform`]; nothing here needs a heap.
//!
//! For the sandbox an image is linked by the host's own tool chain. Its build script passes on what the SDK asks of the
//! linker:
//!
//! ```no_run
//! // build.rs, in a package that depends on `sidecore-firmware`
//! for argument in std::env::var("DEP_SIDECORE_FIRMWARE_LINK_ARGS").unwrap().split(' ') {
//!     println!("cargo::rustc-link-arg-bins={argument}");
//! }
//! ```
//!
//! and its profiles say `panic = "abort"`. On other machines `image!` does not exist, and the rest compiles as anywhere.
#![no_std]

mod panic;
pub mod platform;
mod resources;
mod text;
mod trace;

#[cfg(sidecore_platform = "sandbox")]
mod image;
#[cfg(sidecore_platform = "sandbox")]
mod remote;

#[cfg(sidecore_platform = "sandbox")]
pub use remote::Remote;
pub use resources::{BufferSizes, Resources, Rpmsg};

#[doc(hidden)]
pub use trace::trace_line as __trace_line;

/// What `image!` expands to; no interface of its own.
#[cfg(sidecore_platform = "sandbox")]
#[doc(hidden)]
pub mod __image {
    pub use crate::image::Image;
    pub use crate::panic::panic;
    pub use crate::platform::{FILLED, Native, StaticTable};
    pub use crate::trace::Trace;
    pub use sidecore_mem::Memory;
}
