//! The device status: how far driver and device have come in their handshake.
//!
//! Source: virtio 1.3, 2.1. The byte lies in the vdev entry of a resource table; the driver sets bits, the device sets
//! [`NEEDS_RESET`](Status::NEEDS_RESET). Look at single bits, never at the whole byte: OpenAMP hosts write
//! [`DRIVER_OK`](Status::DRIVER_OK) alone, Linux ends with three bits or four.

use core::fmt;

/// A device status byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(pub u8);

impl Status {
    /// No bit: the driver has (re)set the device.
    pub const RESET: Status = Status(0);
    /// The driver has seen the device.
    pub const ACKNOWLEDGE: Status = Status(1);
    /// The driver knows how to drive the device.
    pub const DRIVER: Status = Status(2);
    /// The driver is ready: only now may the device touch the rings.
    pub const DRIVER_OK: Status = Status(4);
    /// The driver has chosen its features, and the device left the bit set to accept them.
    pub const FEATURES_OK: Status = Status(8);
    /// The device is suspended. Provisional: from the drafts of virtio 1.4.
    pub const SUSPEND: Status = Status(0x10);
    /// The device is in a state that only a reset ends.
    pub const NEEDS_RESET: Status = Status(0x40);
    /// The driver has given the device up.
    pub const FAILED: Status = Status(0x80);

    /// Whether all the bits of `other` are set.
    #[inline]
    #[must_use]
    pub const fn contains(self, other: Status) -> bool {
        self.0 & other.0 == other.0
    }

    /// This status and the bits of `other`.
    #[inline]
    #[must_use]
    pub const fn with(self, other: Status) -> Status {
        Status(self.0 | other.0)
    }

    /// This status but for the bits of `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Status) -> Status {
        Status(self.0 & !other.0)
    }
}

impl fmt::Display for Status {
    /// The names of the bits, lowest first: `ACKNOWLEDGE | DRIVER`; `RESET` for none; bits without a name as `0x20`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Status::RESET {
            return f.write_str("RESET");
        }
        let mut separator = "";
        let mut rest = *self;
        for &(bit, word) in WORDS {
            if self.contains(bit) {
                write!(f, "{separator}{word}")?;
                separator = " | ";
                rest = rest.without(bit);
            }
        }
        if rest != Status::RESET {
            write!(f, "{separator}{:#04x}", rest.0)?;
        }
        Ok(())
    }
}

const WORDS: &[(Status, &str)] = &[
    (Status::ACKNOWLEDGE, "ACKNOWLEDGE"),
    (Status::DRIVER, "DRIVER"),
    (Status::DRIVER_OK, "DRIVER_OK"),
    (Status::FEATURES_OK, "FEATURES_OK"),
    (Status::SUSPEND, "SUSPEND"),
    (Status::NEEDS_RESET, "NEEDS_RESET"),
    (Status::FAILED, "FAILED"),
];

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn status_bits_have_their_numbers() {
        let numbers = WORDS.iter().map(|(status, _)| status.0);
        assert!(numbers.eq([1, 2, 4, 8, 0x10, 0x40, 0x80]));
        assert_eq!(Status::RESET, Status(0));
        assert_eq!(Status::default(), Status::RESET);
    }

    #[test]
    fn status_displays_as_words() {
        assert_eq!(format!("{}", Status::RESET), "RESET");
        assert_eq!(format!("{}", Status::DRIVER_OK), "DRIVER_OK");
        assert_eq!(format!("{}", Status(0x0F)), "ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK");
        assert_eq!(format!("{}", Status(0xD0)), "SUSPEND | NEEDS_RESET | FAILED");
        assert_eq!(format!("{}", Status(0x20)), "0x20");
        assert_eq!(format!("{}", Status(0x24)), "DRIVER_OK | 0x20");
    }

    #[test]
    fn status_operations_are_those_of_sets() {
        for a in 0..=u8::MAX {
            for b in 0..=u8::MAX {
                let (with, without) = (Status(a).with(Status(b)), Status(a).without(Status(b)));
                for bit in (0..8).map(|bit| Status(1 << bit)) {
                    let (in_a, in_b) = (a & bit.0 != 0, b & bit.0 != 0);
                    assert_eq!(with.contains(bit), in_a || in_b);
                    assert_eq!(without.contains(bit), in_a && !in_b);
                }
                assert_eq!(Status(a).contains(Status(b)), a | b == a);
            }
        }
    }
}
