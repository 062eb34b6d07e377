//! Memory of our own that is shared: statics in firmware, test benches.

#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use crate::Region;

/// `N` bytes, aligned to 64, that only regions reach: for statics that a peer shares, and for test benches.
///
/// ```
/// use sidecore_mem::{Memory, Region};
///
/// static BUFFERS: Memory<4096> = Memory::new();
/// let region = BUFFERS.region();
/// region.store(8, 7_u32)?;
/// assert_eq!(region.load::<u32>(8)?, 7);
/// # Ok::<(), sidecore_mem::AccessError>(())
/// ```
#[repr(C, align(64))]
pub struct Memory<const N: usize>(UnsafeCell<[u8; N]>);

// SAFETY: the bytes are reached through regions alone, which make volatile accesses and no references.
unsafe impl<const N: usize> Sync for Memory<N> {}

impl<const N: usize> Memory<N> {
    /// Zeroed memory.
    pub const fn new() -> Self {
        Self(UnsafeCell::new([0; N]))
    }

    /// Memory that starts with these bytes, as a resource table does.
    pub const fn with(bytes: [u8; N]) -> Self {
        Self(UnsafeCell::new(bytes))
    }

    /// All of it as a region. Each call names the same bytes.
    pub fn region(&'static self) -> Region {
        let base = NonNull::from(&self.0).cast();
        // SAFETY: the memory is static, and its only field is private to this file, which makes no reference to
        // the bytes.
        unsafe { Region::from_raw(base, N, ()) }
    }
}

impl<const N: usize> Default for Memory<N> {
    fn default() -> Self {
        Self::new()
    }
}
