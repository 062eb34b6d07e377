//! Shared memory as the processor sees it: volatile accesses through a pointer.

#![allow(unsafe_code)]

use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;

use crate::Scalar;

/// Reads the register that says which Cortex-M this is.
#[cfg(all(target_arch = "arm", target_os = "none", not(target_has_atomic = "64")))]
#[inline(always)]
pub(crate) fn touch_device() {
    let cpuid = ptr::with_exposed_provenance::<u32>(0xE000_ED00);
    // SAFETY: the architecture has it at this address; reading it changes nothing.
    unsafe { cpuid.read_volatile() };
}

/// A pointer into shared memory. Its user keeps track of bounds and of the owner.
#[derive(Clone, Copy)]
pub(crate) struct Raw(NonNull<u8>);

/// The widest scalar that one instruction moves.
#[cfg(target_pointer_width = "64")]
type Lane = u64;
#[cfg(target_pointer_width = "32")]
type Lane = u32;
const LANE: usize = size_of::<Lane>();

/// Whether code may be spent on speed. On small cores each kind of copy is there once, for every alignment.
const IS_LARGE: bool = cfg!(target_pointer_width = "64");

/// What is copied at a time.
const LINE: usize = if IS_LARGE { 8 * LANE } else { LANE };

impl Raw {
    pub(crate) const fn new(base: NonNull<u8>) -> Self {
        Self(base)
    }

    pub(crate) fn pointer(&self) -> NonNull<u8> {
        self.0
    }

    /// How many bytes this lies behind `start`.
    pub(crate) fn distance_from(&self, start: &Self) -> Option<usize> {
        (self.0.as_ptr() as usize).checked_sub(start.0.as_ptr() as usize)
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
        #[cfg(mortal)]
        if !crate::mortal::is_alive() {
            return;
        }
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
        #[cfg(mortal)]
        if !crate::mortal::is_alive() {
            return;
        }
        // SAFETY: in bounds by the caller's promise.
        let to = unsafe { self.0.add(at) }.cast::<u16>();
        // SAFETY: as in `load_acquire`.
        let word = unsafe { HardwareU16::from_ptr(to.as_ptr()) };
        word.store(value.to_little_endian(), Ordering::Release);
    }

    /// # Safety
    /// As for [`Raw::load`], for 4 bytes.
    #[cfg(target_has_atomic = "32")]
    #[inline(always)]
    pub(crate) unsafe fn exchange(&self, at: usize, from: u32, to: u32) -> bool {
        #[cfg(mortal)]
        if !crate::mortal::is_alive() {
            return false;
        }
        // SAFETY: in bounds by the caller's promise.
        let word = unsafe { self.0.add(at) }.cast::<u32>();
        // SAFETY: aligned by the caller's promise; the memory outlives this statement.
        let word = unsafe { HardwareU32::from_ptr(word.as_ptr()) };
        let (from, to) = (from.to_little_endian(), to.to_little_endian());
        word.compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Copies from private memory, in the widest aligned accesses.
    ///
    /// # Safety
    /// `at..at + from.len()` lies inside the memory.
    #[inline(always)]
    pub(crate) unsafe fn write(&self, at: usize, from: &[u8]) {
        if IS_LARGE && self.is_aligned(at, LANE) {
            // SAFETY: the caller's promise, and aligned.
            unsafe { self.write_lanes(at, from) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.write_misaligned(at, from) }
        }
    }

    /// Copies to private memory, in the widest aligned accesses.
    ///
    /// # Safety
    /// `at..at + to.len()` lies inside the memory.
    #[inline(always)]
    pub(crate) unsafe fn read(&self, at: usize, to: &mut [u8]) {
        if IS_LARGE && self.is_aligned(at, LANE) {
            // SAFETY: the caller's promise, and aligned.
            unsafe { self.read_lanes(at, to) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.read_misaligned(at, to) }
        }
    }

    /// Reads `N` bytes, which stay in registers where they are aligned and few.
    ///
    /// # Safety
    /// `at..at + N` lies inside the memory.
    #[inline(always)]
    pub(crate) unsafe fn read_array<const N: usize>(&self, at: usize) -> [u8; N] {
        if IS_LARGE && self.is_aligned(at, LANE) {
            let mut bytes = [0; N];
            // SAFETY: the caller's promise, and aligned.
            unsafe { self.read_lanes(at, &mut bytes) };
            bytes
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.read_array_misaligned(at) }
        }
    }

