//! Blocks of one size, one behind the other: a pool of buffers.

#![allow(unsafe_code)]

use core::fmt;
use core::marker::PhantomData;

use crate::raw::Raw;
use crate::{AccessError, Fault, Region};

/// What a block's size and first address are multiples of, in bytes.
pub const BLOCK_ALIGN: usize = 8;

/// A power-of-two number of blocks of one size in shared memory, checked when it was made. The number of a block
/// wraps, so that only the place inside a block is left to be checked at an access.
#[derive(Clone)]
pub struct Blocks<O = ()> {
    raw: Raw,
    mask: usize,
    size: usize,
    owner: O,
}

// SAFETY: as for `Region`.
unsafe impl<O: Send> Send for Blocks<O> {}
// SAFETY: as for `Region`.
unsafe impl<O: Sync> Sync for Blocks<O> {}

impl<O: Clone> Blocks<O> {
    /// `count` blocks of `size` bytes from the start of the region on.
    ///
    /// # Errors
    /// `count` is no power of two, `size` or the region's address no multiple of [`BLOCK_ALIGN`], or the region is
    /// too short.
    pub fn new(region: &Region<O>, count: usize, size: usize) -> Result<Self, AccessError> {
        let len = count.saturating_mul(size);
        let refuse = |fault| Err(AccessError { fault, at: 0, len, region: region.len() });
        if !count.is_power_of_two() {
            return refuse(Fault::NotAPowerOfTwo);
        }
        if len > region.len() {
            return refuse(Fault::OutOfBounds);
        }
        // SAFETY: no byte on, which is in bounds of any region.
        let raw = unsafe { region.raw().advance(0) };
        if !size.is_multiple_of(BLOCK_ALIGN) || !raw.is_aligned(0, BLOCK_ALIGN) {
            return refuse(Fault::Misaligned { align: BLOCK_ALIGN });
        }
        Ok(Self { raw, mask: count - 1, size, owner: region.owner().clone() })
    }
}

impl<O> Blocks<O> {
    /// Number of blocks.
    #[inline(always)]
    pub const fn count(&self) -> usize {
        self.mask + 1
    }

    /// Bytes of a block.
    #[inline(always)]
    pub const fn size(&self) -> usize {
        self.size
    }

    /// Where block `block` modulo their number begins, in bytes from the first.
    #[inline(always)]
    pub const fn offset(&self, block: usize) -> usize {
        (block & self.mask) * self.size
    }

    /// What keeps the blocks mapped.
    pub const fn owner(&self) -> &O {
        &self.owner
    }

    /// One block, borrowed; its number wraps.
    #[inline(always)]
    pub fn block(&self, block: usize) -> Block<'_> {
        // SAFETY: the mask keeps the block inside what was checked when the handle was made.
        let raw = unsafe { self.raw.advance(self.offset(block)) };
        Block { raw, size: self.size, blocks: PhantomData }
    }
}

/// One of several [`Blocks`], on a multiple of [`BLOCK_ALIGN`].
#[derive(Clone)]
pub struct Block<'b> {
    raw: Raw,
    size: usize,
    blocks: PhantomData<&'b ()>,
}

