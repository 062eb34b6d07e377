//! The daemon on a bus of its own, as its clients see it.
#![allow(clippy::unwrap_used, missing_docs, reason = "these are tests")]

mod contract;
mod house;
mod lease;
mod life;
mod objects;
mod outlive;