    /// # Safety
    /// As for [`Raw::read_array`].
    #[cold]
    #[inline(never)]
    unsafe fn read_array_misaligned<const N: usize>(self, at: usize) -> [u8; N] {
        let mut bytes = [0; N];
        // SAFETY: the caller's promise.
        unsafe { self.read_misaligned(at, &mut bytes) };
        bytes
    }

    /// As [`Raw::write`], into memory that begins on a multiple of 8 bytes: with a constant `at`, the question of
    /// alignment is answered by the compiler.
    ///
    /// # Safety
    /// As for [`Raw::write`]; the memory begins on a multiple of 8 bytes.
    #[inline(always)]
    pub(crate) unsafe fn write_in_block(&self, at: usize, from: &[u8]) {
        if IS_LARGE && at.is_multiple_of(LANE) {
            // SAFETY: the caller's promise, and aligned.
            unsafe { self.write_lanes(at, from) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.write_misaligned(at, from) }
        }
    }

    /// As [`Raw::write_in_block`].
    ///
    /// # Safety
    /// As for [`Raw::read`]; the memory begins on a multiple of 8 bytes.
    #[inline(always)]
    pub(crate) unsafe fn read_in_block(&self, at: usize, to: &mut [u8]) {
        if IS_LARGE && at.is_multiple_of(LANE) {
            // SAFETY: the caller's promise, and aligned.
            unsafe { self.read_lanes(at, to) }
        } else {
            // SAFETY: the caller's promise.
            unsafe { self.read_misaligned(at, to) }
        }
    }

    /// # Safety
    /// As for [`Raw::write`]; `at` lies on a multiple of LANE.
    #[inline(always)]
    unsafe fn write_lanes(&self, at: usize, from: &[u8]) {
        // A line a turn, and one question whether that was all: what a compiler makes of a plain loop spends more on
        // counting than on copying.
        let (lines, rest) = from.as_chunks::<LINE>();
        let mut to = at;
        for line in lines {
            for lane in line.as_chunks::<LANE>().0 {
                // SAFETY: `to` stays below `at + from.len()` and, as `at`, a multiple of LANE.
                unsafe { self.store(to, Lane::from_le_bytes(*lane)) };
                to += LANE;
            }
        }
        if rest.is_empty() {
            return;
        }
        let (lanes, rest) = rest.as_chunks::<LANE>();
        for lane in lanes {
            // SAFETY: as above.
            unsafe { self.store(to, Lane::from_le_bytes(*lane)) };
            to += LANE;
        }
        for byte in rest {
            // SAFETY: as above; a byte is always aligned.
            unsafe { self.store(to, *byte) };
            to += 1;
        }
    }

    /// # Safety
    /// As for [`Raw::read`]; `at` lies on a multiple of LANE.
    #[inline(always)]
    unsafe fn read_lanes(&self, at: usize, to: &mut [u8]) {
        let (lines, rest) = to.as_chunks_mut::<LINE>();
        let mut from = at;
        for line in lines {
            for lane in line.as_chunks_mut::<LANE>().0 {
                // SAFETY: `from` stays below `at + to.len()` and, as `at`, a multiple of LANE.
                *lane = unsafe { self.load::<Lane>(from) }.to_le_bytes();
                from += LANE;
            }
        }
        if rest.is_empty() {
            return;
        }
        let (lanes, rest) = rest.as_chunks_mut::<LANE>();
        for lane in lanes {
            // SAFETY: as above.
            *lane = unsafe { self.load::<Lane>(from) }.to_le_bytes();
            from += LANE;
        }
        for byte in rest {
            // SAFETY: as above; a byte is always aligned.
            *byte = unsafe { self.load(from) };
            from += 1;
        }
    }

