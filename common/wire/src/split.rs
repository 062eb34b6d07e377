//! The split virtqueue: its elements, and where in one contiguous piece of memory each of its parts lies.
//!
//! Source: virtio 1.3, 2.7 (split virtqueues) and 2.7.2 (the contiguous layout, which Linux calls `vring_init` and
//! which resource tables describe by a number of descriptors and an alignment).

use core::{error, fmt};

use crate::{
    bytes::{put, u16_at, u32_at, u64_at},
    layout::{Kind, Record, field},
};

/// Descriptor flag: the chain goes on at `next`.
pub const DESC_NEXT: u16 = 1;

/// Descriptor flag: the device may write the buffer; without it, the device may only read it.
pub const DESC_WRITE: u16 = 2;

/// Descriptor flag: the buffer is a table of descriptors.
pub const DESC_INDIRECT: u16 = 4;

/// Flag of the available ring: the driver asks for no interrupt when buffers are used.
pub const AVAIL_NO_INTERRUPT: u16 = 1;

/// Flag of the used ring: the device asks for no notification when buffers are made available.
pub const USED_NO_NOTIFY: u16 = 1;

/// One descriptor, 16 bytes (virtio 1.3, 2.7.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Descriptor {
    /// Address of the buffer, in the address space of the device.
    pub addr: u64,
    /// Bytes of the buffer.
    pub len: u32,
    /// [`DESC_NEXT`], [`DESC_WRITE`], [`DESC_INDIRECT`].
    pub flags: u16,
    /// Index of the next descriptor, if the flags say that there is one.
    pub next: u16,
}

impl Descriptor {
    /// Bytes in the ring.
    pub const SIZE: usize = 16;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "descriptor",
        text: "a descriptor of a ring",
        size: Self::SIZE,
        fields: &[
            field("addr", at::ADDR, Kind::U64),
            field("len", at::LEN, Kind::U32),
            field("flags", at::FLAGS, Kind::U16),
            field("next", at::NEXT, Kind::U16),
        ],
    };

    /// Reads a descriptor; every 16 bytes are one.
    #[inline]
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::SIZE]) -> Descriptor {
        Descriptor {
            addr: u64_at::<{ at::ADDR }, _>(bytes),
            len: u32_at::<{ at::LEN }, _>(bytes),
            flags: u16_at::<{ at::FLAGS }, _>(bytes),
            next: u16_at::<{ at::NEXT }, _>(bytes),
        }
    }

    /// The descriptor as it lies in the ring.
    #[inline]
    #[must_use]
    pub const fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<{ at::ADDR }, _, _>(&mut bytes, self.addr.to_le_bytes());
        put::<{ at::LEN }, _, _>(&mut bytes, self.len.to_le_bytes());
        put::<{ at::FLAGS }, _, _>(&mut bytes, self.flags.to_le_bytes());
        put::<{ at::NEXT }, _, _>(&mut bytes, self.next.to_le_bytes());
        bytes
    }
}

/// One element of the used ring, 8 bytes (virtio 1.3, 2.7.8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct UsedElement {
    /// Index of the first descriptor of the chain that was used.
    pub id: u32,
    /// Bytes that the device wrote to the chain.
    pub len: u32,
}

impl UsedElement {
    /// Bytes in the ring.
    pub const SIZE: usize = 8;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "used_element",
        text: "a slot of a used ring",
        size: Self::SIZE,
        fields: &[field("id", at::USED_ID, Kind::U32), field("len", at::USED_LEN, Kind::U32)],
    };

    /// Reads an element; every 8 bytes are one.
    #[inline]
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::SIZE]) -> UsedElement {
        UsedElement { id: u32_at::<{ at::USED_ID }, _>(bytes), len: u32_at::<{ at::USED_LEN }, _>(bytes) }
    }

    /// The element as it lies in the ring.
    #[inline]
    #[must_use]
    pub const fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<{ at::USED_ID }, _, _>(&mut bytes, self.id.to_le_bytes());
        put::<{ at::USED_LEN }, _, _>(&mut bytes, self.len.to_le_bytes());
        bytes
    }
}

/// Where the parts of one contiguous split ring lie, in bytes from its beginning.
///
/// ```text
/// 0                16n                       aligned
/// | descriptors    | flags idx ring used_event | gap | flags idx ring     available_event |
/// | n x 16 bytes   | 2     2   n x 2  2        |     | 2     2   n x 8    2               |
/// | descriptor table   available ring                  used ring                          |
/// ```
///
/// All offsets are multiples of two and those of 32-bit words of four, provided that the ring begins on a multiple
/// of its alignment. No offset overflows: the greatest size is a little above 2 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Layout {
    num: u16,
    used: u32,
}

