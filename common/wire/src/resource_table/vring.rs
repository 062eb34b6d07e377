//! One ring of a virtio device, as its vdev entry describes it.

use self::offset::{ALIGN, DA, NOTIFYID, NUM, PA};
use crate::{
    bytes::{put, u32_at},
    layout::{Kind, Record, field},
};

/// Bytes of a ring's description.
pub const SIZE: usize = 20;

/// Where the fields lie, in bytes from the beginning of the ring's description. The entry serves as the device's
/// registers while the firmware runs; for that, access the shared memory at these offsets.
pub mod offset {
    /// `u32`: device address of the ring, or [`ADDR_ANY`](crate::resource_table::ADDR_ANY); the host writes it.
    pub const DA: usize = 0;
    /// `u32`: alignment of the used ring in bytes.
    pub const ALIGN: usize = 4;
    /// `u32`: number of descriptors.
    pub const NUM: usize = 8;
    /// `u32`: number by which the ring is notified; the host writes it.
    pub const NOTIFYID: usize = 12;
    /// `u32`: physical address; the host may write it.
    pub const PA: usize = 16;
}

/// A ring's description, 20 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Vring {
    /// Device address of the ring, or [`ADDR_ANY`](super::ADDR_ANY); the host writes its choice back.
    pub da: u32,
    /// Alignment of the used ring in bytes; see [`Layout`](crate::split::Layout).
    pub align: u32,
    /// Number of descriptors.
    pub num: u32,
    /// Number by which the ring is notified, or [`ADDR_ANY`](super::ADDR_ANY); the host writes its choice back.
    pub notifyid: u32,
    /// Physical address, which Linux writes back; OpenAMP calls the word reserved.
    pub pa: u32,
}

impl Vring {
    /// Bytes in the entry.
    pub const SIZE: usize = SIZE;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "vring",
        text: "a ring of a vdev entry",
        size: Self::SIZE,
        fields: &[
            field("da", DA, Kind::U32),
            field("align", ALIGN, Kind::U32),
            field("num", NUM, Kind::U32),
            field("notifyid", NOTIFYID, Kind::U32),
            field("pa", PA, Kind::U32),
        ],
    };

    /// Reads a ring's description; every 20 bytes are one.
    #[must_use]
    pub const fn parse(bytes: &[u8; SIZE]) -> Vring {
        Vring {
            da: u32_at::<DA, _>(bytes),
            align: u32_at::<ALIGN, _>(bytes),
            num: u32_at::<NUM, _>(bytes),
            notifyid: u32_at::<NOTIFYID, _>(bytes),
            pa: u32_at::<PA, _>(bytes),
        }
    }

    /// The description as it lies in the entry.
    #[must_use]
    pub const fn emit(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        put::<DA, _, _>(&mut bytes, self.da.to_le_bytes());
        put::<ALIGN, _, _>(&mut bytes, self.align.to_le_bytes());
        put::<NUM, _, _>(&mut bytes, self.num.to_le_bytes());
        put::<NOTIFYID, _, _>(&mut bytes, self.notifyid.to_le_bytes());
        put::<PA, _, _>(&mut bytes, self.pa.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::bytes;

    proptest! {
        #[test]
        fn vring_keeps_every_bit(bytes in bytes::<20>()) {
            prop_assert_eq!(Vring::parse(&bytes).emit(), bytes);
        }
    }
}
