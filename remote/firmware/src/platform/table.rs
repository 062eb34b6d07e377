//! A resource table in the image's own memory, with an address in it that only the linker knows.

#![allow(unsafe_code)]

use core::cell::UnsafeCell;
use core::mem::offset_of;
use core::ptr::{self, NonNull};

use sidecore_mem::{Memory, Region};

/// A resource table as a static, `BEFORE` bytes before the trace buffer's `da` and `AFTER` bytes behind what the
/// linker fills in.
///
/// Constant evaluation has no numbers for addresses, but the linker puts an address wherever a pointer stands. With
/// pointers of 32 bits that is the field `da`; with those of 64 bits the field `len` behind it too, which is then the
/// upper half of the pointer (the image lies below 4 GiB, where a table can name it, and all platforms are little
/// endian as tables are).
#[repr(C, align(4))]
pub struct StaticTable<const BEFORE: usize, const AFTER: usize>(UnsafeCell<Parts<BEFORE, AFTER>>);

#[repr(C, packed)]
struct Parts<const BEFORE: usize, const AFTER: usize> {
    before: [u8; BEFORE],
    trace: *const u8,
    after: [u8; AFTER],
}

// SAFETY: the bytes are reached through regions alone, which make volatile accesses and no references.
unsafe impl<const BEFORE: usize, const AFTER: usize> Sync for StaticTable<BEFORE, AFTER> {}

/// Bytes of the table that the linker fills in.
pub const FILLED: usize = size_of::<*const u8>();

impl<const BEFORE: usize, const AFTER: usize> StaticTable<BEFORE, AFTER> {
    /// The table with these bytes, in which the trace buffer's address and, if the pointer covers it, length are
    /// filled in.
    ///
    /// # Panics
    /// When compiled: the parts do not add up to the table, or its length field lies where no pointer covers it
    /// and differs from the buffer's length.
    pub const fn new<const LEN: usize, const N: usize>(bytes: [u8; LEN], trace: &'static Memory<N>) -> Self {
        assert!(BEFORE + FILLED + AFTER == LEN, "the parts are the whole table");
        let trace = ptr::from_ref(trace).cast::<u8>();
        #[cfg(target_pointer_width = "64")]
        let trace = trace.wrapping_byte_add(N << 32);
        let mut before = [0; BEFORE];
        let mut i = 0;
        while i < BEFORE {
            before[i] = bytes[i];
            i += 1;
        }
        let mut after = [0; AFTER];
        let mut i = 0;
        while i < AFTER {
            after[i] = bytes[BEFORE + FILLED + i];
            i += 1;
        }
        Self(UnsafeCell::new(Parts { before, trace, after }))
    }

    /// All of the table as a region. Each call names the same bytes.
    pub fn region(&'static self) -> Region {
        let base = NonNull::from(&self.0).cast();
        let len = offset_of!(Parts<BEFORE, AFTER>, after) + AFTER;
        // SAFETY: the table is static, and its only field is private to this file, which makes no reference to the
        // bytes.
        unsafe { Region::from_raw(base, len, ()) }
    }
}
