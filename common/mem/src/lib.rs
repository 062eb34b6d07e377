//! Shared memory as regions, words and rings: checked, volatile, and replaceable by loom.
//!
//! Whatever a peer shares with us may change at any moment and may lie, so nothing here ever hands out a
//! reference into it. Bytes are named by a [`Region`] and an offset; an access is checked once, either at
//! the access ([`Region::load`], [`Region::read`]) or when a handle is made ([`Word`], [`Ring`]), after which
//! it costs one instruction and cannot fail.
//!
//! - A [`Region`] is a span of shared memory and whatever keeps it mapped (its *owner*).
//! - A [`Word`] is one aligned scalar in a region, a [`Ring`] (of [`Pairs`]) a power-of-two array whose index wraps,
//!   [`Blocks`] a pool of equal buffers, a [`Span`] a borrowed stretch.
//! - [`DeviceAddr`] and [`PhysAddr`] name the same byte as different processors see it; an [`AddressMap`] is
//!   the only way from one of them to a region.
//! - [`sync`] is the one module that atomics and fences come from. Under `--cfg loom` it and the regions are
//!   made of loom's atomics, so that every interleaving of two peers can be explored.
//!
//! All scalars are little endian in memory, as every format that sidecore speaks.
#![no_std]

#[cfg(loom)]
extern crate std;

mod address;
mod blocks;
mod map;
#[cfg(not(loom))]
mod memory;
#[cfg(mortal)]
pub mod mortal;
mod raw;
mod region;
mod scalar;
mod span;
pub mod sync;

pub use address::{DeviceAddr, PhysAddr};
pub use blocks::{BLOCK_ALIGN, Block, Blocks};
pub use map::{AddressMap, Located, MapError, Window};
#[cfg(not(loom))]
pub use memory::Memory;
pub use region::{AccessError, Fault, Pairs, Region, Ring, Word};
pub use scalar::Scalar;
pub use span::Span;
