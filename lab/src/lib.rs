//! Suites, hostile peers, simulations, benchmarks and fuzz targets for sidecore.
//!
//! - [`suites`]: what a seam promises, written once and run against every implementation (willing peers).
//! - [`hostile`]: peers that lie, and the models that say what must hold all the same.
//! - [`fuzz`]: one function of bytes for each parser and each role of a ring. `lab/fuzz` makes libFuzzer targets of
//!   them, and `tests/fuzz_corpus.rs` replays their corpora.
//! - [`rigs`]: memory, rings and doorbells for all of these.
//! - [`tape`] and [`watchdog`]: where their decisions come from, and who ends them when they hang.
//!
//! All interleavings of two willing peers are explored in `tests/loom_*.rs`, which stand alone: under `--cfg loom`
//! this crate is empty.
#![cfg(not(loom))]

pub mod fuzz;
pub mod hostile;
pub mod rigs;
#[cfg(feature = "suites")]
pub mod suites;
pub mod tape;
pub mod watchdog;
