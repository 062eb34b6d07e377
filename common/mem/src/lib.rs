//! Shared memory as regions, words and rings: checked, volatile, and replaceable by loom.
#![no_std]
