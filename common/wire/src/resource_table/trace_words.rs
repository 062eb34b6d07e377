//! The words of a trace buffer: our own vendor entry, which tells a reader how much was ever written.
//!
//! Readers that do not know it skip it, and read the buffer as the plain text that it is. Those that know it find the
//! words *in the loaded table*, as the registers of a vdev: the two sides read and write them there while firmware runs.
//! The entry has no addresses, so none can be wrong.

use crate::{
    Fault, Malformed,
    bytes::{put, u32_at},
    features::VENDOR_ENTRY_TYPE,
    layout::{Kind, Record, field},
};

/// How much was written to a trace buffer, and how much of that was read: 32 bytes, the type included.
///
/// All four words count bytes modulo 2^32 from the first one that was ever written; the byte with the number `n` lies at
/// `n` modulo the length of the buffer, which is a power of two.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TraceWords {
    /// Number of the trace's entry in the table, from 0.
    pub trace: u32,
    /// What the remote does: [`RINGS`](Self::RINGS). Never changes while the table is loaded.
    pub flags: u32,
    /// Bytes that were written. The remote stores it behind the bytes.
    pub total: u32,
    /// Bytes that were written or may be half written. The remote stores it ahead of the bytes.
    pub claimed: u32,
    /// Bytes that were read, or given up. The reader stores it.
    pub read: u32,
    /// The reader wants to be rung for once so many bytes are unread; 0 for never. The reader stores it.
    pub wake: u32,
}

impl TraceWords {
    /// Bytes in the table, the type included.
    pub const SIZE: usize = 32;

    /// The kind behind the type, for our vendor entries are of several kinds.
    pub const KIND: u32 = 1;

    /// Flag: the remote rings its doorbell as [`wake`](Self::wake) says.
    pub const RINGS: u32 = 1;

    /// Longest buffer in bytes: far less than the words count, so that no two numbers can be taken for one another.
    pub const MAX_LEN: u32 = 1 << 27;

    /// Offset of [`total`](Self::total) in the entry, the type included.
    pub const TOTAL_AT: usize = at::TOTAL;
    /// Offset of [`claimed`](Self::claimed).
    pub const CLAIMED_AT: usize = at::CLAIMED;
    /// Offset of [`read`](Self::read).
    pub const READ_AT: usize = at::READ;
    /// Offset of [`wake`](Self::wake).
    pub const WAKE_AT: usize = at::WAKE;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "trace_words",
        text: "an entry of a resource table, our own: how much was written to a trace buffer and read of it",
        size: Self::SIZE,
        fields: &[
            field("type", at::TYPE, Kind::U32),
            field("kind", at::KIND, Kind::U32),
            field("trace", at::TRACE, Kind::U32),
            field("flags", at::FLAGS, Kind::U32),
            field("total", at::TOTAL, Kind::U32),
            field("claimed", at::CLAIMED, Kind::U32),
            field("read", at::READ, Kind::U32),
            field("wake", at::WAKE, Kind::U32),
        ],
    };

    /// Whether a buffer of so many bytes can have the words: a power of two from 2 to [`MAX_LEN`](Self::MAX_LEN).
    #[must_use]
    pub const fn can_count(len: u32) -> bool {
        len.is_power_of_two() && 2 <= len && len <= Self::MAX_LEN
    }

    /// Reads a vendor's entry, `body` being all behind its type; none if it is no entry of ours, or one of a kind that is
    /// not known.
    ///
    /// # Errors
    /// It is ours, and too short.
    pub fn parse(kind: u32, body: &[u8]) -> Result<Option<TraceWords>, Malformed> {
        if kind != VENDOR_ENTRY_TYPE {
            return Ok(None);
        }
        let present = body.len() as u64;
        let short = |needed| Malformed {
            field: "length",
            value: present,
            fault: Fault::Truncated { needed, present },
        };
        let (own, _) = body.split_first_chunk::<4>().ok_or(short(4))?;
        if u32::from_le_bytes(*own) != Self::KIND {
            return Ok(None);
        }
        let needed = Self::SIZE - size_of::<u32>();
        let body = body.first_chunk::<{ Self::SIZE - 4 }>().ok_or(short(needed as u64))?;
        Ok(Some(TraceWords {
            trace: u32_at::<{ at::TRACE - 4 }, _>(body),
            flags: u32_at::<{ at::FLAGS - 4 }, _>(body),
            total: u32_at::<{ at::TOTAL - 4 }, _>(body),
            claimed: u32_at::<{ at::CLAIMED - 4 }, _>(body),
            read: u32_at::<{ at::READ - 4 }, _>(body),
            wake: u32_at::<{ at::WAKE - 4 }, _>(body),
        }))
    }

    /// The entry as it lies in the table, its type included.
    #[must_use]
    pub const fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<{ at::TYPE }, _, _>(&mut bytes, VENDOR_ENTRY_TYPE.to_le_bytes());
        put::<{ at::KIND }, _, _>(&mut bytes, Self::KIND.to_le_bytes());
        put::<{ at::TRACE }, _, _>(&mut bytes, self.trace.to_le_bytes());
        put::<{ at::FLAGS }, _, _>(&mut bytes, self.flags.to_le_bytes());
        put::<{ at::TOTAL }, _, _>(&mut bytes, self.total.to_le_bytes());
        put::<{ at::CLAIMED }, _, _>(&mut bytes, self.claimed.to_le_bytes());
        put::<{ at::READ }, _, _>(&mut bytes, self.read.to_le_bytes());
        put::<{ at::WAKE }, _, _>(&mut bytes, self.wake.to_le_bytes());
        bytes
    }
}

mod at {
    pub(super) const TYPE: usize = 0;
    pub(super) const KIND: usize = 4;
    pub(super) const TRACE: usize = 8;
    pub(super) const FLAGS: usize = 12;
    pub(super) const TOTAL: usize = 16;
    pub(super) const CLAIMED: usize = 20;
    pub(super) const READ: usize = 24;
    pub(super) const WAKE: usize = 28;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::bytes;

    proptest! {
        #[test]
        fn trace_words_keep_every_bit_but_type_and_kind(mut bytes in bytes::<32>()) {
            bytes[4..8].copy_from_slice(&TraceWords::KIND.to_le_bytes());
            let words = TraceWords::parse(VENDOR_ENTRY_TYPE, &bytes[4..]).unwrap().unwrap();
            bytes[..4].copy_from_slice(&VENDOR_ENTRY_TYPE.to_le_bytes());
            prop_assert_eq!(words.emit(), bytes);
        }
    }

    #[test]
    fn trace_words_are_told_from_other_entries_and_from_half_ones() {
        let entry = TraceWords { trace: 3, ..TraceWords::default() }.emit();
        assert_eq!(TraceWords::parse(VENDOR_ENTRY_TYPE + 1, &entry[4..]), Ok(None));
        // A kind of later.
        assert_eq!(TraceWords::parse(VENDOR_ENTRY_TYPE, &[2, 0, 0, 0]), Ok(None));
        for len in (0..4).chain(5..28) {
            let malformed = TraceWords::parse(VENDOR_ENTRY_TYPE, &entry[4..4 + len]).unwrap_err();
            assert_eq!((malformed.field, malformed.value), ("length", len as u64));
        }
    }

    #[test]
    fn buffers_that_count_are_powers_of_two() {
        let counting = (0..=4097).filter(|&len| TraceWords::can_count(len));
        assert!(counting.eq([2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096]));
        assert!(TraceWords::can_count(1 << 27) && !TraceWords::can_count(1 << 28));
    }
}
