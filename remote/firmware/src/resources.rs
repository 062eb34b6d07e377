//! The resource table of an image, described in words and laid out when it is compiled.

use sidecore_wire::config::{Epochs, RpmsgConfig};
use sidecore_wire::features::{F_BUFSZ, F_EPOCH, F_NS};
use sidecore_wire::resource_table::{
    ADDR_ANY, Carveout, FixedName, Header, Trace, TraceWords, VdevHeader, Vring, vdev, vendor,
};

/// What an image asks of whoever loads it, and what it offers: the contents of its resource table.
///
/// Made in a constant, so that a mistake is an error when the image is compiled.
///
/// ```
/// use sidecore_firmware::{Resources, Rpmsg};
///
/// const RESOURCES: Resources = Resources::new()
///     .trace(8192)
///     .rpmsg(Rpmsg { to_host: 64, to_remote: 16, ..Rpmsg::DEFAULT })
///     .carveout("frames", 0x10_0000);
/// assert_eq!(RESOURCES.trace_len(), 8192);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Resources {
    /// The entries behind one another, without header and offsets. The first is always the trace's, the second its words.
    entries: [u8; ENTRIES_SIZE],
    len: usize,
    /// Where in `entries` each begins.
    starts: [usize; MAX_ENTRIES],
    count: usize,
    trace_len: usize,
    /// The rpmsg device, and where in `entries` it begins.
    rpmsg: Option<(usize, Rpmsg)>,
    /// The buffer for frames of `defmt`, and where in `entries` it and its words begin.
    defmt: Option<(usize, usize, usize)>,
}

const MAX_ENTRIES: usize = 16;
const ENTRIES_SIZE: usize = 1024;

/// Bytes of the longest table.
pub(crate) const TABLE_MAX: usize = Header::SIZE + 4 * MAX_ENTRIES + ENTRIES_SIZE;

/// The rpmsg device that an image offers: one ring and one set of buffers each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rpmsg {
    /// Entries of the ring from the remote to the main side (the main side's buffers for receiving); a power of two.
    pub to_host: u16,
    /// Entries of the ring from the main side to the remote; a power of two.
    pub to_remote: u16,
    /// Alignment of the parts of a ring in bytes, a power of two.
    pub align: u32,
    /// The features that are offered, of the low 32 ([`sidecore_wire::features`]). With [`F_EPOCH`] comes room for the
    /// epochs, and resets are acknowledged.
    pub features: u64,
    /// The sizes of the buffers, header included, where they shall differ from the 512 bytes that both sides assume:
    /// offers [`F_BUFSZ`] with a configuration space.
    pub buffers: Option<BufferSizes>,
}

/// Bytes of the buffers of each direction, header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSizes {
    /// Those in which the remote sends.
    pub to_host: u32,
    /// Those in which the remote receives.
    pub to_remote: u32,
}

impl Rpmsg {
    /// 64 buffers each way, of the usual size, with the name service: what every Linux and OpenAMP understands. Resets are
    /// acknowledged to main sides that ask for it.
    ///
    /// An alignment of 64 lets a ring of this length fit into one page and keeps what either side writes on cache
    /// lines of its own.
    pub const DEFAULT: Self =
        Self { to_host: 64, to_remote: 64, align: 64, features: F_NS | F_EPOCH, buffers: None };

    /// Bytes of its configuration space: first the buffers' sizes, last the epochs, which lie on multiples of 4.
    const fn config_len(&self) -> usize {
        let sizes = if self.buffers.is_some() { RpmsgConfig::SIZE } else { 0 };
        if self.features & F_EPOCH != 0 { sizes.next_multiple_of(4) + Epochs::SIZE } else { sizes }
    }
}

impl Default for Rpmsg {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl Resources {
    /// A trace buffer of 4096 bytes and the [default](Rpmsg::DEFAULT) rpmsg device.
    pub const DEFAULT: Self = Self::new().rpmsg(Rpmsg::DEFAULT);

