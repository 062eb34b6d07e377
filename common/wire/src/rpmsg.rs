//! The header that every rpmsg message begins with.
//!
//! Source: Linux `include/linux/rpmsg/../drivers/rpmsg/virtio_rpmsg_bus.c`, `struct rpmsg_hdr`; the payload follows
//! at once. Some stacks keep notes of their own in `reserved` of a *received* header: whoever reads it from a peer
//! must not believe it.

use crate::bytes::{put, u16_at, u32_at};

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
