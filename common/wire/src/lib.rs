//! Every layout that a specification fixes: parse and emit, nothing else.
//!
//! One file a layout, and every file has the same skeleton: a plain struct, its `SIZE` in bytes, `parse`, `emit`,
//! and golden bytes in the tests. All layouts are little endian and packed, and all arithmetic is on fixed arrays:
//! nothing here overlays a struct on memory, so nothing here cares about alignment.
//!
//! Every function is total. A byte string either has a meaning or an error that names the field and its value;
//! no input makes a function panic, loop without a bound or read outside its argument.
//!
//! A slice that is passed in must be private to the caller. Bytes that a peer shares are copied first (`sidecore-mem`)
//! and parsed from the copy, for a reference to them would let them change between a check and a use.
//!
//! | module | layout |
//! | --- | --- |
//! | [`rpmsg`] | the 16-byte header of a message |
//! | [`name_service`] | announcements of channels, and their names |
//! | [`split`] | descriptors, used elements and the place of everything in a split ring |
//! | [`status`] | the device status byte |
//! | [`features`] | the registry of feature bits, and of the numbers that are ours |
//! | [`config`] | the configuration space of the rpmsg device |
//! | [`resource_table`] | the resource table, version 1, with all its entries |
//! | [`sandbox`] | the hand-over page of the sandbox (our own) |
//! | [`layout`] | all of them as data, for other languages |
#![no_std]

#[cfg(test)]
extern crate std;

pub mod config;
pub mod features;
pub mod layout;
pub mod name_service;
pub mod resource_table;
pub mod rpmsg;
pub mod sandbox;
pub mod split;
pub mod status;

mod bytes;
mod malformed;
mod text;

#[cfg(test)]
mod testing;

pub use crate::malformed::{Fault, Malformed};
