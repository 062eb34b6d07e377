//! THE registry of feature bits, and of the numbers that sidecore reserves for itself.
//!
//! A new bit is a constant and a row of [`REGISTRY`]. Bits 0 to 23 belong to the device type, here rpmsg; 24 to 49 to
//! the rings and the transport (virtio 1.3, 2.2 and 6). The resource table has room for the low 32 bits only.

use core::fmt;

use crate::resource_table::vdev;

/// The device announces and hears of channels by the [name service](crate::name_service).
pub const F_NS: u64 = 1 << 0;
/// The [configuration space](crate::config) gives the sizes of the buffers. Provisional.
pub const F_BUFSZ: u64 = 1 << 1;
/// The [configuration space](crate::config::Epochs) ends with two words by which a reset is acknowledged.
pub const F_EPOCH: u64 = 1 << 16;
/// Descriptors may point at tables of descriptors.
pub const INDIRECT_DESC: u64 = 1 << 28;
/// `used_event` and `available_event` say when to notify.
pub const EVENT_IDX: u64 = 1 << 29;
/// The device follows virtio 1.0 or later.
pub const VERSION_1: u64 = 1 << 32;
/// Addresses on the ring are translated by the platform.
pub const ACCESS_PLATFORM: u64 = 1 << 33;
/// The rings are packed rather than split.
pub const RING_PACKED: u64 = 1 << 34;
/// The device uses buffers in the order in which they were made available.
pub const IN_ORDER: u64 = 1 << 35;
/// The memory accesses of both sides are ordered as the platform orders those of its devices.
pub const ORDER_PLATFORM: u64 = 1 << 36;
/// Notifications carry the ring's number and position.
pub const NOTIFICATION_DATA: u64 = 1 << 38;
/// The driver may reset one ring alone.
pub const RING_RESET: u64 = 1 << 40;

/// First of the eight device bits (16 to 23) that sidecore keeps for its own features; [`F_EPOCH`] is the only one in use.
pub const FIRST_OWN_BIT: u32 = 16;
/// Last of the device bits that sidecore keeps for its own features.
pub const LAST_OWN_BIT: u32 = 23;

/// The one vendor entry type of resource tables that sidecore reserves for itself. A second word says of which kind the
/// entry is: 1 are the [words of a trace buffer](crate::resource_table::TraceWords), and there are no others yet.
pub const VENDOR_ENTRY_TYPE: u32 = 0x15C;

/// A row of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// Number of the bit, 0 to 63.
    pub bit: u32,
    /// Name as in the specification, without `VIRTIO_` and the like.
    pub name: &'static str,
    /// Whose bit it is.
    pub owner: Owner,
    /// How firm the number is.
    pub status: Standing,
    /// What it means, in one line.
    pub text: &'static str,
    /// Where it is defined.
    pub source: &'static str,
}

impl Feature {
    /// The bit as a mask.
    #[must_use]
    pub const fn mask(&self) -> u64 {
        1u64.wrapping_shl(self.bit)
    }
}

/// Who gives a feature bit its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The rpmsg device (virtio device id 7); on other devices the same bit means something else.
    Rpmsg,
    /// The rings or the transport, the same for every device.
    Transport,
}

/// How firm a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Ours: nobody else knows it yet.
    Ours,
    /// Known from mailing lists or drafts; it may still change.
    Provisional,
    /// In a released specification or a released Linux.
    Standard,
}

/// Every feature bit that sidecore knows, by number.
pub const REGISTRY: &[Feature] = &[
    Feature {
        bit: F_NS.trailing_zeros(),
        name: "F_NS",
        owner: Owner::Rpmsg,
        status: Standing::Standard,
        text: "channels are announced by the name service",
        source: "Linux drivers/rpmsg/virtio_rpmsg_bus.c, VIRTIO_RPMSG_F_NS",
    },
    Feature {
        bit: F_BUFSZ.trailing_zeros(),
        name: "F_BUFSZ",
        owner: Owner::Rpmsg,
        status: Standing::Provisional,
        text: "the configuration space gives the sizes of the buffers",
        source: "Linux include/linux/rpmsg/virtio_rpmsg.h, VIRTIO_RPMSG_F_BUFSZ (2026)",
    },
    Feature {
        bit: F_EPOCH.trailing_zeros(),
        name: "F_EPOCH",
        owner: Owner::Rpmsg,
        status: Standing::Ours,
        text: "the configuration space ends with two words by which a reset is acknowledged",
        source: "RESET-17",
    },
    Feature {
        bit: INDIRECT_DESC.trailing_zeros(),
        name: "INDIRECT_DESC",
        owner: Owner::Transport,
        status: Standing::Standard,
        text: "descriptors may point at tables of descriptors",
        source: "virtio 1.3, 2.7.5.3",
    },
    Feature {
        bit: EVENT_IDX.trailing_zeros(),
        name: "EVENT_IDX",
        owner: Owner::Transport,
        status: Standing::Standard,
        text: "each side says at which index it wants to be notified",
        source: "virtio 1.3, 2.7.7 and 2.7.10",
    },
    Feature {
        bit: VERSION_1.trailing_zeros(),
        name: "VERSION_1",
        owner: Owner::Transport,
        status: Standing::Standard,
        text: "the device follows virtio 1.0 or later",
        source: "virtio 1.3, 6",
    },
    Feature {
        bit: ACCESS_PLATFORM.trailing_zeros(),
        name: "ACCESS_PLATFORM",
        owner: Owner::Transport,
        status: Standing::Standard,
        text: "the platform translates or restricts addresses on the ring",
        source: "virtio 1.3, 6",
    },
    Feature {
        bit: RING_PACKED.trailing_zeros(),
        name: "RING_PACKED",
        owner: Owner::Transport,
        status: Standing::Standard,
        text: "the rings are packed",
        source: "virtio 1.3, 2.8",
    },
    Feature {
        bit: IN_ORDER.trailing_zeros(),
        name: "IN_ORDER",
        owner: Owner::Transport,
        status: Standing::Standard,
        text: "buffers are used in the order in which they were made available",
        source: "virtio 1.3, 6",
    },
    Feature {
        bit: ORDER_PLATFORM.trailing_zeros(),
        name: "ORDER_PLATFORM",
        owner: Owner::Transport,
        status: Standing::Standard,
        text: "memory accesses are ordered as the platform orders those of its devices",
        source: "virtio 1.3, 6",
    },
    Feature {
        bit: NOTIFICATION_DATA.trailing_zeros(),
        name: "NOTIFICATION_DATA",
        owner: Owner::Transport,
        status: Standing::Standard,
        text: "notifications carry the ring's number and position",
        source: "virtio 1.3, 2.9",
    },
    Feature {
        bit: RING_RESET.trailing_zeros(),
        name: "RING_RESET",
        owner: Owner::Transport,
        status: Standing::Standard,
        text: "one ring may be reset alone",
        source: "virtio 1.3, 2.6.1",
    },
];

