//! Shared memory as the processor sees it: volatile accesses through a pointer.

#![allow(unsafe_code)]

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

use crate::Scalar;

/// A pointer into shared memory. Its user keeps track of bounds and of the owner.
#[derive(Clone, Copy)]
pub(crate) struct Raw(NonNull<u8>);

/// The widest scalar that one instruction moves.
#[cfg(target_pointer_width = "64")]
type Lane = u64;
#[cfg(target_pointer_width = "32")]
type Lane = u32;
const LANE: usize = size_of::<Lane>();

impl Raw {
    pub(crate) const fn new(base: NonNull<u8>) -> Self {
        Self(base)
    }

    pub(crate) fn pointer(&self) -> NonNull<u8> {
        self.0
    }

    pub(crate) fn is_aligned(&self, at: usize, align: usize) -> bool {
        (self.0.as_ptr() as usize).wrapping_add(at) & (align - 1) == 0
    }

    /// # Safety
    /// `at` is at most the length of the memory that this points into.
    #[inline(always)]
    pub(crate) unsafe fn advance(&self, at: usize) -> Self {
        // SAFETY: the caller's promise keeps the sum inside the same mapping.
        Self(unsafe { self.0.add(at) })
    }

    /// # Safety
    /// `at..at + T::SIZE` lies inside the memory and is aligned to `T::SIZE`.
    #[inline(always)]
    pub(crate) unsafe fn load<T: Scalar>(&self, at: usize) -> T {
        // SAFETY: in bounds by the caller's promise.
        let from = unsafe { self.0.add(at) }.cast::<T>();
        // SAFETY: aligned by the caller's promise; every bit pattern is a T.
        unsafe { ptr::read_volatile(from.as_ptr()) }.to_little_endian()
    }

    /// # Safety
    /// As for [`Raw::load`].
    #[inline(always)]
    pub(crate) unsafe fn store<T: Scalar>(&self, at: usize, value: T) {
        // SAFETY: in bounds by the caller's promise.
        let to = unsafe { self.0.add(at) }.cast::<T>();
        // SAFETY: aligned by the caller's promise.
        unsafe { ptr::write_volatile(to.as_ptr(), value.to_little_endian()) };
    }

    /// # Safety
    /// As for [`Raw::load`].
    #[inline(always)]
    pub(crate) unsafe fn load_acquire(&self, at: usize) -> u16 {
        // SAFETY: in bounds by the caller's promise.
        let from = unsafe { self.0.add(at) }.cast::<u16>();
        // SAFETY: aligned by the caller's promise; the memory outlives this statement, and all of our accesses
        // to such a word are atomic ones of the same width.
        let word = unsafe { HardwareU16::from_ptr(from.as_ptr()) };
        word.load(Ordering::Acquire).to_little_endian()
    }

    /// # Safety
    /// As for [`Raw::load`].
    #[inline(always)]
    pub(crate) unsafe fn store_release(&self, at: usize, value: u16) {
        // SAFETY: in bounds by the caller's promise.
        let to = unsafe { self.0.add(at) }.cast::<u16>();
        // SAFETY: as in `load_acquire`.
        let word = unsafe { HardwareU16::from_ptr(to.as_ptr()) };
        word.store(value.to_little_endian(), Ordering::Release);
    }

    /// Copies from private memory, in the widest aligned accesses.
    ///
    /// # Safety
    /// `at..at + from.len()` lies inside the memory.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, at: usize, from: &[u8]) {
        let head = self.head(at, from.len());
        let (first, rest) = from.split_at(head);
        let (lanes, last) = rest.as_chunks::<LANE>();
        let mut to = at;
        for byte in first {
            // SAFETY: `to` stays below `at + from.len()`; a byte is always aligned.
            unsafe { self.store(to, *byte) };
            to += 1;
        }
        for lane in lanes {
            // SAFETY: as above, and `head` made `to` a multiple of LANE from here.
            unsafe { self.store(to, Lane::from_le_bytes(*lane)) };
            to += LANE;
        }
        for byte in last {
            // SAFETY: as above.
            unsafe { self.store(to, *byte) };
            to += 1;
        }
    }

    /// Copies to private memory, in the widest aligned accesses.
    ///
    /// # Safety
    /// `at..at + to.len()` lies inside the memory.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, at: usize, to: &mut [u8]) {
        let head = self.head(at, to.len());
        let (first, rest) = to.split_at_mut(head);
        let (lanes, last) = rest.as_chunks_mut::<LANE>();
        let mut from = at;
        for byte in first {
            // SAFETY: `from` stays below `at + to.len()`; a byte is always aligned.
            *byte = unsafe { self.load(from) };
            from += 1;
        }
        for lane in lanes {
            // SAFETY: as above, and `head` made `from` a multiple of LANE from here.
            let value: Lane = unsafe { self.load(from) };
            *lane = value.to_le_bytes();
            from += LANE;
        }
        for byte in last {
            // SAFETY: as above.
            *byte = unsafe { self.load(from) };
            from += 1;
        }
    }

    /// Bytes up to the first aligned lane, at most `len`.
    #[inline(always)]
    fn head(&self, at: usize, len: usize) -> usize {
        let misaligned = (self.0.as_ptr() as usize).wrapping_add(at).wrapping_neg() & (LANE - 1);
        if misaligned < len { misaligned } else { len }
    }
}

#[expect(clippy::disallowed_types, reason = "this is the room that the others are sent to")]
type HardwareU16 = core::sync::atomic::AtomicU16;
