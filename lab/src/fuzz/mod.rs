//! Fuzz targets: one function of bytes for each parser, each role of a ring, and rpmsg as a whole.
//!
//! They panic where something does not hold. `lab/fuzz` has a libFuzzer binary for each of them, named as its row here,
//! and its corpora, which `tests/fuzz_corpus.rs` replays.

#![allow(clippy::unwrap_used, reason = "these are tests: what does not hold panics")]

mod elf;
mod registers;
mod resource_table;
mod wire;

pub use elf::elf;
pub use registers::registers;
pub use resource_table::resource_table;
pub use wire::wire;

use crate::hostile;

/// A target and the name of its binary and corpus.
#[derive(Debug)]
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// What is called with the fuzzer's bytes.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "elf", run: elf },
    Target { name: "registers", run: registers },
    Target { name: "resource_table", run: resource_table },
    Target { name: "ring_device", run: ring_device },
    Target { name: "ring_driver", run: ring_driver },
    Target { name: "rpmsg", run: rpmsg },
    Target { name: "wire", run: wire },
];

/// Our device's end of a ring with a hostile driver: the bytes are calls of ours and writes of theirs.
pub fn ring_device(bytes: &[u8]) {
    hostile::play_device(bytes);
}

/// Our driver's end of a ring with a hostile device: the bytes are calls of ours and writes of theirs.
pub fn ring_driver(bytes: &[u8]) {
    hostile::play_driver(bytes);
}

/// All of rpmsg, both ends ours, and someone who writes to the memory between them: the bytes are calls and writes.
pub fn rpmsg(bytes: &[u8]) {
    hostile::play_rpmsg(bytes);
}
