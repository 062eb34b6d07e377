//! Measurements: what a message costs, and what the machine allows.
//!
//! `cargo xtask bench` runs the two programs of this package and makes one table of what they say;
//! `lab/bench/RESULTS.md` keeps results. Here is what both have in common: the two ends of a link.

mod pair;

pub use pair::{Host, Pair, Remote};
