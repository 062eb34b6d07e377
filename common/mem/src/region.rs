//! Regions of shared memory and the checked handles into them.

#![allow(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;
#[cfg(not(loom))]
use core::ptr::NonNull;

use crate::raw::Raw;
use crate::{Scalar, Span};

/// A span of memory that a peer may share, and the owner that keeps it mapped.
///
/// `O` is whatever keeps the memory valid: an `Arc` of a mapping on Linux, `()` for memory that is there for
/// as long as the program runs. Clones name the same bytes.
///
/// Every access is volatile and bounds-checked; no reference into the bytes is ever made, so a peer that
/// changes them under us is harmless. Two accesses may see the bytes at different ages: copy, then check,
/// then use. Wide accesses must be aligned to their own width.
#[derive(Clone)]
pub struct Region<O = ()> {
    raw: Raw,
    len: usize,
    owner: O,
}

// SAFETY: a region is an address and an owner; accesses are volatile and never produce references, so threads
// that share one are in no other position than the peer is.
unsafe impl<O: Send> Send for Region<O> {}
// SAFETY: as above.
unsafe impl<O: Sync> Sync for Region<O> {}

#[cfg(not(loom))]
impl<O> Region<O> {
    /// Names the `len` bytes at `base`.
    ///
    /// # Safety
    /// The bytes are mapped, readable and writable for as long as `owner` or a clone of it exists, and no
    /// Rust reference to any of them exists in that time.
    pub const unsafe fn from_raw(base: NonNull<u8>, len: usize, owner: O) -> Self {
        Self { raw: Raw::new(base), len, owner }
    }

    /// The address of the first byte in this process, for handing the region to other languages and tests.
    pub fn pointer(&self) -> NonNull<u8> {
        self.raw.pointer()
    }
}

#[cfg(loom)]
impl Region<()> {
    /// A model of `len` bytes of zeroed shared memory.
    pub fn model(len: usize) -> Self {
        Self { raw: Raw::model(len), len, owner: () }
    }
}

impl<O> Region<O> {
    /// Length in bytes.
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the region has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What keeps the bytes mapped.
    pub const fn owner(&self) -> &O {
        &self.owner
    }

    pub(crate) const fn raw(&self) -> &Raw {
        &self.raw
    }

    /// Reads the scalar at `at`, which is a multiple of its size.
    #[inline(always)]
    pub fn load<T: Scalar>(&self, at: usize) -> Result<T, AccessError> {
        self.check_aligned::<T>(at, 1)?;
        // SAFETY: bounds and alignment checked above.
        Ok(unsafe { self.raw.load(at) })
    }

    /// Writes the scalar at `at`, which is a multiple of its size.
    #[inline(always)]
    pub fn store<T: Scalar>(&self, at: usize, value: T) -> Result<(), AccessError> {
        self.check_aligned::<T>(at, 1)?;
        // SAFETY: bounds and alignment checked above.
        unsafe { self.raw.store(at, value) };
        Ok(())
    }

    /// Copies the bytes at `at` into `to`; any alignment.
    #[inline(always)]
    pub fn read(&self, at: usize, to: &mut [u8]) -> Result<(), AccessError> {
        self.check(at, to.len())?;
        // SAFETY: bounds checked above.
        unsafe { self.raw.read(at, to) };
        Ok(())
    }

    /// Copies `from` to the bytes at `at`; any alignment.
    #[inline(always)]
    pub fn write(&self, at: usize, from: &[u8]) -> Result<(), AccessError> {
        self.check(at, from.len())?;
        // SAFETY: bounds checked above.
        unsafe { self.raw.write(at, from) };
        Ok(())
    }

    /// Reads `N` bytes at `at`; any alignment.
    #[inline(always)]
    pub fn read_array<const N: usize>(&self, at: usize) -> Result<[u8; N], AccessError> {
        self.check(at, N)?;
        // SAFETY: bounds checked above.
        Ok(unsafe { self.raw.read_array(at) })
    }

