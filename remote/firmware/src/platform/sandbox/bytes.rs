//! Copying, filling and comparing bytes: what the compiler calls by the names of C.
//!
//! The compiler recognises a loop that copies or fills and replaces it by a call of `memcpy` or `memset`, which here
//! would be a function calling itself. So the loops are assembly, in blocks of 64 bytes; the rest is straight-line
//! code on scalars of at most 16 bytes, which becomes single instructions at every level of optimisation.
//!
//! Fewer bytes than a block, and the odd bytes behind the last one, are done by two or four scalars that overlap in
//! the middle: no branch for every byte.

use super::machine;

const BLOCK: usize = 64;

/// Copies `len` bytes to where they do not overlap, or to where they overlap below: `memcpy`.
///
/// # Safety
/// The bytes at `from` are readable and those at `to` writable; `to` does not lie inside the bytes at `from` unless
/// there is at most one block of them.
#[inline(always)]
pub unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
    if len <= BLOCK {
        // SAFETY: the caller's promise.
        return unsafe { copy_short(to, from, len) };
    }
    let last = len - BLOCK;
    // Read before anything is written: where `to` lies below `from` and overlaps it, the loop writes there.
    // SAFETY: the last block of the caller's bytes.
    let end = unsafe { Spread::load(from.wrapping_add(last), BLOCK) };
    // SAFETY: so many blocks, at least one, fit into the caller's bytes.
    unsafe { machine::copy_up(to, from, len / BLOCK) };
    // SAFETY: the last block of the caller's bytes.
    unsafe { end.store(to.wrapping_add(last), BLOCK) };
}

/// Copies `len` bytes that may overlap in any way: `memmove`.
///
/// # Safety
/// The bytes at `from` are readable and those at `to` writable.
#[inline(always)]
pub unsafe fn shift(to: *mut u8, from: *const u8, len: usize) {
    // A destination below the source wraps to a distance beyond any length.
    let distance = to.addr().wrapping_sub(from.addr());
    if len <= BLOCK || distance >= len {
        // SAFETY: the caller's promise, and the condition is that of `copy`.
        return unsafe { copy(to, from, len) };
    }
    // SAFETY: the first block of the caller's bytes, read before anything is written, as in `copy`.
    let start = unsafe { Spread::load(from, BLOCK) };
    // SAFETY: so many blocks, at least one, fit into the caller's bytes before their end.
    unsafe { machine::copy_down(to.wrapping_add(len), from.wrapping_add(len), len / BLOCK) };
    // SAFETY: the first block of the caller's bytes.
    unsafe { start.store(to, BLOCK) };
}

/// Sets `len` bytes: `memset`.
///
/// # Safety
/// The bytes at `to` are writable.
#[inline(always)]
pub unsafe fn fill(to: *mut u8, byte: u8, len: usize) {
    let wide = u128::from_ne_bytes([byte; 16]);
    if len > BLOCK {
        // SAFETY: so many blocks, at least one, fit into the caller's bytes.
        unsafe { machine::fill(to, wide as u64, len / BLOCK) };
        // SAFETY: the last block of the caller's bytes.
        return unsafe { Spread([wide; 4]).store(to.wrapping_add(len - BLOCK), BLOCK) };
    }
    match len {
        0 => {}
        // SAFETY: here and below: the caller's bytes, all of them and no others, by the pattern of the arm.
        1 => unsafe { store(to, 0, byte) },
        // SAFETY: as above.
        2..4 => unsafe { Ends([wide as u16; 2]).store(to, len) },
        // SAFETY: as above.
        4..8 => unsafe { Ends([wide as u32; 2]).store(to, len) },
        // SAFETY: as above.
        8..16 => unsafe { Ends([wide as u64; 2]).store(to, len) },
        // SAFETY: as above.
        16..32 => unsafe { Ends([wide; 2]).store(to, len) },
        // SAFETY: as above.
        _ => unsafe { Spread([wide; 4]).store(to, len) },
    }
}

