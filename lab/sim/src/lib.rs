//! The simulation of misfortune: both sides in one thread, deaths at any store, and kills of real processes.
//!
//! - `sim` (`cargo xtask sim`) runs both sides in one thread, by seeds, and kills main sides at any store.
//! - `kill` (`cargo xtask kill`) does it to real processes, at random moments.

pub mod bounds;
pub mod history;
pub mod luck;
