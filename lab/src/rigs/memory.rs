//! Shared memory on the heap.

#![allow(unsafe_code)]

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use sidecore_mem::Region;

/// A region that keeps its memory for as long as itself or a clone of it lives.
pub type Shared = Region<Arc<Heap>>;

/// `len` zeroed bytes, aligned to 64, or to 4096 where there are as many.
///
/// # Panics
/// `len` is zero.
#[must_use]
pub fn shared(len: usize) -> Shared {
    assert_ne!(len, 0, "an allocation of no bytes");
    let align = if len < 4096 { 64 } else { 4096 };
    let layout = Layout::from_size_align(len, align).expect("no length comes near isize::MAX");
    // SAFETY: the size is not zero.
    let base = unsafe { alloc_zeroed(layout) };
    let base = NonNull::new(base).unwrap_or_else(|| handle_alloc_error(layout));
    // SAFETY: the bytes are ours until the last clone of the owner is gone, and nothing refers to them.
    unsafe { Region::from_raw(base, len, Arc::new(Heap { base, layout })) }
}

/// An allocation that only regions reach.
pub struct Heap {
    base: NonNull<u8>,
    layout: Layout,
}

// SAFETY: nothing but freeing can be done with it, and that may happen on any thread.
unsafe impl Send for Heap {}
// SAFETY: as above; a shared reference gives access to nothing.
unsafe impl Sync for Heap {}

impl Drop for Heap {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `shared`, and no region is left.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

impl fmt::Debug for Heap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Heap({} bytes)", self.layout.size())
    }
}
