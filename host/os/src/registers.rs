//! Device registers in shared memory, with a processor on the other side that writes them as it likes.

#![allow(unsafe_code)]
#![allow(clippy::disallowed_types, reason = "registers want exchanges, which messages do without")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sidecore_mem::{AccessError, Region};

use crate::Lent;

/// 32-bit registers in a part of lent memory. Every access is one, aligned and sequentially consistent.
#[derive(Clone, Debug)]
pub struct Registers(Region<Arc<Lent>>);

impl Registers {
    /// Those in `len` bytes of the memory from byte `at` on.
    ///
    /// # Errors
    /// The memory does not have them.
    pub fn new(memory: &Arc<Lent>, at: usize, len: usize) -> Result<Self, AccessError> {
        memory.region().slice(at, len).map(Self)
    }

    /// Reads the register at an offset; 0 where there is none.
    #[must_use]
    pub fn load(&self, at: usize) -> u32 {
        self.at(at).map_or(0, |register| register.load(Ordering::SeqCst))
    }

    /// Writes the register at an offset, if there is one.
    pub fn store(&self, at: usize, value: u32) {
        if let Some(register) = self.at(at) {
            register.store(value, Ordering::SeqCst);
        }
    }

    /// Takes what is in a register, and leaves another value there. Nothing that is written meanwhile is lost.
    #[must_use]
    pub fn swap(&self, at: usize, value: u32) -> u32 {
        self.at(at).map_or(0, |register| register.swap(value, Ordering::SeqCst))
    }

    /// Writes a register if it still has the value that is expected; whether it had.
    pub fn replace(&self, at: usize, expected: u32, value: u32) -> bool {
        let replaced = |register: &AtomicU32| {
            register.compare_exchange(expected, value, Ordering::SeqCst, Ordering::SeqCst).is_ok()
        };
        self.at(at).is_some_and(replaced)
    }

    fn at(&self, at: usize) -> Option<&AtomicU32> {
        let word = self.0.word::<u32>(at).ok()?;
        drop(word);
        // SAFETY: `word` has just found the four bytes to be inside, so that the sum is in the region.
        let register = unsafe { self.0.pointer().add(at) };
        // SAFETY: aligned, as `word` found; mapped for as long as the region lives, which the result borrows; and whoever
        // else accesses it, in another process, does so by single accesses.
        Some(unsafe { AtomicU32::from_ptr(register.as_ptr().cast()) })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    #[test]
    fn registers_are_exchanged_and_those_outside_are_nothing() {
        let file = memfd_create("registers", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).unwrap();
        ftruncate(&file, 4096).unwrap();
        let memory = Lent::map(file.as_fd(), 0, 4096).unwrap();
        let registers = Registers::new(&memory, 0x100, 8).unwrap();
        registers.store(4, 7);
        assert_eq!((registers.swap(4, 1), registers.load(4)), (7, 1));
        assert!(registers.replace(4, 1, 2) && !registers.replace(4, 1, 3));
        for outside in [5, 8, usize::MAX] {
            registers.store(outside, 9);
            assert_eq!(registers.load(outside), 0);
        }
        assert_eq!(memory.region().load::<u32>(0x104), Ok(2));
        assert!(Registers::new(&memory, 4092, 8).is_err());
    }
}
