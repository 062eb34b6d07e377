//! Where a peer is met: paths, and what lies where in the memory.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sidecore_mem::DeviceAddr;
use sidecore_os::{Lent, SharedMemory};
use sidecore_remoteproc::BackendError;
use sidecore_wire::config::RpmsgConfig;
use sidecore_wire::features::F_BUFSZ;
use sidecore_wire::resource_table::{ADDR_ANY, BuildError, Builder, VdevHeader, Vring, vdev};
use sidecore_wire::split::Layout;

use super::system;

/// Where a peer is met, and what lies where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that both map. It must be memory: on a tmpfs, as all of `/dev/shm` is.
    pub memory: PathBuf,
    /// Bytes of it.
    pub len: u64,
    /// Device address of its first byte, as the peer sees it: 0 for peers to which addresses are offsets. A remote that we
    /// are has 0.
    pub base: u64,
    /// The socket that the peer listens at.
    pub socket: PathBuf,
    /// Where the resource table begins in the file. `None`: there is none, both sides know beforehand where the rings are,
    /// and the main side's first kick says that they are there (rpmsg-lite's way).
    pub table: Option<u64>,
    /// Bytes that the table has at most.
    pub table_len: u32,
    /// Where in the file the buffers go, and whatever else has no address.
    pub free: Range<u64>,
    /// The rings of a remote that we are, and of one without a table; the peer's own table says where its rings are.
    /// `None`: the main side chooses.
    pub rings: Option<Rings>,
    /// Bytes of each buffer, header included, of a remote that we are, and of one without a table.
    pub buffer: u32,
    /// How long the peer may take to be there, and to write its table.
    pub patience: Duration,
}

/// Where both rings are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rings {
    /// Offset in the file of the ring in which the remote sends, and of the one in which the host does.
    pub at: [u32; 2],
    /// Descriptors, and so buffers, of each: a power of two.
    pub num: u16,
    /// Alignment of the used part in bytes: a power of two.
    pub align: u32,
}

impl Rings {
    /// As the entries of a table, with the notifyids 1 and 2.
    #[must_use]
    pub fn vrings(&self) -> [Vring; 2] {
        let [first, second] = self.at;
        [(first, 1), (second, 2)].map(|(da, notifyid)| Vring {
            da,
            align: self.align,
            num: self.num.into(),
            notifyid,
            pa: 0,
        })
    }

    fn check(&self, len: u64) -> Result<(), String> {
        let Self { at, num, align } = *self;
        let layout = Layout::new(num, align);
        let layout = layout.map_err(|_| {
            format!("rings: {num} descriptors and alignment {align:#x}, which no ring can have")
        })?;
        let size = u64::from(layout.size());
        let [first, second] = at.map(u64::from);
        if let Some(at) = at.into_iter().find(|at| at % align.max(16) != 0) {
            return Err(format!("rings: {at:#x} is no multiple of {:#x}", align.max(16)));
        }
        if let Some(at) = [first, second].into_iter().find(|at| at + size > len) {
            return Err(format!("rings: {size:#x} bytes at {at:#x} are not in a memory of {len:#x}"));
        }
        if first.abs_diff(second) < size {
            return Err(format!("rings: {first:#x} and {second:#x} overlap, each has {size:#x} bytes"));
        }
        Ok(())
    }
}

/// Descriptors of a ring, where nothing else is said and there is room for them.
const NUM_MAX: u16 = 256;
/// The alignment of rings that are where OpenAMP's programs and rpmsg-lite's have them.
const OPENAMP_ALIGN: u32 = 0x1000;
/// The alignment of rings that are placed by the main side: a cache line of any machine's.
const ALIGN: u32 = 128;
/// Bytes of a buffer where nothing else was agreed on.
const BUFFER: u32 = 512;
/// The least that a buffer can have: a header and a byte.
const BUFFER_MIN: u32 = 17;
/// Bytes of a table of ours at most.
const TABLE_MAX: usize = 256;