    /// Sets `len` bytes at `at` to zero.
    pub fn clear(&self, at: usize, len: usize) -> Result<(), AccessError> {
        self.check(at, len)?;
        let zeros = [0; 64];
        let mut done = 0;
        while done < len {
            let step = (len - done).min(zeros.len());
            // SAFETY: bounds of the whole checked above; `done + step` is at most `len`.
            unsafe { self.raw.write(at + done, &zeros[..step]) };
            done += step;
        }
        Ok(())
    }

    /// The `len` bytes at `at`, borrowed: for accesses of which the last check is the span's own.
    #[inline(always)]
    pub fn span(&self, at: usize, len: usize) -> Option<Span<'_>> {
        if len > self.len || at > self.len - len {
            return None;
        }
        // SAFETY: checked above.
        let raw = unsafe { self.raw.advance(at) };
        // SAFETY: checked above.
        Some(unsafe { Span::new(raw, len) })
    }

    /// Where a span that was borrowed from this region begins in it; `None` for another region's.
    pub fn offset_of(&self, span: &Span<'_>) -> Option<usize> {
        let at = span.raw().distance_from(&self.raw)?;
        (span.len() <= self.len && at <= self.len - span.len()).then_some(at)
    }

    #[inline(always)]
    fn check(&self, at: usize, len: usize) -> Result<(), AccessError> {
        if len <= self.len && at <= self.len - len {
            return Ok(());
        }
        Err(self.refuse(Fault::OutOfBounds, at, len))
    }

    #[inline(always)]
    fn check_aligned<T: Scalar>(&self, at: usize, count: usize) -> Result<(), AccessError> {
        let len = count.saturating_mul(T::SIZE);
        self.check(at, len)?;
        if self.raw.is_aligned(at, T::SIZE) {
            return Ok(());
        }
        Err(self.refuse(Fault::Misaligned { align: T::SIZE }, at, len))
    }

    #[cold]
    fn refuse(&self, fault: Fault, at: usize, len: usize) -> AccessError {
        AccessError { fault, at, len, region: self.len }
    }
}

impl<O: Clone> Region<O> {
    /// The `len` bytes at `at` as a region of their own.
    pub fn slice(&self, at: usize, len: usize) -> Result<Self, AccessError> {
        self.check(at, len)?;
        // SAFETY: bounds checked above.
        let raw = unsafe { self.raw.advance(at) };
        Ok(Self { raw, len, owner: self.owner.clone() })
    }

    /// The scalar at `at` as a handle whose accesses need no further check.
    pub fn word<T: Scalar>(&self, at: usize) -> Result<Word<T, O>, AccessError> {
        self.check_aligned::<T>(at, 1)?;
        // SAFETY: bounds checked above.
        let raw = unsafe { self.raw.advance(at) };
        Ok(Word { raw, owner: self.owner.clone(), scalar: PhantomData })
    }

    /// `count` scalars from `at` on as a handle whose index wraps; `count` is a power of two.
    pub fn ring<T: Scalar>(&self, at: usize, count: usize) -> Result<Ring<T, O>, AccessError> {
        self.check_aligned::<T>(at, count)?;
        if !count.is_power_of_two() {
            return Err(self.refuse(Fault::NotAPowerOfTwo, at, count));
        }
        // SAFETY: bounds checked above.
        let raw = unsafe { self.raw.advance(at) };
        Ok(Ring { raw, mask: count - 1, owner: self.owner.clone(), scalar: PhantomData })
    }

    /// `count` pairs of scalars from `at` on as a handle whose index wraps; `count` is a power of two.
    pub fn pairs<T: Scalar>(&self, at: usize, count: usize) -> Result<Pairs<T, O>, AccessError> {
        let Ring { raw, mask, owner, scalar } = self.ring(at, count.saturating_mul(2))?;
        Ok(Pairs { raw, mask: mask / 2, owner, scalar })
    }
}

impl<O> fmt::Debug for Region<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Region({} bytes)", self.len)
    }
}

/// One aligned scalar in shared memory, checked when it was made.
#[derive(Clone)]
pub struct Word<T, O = ()> {
    raw: Raw,
    owner: O,
    scalar: PhantomData<T>,
}

// SAFETY: as for `Region`.
unsafe impl<T, O: Send> Send for Word<T, O> {}
// SAFETY: as for `Region`.
unsafe impl<T, O: Sync> Sync for Word<T, O> {}

