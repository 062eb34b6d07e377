use core::{error, fmt};

use super::{Carveout, Devmem, Trace, Vdev, VdevHeader, vendor};
use crate::{
    Fault, Malformed,
    bytes::{put, u32_at},
    layout::{Kind, Record, field},
};

/// What a table begins with, 16 bytes; the offsets of the entries follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// Version of the format, [`VERSION`](Self::VERSION).
    pub version: u32,
    /// Number of entries.
    pub count: u32,
    /// Zero; Linux refuses anything else.
    pub reserved: [u32; 2],
}

impl Header {
    /// Bytes in the table.
    pub const SIZE: usize = 16;

    /// The known version.
    pub const VERSION: u32 = 1;

    /// The layout as data.
    pub const LAYOUT: Record = Record {
        name: "table_header",
        text: "what a resource table begins with; the offsets of the entries follow",
        size: Self::SIZE,
        fields: &[
            field("version", at::VERSION, Kind::U32),
            field("count", at::COUNT, Kind::U32),
            field("reserved_0", at::RESERVED_0, Kind::U32),
            field("reserved_1", at::RESERVED_1, Kind::U32),
        ],
    };

    /// A header of the known version.
    #[must_use]
    pub const fn new(count: u32) -> Header {
        Header { version: Self::VERSION, count, reserved: [0; 2] }
    }

    /// Reads a header; every 16 bytes are one.
    #[must_use]
    pub const fn parse(bytes: &[u8; Self::SIZE]) -> Header {
        Header {
            version: u32_at::<{ at::VERSION }, _>(bytes),
            count: u32_at::<{ at::COUNT }, _>(bytes),
            reserved: [u32_at::<{ at::RESERVED_0 }, _>(bytes), u32_at::<{ at::RESERVED_1 }, _>(bytes)],
        }
    }

    /// The header as it lies in the table.
    #[must_use]
    pub const fn emit(&self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        put::<{ at::VERSION }, _, _>(&mut bytes, self.version.to_le_bytes());
        put::<{ at::COUNT }, _, _>(&mut bytes, self.count.to_le_bytes());
        put::<{ at::RESERVED_0 }, _, _>(&mut bytes, self.reserved[0].to_le_bytes());
        put::<{ at::RESERVED_1 }, _, _>(&mut bytes, self.reserved[1].to_le_bytes());
        bytes
    }
}

/// A resource table whose frame is sound: its version is known, and every offset points behind the offsets, with
/// room for a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Table<'a> {
    header: Header,
    bytes: &'a [u8],
    offsets: &'a [[u8; 4]],
}

impl<'a> Table<'a> {
    /// Most entries that are accepted. Shipped tables have fewer than twenty; the bound keeps the search for overlaps
    /// short whatever a table says.
    pub const MAX_ENTRIES: u32 = 256;

    /// Reads the frame of a table, in time linear in the number of entries. Bytes behind the last entry are allowed.
    ///
    /// # Errors
    /// The table is shorter than its header or its offsets, its version is not 1, it has more than
    /// [`MAX_ENTRIES`](Self::MAX_ENTRIES) entries, or an offset points into the header or the offsets or to where no
    /// type fits.
    pub fn parse(bytes: &'a [u8]) -> Result<Table<'a>, TableError> {
        let len = bytes.len() as u64;
        let frame = |field, value: u64, fault| TableError {
            entry: None,
            malformed: Malformed { field, value, fault },
        };

        let (fixed, rest) = bytes.split_first_chunk().ok_or(frame(
            "length",
            len,
            Fault::Truncated { needed: Header::SIZE as u64, present: len },
        ))?;
        let header = Header::parse(fixed);
        if header.version != Header::VERSION {
            let fault = Fault::Unsupported { supported: Header::VERSION.into() };
            return Err(frame("version", header.version.into(), fault));
        }
        if header.count > Self::MAX_ENTRIES {
            let fault = Fault::OutOfRange { min: 0, max: Self::MAX_ENTRIES.into() };
            return Err(frame("count", header.count.into(), fault));
        }
        let needed = header.offsets_end();
        let offsets = rest.get(..4 * header.count as usize).ok_or(frame(
            "count",
            header.count.into(),
            Fault::Truncated { needed, present: len },
        ))?;
        let (offsets, _) = offsets.as_chunks();

        let table = Table { header, bytes, offsets };
        for (index, offset) in table.offsets() {
            let start = u64::from(offset);
            let fault = if start < header.offsets_end() {
                Fault::TooSmall { min: header.offsets_end() }
            } else if start + 4 > len {
                Fault::Truncated { needed: start + 4, present: len }
            } else {
                continue;
            };
            return Err(TableError {
                entry: Some(index),
                malformed: Malformed { field: "offset", value: start, fault },
            });
        }
        Ok(table)
    }

    /// What the table begins with.
    #[must_use]
    pub const fn header(&self) -> Header {
        self.header
    }

    /// The bytes that were parsed.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The entries in the order of their offsets' places in the table. One that is malformed is an error, and those
    /// behind it follow all the same. Each step takes time linear in the number of entries.
    #[must_use]
    pub const fn entries(&self) -> Entries<'a> {
        Entries { table: *self, next: 0 }
    }

