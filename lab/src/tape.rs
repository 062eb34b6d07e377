//! A finite list of decisions, as bytes: what a fuzzer mutates, a property test shrinks and a seed repeats.

/// A reader of decisions. Past its end every decision is zero.
#[derive(Clone, Debug)]
pub struct Tape<'a> {
    bytes: &'a [u8],
}

impl<'a> Tape<'a> {
    /// A tape of these bytes.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether there is nothing left to decide.
    #[must_use]
    pub const fn is_at_end(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The next `N` bytes.
    pub fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let (now, later) = self.bytes.split_at(N.min(self.bytes.len()));
        taken[..now.len()].copy_from_slice(now);
        self.bytes = later;
        taken
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        let [byte] = self.take();
        byte
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// Whether the next byte is odd.
    pub fn flag(&mut self) -> bool {
        self.u8() & 1 != 0
    }

    /// A number below `bound` (at most 65536, at least 1), from one byte or, where that is too few, two.
    pub fn below(&mut self, bound: usize) -> usize {
        let number = if bound <= 256 { usize::from(self.u8()) } else { usize::from(self.u16()) };
        number % bound
    }
}

/// Bytes without an end, all decided by a seed (SplitMix64).
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// The generator that this number starts.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next_word().to_le_bytes());
        words.flatten().take(len).collect()
    }

    fn next_word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_is_read_once_and_goes_on_with_zeros() {
        let mut tape = Tape::new(&[1, 2, 3, 4, 5, 6]);
        assert_eq!((tape.u8(), tape.u16(), tape.below(4)), (1, 0x0302, 0));
        assert_eq!((tape.u32(), tape.is_at_end()), (0x0605, true));
        assert_eq!((tape.u64(), tape.flag()), (0, false));
    }

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let once = Seed::new(7).bytes(100);
        assert_eq!(once, Seed::new(7).bytes(100));
        assert_ne!(once, Seed::new(8).bytes(100));
    }
}