    /// A trace buffer of 4096 bytes and nothing else.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: [0; ENTRIES_SIZE],
            len: 0,
            starts: [0; MAX_ENTRIES],
            count: 0,
            trace_len: 0,
            rpmsg: None,
            defmt: None,
        }
        .entry(&Trace { da: 0, len: 0, reserved: 0, name: name("trace0") }.emit())
        .entry(&TraceWords { flags: TRACE_FLAGS, ..EMPTY_WORDS }.emit())
        .trace(4096)
    }

    /// Sets the size of the trace buffer, in bytes, a power of two.
    ///
    /// # Panics
    /// As all the following do, where the table is made: the buffer has another size.
    #[must_use]
    pub const fn trace(mut self, len: usize) -> Self {
        let counts = len <= TraceWords::MAX_LEN as usize && TraceWords::can_count(len as u32);
        assert!(counts, "the length of a trace buffer is a power of two, from 2 bytes to 128 MiB");
        self.trace_len = len;
        let trace = Trace { da: 0, len: len as u32, reserved: 0, name: name("trace0") }.emit();
        self.put(0, &trace)
    }

    /// Has a buffer for frames of the `defmt` crate, of a length in bytes that is a power of two; at most one. The main side
    /// places it, and decodes the frames with what the image's file says of them.
    ///
    /// # Panics
    /// There is one already, or its length is another.
    #[must_use]
    pub const fn defmt(mut self, len: usize) -> Self {
        assert!(self.defmt.is_none(), "an image has one buffer for frames of defmt");
        let counts = len <= TraceWords::MAX_LEN as usize && TraceWords::can_count(len as u32);
        assert!(counts, "the length of a trace buffer is a power of two, from 2 bytes to 128 MiB");
        let (trace, start) = (self.count as u32, self.len.next_multiple_of(4));
        self = self.entry(&Trace { da: ADDR_ANY, len: len as u32, reserved: 0, name: name(DEFMT) }.emit());
        let words = self.len.next_multiple_of(4);
        self = self.entry(&TraceWords { trace, flags: TRACE_FLAGS, ..EMPTY_WORDS }.emit());
        self.defmt = Some((start, words, len));
        self
    }

    /// Offers an rpmsg device; at most one.
    ///
    /// # Panics
    /// There is one already, or a ring's length or alignment is no power of two, or a feature has no room.
    #[must_use]
    pub const fn rpmsg(mut self, device: Rpmsg) -> Self {
        assert!(self.rpmsg.is_none(), "an image offers one rpmsg device");
        let start = self.len.next_multiple_of(4);
        self = self.device(device, 0);
        self.rpmsg = Some((start, device));
        self
    }

    /// Offers a second rpmsg device, for [`Remote::beside`](crate::Remote::beside): with rings, buffers, endpoints and features
    /// of its own, so that what happens on one link does not keep the other waiting.
    ///
    /// # Panics
    /// There is no first one, or as for [`rpmsg`](Self::rpmsg).
    #[must_use]
    pub const fn rpmsg_beside(self, device: Rpmsg) -> Self {
        assert!(self.rpmsg.is_some(), "the first rpmsg device comes first");
        self.device(device, 3)
    }

    /// Adds a device and its rings; `notify` is the first of the three numbers of their own that they have.
    const fn device(mut self, device: Rpmsg, notify: u32) -> Self {
        assert!(device.features >> 32 == 0, "a resource table has room for the low 32 feature bits");
        let buffer_sizes = if device.buffers.is_some() { F_BUFSZ } else { 0 };
        let header = VdevHeader {
            id: vdev::ID_RPMSG,
            // Numbers of its own for the device and for each ring, as OpenAMP wants; Linux writes its own choice here.
            notifyid: notify,
            dfeatures: (device.features | buffer_sizes) as u32,
            gfeatures: 0,
            config_len: device.config_len() as u32,
            status: sidecore_wire::status::Status::RESET,
            num_of_vrings: 2,
            reserved: [0; 2],
        };
        self = self.entry(&header.emit());
        self = self.append(&ring(device.to_host, device.align, notify + 1).emit());
        self = self.append(&ring(device.to_remote, device.align, notify + 2).emit());
        let config_end = self.len + device.config_len();
        if let Some(sizes) = device.buffers {
            self = self.append(&RpmsgConfig::new(sizes.to_host, sizes.to_remote).emit());
        }
        // The epochs are zeros, as the room is.
        assert!(config_end <= ENTRIES_SIZE, "the entries of a resource table have at most 1024 bytes");
        self.len = config_end;
        self
    }

    /// Asks for memory that both sides share, placed by the main side.
    ///
    /// # Panics
    /// The name is empty, longer than 31 bytes or not printable.
    #[must_use]
    pub const fn carveout(self, carveout: &str, len: u32) -> Self {
        let name = name(carveout);
        let carveout = Carveout { da: ADDR_ANY, pa: ADDR_ANY, len, flags: 0, reserved: 0, name };
        self.entry(&carveout.emit())
    }

    /// Adds an entry whose meaning a vendor defines.
    ///
    /// # Panics
    /// The type is none of a vendor's.
    #[must_use]
    pub const fn vendor(self, kind: u32, body: &[u8]) -> Self {
        assert!(vendor::is_vendor(kind), "the types of vendors are 128 to 512");
        self.entry(&kind.to_le_bytes()).append(body)
    }

    /// Bytes of the trace buffer.
    #[must_use]
    pub const fn trace_len(&self) -> usize {
        self.trace_len
    }

    /// Bytes of the table.
    #[must_use]
    pub const fn table_len(&self) -> usize {
        self.entries_at() + self.len
    }

    /// Offset in the table of the trace buffer's address, which the linker fills in.
    #[must_use]
    pub const fn trace_address_at(&self) -> usize {
        self.entries_at() + size_of::<u32>()
    }

    /// Offset in the table of the trace buffer's words.
    #[must_use]
    pub const fn trace_words_at(&self) -> usize {
        self.entries_at() + self.starts[1]
    }

    /// Offsets in the table of the buffer for frames of `defmt` and of its words, and its length.
    #[must_use]
    pub const fn defmt_at(&self) -> Option<(usize, usize, usize)> {
        match self.defmt {
            Some((start, words, len)) => Some((self.entries_at() + start, self.entries_at() + words, len)),
            None => None,
        }
    }

    /// Offset in the table of the rpmsg device.
    #[must_use]
    pub const fn rpmsg_at(&self) -> Option<usize> {
        match self.rpmsg {
            Some((start, _)) => Some(self.entries_at() + start),
            None => None,
        }
    }

    /// Entries of the rpmsg device's ring to the main side; 0 without one.
    #[must_use]
    pub const fn to_host(&self) -> usize {
        match self.rpmsg {
            Some((_, device)) => device.to_host as usize,
            None => 0,
        }
    }

    /// Entries of the rpmsg device's ring from the main side; 0 without one.
    #[must_use]
    pub const fn to_remote(&self) -> usize {
        match self.rpmsg {
            Some((_, device)) => device.to_remote as usize,
            None => 0,
        }
    }

    /// The table, `LEN` being [`table_len`](Self::table_len).
    ///
    /// # Panics
    /// `LEN` is another number.
    #[must_use]
    pub const fn table<const LEN: usize>(&self) -> [u8; LEN] {
        assert!(LEN == self.table_len(), "the length is the table's");
        let mut table = [0; LEN];
        copy(&mut table, 0, &Header::new(self.count as u32).emit(), Header::SIZE);
        let mut number = 0;
        while number < self.count {
            let offset = (self.entries_at() + self.starts[number]) as u32;
            copy(&mut table, Header::SIZE + 4 * number, &offset.to_le_bytes(), 4);
            number += 1;
        }
        copy(&mut table, self.entries_at(), &self.entries, self.len);
        table
    }

    /// Offset in the table of the first entry.
    const fn entries_at(&self) -> usize {
        Header::SIZE + 4 * self.count
    }

    /// Begins an entry, on a multiple of 4 bytes.
    const fn entry(mut self, bytes: &[u8]) -> Self {
        assert!(self.count < MAX_ENTRIES, "a resource table of the SDK has at most 16 entries");
        self.len = self.len.next_multiple_of(4);
        self.starts[self.count] = self.len;
        self.count += 1;
        self.append(bytes)
    }

    /// Continues the last entry.
    const fn append(mut self, bytes: &[u8]) -> Self {
        assert!(
            bytes.len() <= ENTRIES_SIZE - self.len,
            "the entries of a resource table have at most 1024 bytes"
        );
        let at = self.len;
        self.len += bytes.len();
        self.put(at, bytes)
    }

    const fn put(mut self, at: usize, bytes: &[u8]) -> Self {
        copy(&mut self.entries, at, bytes, bytes.len());
        self
    }
}