/// Compares `len` bytes as a string of numbers without sign; less than, equal to or greater than 0: `memcmp`.
///
/// # Safety
/// The bytes at both are readable.
#[inline(always)]
pub unsafe fn compare(left: *const u8, right: *const u8, len: usize) -> i32 {
    let mut at = 0;
    while len - at >= size_of::<u64>() {
        // SAFETY: so many bytes are left.
        let a = unsafe { load::<u64>(left, at) };
        // SAFETY: as above.
        let b = unsafe { load::<u64>(right, at) };
        if a != b {
            // The first byte in memory is the first to decide.
            return if u64::from_be(a) < u64::from_be(b) { -1 } else { 1 };
        }
        at += size_of::<u64>();
    }
    while at < len {
        // SAFETY: a byte is left.
        let a = unsafe { load::<u8>(left, at) };
        // SAFETY: as above.
        let b = unsafe { load::<u8>(right, at) };
        if a != b {
            return i32::from(a) - i32::from(b);
        }
        at += 1;
    }
    0
}

/// # Safety
/// As for [`copy`], with `len` at most a block; any overlap.
#[inline(always)]
unsafe fn copy_short(to: *mut u8, from: *const u8, len: usize) {
    match len {
        0 => {}
        1 => {
            // SAFETY: here and below: the caller's bytes, all of them and no others, by the pattern of the arm.
            let byte = unsafe { load::<u8>(from, 0) };
            // SAFETY: as above.
            unsafe { store(to, 0, byte) };
        }
        // SAFETY: as above.
        2..4 => unsafe { Ends::<u16>::copy(to, from, len) },
        // SAFETY: as above.
        4..8 => unsafe { Ends::<u32>::copy(to, from, len) },
        // SAFETY: as above.
        8..16 => unsafe { Ends::<u64>::copy(to, from, len) },
        // SAFETY: as above.
        16..32 => unsafe { Ends::<u128>::copy(to, from, len) },
        _ => {
            // SAFETY: as above.
            let spread = unsafe { Spread::load(from, len) };
            // SAFETY: as above.
            unsafe { spread.store(to, len) };
        }
    }
}

/// `len` bytes as their first scalar and their last one; `len` is between one and two scalars.
struct Ends<T>([T; 2]);

impl<T: Copy> Ends<T> {
    /// # Safety
    /// `len` bytes at `from` are readable and `len` bytes at `to` writable.
    #[inline(always)]
    unsafe fn copy(to: *mut u8, from: *const u8, len: usize) {
        // SAFETY: the caller's promise.
        let first = unsafe { load(from, 0) };
        // SAFETY: the caller's promise.
        let last = unsafe { load(from, len - size_of::<T>()) };
        // SAFETY: the caller's promise.
        unsafe { Self([first, last]).store(to, len) };
    }

    /// # Safety
    /// `len` bytes at `to` are writable.
    #[inline(always)]
    unsafe fn store(self, to: *mut u8, len: usize) {
        let [first, last] = self.0;
        // SAFETY: the caller's promise.
        unsafe { store(to, 0, first) };
        // SAFETY: the caller's promise.
        unsafe { store(to, len - size_of::<T>(), last) };
    }
}

/// `len` bytes as two scalars at their beginning and two at their end; `len` is between 32 and 64.
struct Spread([u128; 4]);

impl Spread {
    /// # Safety
    /// `len` bytes at `from` are readable.
    #[inline(always)]
    unsafe fn load(from: *const u8, len: usize) -> Self {
        // SAFETY: here and below: the caller's promise.
        let a = unsafe { load(from, 0) };
        // SAFETY: as above.
        let b = unsafe { load(from, 16) };
        // SAFETY: as above.
        let c = unsafe { load(from, len - 32) };
        // SAFETY: as above.
        let d = unsafe { load(from, len - 16) };
        Self([a, b, c, d])
    }