/// The feature bits of an rpmsg device as words, lowest first: `F_NS | EVENT_IDX | bit 45`; `none` for none.
#[must_use]
pub const fn names(bits: u64) -> Names {
    names_for(vdev::ID_RPMSG, bits)
}

/// The feature bits of a device of any virtio id as words. The registry knows the device bits of rpmsg alone; those of
/// another device are shown by number.
#[must_use]
pub const fn names_for(device_id: u32, bits: u64) -> Names {
    Names { device_id, bits }
}

/// A set of feature bits that displays as words; see [`names`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names {
    device_id: u32,
    bits: u64,
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bits == 0 {
            return f.write_str("none");
        }
        let mut separator = "";
        for bit in (0..u64::BITS).filter(|bit| self.bits >> bit & 1 != 0) {
            f.write_str(separator)?;
            separator = " | ";
            match REGISTRY.iter().find(|row| row.bit == bit && self.knows(row.owner)) {
                Some(row) => f.write_str(row.name)?,
                None => write!(f, "bit {bit}")?,
            }
        }
        Ok(())
    }
}

impl Names {
    fn knows(&self, owner: Owner) -> bool {
        owner == Owner::Transport || self.device_id == vdev::ID_RPMSG
    }
}

#[cfg(test)]
mod tests {
    use std::{format, vec::Vec};

    use super::*;
    use crate::resource_table::vendor;

    #[test]
    fn registry_is_sorted_and_has_no_doubles() {
        assert!(REGISTRY.is_sorted_by(|a, b| a.bit < b.bit));
        let mut names: Vec<_> = REGISTRY.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), REGISTRY.len());
    }

    #[test]
    fn registry_has_the_numbers_of_the_specification() {
        let numbers: Vec<_> = REGISTRY.iter().map(|row| (row.name, row.bit)).collect();
        let specified = [
            ("F_NS", 0),
            ("F_BUFSZ", 1),
            ("F_EPOCH", 16),
            ("INDIRECT_DESC", 28),
            ("EVENT_IDX", 29),
            ("VERSION_1", 32),
            ("ACCESS_PLATFORM", 33),
            ("RING_PACKED", 34),
            ("IN_ORDER", 35),
            ("ORDER_PLATFORM", 36),
            ("NOTIFICATION_DATA", 38),
            ("RING_RESET", 40),
        ];
        assert_eq!(numbers, specified);
    }

    #[test]
    fn registry_rows_are_complete_and_in_their_owners_range() {
        for row in REGISTRY {
            assert_eq!(row.mask(), 1 << row.bit, "{}", row.name);
            assert!(!row.text.is_empty() && !row.source.is_empty(), "{}", row.name);
            match row.owner {
                Owner::Rpmsg => assert!(row.bit < 24 || row.bit >= 50, "{}", row.name),
                Owner::Transport => assert!((24..50).contains(&row.bit), "{}", row.name),
            }
            let own = (FIRST_OWN_BIT..=LAST_OWN_BIT).contains(&row.bit);
            assert_eq!(row.status == Standing::Ours, own, "{}", row.name);
        }
    }

    #[test]
    fn own_vendor_entry_is_in_the_vendors_range() {
        assert!(vendor::is_vendor(VENDOR_ENTRY_TYPE));
    }

    #[test]
    fn names_display_as_words() {
        assert_eq!(format!("{}", names(0)), "none");
        assert_eq!(format!("{}", names(F_NS | EVENT_IDX | 1 << 45)), "F_NS | EVENT_IDX | bit 45");
        assert_eq!(format!("{}", names(1 << 63 | 1 << 17)), "bit 17 | bit 63");
        assert!(format!("{}", names(u64::MAX)).starts_with("F_NS | F_BUFSZ | bit 2 | "));
    }

    #[test]
    fn names_of_another_device_know_the_transport_alone() {
        assert_eq!(format!("{}", names_for(vdev::ID_NET, F_NS | VERSION_1)), "bit 0 | VERSION_1");
    }
}
