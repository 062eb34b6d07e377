//! Borrowed stretches of a region: one check when they are made, and one at each access.

#![allow(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;

use crate::Scalar;
use crate::raw::Raw;

/// A stretch of a region, checked when it was made and borrowed from it.
#[derive(Clone)]
pub struct Span<'r> {
    raw: Raw,
    len: usize,
    region: PhantomData<&'r ()>,
}

impl Span<'_> {
    /// # Safety
    /// The `len` bytes at `raw` lie in a region that outlives the span.
    #[inline(always)]
    pub(crate) unsafe fn new(raw: Raw, len: usize) -> Self {
        Self { raw, len, region: PhantomData }
    }

    pub(crate) const fn raw(&self) -> &Raw {
        &self.raw
    }

    /// Length in bytes.
    #[inline(always)]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether the span has no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Copies the bytes at `at` into `to`; `None` where they leave the span.
    #[inline(always)]
    pub fn read(&self, at: usize, to: &mut [u8]) -> Option<()> {
        self.check(at, to.len())?;
        // SAFETY: the bytes lie in the span, and that in the region it is borrowed from.
        unsafe { self.raw.read(at, to) };
        Some(())
    }

    /// Reads `N` bytes at `at`; `None` where they leave the span.
    #[inline(always)]
    pub fn read_array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.check(at, N)?;
        // SAFETY: as in `read`.
        Some(unsafe { self.raw.read_array(at) })
    }

    /// The value at `at`; `None` where it leaves the span, or does not lie on a multiple of its size.
    #[inline(always)]
    pub fn load<T: Scalar>(&self, at: usize) -> Option<T> {
        self.check(at, T::SIZE)?;
        // SAFETY: the bytes lie in the span, and that in the region it is borrowed from; aligned.
        self.raw.is_aligned(at, T::SIZE).then(|| unsafe { self.raw.load(at) })
    }

    /// Copies `from` to the bytes at `at`; `None` where they leave the span, and nothing is copied.
    #[inline(always)]
    pub fn write(&self, at: usize, from: &[u8]) -> Option<()> {
        self.check(at, from.len())?;
        // SAFETY: as in `read`.
        unsafe { self.raw.write(at, from) };
        Some(())
    }

    #[inline(always)]
    fn check(&self, at: usize, len: usize) -> Option<()> {
        (len <= self.len && at <= self.len - len).then_some(())
    }
}

impl fmt::Debug for Span<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({} bytes)", self.len)
    }
}