    /// Bytes up to the first aligned one, then as usual. Rare on large cores: headers and payloads are aligned. Written so
    /// that the compiler sees that it cannot unwind, which spares every caller a copy of its loans in memory. On small
    /// ones it is every copy, in one loop that needs no more registers than a call leaves free: no stack.
    ///
    /// # Safety
    /// As for [`Raw::write`].
    #[cold]
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    unsafe fn write_misaligned(self, at: usize, from: &[u8]) {
        if IS_LARGE {
            let Some((head, rest)) = from.split_at_checked(self.head(at, from.len())) else { return };
            for (i, byte) in head.iter().enumerate() {
                // SAFETY: in bounds by the caller's promise; a byte is always aligned.
                unsafe { self.store(at + i, *byte) };
            }
            // SAFETY: in bounds by the caller's promise; what remains, if anything does, is aligned.
            unsafe { self.write_lanes(at + head.len(), rest) };
            return;
        }
        // SAFETY: in bounds by the caller's promise.
        let (mut to, mut from) = (unsafe { self.advance(at) }, from);
        while !from.is_empty() {
            if to.is_aligned(0, LANE) && from.len() >= LANE {
                let Some((lane, rest)) = from.split_first_chunk::<LANE>() else { return };
                // SAFETY: in bounds, as there is as much left to be copied, and aligned.
                unsafe { to.store(0, Lane::from_le_bytes(*lane)) };
                // SAFETY: as above.
                to = unsafe { to.advance(LANE) };
                from = rest;
            } else {
                let Some((byte, rest)) = from.split_first() else { return };
                // SAFETY: in bounds, as there is as much left to be copied; a byte is always aligned.
                unsafe { to.store(0, *byte) };
                // SAFETY: as above.
                to = unsafe { to.advance(1) };
                from = rest;
            }
        }
    }

    /// As [`Raw::write_misaligned`].
    ///
    /// # Safety
    /// As for [`Raw::read`].
    #[cold]
    #[cfg_attr(target_pointer_width = "64", inline)]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    unsafe fn read_misaligned(self, at: usize, to: &mut [u8]) {
        if IS_LARGE {
            let split = self.head(at, to.len());
            let Some((head, rest)) = to.split_at_mut_checked(split) else { return };
            for (i, byte) in head.iter_mut().enumerate() {
                // SAFETY: in bounds by the caller's promise; a byte is always aligned.
                *byte = unsafe { self.load(at + i) };
            }
            // SAFETY: in bounds by the caller's promise; what remains, if anything does, is aligned.
            unsafe { self.read_lanes(at + split, rest) };
            return;
        }
        // SAFETY: in bounds by the caller's promise.
        let (mut from, mut to) = (unsafe { self.advance(at) }, to);
        while !to.is_empty() {
            if from.is_aligned(0, LANE) && to.len() >= LANE {
                let Some((lane, rest)) = to.split_first_chunk_mut::<LANE>() else { return };
                // SAFETY: in bounds, as there is as much left to be copied, and aligned.
                *lane = unsafe { from.load::<Lane>(0) }.to_le_bytes();
                // SAFETY: as above.
                from = unsafe { from.advance(LANE) };
                to = rest;
            } else {
                let Some((byte, rest)) = to.split_first_mut() else { return };
                // SAFETY: in bounds, as there is as much left to be copied; a byte is always aligned.
                *byte = unsafe { from.load(0) };
                // SAFETY: as above.
                from = unsafe { from.advance(1) };
                to = rest;
            }
        }
    }

    /// Bytes up to the first aligned lane, at most `len`.
    fn head(&self, at: usize, len: usize) -> usize {
        let misaligned = (self.0.as_ptr() as usize).wrapping_add(at).wrapping_neg() & (LANE - 1);
        misaligned.min(len)
    }
}

#[expect(clippy::disallowed_types, reason = "this is the room that the others are sent to")]
type HardwareU16 = core::sync::atomic::AtomicU16;

#[cfg(target_has_atomic = "32")]
#[expect(clippy::disallowed_types, reason = "what the model checker cannot replace: it has cells of 16 bits")]
type HardwareU32 = core::sync::atomic::AtomicU32;