impl Layout {
    /// Most descriptors that a split ring can have.
    pub const MAX_NUM: u16 = 32768;

    /// The layout of a ring with `num` descriptors whose used ring begins on a multiple of `align` bytes.
    ///
    /// # Errors
    /// `num` is not a power of two from 1 to 32768, or `align` is not a power of two of at least 4 bytes.
    pub const fn new(num: u16, align: u32) -> Result<Layout, LayoutError> {
        if !num.is_power_of_two() {
            return Err(LayoutError::Num(num));
        }
        if !align.is_power_of_two() || align < 4 {
            return Err(LayoutError::Align(align));
        }
        let driver_part = 16 * num as u32 + 6 + 2 * num as u32;
        // At most 589830 bytes below an alignment of at most 2^31: neither the sum nor the size can overflow.
        let used = (driver_part + (align - 1)) & !(align - 1);
        Ok(Layout { num, used })
    }

    /// Descriptors in the table, and slots in each ring; a power of two.
    #[inline]
    #[must_use]
    pub const fn num(&self) -> u16 {
        self.num
    }

    /// The table of descriptors, 16 bytes each.
    #[inline]
    #[must_use]
    pub const fn descriptors(&self) -> u32 {
        0
    }

    /// The 16-bit flags of the available ring; the driver writes them.
    #[inline]
    #[must_use]
    pub const fn available_flags(&self) -> u32 {
        16 * self.num as u32
    }

    /// The 16-bit index of the available ring: how many chains the driver has offered, modulo 2^16.
    #[inline]
    #[must_use]
    pub const fn available_index(&self) -> u32 {
        self.available_flags() + 2
    }

    /// The slots of the available ring, 2 bytes each.
    #[inline]
    #[must_use]
    pub const fn available_ring(&self) -> u32 {
        self.available_flags() + 4
    }

    /// The 16-bit used event: the driver writes at which used index it wants the next interrupt.
    #[inline]
    #[must_use]
    pub const fn used_event(&self) -> u32 {
        self.available_ring() + 2 * self.num as u32
    }

    /// The 16-bit flags of the used ring; the device writes them.
    #[inline]
    #[must_use]
    pub const fn used_flags(&self) -> u32 {
        self.used
    }

    /// The 16-bit index of the used ring: how many chains the device has given back, modulo 2^16.
    #[inline]
    #[must_use]
    pub const fn used_index(&self) -> u32 {
        self.used + 2
    }

    /// The slots of the used ring, 8 bytes each.
    #[inline]
    #[must_use]
    pub const fn used_ring(&self) -> u32 {
        self.used + 4
    }

    /// The 16-bit available event: the device writes at which available index it wants the next notification.
    #[inline]
    #[must_use]
    pub const fn available_event(&self) -> u32 {
        self.used_ring() + 8 * self.num as u32
    }

    /// Bytes of the whole ring. (Linux allocates whole pages.)
    #[inline]
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.available_event() + 2
    }
}

/// A ring cannot have these dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LayoutError {
    /// The alignment in bytes is not a power of two of at least 4.
    Align(u32),
    /// The number of descriptors is not a power of two from 1 to 32768.
    Num(u16),
}

impl fmt::Display for LayoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LayoutError::Align(align) => {
                write!(f, "align of the ring is {align} ({align:#x}): must be a power of two of at least 4")
            }
            LayoutError::Num(num) => {
                write!(
                    f,
                    "num of the ring is {num} ({num:#x}): must be a power of two from 1 to {}",
                    Layout::MAX_NUM
                )
            }
        }
    }
}

impl error::Error for LayoutError {}

/// Whether moving an index from `old` to `new` passed `event`, so that the other side wants to hear of it
/// (virtio 1.3, 2.7.7.2 and 2.7.10: `event` is in the window `old..new`, modulo 2^16).
#[inline]
#[must_use]
pub const fn need_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

mod at {
    pub(super) const ADDR: usize = 0;
    pub(super) const LEN: usize = 8;
    pub(super) const FLAGS: usize = 12;
    pub(super) const NEXT: usize = 14;

    pub(super) const USED_ID: usize = 0;
    pub(super) const USED_LEN: usize = 4;
}

#[cfg(test)]
mod tests;
