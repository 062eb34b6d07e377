//! A virtio device that the firmware offers: 28 bytes, then its rings, then its configuration space.
//!
//! The entry is more than a wish: while the firmware runs it is the device's registers. Both sides then read and
//! write it in shared memory, at the offsets given here and in [`vring`].

use core::slice;

use super::vring::{self, Vring};
use crate::{
    Fault, Malformed,
    bytes::{put, take, u8_at, u32_at},
    layout::{Kind, Record, field},
    status::Status,
};

use self::offset::{CONFIG_LEN, DFEATURES, GFEATURES, ID, NOTIFYID, NUM_VRINGS, RESERVED, STATUS, VRINGS};

/// Virtio id of a network device.
pub const ID_NET: u32 = 1;
/// Virtio id of a block device.
pub const ID_BLOCK: u32 = 2;
/// Virtio id of a console.
pub const ID_CONSOLE: u32 = 3;
/// Virtio id of an rpmsg device.
pub const ID_RPMSG: u32 = 7;

/// Where the fields lie, in bytes from the beginning of the entry, its type included.
pub mod offset {
    /// `u32`: the entry's type, [`VdevHeader::KIND`](super::VdevHeader::KIND).
    pub const KIND: usize = 0;
    /// `u32`: virtio id of the device.
    pub const ID: usize = 4;
    /// `u32`: number by which the device itself is notified; the host may write it.
    pub const NOTIFYID: usize = 8;
    /// `u32`: features that the firmware offers, bits 0 to 31.
    pub const DFEATURES: usize = 12;
    /// `u32`: features that the host chose, bits 0 to 31; the host writes it.
    pub const GFEATURES: usize = 16;
    /// `u32`: bytes of the configuration space.
    pub const CONFIG_LEN: usize = 20;
    /// `u8`: the device status; the host writes it, and the firmware to ask for a reset.
    pub const STATUS: usize = 24;
    /// `u8`: number of rings.
    pub const NUM_VRINGS: usize = 25;
    /// Two bytes of zero.
    pub const RESERVED: usize = 26;
    /// The rings, [`vring::SIZE`](crate::resource_table::vring::SIZE) bytes each, and the configuration space behind
    /// the last.
    pub const VRINGS: usize = 28;
}

/// The fixed part of a vdev entry, 28 bytes, the type included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct VdevHeader {
    /// Virtio id of the device: [`ID_RPMSG`] and so on.
    pub id: u32,
    /// Number by which the device itself is notified.
    pub notifyid: u32,
    /// Features that the firmware offers, bits 0 to 31 of [`features`](crate::features).
    pub dfeatures: u32,
    /// Features that the host chose; zero in an image.
    pub gfeatures: u32,
    /// Bytes of the configuration space.
    pub config_len: u32,
    /// The device status; zero in an image.
    pub status: Status,
    /// Number of rings.
    pub num_of_vrings: u8,
    /// Zero; Linux refuses anything else.
    pub reserved: [u8; 2],
}

impl VdevHeader {
    /// Bytes in the table, the type included.
    pub const SIZE: usize = VRINGS;

