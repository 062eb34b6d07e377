use core::{error, fmt};

use super::{Carveout, Devmem, Header, Trace, VdevHeader, Vring};

/// Lays a table out in memory of the caller: header, offsets, and the entries in the order in which they are added,
/// each on a multiple of 4 bytes.
///
/// The number of entries is fixed at the beginning, for the entries lie behind their offsets; fewer may be added.
///
/// ```
/// use sidecore_wire::resource_table::{Builder, FixedName, Table, Trace};
///
/// let mut bytes = [0; 128];
/// let mut builder = Builder::new(&mut bytes, 1)?;
/// builder.trace(&Trace { da: 0x1000, len: 4096, reserved: 0, name: FixedName::EMPTY })?;
/// let table = builder.finish();
/// assert_eq!(table.len(), 16 + 4 + Trace::SIZE);
/// assert!(Table::parse(table).is_ok());
/// # Ok::<(), sidecore_wire::resource_table::BuildError>(())
/// ```
#[derive(Debug)]
pub struct Builder<'b> {
    bytes: &'b mut [u8],
    capacity: u32,
    count: u32,
    end: usize,
}

impl<'b> Builder<'b> {
    /// Begins a table for up to `capacity` entries in `bytes`, whose contents do not matter.
    ///
    /// # Errors
    /// The header and the offsets do not fit.
    pub fn new(bytes: &'b mut [u8], capacity: u32) -> Result<Builder<'b>, BuildError> {
        let present = bytes.len();
        let offsets = usize::try_from(capacity).ok().and_then(|n| n.checked_mul(4));
        let end = offsets.and_then(|len| len.checked_add(Header::SIZE)).unwrap_or(usize::MAX);
        bytes.get_mut(..end).ok_or(BuildError::NoRoom { needed: end, present })?.fill(0);
        Ok(Builder { bytes, capacity, count: 0, end })
    }

    /// Adds a carveout; gives its offset in the table, as all the following do.
    ///
    /// # Errors
    /// There is no room, or all entries are taken; then nothing was changed. The same holds for all the following.
    pub fn carveout(&mut self, carveout: &Carveout) -> Result<u32, BuildError> {
        self.add(Carveout::SIZE, carveout.emit())
    }

    /// Adds a devmem.
    ///
    /// # Errors
    /// As [`carveout`](Self::carveout).
    pub fn devmem(&mut self, devmem: &Devmem) -> Result<u32, BuildError> {
        self.add(Devmem::SIZE, devmem.emit())
    }

    /// Adds a trace.
    ///
    /// # Errors
    /// As [`carveout`](Self::carveout).
    pub fn trace(&mut self, trace: &Trace) -> Result<u32, BuildError> {
        self.add(Trace::SIZE, trace.emit())
    }

    /// Adds a vdev with its rings and its configuration space; `num_of_vrings` and `config_len` of the header are
    /// taken from these.
    ///
    /// # Errors
    /// As [`carveout`](Self::carveout); or there are more than 255 rings.
    pub fn vdev(&mut self, header: &VdevHeader, vrings: &[Vring], config: &[u8]) -> Result<u32, BuildError> {
        let too_many = BuildError::TooManyVrings { count: vrings.len() };
        let num_of_vrings = u8::try_from(vrings.len()).map_err(|_| too_many)?;
        let no_room = BuildError::NoRoom { needed: config.len(), present: self.bytes.len() };
        let config_len = u32::try_from(config.len()).map_err(|_| no_room)?;

        let size = VdevHeader::SIZE + Vring::SIZE * vrings.len() + config.len();
        let header = VdevHeader { num_of_vrings, config_len, ..*header }.emit();
        let vrings = vrings.iter().flat_map(Vring::emit);
        self.add(size, header.into_iter().chain(vrings).chain(config.iter().copied()))
    }

    /// Adds an entry of any type, with any bytes behind the type: a [vendor's](super::vendor), or for a test one that
    /// nobody knows or that lies.
    ///
    /// # Errors
    /// As [`carveout`](Self::carveout).
    pub fn entry(&mut self, kind: u32, body: &[u8]) -> Result<u32, BuildError> {
        let kind = kind.to_le_bytes();
        self.add(kind.len() + body.len(), kind.into_iter().chain(body.iter().copied()))
    }

    /// Writes the header and gives the bytes of the table.
    #[must_use]
    pub fn finish(self) -> &'b [u8] {
        let table = self.bytes.get_mut(..self.end).unwrap_or_default();
        if let Some(header) = table.first_chunk_mut() {
            *header = Header::new(self.count).emit();
        }
        table
    }

    fn add(&mut self, size: usize, entry: impl IntoIterator<Item = u8>) -> Result<u32, BuildError> {
        if self.count == self.capacity {
            return Err(BuildError::TooManyEntries { capacity: self.capacity });
        }
        let start = self.end.next_multiple_of(4);
        let end = start.saturating_add(size);
        let no_room = BuildError::NoRoom { needed: end, present: self.bytes.len() };
        let offset = u32::try_from(start).map_err(|_| no_room)?;

        let (table, _) = self.bytes.split_at_mut_checked(end).ok_or(no_room)?;
        let padding = core::iter::repeat_n(0, start - self.end);
        for (place, byte) in table.iter_mut().skip(self.end).zip(padding.chain(entry)) {
            *place = byte;
        }
        let slot = table.iter_mut().skip(Header::SIZE + 4 * self.count as usize);
        for (place, byte) in slot.zip(offset.to_le_bytes()) {
            *place = byte;
        }
        self.count += 1;
        self.end = end;
        Ok(offset)
    }
}

/// A table cannot be laid out as asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// The memory is too small.
    NoRoom {
        /// Bytes that the table needs, as far as known.
        needed: usize,
        /// Bytes that there are.
        present: usize,
    },
    /// All entries that were asked for at the beginning are taken.
    TooManyEntries {
        /// How many that were.
        capacity: u32,
    },
    /// A vdev entry counts its rings in one byte.
    TooManyVrings {
        /// Rings that were given.
        count: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::NoRoom { needed, present } => {
                write!(f, "the resource table needs {needed} bytes, but there are {present}")
            }
            BuildError::TooManyEntries { capacity } => {
                write!(f, "the resource table was begun for {capacity} entries, and all are taken")
            }
            BuildError::TooManyVrings { count } => {
                write!(f, "a vdev has at most {} rings, not {count}", u8::MAX)
            }
        }
    }
}

impl error::Error for BuildError {}
