//! Where a schedule's decisions come from: a seed.

/// xorshift64*: small, and the same on every machine.
#[derive(Debug)]
pub struct Luck(u64);

impl Luck {
    /// What follows from a seed.
    pub fn new(seed: u64) -> Self {
        // Neighbouring seeds must not begin alike, and no state may be zero (splitmix64).
        let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self((mixed ^ (mixed >> 31)) | 1)
    }

    /// A number below `below`.
    pub fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below.max(1)
    }

    /// An index into something of this length.
    pub fn index(&mut self, below: usize) -> usize {
        self.below(below as u64) as usize
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}