impl<T: Scalar, O> Word<T, O> {
    /// Reads the scalar; no ordering.
    #[inline(always)]
    pub fn load(&self) -> T {
        // SAFETY: bounds and alignment were checked when the handle was made; the owner keeps it mapped.
        unsafe { self.raw.load(0) }
    }

    /// Writes the scalar; no ordering.
    #[inline(always)]
    pub fn store(&self, value: T) {
        // SAFETY: as in `load`.
        unsafe { self.raw.store(0, value) };
    }

    /// What keeps the scalar mapped.
    pub const fn owner(&self) -> &O {
        &self.owner
    }
}

impl<O> Word<u16, O> {
    /// Reads the word; everything that the peer wrote before it published this value is seen after.
    #[inline(always)]
    pub fn load_acquire(&self) -> u16 {
        // SAFETY: as in `load`.
        unsafe { self.raw.load_acquire(0) }
    }

    /// Publishes the word: a peer that reads it with acquire sees everything that was written before.
    #[inline(always)]
    pub fn store_release(&self, value: u16) {
        // SAFETY: as in `load`.
        unsafe { self.raw.store_release(0, value) };
    }
}

#[cfg(all(target_has_atomic = "32", not(loom)))]
impl<O> Word<u32, O> {
    /// Writes `to` where the word is `from`, in one step that no peer comes between; whether it was. Where it was, all that
    /// peers wrote before they last wrote this word is seen after. For memory in which such accesses work: not for devices'.
    pub fn exchange(&self, from: u32, to: u32) -> bool {
        // SAFETY: as in `load`.
        unsafe { self.raw.exchange(0, from, to) }
    }
}

impl<T, O> fmt::Debug for Word<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({} bytes)", size_of::<T>())
    }
}

/// A power-of-two array of scalars in shared memory, checked when it was made. Its index wraps, so that no
/// access can fail.
#[derive(Clone)]
pub struct Ring<T, O = ()> {
    raw: Raw,
    mask: usize,
    owner: O,
    scalar: PhantomData<T>,
}

// SAFETY: as for `Region`.
unsafe impl<T, O: Send> Send for Ring<T, O> {}
// SAFETY: as for `Region`.
unsafe impl<T, O: Sync> Sync for Ring<T, O> {}

impl<T: Scalar, O> Ring<T, O> {
    /// Reads the scalar at `index` modulo the length; no ordering.
    #[inline(always)]
    pub fn load(&self, index: usize) -> T {
        // SAFETY: the mask keeps the index inside what was checked when the handle was made.
        unsafe { self.raw.load((index & self.mask) * T::SIZE) }
    }

    /// Writes the scalar at `index` modulo the length; no ordering.
    #[inline(always)]
    pub fn store(&self, index: usize, value: T) {
        // SAFETY: as in `load`.
        unsafe { self.raw.store((index & self.mask) * T::SIZE, value) };
    }

    /// As [`store`](Self::store), but leaves a scalar alone that has the value already: its line then stays in the
    /// caches of both processors, which a store would take it out of.
    #[inline(always)]
    pub fn renew(&self, index: usize, value: T) {
        if self.load(index) != value {
            self.store(index, value);
        }
    }

    /// Number of scalars, a power of two.
    #[inline(always)]
    pub const fn count(&self) -> usize {
        self.mask + 1
    }

    /// What keeps the scalars mapped.
    pub const fn owner(&self) -> &O {
        &self.owner
    }
}

impl<T, O> fmt::Debug for Ring<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} x {} bytes)", self.mask + 1, size_of::<T>())
    }
}

/// A power-of-two array of pairs of scalars in shared memory, checked when it was made: descriptors, used elements.
/// Its index wraps, so that no access can fail. The two halves may be of different ages.
#[derive(Clone)]
pub struct Pairs<T, O = ()> {
    raw: Raw,
    mask: usize,
    owner: O,
    scalar: PhantomData<T>,
}

// SAFETY: as for `Region`.
unsafe impl<T, O: Send> Send for Pairs<T, O> {}
// SAFETY: as for `Region`.
unsafe impl<T, O: Sync> Sync for Pairs<T, O> {}

