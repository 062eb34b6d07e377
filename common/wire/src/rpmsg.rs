//! The header that every rpmsg message begins with.
//!
//! Source: Linux `drivers/rpmsg/virtio_rpmsg_bus.c`, `struct rpmsg_hdr`. The payload follows at once. OpenAMP and
//! rpmsg-lite keep notes of their own in `reserved` of a message that they have received, where the peer can read and
//! change them: nobody should believe that word.

use crate::{
    bytes::{put, u16_at, u32_at},
    layout::{Kind, Record, field},
};

/// "Any address": as a source, give me one; as a destination, not known yet.
pub const ADDR_ANY: u32 = 0xFFFF_FFFF;

/// The address on which each side listens for [announcements](crate::name_service).
pub const NAME_SERVICE_ADDR: u32 = 53;

/// Addresses below are reserved for well-known services; given out on demand are this one and those above.
pub const FIRST_DYNAMIC_ADDR: u32 = 1024;

/// Bytes of one buffer, the header included, where nothing else was agreed on.
pub const DEFAULT_BUFFER_SIZE: usize = 512;

/// Buffers in each direction, where nothing else was agreed on.
pub const DEFAULT_BUFFER_COUNT: usize = 256;

/// The header of one message, 16 bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Header {
    /// Address of the sending endpoint.
    pub src: u32,
    /// Address of the receiving endpoint.
    pub dst: u32,
    /// Zero when sent. What arrives here means nothing.
    pub reserved: u32,
    /// Bytes of payload that follow the header. An allegation until compared with what was received.
    pub len: u16,
    /// No bit is defined; zero when sent.
    pub flags: u16,
}

impl Header {
    /// Bytes on the wire.
    pub const SIZE: usize = 16;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "rpmsg_header",
        text: "the header of a message",
        size: Self::SIZE,
        fields: &[
            field("src", at::SRC, Kind::U32),
            field("dst", at::DST, Kind::U32),
            field("reserved", at::RESERVED, Kind::U32),
            field("len", at::LEN, Kind::U16),
            field("flags", at::FLAGS, Kind::U16),
        ],
    };

    /// Reads a header; every 16 bytes are one.
    #[inline]
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::SIZE]) -> Header {
        Header {
            src: u32_at::<{ at::SRC }, _>(bytes),
            dst: u32_at::<{ at::DST }, _>(bytes),
            reserved: u32_at::<{ at::RESERVED }, _>(bytes),
            len: u16_at::<{ at::LEN }, _>(bytes),
            flags: u16_at::<{ at::FLAGS }, _>(bytes),
        }
    }

    /// The header as it goes on the wire.
    #[inline]
    #[must_use]
    pub const fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<{ at::SRC }, _, _>(&mut bytes, self.src.to_le_bytes());
        put::<{ at::DST }, _, _>(&mut bytes, self.dst.to_le_bytes());
        put::<{ at::RESERVED }, _, _>(&mut bytes, self.reserved.to_le_bytes());
        put::<{ at::LEN }, _, _>(&mut bytes, self.len.to_le_bytes());
        put::<{ at::FLAGS }, _, _>(&mut bytes, self.flags.to_le_bytes());
        bytes
    }
}

mod at {
    pub(super) const SRC: usize = 0;
    pub(super) const DST: usize = 4;
    pub(super) const RESERVED: usize = 8;
    pub(super) const LEN: usize = 12;
    pub(super) const FLAGS: usize = 14;
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::bytes;

    const GOLDEN: [u8; 16] = [
        0x01, 0x04, 0x00, 0x00, // src 1025
        0x35, 0x00, 0x00, 0x00, // dst 53
        0xEF, 0xBE, 0xAD, 0xDE, // reserved
        0xF0, 0x01, // len 496
        0x02, 0x80, // flags
    ];

    #[test]
    fn header_matches_golden_bytes() {
        let header =
            Header { src: 1025, dst: NAME_SERVICE_ADDR, reserved: 0xDEAD_BEEF, len: 496, flags: 0x8002 };
        assert_eq!(header.emit(), GOLDEN);
        assert_eq!(Header::parse(&GOLDEN), header);
    }

    #[test]
    fn header_works_at_compile_time() {
        const EMITTED: [u8; 16] = Header::parse(&GOLDEN).emit();
        assert_eq!(EMITTED, GOLDEN);
    }

    #[test]
    fn payload_of_a_default_buffer_is_496_bytes() {
        assert_eq!(DEFAULT_BUFFER_SIZE - Header::SIZE, 496);
    }

    proptest! {
        // Both sides have 2^128 values, so this makes `parse` and `emit` inverse to each other.
        #[test]
        fn header_keeps_every_bit(bytes in bytes::<16>()) {
            prop_assert_eq!(Header::parse(&bytes).emit(), bytes);
        }
    }
}
