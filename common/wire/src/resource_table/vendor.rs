//! Entries whose meaning a vendor defines. Nobody hands the types out: the same number means different things to
//! different vendors.

/// Least type of a vendor entry.
pub const START: u32 = 128;

/// Greatest type of a vendor entry; Linux and OpenAMP count it in.
pub const END: u32 = 512;

/// Whether an entry of this type is a vendor's.
#[must_use]
pub const fn is_vendor(kind: u32) -> bool {
    START <= kind && kind <= END
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vendor_range_counts_both_ends_in() {
        let vendors = (0..2000).filter(|&kind| is_vendor(kind));
        assert!(vendors.eq(128..=512));
        assert!(!is_vendor(u32::MAX));
    }
}