impl Config {
    /// As OpenAMP's example programs have it on Linux (`legacy_apps/system/linux/machine/generic/platform_info.c` of its
    /// system reference): a table at 0, rings of 256 buffers at 0x4000 and 0x8000.
    #[must_use]
    pub fn openamp() -> Self {
        Self {
            memory: PathBuf::from("/dev/shm/openamp.shm"),
            len: 0x8_0000,
            base: 0,
            socket: PathBuf::from("/tmp/openamp.event.0"),
            table: Some(0),
            table_len: 0x1000,
            free: 0x1_0000..0x5_0000,
            rings: Some(Rings { at: [0x4000, 0x8000], num: NUM_MAX, align: OPENAMP_ALIGN }),
            buffer: BUFFER,
            patience: Duration::from_secs(5),
        }
    }

    /// As rpmsg-lite has it where it is built to talk with Linux (`VRING_SIZE` 0x8000, `VRING_ALIGN` 0x1000 and
    /// `RL_BUFFER_COUNT` 256 in `rpmsg_platform.h` and `rpmsg_config.h`): no table, rings at 0 and 0x8000, buffers behind
    /// them.
    #[must_use]
    pub fn rpmsg_lite() -> Self {
        Self {
            memory: PathBuf::from("/dev/shm/rpmsg-lite.shm"),
            socket: PathBuf::from("/tmp/rpmsg-lite.event"),
            table: None,
            rings: Some(Rings { at: [0, 0x8000], num: NUM_MAX, align: OPENAMP_ALIGN }),
            ..Self::openamp()
        }
    }