    /// The type with which the entry begins.
    pub const KIND: u32 = 3;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "vdev",
        text: "an entry of a resource table: a virtio device; its rings and configuration space follow",
        size: Self::SIZE,
        fields: &[
            field("type", offset::KIND, Kind::U32),
            field("id", ID, Kind::U32),
            field("notifyid", NOTIFYID, Kind::U32),
            field("dfeatures", DFEATURES, Kind::U32),
            field("gfeatures", GFEATURES, Kind::U32),
            field("config_len", CONFIG_LEN, Kind::U32),
            field("status", STATUS, Kind::U8),
            field("num_of_vrings", NUM_VRINGS, Kind::U8),
            field("reserved", RESERVED, Kind::Bytes(2)),
        ],
    };

    /// Reads the fixed part of an entry. The type at its beginning is the caller's to check.
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::SIZE]) -> VdevHeader {
        VdevHeader {
            id: u32_at::<ID, _>(bytes),
            notifyid: u32_at::<NOTIFYID, _>(bytes),
            dfeatures: u32_at::<DFEATURES, _>(bytes),
            gfeatures: u32_at::<GFEATURES, _>(bytes),
            config_len: u32_at::<CONFIG_LEN, _>(bytes),
            status: Status(u8_at::<STATUS, _>(bytes)),
            num_of_vrings: u8_at::<NUM_VRINGS, _>(bytes),
            reserved: take::<RESERVED, _, _>(bytes),
        }
    }

    /// The fixed part as it lies in the table, the type included.
    #[must_use]
    pub const fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<{ offset::KIND }, _, _>(&mut bytes, Self::KIND.to_le_bytes());
        put::<ID, _, _>(&mut bytes, self.id.to_le_bytes());
        put::<NOTIFYID, _, _>(&mut bytes, self.notifyid.to_le_bytes());
        put::<DFEATURES, _, _>(&mut bytes, self.dfeatures.to_le_bytes());
        put::<GFEATURES, _, _>(&mut bytes, self.gfeatures.to_le_bytes());
        put::<CONFIG_LEN, _, _>(&mut bytes, self.config_len.to_le_bytes());
        put::<STATUS, _, _>(&mut bytes, [self.status.0]);
        put::<NUM_VRINGS, _, _>(&mut bytes, [self.num_of_vrings]);
        put::<RESERVED, _, _>(&mut bytes, self.reserved);
        bytes
    }
}

/// A whole vdev entry: [`header`](Self::header), [`vrings`](Self::vrings), [`config`](Self::config).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vdev<'a> {
    /// Virtio id of the device: [`ID_RPMSG`] and so on.
    pub id: u32,
    /// Number by which the device itself is notified.
    pub notifyid: u32,
    /// Features that the firmware offers, bits 0 to 31 of [`features`](crate::features).
    pub dfeatures: u32,
    /// Features that the host chose; zero in an image.
    pub gfeatures: u32,
    /// Bytes of the configuration space.
    pub config_len: u32,
    /// The device status; zero in an image.
    pub status: Status,
    /// Number of rings.
    pub num_of_vrings: u8,
    /// Zero; Linux refuses anything else.
    pub reserved: [u8; 2],
    vrings: &'a [[u8; vring::SIZE]],
    config: &'a [u8],
}

impl<'a> Vdev<'a> {
    /// Reads an entry from its type on. Bytes behind its configuration space are left alone.
    ///
    /// # Errors
    /// The bytes end before the fixed part, the rings or the configuration space does.
    pub fn parse(bytes: &'a [u8]) -> Result<Vdev<'a>, Malformed> {
        let truncated = |field, value: u64, needed: u64| Malformed {
            field,
            value,
            fault: Fault::Truncated { needed, present: bytes.len() as u64 },
        };
        let (fixed, rest) = bytes.split_first_chunk().ok_or(truncated(
            "length",
            bytes.len() as u64,
            VdevHeader::SIZE as u64,
        ))?;
        let header = VdevHeader::parse(fixed);

        // At most 255 rings of 20 bytes and 4 GiB of configuration: no sum of them overflows 64 bits.
        let vrings_end = VdevHeader::SIZE as u64 + vring::SIZE as u64 * u64::from(header.num_of_vrings);
        let config_end = vrings_end + u64::from(header.config_len);
        let (vrings, rest) = rest
            .split_at_checked(vring::SIZE * usize::from(header.num_of_vrings))
            .ok_or(truncated("num_of_vrings", header.num_of_vrings.into(), vrings_end))?;
        let config = usize::try_from(header.config_len)
            .ok()
            .and_then(|len| rest.get(..len))
            .ok_or(truncated("config_len", header.config_len.into(), config_end))?;

        let VdevHeader { id, notifyid, dfeatures, gfeatures, config_len, status, num_of_vrings, reserved } =
            header;
        let (vrings, _) = vrings.as_chunks();
        Ok(Vdev {
            id,
            notifyid,
            dfeatures,
            gfeatures,
            config_len,
            status,
            num_of_vrings,
            reserved,
            vrings,
            config,
        })
    }

    /// The fixed part of the entry.
    #[must_use]
    pub const fn header(&self) -> VdevHeader {
        VdevHeader {
            id: self.id,
            notifyid: self.notifyid,
            dfeatures: self.dfeatures,
            gfeatures: self.gfeatures,
            config_len: self.config_len,
            status: self.status,
            num_of_vrings: self.num_of_vrings,
            reserved: self.reserved,
        }
    }

    /// The rings, in order.
    #[must_use]
    pub fn vrings(&self) -> Vrings<'a> {
        Vrings(self.vrings.iter())
    }