impl<T: Scalar, O> Pairs<T, O> {
    /// Reads the pair at `index` modulo the length; no ordering.
    #[inline(always)]
    pub fn load(&self, index: usize) -> [T; 2] {
        let at = (index & self.mask) * (2 * T::SIZE);
        // SAFETY: the mask keeps the index inside what was checked when the handle was made.
        let first = unsafe { self.raw.load(at) };
        // SAFETY: as above: a pair is two scalars.
        let second = unsafe { self.raw.load(at + T::SIZE) };
        [first, second]
    }

    /// Reads the pair at `index`, `None` where there is none, the first half first; no ordering.
    #[inline(always)]
    pub fn get(&self, index: usize) -> Option<[T; 2]> {
        if index > self.mask {
            return None;
        }
        let at = index * (2 * T::SIZE);
        // SAFETY: the index was checked against what was checked when the handle was made.
        let first = unsafe { self.raw.load(at) };
        // SAFETY: as above: a pair is two scalars.
        let second = unsafe { self.raw.load(at + T::SIZE) };
        Some([first, second])
    }

    /// Reads the first half of the pair at `index` modulo the length; no ordering.
    #[inline(always)]
    pub fn load_first(&self, index: usize) -> T {
        let at = (index & self.mask) * (2 * T::SIZE);
        // SAFETY: as in `load`.
        unsafe { self.raw.load(at) }
    }

    /// Writes the pair at `index` modulo the length, the first half first; no ordering.
    #[inline(always)]
    pub fn store(&self, index: usize, [first, second]: [T; 2]) {
        let at = (index & self.mask) * (2 * T::SIZE);
        // SAFETY: as in `load`.
        unsafe { self.raw.store(at, first) };
        // SAFETY: as in `load`.
        unsafe { self.raw.store(at + T::SIZE, second) };
    }

    /// As [`store`](Self::store), but leaves a pair alone that has the values already: its line then stays in the
    /// caches of both processors, which a store would take it out of.
    #[inline(always)]
    pub fn renew(&self, index: usize, [first, second]: [T; 2]) {
        let [old_first, old_second] = self.load(index);
        if old_first != first || old_second != second {
            self.store(index, [first, second]);
        }
    }

    /// Writes the second half of the pair at `index` modulo the length; no ordering.
    #[inline(always)]
    pub fn store_second(&self, index: usize, second: T) {
        let at = (index & self.mask) * (2 * T::SIZE) + T::SIZE;
        // SAFETY: as in `load`.
        unsafe { self.raw.store(at, second) };
    }

    /// Number of pairs, a power of two.
    #[inline(always)]
    pub const fn count(&self) -> usize {
        self.mask + 1
    }

    /// What keeps the pairs mapped.
    pub const fn owner(&self) -> &O {
        &self.owner
    }
}

impl<T, O> fmt::Debug for Pairs<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pairs({} x 2 x {} bytes)", self.mask + 1, size_of::<T>())
    }
}

/// An access that was refused, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessError {
    /// What is wrong with it.
    pub fault: Fault,
    /// First byte of the access, from the start of the region.
    pub at: usize,
    /// Bytes that it asked for.
    pub len: usize,
    /// Bytes that the region has.
    pub region: usize,
}

/// What is wrong with a refused access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// It leaves the region.
    OutOfBounds,
    /// It is not aligned to its own width in bytes.
    Misaligned {
        /// The alignment it needs, in bytes.
        align: usize,
    },
    /// A ring whose length is no power of two.
    NotAPowerOfTwo,
}

impl fmt::Display for AccessError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { fault, at, len, region } = self;
        match fault {
            Fault::OutOfBounds => {
                write!(f, "{len} bytes at offset {at:#x} leave a region of {region:#x} bytes")
            }
            Fault::Misaligned { align } => {
                write!(f, "{len} bytes at offset {at:#x} are not aligned to {align} bytes")
            }
            Fault::NotAPowerOfTwo => write!(f, "a ring of {len} entries, which is no power of two"),
        }
    }
}

impl core::error::Error for AccessError {}

#[cfg(test)]
#[cfg(not(loom))]
mod tests;