    /// # Safety
    /// `len` bytes at `to` are writable.
    #[inline(always)]
    unsafe fn store(self, to: *mut u8, len: usize) {
        let [a, b, c, d] = self.0;
        // SAFETY: here and below: the caller's promise.
        unsafe { store(to, 0, a) };
        // SAFETY: as above.
        unsafe { store(to, 16, b) };
        // SAFETY: as above.
        unsafe { store(to, len - 32, c) };
        // SAFETY: as above.
        unsafe { store(to, len - 16, d) };
    }
}

/// # Safety
/// A `T` at `from + at` is readable, whatever its alignment; every bit pattern is a `T`.
#[inline(always)]
unsafe fn load<T: Copy>(from: *const u8, at: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { from.wrapping_add(at).cast::<T>().read_unaligned() }
}

/// # Safety
/// A `T` at `to + at` is writable, whatever its alignment.
#[inline(always)]
unsafe fn store<T: Copy>(to: *mut u8, at: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { to.wrapping_add(at).cast::<T>().write_unaligned(value) };
}

#[cfg(test)]
mod tests {
    extern crate std;
    use std::vec::Vec;

    use super::*;

    /// Every length around the borders between the methods, and some blocks.
    const LENGTHS: [usize; 30] = [
        0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 63, 64, 65, 66, 127, 128, 129, 191,
        192, 193, 1000, 4096,
    ];

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 256 + 1) as u8).collect()
    }

    #[test]
    fn a_copy_takes_exactly_its_bytes() {
        for len in LENGTHS {
            for (out, inn) in [(0, 0), (1, 3), (8, 1)] {
                let from = pattern(len + 16);
                let mut to = std::vec![0xEE; len + 32];
                // SAFETY: both vectors are longer.
                unsafe { copy(to.as_mut_ptr().wrapping_add(out), from.as_ptr().wrapping_add(inn), len) };
                assert_eq!(to[out..out + len], from[inn..inn + len], "{len}");
                assert!(to[..out].iter().chain(&to[out + len..]).all(|&byte| byte == 0xEE), "{len}");
            }
        }
    }

    #[test]
    fn a_shift_is_right_at_every_distance() {
        for len in LENGTHS {
            for distance in [0, 1, 7, 8, 15, 16, 33, 63, 64, 65, 100] {
                for (to, from) in [(0, distance), (distance, 0)] {
                    let mut bytes = pattern(len + distance);
                    let mut expected = bytes.clone();
                    expected.copy_within(from..from + len, to);
                    let base = bytes.as_mut_ptr();
                    // SAFETY: both stretches lie in the vector.
                    unsafe { shift(base.wrapping_add(to), base.wrapping_add(from), len) };
                    assert_eq!(bytes, expected, "{len} bytes from {from} to {to}");
                }
            }
        }
    }

    #[test]
    fn a_fill_sets_exactly_its_bytes() {
        for len in LENGTHS {
            let mut bytes = std::vec![0xEE; len + 16];
            // SAFETY: the vector is longer.
            unsafe { fill(bytes.as_mut_ptr().wrapping_add(3), 0x5A, len) };
            assert!(bytes[3..3 + len].iter().all(|&byte| byte == 0x5A), "{len}");
            assert!(bytes[..3].iter().chain(&bytes[3 + len..]).all(|&byte| byte == 0xEE), "{len}");
        }
    }

    #[test]
    fn a_comparison_is_that_of_slices() {
        for len in LENGTHS {
            let left = pattern(len);
            // SAFETY: both are the same vector.
            assert_eq!(unsafe { compare(left.as_ptr(), left.as_ptr(), len) }, 0);
            for at in 0..len {
                let mut right = left.clone();
                right[at] ^= 0x80;
                // A later difference the other way round must not decide.
                right[len - 1] ^= if at == len - 1 { 0 } else { 0x80 };
                // SAFETY: both have the length.
                let order = unsafe { compare(left.as_ptr(), right.as_ptr(), len) }.cmp(&0);
                assert_eq!(order, left.cmp(&right), "{len} bytes, different at {at}");
            }
        }
    }
}