impl Block<'_> {
    /// Copies the bytes at `at` into `to`; `None` where they leave the block.
    #[inline(always)]
    pub fn read(&self, at: usize, to: &mut [u8]) -> Option<()> {
        self.check(at, to.len())?;
        // SAFETY: the bytes lie in the block, which lies in what was checked when the blocks were made. Aligned
        // places are aligned in memory, since blocks are.
        unsafe { self.raw.read_in_block(at, to) };
        Some(())
    }

    /// Copies `from` to the bytes at `at`; `None` where they leave the block, and nothing is copied.
    #[inline(always)]
    pub fn write(&self, at: usize, from: &[u8]) -> Option<()> {
        self.check(at, from.len())?;
        // SAFETY: as in `read`.
        unsafe { self.raw.write_in_block(at, from) };
        Some(())
    }

    /// Copies `head` to the start of the block and `rest` behind it; `None` where they do not fit, and nothing is
    /// copied.
    #[inline(always)]
    pub fn write_parts<const N: usize>(&self, head: &[u8; N], rest: &[u8]) -> Option<()> {
        // No sum of a slice's length and a small number runs over.
        if N + rest.len() > self.size {
            return None;
        }
        // SAFETY: as in `read`.
        unsafe { self.raw.write_in_block(N, rest) };
        // SAFETY: as in `read`.
        unsafe { self.raw.write_in_block(0, head) };
        Some(())
    }

    #[inline(always)]
    fn check(&self, at: usize, len: usize) -> Option<()> {
        (len <= self.size && at <= self.size - len).then_some(())
    }
}

impl fmt::Debug for Block<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Block({} bytes)", self.size)
    }
}

impl<O> fmt::Debug for Blocks<O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocks({} x {} bytes)", self.mask + 1, self.size)
    }
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    extern crate std;
    use std::boxed::Box;

    use super::*;
    use crate::Memory;

    fn region() -> Region {
        Box::leak(Box::<Memory<256>>::default()).region()
    }

    #[test]
    fn blocks_are_apart_and_their_number_wraps() {
        let blocks = Blocks::new(&region(), 4, 64).unwrap();
        for block in 0..4 {
            blocks.block(block).write(0, &[block as u8 + 1; 64]).unwrap();
        }
        blocks.block(6).write(5, b"hello").unwrap();
        let mut bytes = [0; 64];
        blocks.block(2).read(0, &mut bytes).unwrap();
        assert_eq!((&bytes[..5], &bytes[5..10], bytes[10]), (&[3; 5][..], &b"hello"[..], 3));
        blocks.block(3).read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [4; 64]);
        assert_eq!((blocks.offset(7), blocks.count(), blocks.size()), (192, 4, 64));
    }

    #[test]
    fn two_parts_are_written_one_behind_the_other_or_not_at_all() {
        let blocks = Blocks::new(&region(), 4, 64).unwrap();
        let block = blocks.block(1);
        assert_eq!(block.write_parts(b"12345678", &[9; 57]), None);
        let mut bytes = [1; 64];
        block.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 64]);
        block.write_parts(b"12345678", &[9; 56]).unwrap();
        block.read(0, &mut bytes).unwrap();
        assert_eq!((&bytes[..8], &bytes[8..]), (&b"12345678"[..], &[9; 56][..]));
        blocks.block(2).read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0; 64]);
    }

    #[test]
    fn an_access_that_leaves_its_block_is_refused() {
        let blocks = Blocks::new(&region(), 4, 64).unwrap();
        let block = blocks.block(0);
        assert_eq!(block.write(60, &[0; 5]), None);
        assert_eq!(block.write(usize::MAX, &[0; 2]), None);
        assert_eq!(block.read(0, &mut [0; 65]), None);
        assert_eq!(block.read(64, &mut []), Some(()));
    }

    #[test]
    fn blocks_want_a_power_of_two_alignment_and_room() {
        let region = region();
        let fault = |region: &Region, count, size| Blocks::new(region, count, size).unwrap_err().fault;
        assert_eq!(fault(&region, 3, 64), Fault::NotAPowerOfTwo);
        assert_eq!(fault(&region, 0, 64), Fault::NotAPowerOfTwo);
        assert_eq!(fault(&region, 4, 68), Fault::OutOfBounds);
        assert_eq!(fault(&region, 1 << 60, 64), Fault::OutOfBounds);
        assert_eq!(fault(&region, 2, 60), Fault::Misaligned { align: 8 });
        assert_eq!(fault(&region.slice(4, 128).unwrap(), 2, 64), Fault::Misaligned { align: 8 });
    }
}