    /// Reads a place from TOML: `memory` and `socket` are paths; `base` is the device address of its first byte; `len`, `table` and `table-len` numbers of bytes; `free`
    /// the first byte of the room for buffers and the one behind it; `rings` where the rings are, with `num` descriptors
    /// and the alignment `align`; `buffer` the bytes of a buffer. `table = false` says that there is none. What is left out
    /// is as with [`Config::openamp`], but that rings which are not stated are the main side's to place where anything
    /// else lies elsewhere.
    ///
    /// # Errors
    /// A key that there is none of, a value of another type, or something that lies outside of the memory.
    pub fn parse(text: &str) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| error.to_string())?;
        let usual = Self::openamp();
        let table = match file.table {
            None => usual.table,
            Some(Table::At(at)) => Some(at),
            Some(Table::Is(false)) => None,
            Some(Table::Is(true)) => return Err("table: where it is, or false".to_owned()),
        };
        let free = file.free.map_or(usual.free.clone(), |[start, end]| start..end);
        let len = file.len.unwrap_or(usual.len);
        let rings = match file.rings {
            Some(at) => Some(Rings {
                at,
                num: file.num.unwrap_or(NUM_MAX),
                align: file.align.unwrap_or(OPENAMP_ALIGN),
            }),
            None if file.num.is_some() || file.align.is_some() => {
                return Err("num, align: of rings, which have to be stated".to_owned());
            }
            None if table.is_none() => return Err("rings: without a table they have to be stated".to_owned()),
            None if file.base.is_some_and(|base| base != 0) => None,
            None if (len, table, &free) == (usual.len, usual.table, &usual.free) => usual.rings,
            None => None,
        };
        let config = Self {
            memory: file.memory.unwrap_or(usual.memory),
            len,
            base: file.base.unwrap_or(0),
            socket: file.socket.unwrap_or(usual.socket),
            table,
            table_len: file.table_len.unwrap_or(usual.table_len),
            free,
            rings,
            buffer: file.buffer.unwrap_or(usual.buffer),
            patience: usual.patience,
        };
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), String> {
        let Self { len, free, .. } = self;
        if let Some(at) = self.table
            && at.checked_add(u64::from(self.table_len)).is_none_or(|end| end > *len)
        {
            return Err(format!("table: {at:#x} is not in a memory of {len:#x} bytes"));
        }
        if free.start > free.end || free.end > *len {
            return Err(format!("free: {free:#x?} is not in a memory of {len:#x} bytes"));
        }
        if self.buffer < BUFFER_MIN {
            return Err(format!("buffer: {} bytes are too few for a header and a message", self.buffer));
        }
        let base = self.base;
        if base != 0 && self.rings.is_some() {
            return Err(format!("base: {base:#x} is for peers whose own table says where the rings are"));
        }
        if base.checked_add(*len).is_none_or(|end| end > 1 << 32) {
            return Err(format!("base: {len:#x} bytes from {base:#x} on do not lie below 4 GiB"));
        }
        self.rings.map_or(Ok(()), |rings| rings.check(*len))
    }

    /// The resource table of a remote at this place, with these features. Without one in the memory it is what would stand
    /// there.
    ///
    /// # Errors
    /// There is no room for one buffer each way.
    pub fn resource_table(&self, features: u32) -> Result<Vec<u8>, BackendError> {
        let built = |error: BuildError| system("make a resource table", error);
        let rings = self.vrings()?;
        let sizes = (self.buffer != BUFFER).then(|| RpmsgConfig::new(self.buffer, self.buffer).emit());
        let sized = if sizes.is_some() { F_BUFSZ as u32 } else { 0 };
        let mut bytes = [0; TABLE_MAX];
        let mut builder = Builder::new(&mut bytes, 1).map_err(built)?;
        let header = VdevHeader { id: vdev::ID_RPMSG, dfeatures: features | sized, ..VdevHeader::default() };
        let config = sizes.as_ref().map_or(&[][..], |sizes| &sizes[..]);
        builder.vdev(&header, &rings, config).map_err(built)?;
        Ok(builder.finish().to_vec())
    }

    /// The rings as a table at this place describes them: those that are stated, or as many descriptors as there is room for,
    /// wherever the main side places them.
    ///
    /// # Errors
    /// There is no room for one buffer each way.
    pub fn vrings(&self) -> Result<[Vring; 2], BackendError> {
        let any = |num: u16| Vring { da: ADDR_ANY, align: ALIGN, num: num.into(), notifyid: ADDR_ANY, pa: 0 };
        match self.rings {
            Some(rings) => Ok(rings.vrings()),
            None => self.num().map(|num| [any(num); 2]),
        }
    }

    /// How many descriptors rings can have for which there is room, with their buffers.
    fn num(&self) -> Result<u16, BackendError> {
        let room = self.free.end.saturating_sub(self.free.start);
        let fits = |num: &u16| {
            let ring = Layout::new(*num, ALIGN).map_or(u64::MAX, |layout| u64::from(layout.size()));
            // A page each is lost at most for being aligned.
            let buffers = u64::from(self.buffer) * u64::from(*num);
            ring.saturating_add(buffers + 0x1000).saturating_mul(2) <= room
        };
        let mut nums = (0..=NUM_MAX.ilog2()).rev().map(|power| 1_u16 << power);
        nums.find(fits).ok_or_else(|| {
            system("make a resource table", format!("{room:#x} bytes are too few for buffers"))
        })
    }
}

/// A [`Config`] as people write it.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct File {
    memory: Option<PathBuf>,
    len: Option<u64>,
    base: Option<u64>,
    socket: Option<PathBuf>,
    table: Option<Table>,
    table_len: Option<u32>,
    free: Option<[u64; 2]>,
    rings: Option<[u32; 2]>,
    num: Option<u16>,
    align: Option<u32>,
    buffer: Option<u32>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(untagged, expecting = "where the table is, or false")]
enum Table {
    At(u64),
    Is(bool),
}

/// A resource table that nobody else sees, for a peer that knows of none: what it would say both sides know, and who talks
/// with such a peer needs no other way to go about it.
#[derive(Debug)]
pub(super) struct OwnTable {
    memory: Arc<Lent>,
    /// Bytes of the table.
    pub(super) len: u32,
}

impl OwnTable {
    /// Where it lies for us: behind all addresses that a ring or a buffer of a peer can have.
    pub(super) const AT: DeviceAddr = DeviceAddr(1 << 40);