    /// The configuration space, `config_len` bytes.
    #[must_use]
    pub const fn config(&self) -> &'a [u8] {
        self.config
    }

    /// Bytes of the whole entry.
    #[must_use]
    pub const fn size(&self) -> usize {
        VdevHeader::SIZE + self.vrings.as_flattened().len() + self.config.len()
    }
}

/// The rings of a vdev entry, in order.
#[derive(Clone, Debug)]
pub struct Vrings<'a>(slice::Iter<'a, [u8; vring::SIZE]>);

impl Iterator for Vrings<'_> {
    type Item = Vring;

    fn next(&mut self) -> Option<Vring> {
        self.0.next().map(Vring::parse)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl ExactSizeIterator for Vrings<'_> {}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};
    use std::vec::Vec;

    use super::*;
    use crate::testing::bytes;

    fn entry(num_of_vrings: u8, config_len: u32, behind: usize) -> Vec<u8> {
        let header = VdevHeader { id: ID_RPMSG, num_of_vrings, config_len, ..VdevHeader::default() };
        let mut bytes = header.emit().to_vec();
        bytes.resize(VdevHeader::SIZE + behind, 0xA5);
        bytes
    }

    fn truncated(field: &'static str, value: u64, needed: u64, present: u64) -> Result<(), Malformed> {
        Err(Malformed { field, value, fault: Fault::Truncated { needed, present } })
    }

    #[test]
    fn vdev_checks_its_rings_against_what_there_is() {
        assert!(Vdev::parse(&entry(255, 0, 5100)).is_ok());
        let cut = entry(255, 0, 5099);
        assert_eq!(Vdev::parse(&cut).map(drop), truncated("num_of_vrings", 255, 5128, 5127));
    }

    #[test]
    fn vdev_checks_its_configuration_against_what_there_is() {
        assert!(Vdev::parse(&entry(2, 11, 51)).is_ok());
        let cut = entry(2, 11, 50);
        assert_eq!(Vdev::parse(&cut).map(drop), truncated("config_len", 11, 79, 78));
        let lying = entry(255, u32::MAX, 5100);
        let needed = 28 + 20 * 255 + u64::from(u32::MAX);
        assert_eq!(Vdev::parse(&lying).map(drop), truncated("config_len", u32::MAX.into(), needed, 5128));
    }

    #[test]
    fn vdev_leaves_what_is_behind_it_alone() {
        let bytes = entry(1, 4, 100);
        let vdev = Vdev::parse(&bytes).unwrap();
        assert_eq!(vdev.size(), 28 + 20 + 4);
        assert_eq!(vdev.config(), [0xA5; 4]);
        assert_eq!(vdev.vrings().len(), 1);
    }

    proptest! {
        #[test]
        fn vdev_header_keeps_every_bit_but_its_type(mut bytes in bytes::<28>()) {
            let emitted = VdevHeader::parse(&bytes).emit();
            bytes[..4].copy_from_slice(&VdevHeader::KIND.to_le_bytes());
            prop_assert_eq!(emitted, bytes);
        }

        #[test]
        fn vdev_is_total_and_keeps_every_bit(
            mut bytes in vec(any::<u8>(), 0..200),
            num_of_vrings in 0..8u8,
            config_len in 0..64u32,
        ) {
            if bytes.len() >= VdevHeader::SIZE {
                bytes[CONFIG_LEN..][..4].copy_from_slice(&config_len.to_le_bytes());
                bytes[NUM_VRINGS] = num_of_vrings;
            }
            let fits = bytes.len() >= 28 + 20 * usize::from(num_of_vrings) + config_len as usize;
            let vdev = Vdev::parse(&bytes);
            prop_assert_eq!(vdev.is_ok(), fits);
            if let Ok(vdev) = vdev {
                let mut emitted = vdev.header().emit().to_vec();
                emitted.extend(vdev.vrings().flat_map(|vring| vring.emit()));
                emitted.extend(vdev.config());
                prop_assert_eq!(emitted.len(), vdev.size());
                prop_assert_eq!(&emitted[4..], &bytes[4..vdev.size()]);
            }
        }
    }
}
