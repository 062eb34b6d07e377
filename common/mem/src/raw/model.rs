//! Shared memory as loom models it: a vector of 16-bit atomics.
//!
//! loom's atomics cannot overlay a mapping, and cannot be accessed in two widths. So a wider access is several
//! relaxed 16-bit ones, and a byte access a read-modify-write of its half word: an over-approximation, which
//! allows more interleavings than the hardware does and never fewer.

#![allow(unsafe_code)]

use std::sync::Arc;
use std::vec::Vec;

use crate::Scalar;
use crate::sync::Ordering;

type Cells = Vec<loom::sync::atomic::AtomicU16>;

#[derive(Clone)]
pub(crate) struct Raw {
    cells: Arc<Cells>,
    start: usize,
}

impl Raw {
    pub(crate) fn model(len: usize) -> Self {
        let cells = (0..len.div_ceil(2)).map(|_| loom::sync::atomic::AtomicU16::new(0)).collect();
        Self { cells: Arc::new(cells), start: 0 }
    }

    pub(crate) fn distance_from(&self, start: &Self) -> Option<usize> {
        if !Arc::ptr_eq(&self.cells, &start.cells) {
            return None;
        }
        self.start.checked_sub(start.start)
    }

    pub(crate) fn is_aligned(&self, at: usize, align: usize) -> bool {
        (self.start + at) & (align - 1) == 0
    }

    /// # Safety
    /// None is asked for: an index out of bounds panics. The signature is the hardware's.
    pub(crate) unsafe fn advance(&self, at: usize) -> Self {
        Self { cells: self.cells.clone(), start: self.start + at }
    }

    /// # Safety
    /// As for [`Raw::advance`].
    pub(crate) unsafe fn load<T: Scalar>(&self, at: usize) -> T {
        let at = self.start + at;
        if T::SIZE == 1 {
            let half = self.cells[at / 2].load(Ordering::Relaxed);
            return T::from_u64(u64::from(half.to_le_bytes()[at % 2]));
        }
        let value = (0..T::SIZE / 2).fold(0, |sum, i| {
            let half = self.cells[at / 2 + i].load(Ordering::Relaxed);
            sum | u64::from(half) << (16 * i)
        });
        T::from_u64(value)
    }

    /// # Safety
    /// As for [`Raw::advance`].
    pub(crate) unsafe fn store<T: Scalar>(&self, at: usize, value: T) {
        let at = self.start + at;
        if T::SIZE == 1 {
            let mut bytes = self.cells[at / 2].load(Ordering::Relaxed).to_le_bytes();
            bytes[at % 2] = value.to_u64() as u8;
            self.cells[at / 2].store(u16::from_le_bytes(bytes), Ordering::Relaxed);
            return;
        }
        for i in 0..T::SIZE / 2 {
            self.cells[at / 2 + i].store((value.to_u64() >> (16 * i)) as u16, Ordering::Relaxed);
        }
    }

    /// # Safety
    /// As for [`Raw::advance`].
    pub(crate) unsafe fn load_acquire(&self, at: usize) -> u16 {
        self.cells[(self.start + at) / 2].load(Ordering::Acquire)
    }

    /// # Safety
    /// As for [`Raw::advance`].
    pub(crate) unsafe fn store_release(&self, at: usize, value: u16) {
        self.cells[(self.start + at) / 2].store(value, Ordering::Release);
    }

    /// # Safety
    /// As for [`Raw::advance`].
    pub(crate) unsafe fn write(&self, at: usize, from: &[u8]) {
        let mut i = 0;
        while i < from.len() {
            if (self.start + at + i) % 2 == 0 && i + 1 < from.len() {
                // SAFETY: loom's cells check themselves.
                unsafe { self.store(at + i, u16::from_le_bytes([from[i], from[i + 1]])) };
                i += 2;
            } else {
                // SAFETY: loom's cells check themselves.
                unsafe { self.store(at + i, from[i]) };
                i += 1;
            }
        }
    }

    /// # Safety
    /// As for [`Raw::advance`].
    pub(crate) unsafe fn read(&self, at: usize, to: &mut [u8]) {
        for (i, byte) in to.iter_mut().enumerate() {
            // SAFETY: loom's cells check themselves.
            *byte = unsafe { self.load(at + i) };
        }
    }

    /// # Safety
    /// As for [`Raw::advance`].
    pub(crate) unsafe fn write_in_block(&self, at: usize, from: &[u8]) {
        // SAFETY: loom's cells check themselves.
        unsafe { self.write(at, from) };
    }

    /// # Safety
    /// As for [`Raw::advance`].
    pub(crate) unsafe fn read_in_block(&self, at: usize, to: &mut [u8]) {
        // SAFETY: loom's cells check themselves.
        unsafe { self.read(at, to) };
    }

    /// # Safety
    /// As for [`Raw::advance`].
    pub(crate) unsafe fn read_array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        // SAFETY: loom's cells check themselves.
        unsafe { self.read(at, &mut bytes) };
        bytes
    }
}