    pub(super) fn new(table: &[u8]) -> Result<Self, BackendError> {
        let cannot = |refused: sidecore_os::Refused| system("make a table of our own", refused);
        let shared = SharedMemory::create("sidecore-table", TABLE_MAX.max(table.len())).map_err(cannot)?;
        let memory = Lent::map(std::os::fd::AsFd::as_fd(&shared), 0, shared.len() as u64).map_err(cannot)?;
        let written = memory.region().write(0, table);
        written.map_err(|error| system("write a table of our own", error))?;
        Ok(Self { memory, len: table.len() as u32 })
    }

    pub(super) fn region(&self) -> sidecore_mem::Region<Arc<Lent>> {
        self.memory.region()
    }
}

#[cfg(test)]
mod tests {
    use sidecore_wire::resource_table;

    use super::*;

    #[test]
    fn a_place_is_read_from_toml_and_what_is_left_out_is_as_usual() {
        let config =
            Config::parse("memory = \"/dev/shm/x\"\nlen = 0x1000\ntable-len = 256\nfree = [512, 4096]")
                .unwrap();
        let usual = Config::openamp();
        assert_eq!((config.len, config.table_len, config.free), (0x1000, 256, 512..4096));
        assert_eq!((config.socket, config.table, config.rings), (usual.socket, Some(0), None));
        assert_eq!(Config::parse("").unwrap(), Config::openamp());
        assert_eq!(Config::parse("buffer = 256").unwrap().rings, Config::openamp().rings);
        let elsewhere = Config::parse("base = 0x2100_0000").unwrap();
        assert_eq!((elsewhere.base, elsewhere.rings, elsewhere.len), (0x2100_0000, None, usual.len));
        let bare = Config::parse("table = false\nrings = [0x400, 0]\nnum = 2\nalign = 16").unwrap();
        assert_eq!((bare.table, bare.rings), (None, Some(Rings { at: [0x400, 0], num: 2, align: 16 })));
    }

    #[test]
    fn a_place_that_cannot_be_is_refused_by_name() {
        for (text, part) in [
            ("len = 16", "table: 0x0"),
            ("table = 0x7ffff", "table: 0x7ffff"),
            ("table = 0xffffffffffffff", "table"),
            ("free = [10, 5]", "free"),
            ("free = [0, 0x80001]", "free"),
            ("size = 1", "size"),
            ("len = -1", "len"),
            ("base = 0xffff_0000", "base"),
            ("base = 16\nrings = [0x4000, 0x8000]", "base: 0x10"),
            ("buffer = 16", "buffer: 16"),
            ("table = true", "table: where"),
            ("table = false", "rings: without a table"),
            ("num = 2", "num"),
            ("rings = [0, 0x8000]\nnum = 3", "3 descriptors"),
            ("rings = [0, 0x8000]\nalign = 3", "alignment 0x3"),
            ("rings = [0x10, 0x8000]", "0x10 is no multiple"),
            ("rings = [0, 0x7f000]", "at 0x7f000"),
            ("rings = [0, 0x1000]", "overlap"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_table_says_where_rings_are_that_are_stated_and_leaves_others_to_the_main_side() {
        let rings = |config: &Config| {
            let bytes = config.resource_table(1).unwrap();
            let table = resource_table::Table::parse(&bytes).unwrap();
            let entry = table.entries().next().unwrap().unwrap().entry;
            let resource_table::Entry::Vdev(vdev) = entry else { panic!("{entry:?}") };
            let of = |vring: Vring| (vring.da, vring.num, vring.align);
            (vdev.vrings().map(of).collect::<Vec<_>>(), vdev.dfeatures)
        };
        assert_eq!(rings(&Config::openamp()), (vec![(0x4000, 256, 0x1000), (0x8000, 256, 0x1000)], 1));
        let anywhere = Config::parse("free = [0x1000, 0x11000]").unwrap();
        assert_eq!(rings(&anywhere), (vec![(ADDR_ANY, 32, 128); 2], 1));
        let sized = Config::parse("buffer = 1024\nrings = [0x1000, 0x2000]\nnum = 4\nalign = 16").unwrap();
        assert_eq!(rings(&sized), (vec![(0x1000, 4, 16), (0x2000, 4, 16)], 3));
        assert!(Config::parse("free = [0, 16]").unwrap().resource_table(1).is_err());
    }
}
