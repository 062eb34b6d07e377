//! Vendor: entries that mean something to whoever made the firmware. They are kept as they are; unknown entries
//! outside the vendors' range are skipped, which a finding says.

use alloc::vec::Vec;

/// A vendor's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vendor {
    /// Number of its entry in the table.
    pub entry: u32,
    /// Its type, 128 to 512.
    pub kind: u32,
    /// All behind the type, up to the next entry or the end of the table; padding may follow.
    pub bytes: Vec<u8>,
}