impl Default for Resources {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// What the buffer for frames of `defmt` is called: readers know it by this name.
const DEFMT: &str = "defmt";

/// Bytes of a trace buffer's words.
pub const TRACE_WORDS: usize = TraceWords::SIZE;

/// What this platform does with them.
const TRACE_FLAGS: u32 = if cfg!(sidecore_platform = "sandbox") { TraceWords::RINGS } else { 0 };

/// The words of the first entry's buffer, in which nothing is.
const EMPTY_WORDS: TraceWords = TraceWords { trace: 0, flags: 0, total: 0, claimed: 0, read: 0, wake: 0 };

const fn name(name: &str) -> FixedName {
    match FixedName::new(name) {
        Ok(name) => name,
        Err(_) => panic!("a name in a resource table has 1 to 31 printable characters"),
    }
}

const fn ring(num: u16, align: u32, notifyid: u32) -> Vring {
    assert!(num.is_power_of_two(), "the length of a ring is a power of two, at most 32768");
    assert!(align.is_power_of_two(), "the alignment of a ring is a power of two");
    Vring { da: ADDR_ANY, align, num: num as u32, notifyid, pa: 0 }
}

/// Copies the first `len` bytes of `from`; constant evaluation has no `copy_from_slice`.
const fn copy(to: &mut [u8], at: usize, from: &[u8], len: usize) {
    let mut i = 0;
    while i < len {
        to[at + i] = from[i];
        i += 1;
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use sidecore_wire::features::EVENT_IDX;
    use sidecore_wire::resource_table::{Entry, Table};

    use super::*;

    const FULL: Resources = Resources::new()
        .rpmsg(Rpmsg {
            to_host: 8,
            to_remote: 16,
            features: F_NS | EVENT_IDX | F_EPOCH,
            buffers: Some(BufferSizes { to_host: 1024, to_remote: 128 }),
            ..Rpmsg::DEFAULT
        })
        .vendor(200, b"abc")
        .carveout("frames", 0x4000)
        .trace(256);

    #[test]
    fn a_second_device_has_rings_and_numbers_of_its_own_and_the_first_stays_the_first() {
        const BOTH: Resources =
            Resources::DEFAULT.rpmsg_beside(Rpmsg { to_host: 8, to_remote: 4, ..Rpmsg::DEFAULT });
        const BYTES: [u8; BOTH.table_len()] = BOTH.table();
        let table = Table::parse(&BYTES).unwrap();
        assert_eq!(table.findings().count(), 0);
        let mut devices = Vec::new();
        for located in table.entries().flatten() {
            if let Entry::Vdev(vdev) = located.entry {
                let rings = vdev.vrings().map(|ring| (ring.notifyid, ring.num)).collect::<Vec<_>>();
                devices.push((located.offset as usize, vdev.notifyid, rings));
            }
        }
        let [(first, 0, one), (_, 3, other)] = &devices[..] else { panic!("{devices:?}") };
        assert_eq!((Some(*first), BOTH.to_host()), (BOTH.rpmsg_at(), 64));
        assert_eq!((&one[..], &other[..]), (&[(1, 64), (2, 64)][..], &[(4, 8), (5, 4)][..]));
    }

    #[test]
    fn a_table_has_all_its_entries_and_no_findings() {
        const BYTES: [u8; FULL.table_len()] = FULL.table();
        let table = Table::parse(&BYTES).unwrap();
        assert_eq!(table.findings().count(), 0);
        let mut entries = table.entries().map(|located| located.unwrap());

        let Entry::Trace(trace) = entries.next().unwrap().entry else {
            panic!("the trace is the first entry")
        };
        assert_eq!((trace.da, trace.len, trace.name.as_bytes()), (0, 256, &b"trace0"[..]));

        let located = entries.next().unwrap();
        assert_eq!(located.offset as usize, FULL.trace_words_at());
        let Entry::Vendor { kind, bytes } = located.entry else { panic!("the words are the second entry") };
        let words = TraceWords::parse(kind, bytes).unwrap().unwrap();
        assert_eq!(words, TraceWords { flags: TRACE_FLAGS, ..TraceWords::default() });

        let located = entries.next().unwrap();
        assert_eq!(Some(located.offset as usize), FULL.rpmsg_at());
        let Entry::Vdev(vdev) = located.entry else { panic!("the device is the third entry") };
        assert_eq!((vdev.id, vdev.num_of_vrings), (vdev::ID_RPMSG, 2));
        assert_eq!(u64::from(vdev.dfeatures), F_NS | F_BUFSZ | F_EPOCH | EVENT_IDX);
        assert_eq!(vdev.config_len, 20);
        assert_eq!(vdev.config()[11..], [0; 9]);
        assert_eq!(RpmsgConfig::parse(vdev.config()).unwrap(), RpmsgConfig::new(1024, 128));
        let mut rings = vdev.vrings();
        assert_eq!(rings.next().unwrap(), Vring { da: ADDR_ANY, align: 64, num: 8, notifyid: 1, pa: 0 });
        assert_eq!(rings.next().unwrap(), Vring { da: ADDR_ANY, align: 64, num: 16, notifyid: 2, pa: 0 });

        let Entry::Vendor { kind: 200, bytes, .. } = entries.next().unwrap().entry else {
            panic!("the vendor's is the fourth entry")
        };
        assert!(bytes.starts_with(b"abc"));

        let Entry::Carveout(carveout) = entries.next().unwrap().entry else {
            panic!("the carveout is the last")
        };
        assert_eq!((carveout.da, carveout.len, carveout.name.as_bytes()), (ADDR_ANY, 0x4000, &b"frames"[..]));
        assert!(entries.next().is_none());
    }

    #[test]
    fn the_address_of_the_trace_stands_where_the_linker_is_told() {
        const BYTES: [u8; FULL.table_len()] = FULL.table();
        let at = FULL.trace_address_at();
        assert_eq!(BYTES[at - 4..at], Trace::KIND.to_le_bytes());
        assert_eq!(BYTES[at + 4..at + 8], 256_u32.to_le_bytes());
    }

    #[test]
    fn the_default_device_offers_what_everyone_understands() {
        const BYTES: [u8; Resources::DEFAULT.table_len()] = Resources::DEFAULT.table();
        let table = Table::parse(&BYTES).unwrap();
        let Entry::Vdev(vdev) = table.entries().nth(2).unwrap().unwrap().entry else { panic!("a device") };
        assert_eq!((u64::from(vdev.dfeatures), vdev.config_len), (F_NS | F_EPOCH, 8));
    }

    #[test]
    #[should_panic(expected = "a power of two")]
    fn a_ring_of_a_length_that_rings_cannot_have_is_refused() {
        let _ = Resources::new().rpmsg(Rpmsg { to_host: 12, ..Rpmsg::DEFAULT });
    }

    #[test]
    #[should_panic(expected = "a power of two")]
    fn a_trace_that_cannot_be_counted_is_refused() {
        let _ = Resources::new().trace(3000);
    }

    #[test]
    fn a_buffer_for_frames_is_placed_by_the_main_side_and_has_words_of_its_own() {
        const FRAMES: Resources = Resources::DEFAULT.defmt(512);
        const BYTES: [u8; FRAMES.table_len()] = FRAMES.table();
        let entries: Vec<_> = Table::parse(&BYTES).unwrap().entries().map(|entry| entry.unwrap()).collect();
        let [.., trace, words] = &entries[..] else { panic!("five entries") };
        assert_eq!(FRAMES.defmt_at(), Some((trace.offset as usize, words.offset as usize, 512)));
        let Entry::Trace(entry) = trace.entry else { panic!("a trace") };
        assert_eq!((entry.da, entry.len, entry.name.as_bytes()), (ADDR_ANY, 512, &b"defmt"[..]));
        let Entry::Vendor { kind, bytes } = words.entry else { panic!("words") };
        assert_eq!(TraceWords::parse(kind, bytes).unwrap().unwrap().trace, trace.index);
        assert_eq!(Resources::DEFAULT.defmt_at(), None);
    }
}
