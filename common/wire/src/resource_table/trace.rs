use super::FixedName;
use crate::{
    bytes::{put, take, u32_at},
    layout::{Kind, Record, field},
};

/// A buffer in which the firmware writes a trace as text: 48 bytes, the type included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Trace {
    /// Device address of the buffer.
    pub da: u32,
    /// Bytes of the buffer.
    pub len: u32,
    /// Zero; Linux refuses anything else.
    pub reserved: u32,
    /// Name of the buffer.
    pub name: FixedName,
}

impl Trace {
    /// Bytes in the table, the type included.
    pub const SIZE: usize = 48;

    /// The type with which the entry begins.
    pub const KIND: u32 = 2;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "trace",
        text: "an entry of a resource table: a buffer of text",
        size: Self::SIZE,
        fields: &[
            field("type", at::KIND, Kind::U32),
            field("da", at::DA, Kind::U32),
            field("len", at::LEN, Kind::U32),
            field("reserved", at::RESERVED, Kind::U32),
            field("name", at::NAME, Kind::Bytes(FixedName::SIZE)),
        ],
    };

    /// Reads an entry. The type at its beginning is the caller's to check.
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::SIZE]) -> Trace {
        Trace {
            da: u32_at::<{ at::DA }, _>(bytes),
            len: u32_at::<{ at::LEN }, _>(bytes),
            reserved: u32_at::<{ at::RESERVED }, _>(bytes),
            name: FixedName(take::<{ at::NAME }, _, _>(bytes)),
        }
    }

    /// The entry as it lies in the table, its type included.
    #[must_use]
    pub const fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<{ at::KIND }, _, _>(&mut bytes, Self::KIND.to_le_bytes());
        put::<{ at::DA }, _, _>(&mut bytes, self.da.to_le_bytes());
        put::<{ at::LEN }, _, _>(&mut bytes, self.len.to_le_bytes());
        put::<{ at::RESERVED }, _, _>(&mut bytes, self.reserved.to_le_bytes());
        put::<{ at::NAME }, _, _>(&mut bytes, self.name.0);
        bytes
    }
}

mod at {
    pub(super) const KIND: usize = 0;
    pub(super) const DA: usize = 4;
    pub(super) const LEN: usize = 8;
    pub(super) const RESERVED: usize = 12;
    pub(super) const NAME: usize = 16;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::bytes;

    proptest! {
        #[test]
        fn trace_keeps_every_bit_but_its_type(mut bytes in bytes::<48>()) {
            let emitted = Trace::parse(&bytes).emit();
            bytes[..4].copy_from_slice(&Trace::KIND.to_le_bytes());
            prop_assert_eq!(emitted, bytes);
        }
    }
}
