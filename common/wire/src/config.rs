//! The configuration space of the rpmsg device: it begins with the sizes of the buffers, where
//! [`F_BUFSZ`](crate::features::F_BUFSZ) is offered, and ends with the epochs of the link, where
//! [`F_EPOCH`](crate::features::F_EPOCH) is.
//!
//! The sizes are provisional: Linux `include/linux/rpmsg/virtio_rpmsg.h`, `struct virtio_rpmsg_config` (2026), known from its
//! patches. It counts only once [`F_BUFSZ`](crate::features::F_BUFSZ) is negotiated. Other stacks have used the same
//! bits with other layouts; what they wrote fails the check of `version` or `size`.

use crate::{
    Fault, Malformed,
    bytes::{put, u8_at, u16_at, u32_at},
    layout::{Kind, Record, field},
};

/// Sizes of the buffers, 11 bytes, packed: its 32-bit words are *not* aligned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RpmsgConfig {
    /// Version of the layout, [`VERSION`](Self::VERSION).
    pub version: u8,
    /// Bytes of the layout, at least [`SIZE`](Self::SIZE); a later one may be longer.
    pub size: u16,
    /// Bytes of a buffer in which the remote sends, the header included; the host receives in it.
    pub txbuf_size: u32,
    /// Bytes of a buffer in which the remote receives, the header included; the host sends in it.
    pub rxbuf_size: u32,
}

impl RpmsgConfig {
    /// Bytes in the configuration space.
    pub const SIZE: usize = 11;

    /// The known version.
    pub const VERSION: u8 = 1;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "rpmsg_config",
        text: "the configuration space of an rpmsg device that offers F_BUFSZ; provisional",
        size: Self::SIZE,
        fields: &[
            field("version", at::VERSION, Kind::U8),
            field("size", at::SIZE, Kind::U16),
            field("txbuf_size", at::TXBUF_SIZE, Kind::U32),
            field("rxbuf_size", at::RXBUF_SIZE, Kind::U32),
        ],
    };

    /// A configuration of the known version with these buffer sizes, both as the remote sees them.
    #[must_use]
    pub const fn new(txbuf_size: u32, rxbuf_size: u32) -> RpmsgConfig {
        RpmsgConfig { version: Self::VERSION, size: Self::SIZE as u16, txbuf_size, rxbuf_size }
    }

    /// Reads the configuration space. The buffer sizes are as the firmware wrote them: whether a header fits into
    /// such a buffer, and such buffers into memory, is for the reader to judge.
    ///
    /// # Errors
    /// The bytes end too early, `version` is not 1, or `size` is less than 11 or more than there is.
    pub fn parse(bytes: &[u8]) -> Result<RpmsgConfig, Malformed> {
        let present = bytes.len() as u64;
        let Some((fixed, _later)) = bytes.split_first_chunk::<{ RpmsgConfig::SIZE }>() else {
            let fault = Fault::Truncated { needed: Self::SIZE as u64, present };
            return Err(Malformed { field: "config_len", value: present, fault });
        };
        let config = RpmsgConfig {
            version: u8_at::<{ at::VERSION }, _>(fixed),
            size: u16_at::<{ at::SIZE }, _>(fixed),
            txbuf_size: u32_at::<{ at::TXBUF_SIZE }, _>(fixed),
            rxbuf_size: u32_at::<{ at::RXBUF_SIZE }, _>(fixed),
        };
        if config.version != Self::VERSION {
            let fault = Fault::Unsupported { supported: Self::VERSION.into() };
            return Err(Malformed { field: "version", value: config.version.into(), fault });
        }
        let size = u64::from(config.size);
        if size < Self::SIZE as u64 || size > present {
            let fault = Fault::OutOfRange { min: Self::SIZE as u64, max: present };
            return Err(Malformed { field: "size", value: size, fault });
        }
        Ok(config)
    }

    /// The configuration as it lies in its space.
    #[must_use]
    pub const fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<{ at::VERSION }, _, _>(&mut bytes, self.version.to_le_bytes());
        put::<{ at::SIZE }, _, _>(&mut bytes, self.size.to_le_bytes());
        put::<{ at::TXBUF_SIZE }, _, _>(&mut bytes, self.txbuf_size.to_le_bytes());
        put::<{ at::RXBUF_SIZE }, _, _>(&mut bytes, self.rxbuf_size.to_le_bytes());
        bytes
    }
}

/// The epochs of a link, 8 bytes, the last ones of the configuration space: by them a remote acknowledges that the host
/// has reset the device (ours; RESET-17 to RESET-19 of the protocol).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epochs {
    /// The host's: which reset was the last one. Any number; each reset has another one than the reset before.
    pub driver: u32,
    /// The remote's: for which reset it has let go of rings and buffers.
    pub device: u32,
}

