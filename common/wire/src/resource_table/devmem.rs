use super::FixedName;
use crate::{
    bytes::{put, take, u32_at},
    layout::{Kind, Record, field},
};

/// Registers or memory of the machine that the firmware must be able to reach: 56 bytes, the type included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Devmem {
    /// Device address at which the firmware expects it.
    pub da: u32,
    /// Physical address at which it is.
    pub pa: u32,
    /// Bytes of it.
    pub len: u32,
    /// Flags for an IOMMU, in the loader's own terms.
    pub flags: u32,
    /// Zero; Linux refuses anything else.
    pub reserved: u32,
    /// Name of it.
    pub name: FixedName,
}

impl Devmem {
    /// Bytes in the table, the type included.
    pub const SIZE: usize = 56;

    /// The type with which the entry begins.
    pub const KIND: u32 = 1;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "devmem",
        text: "an entry of a resource table: registers or memory of the machine",
        size: Self::SIZE,
        fields: &[
            field("type", at::KIND, Kind::U32),
            field("da", at::DA, Kind::U32),
            field("pa", at::PA, Kind::U32),
            field("len", at::LEN, Kind::U32),
            field("flags", at::FLAGS, Kind::U32),
            field("reserved", at::RESERVED, Kind::U32),
            field("name", at::NAME, Kind::Bytes(FixedName::SIZE)),
        ],
    };

    /// Reads an entry. The type at its beginning is the caller's to check.
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::SIZE]) -> Devmem {
        Devmem {
            da: u32_at::<{ at::DA }, _>(bytes),
            pa: u32_at::<{ at::PA }, _>(bytes),
            len: u32_at::<{ at::LEN }, _>(bytes),
            flags: u32_at::<{ at::FLAGS }, _>(bytes),
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
        put::<{ at::PA }, _, _>(&mut bytes, self.pa.to_le_bytes());
        put::<{ at::LEN }, _, _>(&mut bytes, self.len.to_le_bytes());
        put::<{ at::FLAGS }, _, _>(&mut bytes, self.flags.to_le_bytes());
        put::<{ at::RESERVED }, _, _>(&mut bytes, self.reserved.to_le_bytes());
        put::<{ at::NAME }, _, _>(&mut bytes, self.name.0);
        bytes
    }
}

mod at {
    pub(super) const KIND: usize = 0;
    pub(super) const DA: usize = 4;
    pub(super) const PA: usize = 8;
    pub(super) const LEN: usize = 12;
    pub(super) const FLAGS: usize = 16;
    pub(super) const RESERVED: usize = 20;
    pub(super) const NAME: usize = 24;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::bytes;

    proptest! {
        #[test]
        fn devmem_keeps_every_bit_but_its_type(mut bytes in bytes::<56>()) {
            let emitted = Devmem::parse(&bytes).emit();
            bytes[..4].copy_from_slice(&Devmem::KIND.to_le_bytes());
            prop_assert_eq!(emitted, bytes);
        }
    }
}
