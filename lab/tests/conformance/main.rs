//! The protocol suite against our own peers, in both roles: real ones, ones that are wrong in one thing, and what a
//! release said on the wire.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod golden;
mod host;
mod hostile;
mod mutants;
mod ours;
mod remote;
mod rig;