impl Epochs {
    /// Bytes in the configuration space.
    pub const SIZE: usize = 8;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "rpmsg_epochs",
        text: "the last bytes of the configuration space of an rpmsg device that offers F_EPOCH",
        size: Self::SIZE,
        fields: &[
            field("driver_epoch", Self::DRIVER, Kind::U32),
            field("device_epoch", Self::DEVICE, Kind::U32),
        ],
    };

    /// Offset of the host's word in them.
    pub const DRIVER: usize = 0;
    /// Offset of the remote's word in them.
    pub const DEVICE: usize = 4;

    /// Their offset in a configuration space of so many bytes; `None` where it has no room for them.
    #[must_use]
    pub const fn at(config_len: usize) -> Option<usize> {
        config_len.checked_sub(Self::SIZE)
    }

    /// The epochs in the last bytes of a configuration space.
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::SIZE]) -> Self {
        Self { driver: u32_at::<{ Self::DRIVER }, _>(bytes), device: u32_at::<{ Self::DEVICE }, _>(bytes) }
    }

    /// The epochs as they lie there.
    #[must_use]
    pub const fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<{ Self::DRIVER }, _, _>(&mut bytes, self.driver.to_le_bytes());
        put::<{ Self::DEVICE }, _, _>(&mut bytes, self.device.to_le_bytes());
        bytes
    }
}

mod at {
    pub(super) const VERSION: usize = 0;
    pub(super) const SIZE: usize = 1;
    pub(super) const TXBUF_SIZE: usize = 3;
    pub(super) const RXBUF_SIZE: usize = 7;
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::testing::bytes;

    const GOLDEN: [u8; 11] = [
        0x01, // version
        0x0B, 0x00, // size 11
        0x00, 0x02, 0x00, 0x00, // txbuf_size 512
        0x00, 0x40, 0x01, 0x00, // rxbuf_size 80 KiB
    ];

    fn error(field: &'static str, value: u64, fault: Fault) -> Result<RpmsgConfig, Malformed> {
        Err(Malformed { field, value, fault })
    }

    #[test]
    fn config_matches_golden_bytes() {
        let config = RpmsgConfig::new(512, 80 << 10);
        assert_eq!(config.emit(), GOLDEN);
        assert_eq!(RpmsgConfig::parse(&GOLDEN), Ok(config));
    }

    #[test]
    fn epochs_match_golden_bytes_at_the_end_of_their_space() {
        let golden = [0x04, 0x03, 0x02, 0x01, 0xFF, 0xFF, 0xFF, 0xFF];
        let epochs = Epochs { driver: 0x0102_0304, device: u32::MAX };
        assert_eq!(epochs.emit(), golden);
        assert_eq!(Epochs::parse(&golden), epochs);
        assert_eq!([0, 7, 8, 20].map(Epochs::at), [None, None, Some(0), Some(12)]);
    }

    #[test]
    fn config_cut_short_is_an_error_that_says_so() {
        for len in 0..GOLDEN.len() {
            let present = len as u64;
            let fault = Fault::Truncated { needed: 11, present };
            assert_eq!(RpmsgConfig::parse(&GOLDEN[..len]), error("config_len", present, fault));
        }
    }

    #[test]
    fn config_of_another_version_is_refused() {
        for version in (0..=u8::MAX).filter(|&version| version != 1) {
            let mut bytes = GOLDEN;
            bytes[0] = version;
            let fault = Fault::Unsupported { supported: 1 };
            assert_eq!(RpmsgConfig::parse(&bytes), error("version", version.into(), fault));
        }
    }

    #[test]
    fn config_may_be_longer_but_not_longer_than_its_space() {
        let mut bytes = [0; 16];
        bytes[..11].copy_from_slice(&GOLDEN);
        for size in 0..=u16::MAX {
            bytes[1..3].copy_from_slice(&size.to_le_bytes());
            let expected = match size {
                11..=16 => Ok(RpmsgConfig { size, ..RpmsgConfig::new(512, 80 << 10) }),
                _ => error("size", size.into(), Fault::OutOfRange { min: 11, max: 16 }),
            };
            assert_eq!(RpmsgConfig::parse(&bytes), expected);
        }
    }

    proptest! {
        #[test]
        fn config_is_total(bytes in vec(any::<u8>(), 0..32)) {
            if let Ok(config) = RpmsgConfig::parse(&bytes) {
                prop_assert_eq!(&config.emit()[..], &bytes[..11]);
            }
        }

        #[test]
        fn config_keeps_every_bit_of_the_sizes(mut bytes in bytes::<11>()) {
            bytes[..3].copy_from_slice(&GOLDEN[..3]);
            prop_assert_eq!(RpmsgConfig::parse(&bytes).map(|config| config.emit()), Ok(bytes));
        }
    }
}
