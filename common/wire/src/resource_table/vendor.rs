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
