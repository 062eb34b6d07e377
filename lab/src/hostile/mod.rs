//! Peers that lie, and the models that say what must hold all the same.
//!
//! A hostile peer is played from a [tape](crate::tape): a list of calls of our side's methods and of writes to the
//! shared memory, in any order. Our side must not panic, hang or work without a bound; whatever it answers must be
//! true of the memory as it was, or an error that names what is wrong with it; and its own books must balance. The
//! same functions serve the fuzzers ([`fuzz`](crate::fuzz)), the property tests and the exhaustive ones below.

#![allow(clippy::unwrap_used, reason = "these are tests: what does not hold panics")]

mod device;
mod driver;
mod ground;
mod rpmsg;
#[cfg(test)]
mod tests;

pub use device::play_device;
pub use driver::play_driver;
pub use rpmsg::play_rpmsg;