    /// Index and offset of each entry.
    pub(super) fn offsets(&self) -> impl Iterator<Item = (u32, u32)> + use<'a> {
        (0u32..).zip(self.offsets.iter().map(|&bytes| u32::from_le_bytes(bytes)))
    }

    fn entry(&self, index: u32, offset: u32) -> Result<Entry<'a>, TableError> {
        let neighbour = self.neighbour(index, offset);
        let start = offset as usize;
        let end = neighbour.map_or(self.bytes.len(), |(_, offset)| offset as usize);
        // The offsets were checked against the table's length when its frame was.
        let room = self.bytes.get(start..end).unwrap_or_default();
        Entry::parse(room, u64::from(offset)).map_err(|malformed| {
            let fault = match (malformed.fault, neighbour) {
                (Fault::Truncated { needed, present }, Some((entry, _))) => {
                    Fault::Overlap { entry, needed, present }
                }
                (fault, _) => fault,
            };
            TableError { entry: Some(index), malformed: Malformed { fault, ..malformed } }
        })
    }

    /// The entry that begins where this one does, or else next behind it.
    fn neighbour(&self, index: u32, offset: u32) -> Option<(u32, u32)> {
        self.offsets()
            .filter(|&(other, start)| other != index && start >= offset)
            .min_by_key(|&(_, start)| start)
    }
}

/// The entries of a [`Table`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    table: Table<'a>,
    next: u32,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<Located<Entry<'a>>, TableError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.next;
        let offset = u32::from_le_bytes(*self.table.offsets.get(index as usize)?);
        self.next += 1;
        Some(self.table.entry(index, offset).map(|entry| Located { index, offset, entry }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.table.offsets.len() - self.next as usize;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Entries<'_> {}

/// Something found in a table, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<T> {
    /// Which entry it is, from 0.
    pub index: u32,
    /// Where the entry begins, with its type, in bytes from the beginning of the table.
    pub offset: u32,
    /// The entry.
    pub entry: T,
}

/// One entry. A new kind of entry is a new variant, and every `match` must learn it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry<'a> {
    /// Memory that must be there before the firmware starts.
    Carveout(Carveout),
    /// Registers or memory of the machine that the firmware must be able to reach.
    Devmem(Devmem),
    /// A buffer in which the firmware writes a trace.
    Trace(Trace),
    /// A virtio device that the firmware offers.
    Vdev(Vdev<'a>),
    /// An entry that a vendor defines.
    Vendor {
        /// Its type, from [`vendor::START`] to [`vendor::END`].
        kind: u32,
        /// All behind the type, up to the next entry or the end of the table; the table does not say where it
        /// ends, so padding may follow.
        bytes: &'a [u8],
    },
    /// An entry of a type that no one has defined; to be skipped.
    Unknown {
        /// Its type.
        kind: u32,
    },
}

impl<'a> Entry<'a> {
    /// The type with which the entry begins.
    #[must_use]
    pub const fn kind(&self) -> u32 {
        match self {
            Entry::Carveout(_) => Carveout::KIND,
            Entry::Devmem(_) => Devmem::KIND,
            Entry::Trace(_) => Trace::KIND,
            Entry::Vdev(_) => VdevHeader::KIND,
            Entry::Vendor { kind, .. } | Entry::Unknown { kind } => *kind,
        }
    }

    /// Reads the entry that begins with `room` and may take up all of it; `offset` is what error messages name.
    fn parse(room: &'a [u8], offset: u64) -> Result<Entry<'a>, Malformed> {
        let (kind, body) = room.split_first_chunk().ok_or(short(room, 4, offset))?;
        Ok(match u32::from_le_bytes(*kind) {
            Carveout::KIND => Entry::Carveout(Carveout::parse(fixed(room, offset)?)),
            Devmem::KIND => Entry::Devmem(Devmem::parse(fixed(room, offset)?)),
            Trace::KIND => Entry::Trace(Trace::parse(fixed(room, offset)?)),
            VdevHeader::KIND => {
                fixed::<{ VdevHeader::SIZE }>(room, offset)?;
                Entry::Vdev(Vdev::parse(room)?)
            }
            kind if vendor::is_vendor(kind) => Entry::Vendor { kind, bytes: body },
            kind => Entry::Unknown { kind },
        })
    }
}

/// The first `N` bytes of an entry.
fn fixed<const N: usize>(room: &[u8], offset: u64) -> Result<&[u8; N], Malformed> {
    room.first_chunk().ok_or(short(room, N, offset))
}

fn short(room: &[u8], needed: usize, offset: u64) -> Malformed {
    let fault = Fault::Truncated { needed: needed as u64, present: room.len() as u64 };
    Malformed { field: "offset", value: offset, fault }
}

/// A resource table, or one entry of it, is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableError {
    /// Which entry is at fault, from 0; none if it is the table's frame.
    pub entry: Option<u32>,
    /// The field, its value and the rule.
    pub malformed: Malformed,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.entry {
            Some(entry) => write!(f, "resource table, entry {entry}: {}", self.malformed),
            None => write!(f, "resource table: {}", self.malformed),
        }
    }
}

impl error::Error for TableError {}

impl Header {
    /// Where the offsets end and the first entry may begin.
    const fn offsets_end(&self) -> u64 {
        Self::SIZE as u64 + 4 * self.count as u64
    }
}

mod at {
    pub(super) const VERSION: usize = 0;
    pub(super) const COUNT: usize = 4;
    pub(super) const RESERVED_0: usize = 8;
    pub(super) const RESERVED_1: usize = 12;
}
