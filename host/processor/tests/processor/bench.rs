//! A simulated remote with rpmsg devices, whose firmware is a closure over the remote's half of each.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sidecore_backends::sim::{self, Sim, Step};
use sidecore_mem::{DeviceAddr, Region};
use sidecore_os::Mapping;
use sidecore_processor::{Event, Options, Processor};
use sidecore_remoteproc::Firmware;
use sidecore_rpmsg::remote::{RemoteLink, attach};
use sidecore_rpmsg::{ADDR_ANY, Link as _, Rpmsg, Slot};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;
use sidecore_wire::resource_table::{ADDR_ANY as ANYWHERE, Builder, VdevHeader, Vring, vdev};

/// Descriptors of every ring.
pub(crate) const NUM: u32 = 8;
/// Where the resource table is loaded.
pub(crate) const TABLE: u32 = 0x1000_0000;
/// Long enough for anything, and never waited for: no time passes in a simulated remote.
pub(crate) const SOON: Duration = Duration::from_millis(20);

pub(crate) type Link = RemoteLink<Box<dyn Fn(u16)>, Vec<Cell<u16>>, Arc<Mapping>, 32>;
pub(crate) type Messages = Rpmsg<Link, Vec<Slot>>;

/// The remote's half of everything, as a test's firmware sees it.
pub(crate) struct Side<'a> {
    /// The devices' messages, once the main side has set them up.
    pub(crate) devices: &'a [Option<Messages>],
    /// The devices' registers.
    pub(crate) registers: &'a [table::Device<Arc<Mapping>>],
    /// Whether devices were set up just now.
    pub(crate) fresh: bool,
    /// All memory of the remote.
    pub(crate) remote: &'a sim::Remote<'a>,
    /// Where the rings are, by device and queue.
    pub(crate) rings: Vec<[DeviceAddr; 2]>,
}

impl Side<'_> {
    pub(crate) fn messages(&self, device: usize) -> &Messages {
        self.devices[device].as_ref().expect("the main side has set the device up")
    }

    /// The memory of a ring.
    pub(crate) fn ring(&self, device: usize, queue: usize) -> Region<Arc<Mapping>> {
        self.remote.memories.resolve(self.rings[device][queue], 1024).expect("the ring is mapped")
    }
}

/// A vdev entry of the resource table.
#[derive(Clone)]
pub(crate) struct Vdev {
    pub(crate) id: u32,
    pub(crate) features: u32,
    pub(crate) config: Vec<u8>,
}

impl Vdev {
    pub(crate) fn rpmsg(features: u64) -> Self {
        Self { id: vdev::ID_RPMSG, features: features as u32, config: Vec::new() }
    }
}

/// An ELF file with a resource table of these devices; `loaded`: in a segment.
pub(crate) fn elf(vdevs: &[Vdev], loaded: bool) -> Vec<u8> {
    let mut table = [0; 1024];
    let mut builder = Builder::new(&mut table, vdevs.len() as u32).unwrap();
    for vdev in vdevs {
        let header = VdevHeader {
            id: vdev.id,
            dfeatures: vdev.features,
            config_len: vdev.config.len() as u32,
            num_of_vrings: 2,
            ..VdevHeader::default()
        };
        let ring = Vring { da: ANYWHERE, align: 64, num: NUM, notifyid: ANYWHERE, pa: 0 };
        builder.vdev(&header, &[ring, ring], &vdev.config).unwrap();
    }
    let table = builder.finish();

    let mut file = vec![0_u8; 0x100];
    let put = |file: &mut Vec<u8>, at: usize, words: &[u32]| {
        for (number, word) in words.iter().enumerate() {
            file[at + 4 * number..][..4].copy_from_slice(&word.to_le_bytes());
        }
    };
    let names = b"\0.resource_table\0.shstrtab\0";
    let names_at = 0x100 + table.len();
    let sections_at = (names_at + names.len()).next_multiple_of(4);
    file[..16].copy_from_slice(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    let (offset, at) = if loaded { (0x100, TABLE) } else { (0, TABLE + 0x1_0000) };
    // e_type and e_machine; version, entry, phoff, shoff, flags.
    put(&mut file, 16, &[2 | 40 << 16, 1, at, 52, sections_at as u32, 0]);
    // ehsize and phentsize, phnum and shentsize, shnum and shstrndx.
    put(&mut file, 40, &[52 | 32 << 16, 1 | 40 << 16, 3 | 2 << 16]);
    let len = if loaded { table.len() as u32 } else { 0 };
    put(&mut file, 52, &[1, offset, at, at, len, 0x1000, 6, 0x1000]);
    file.extend(table);
    file.extend(names);
    file.resize(sections_at + 3 * 40, 0);
    put(&mut file, sections_at + 40, &[1, 1, 3, TABLE, 0x100, table.len() as u32, 0, 0, 4, 0]);
    put(&mut file, sections_at + 80, &[17, 3, 0, 0, names_at as u32, names.len() as u32, 0, 0, 1, 0]);
    file
}

/// A processor with simulated firmware that has these devices and does `act` whenever it is rung.
pub(crate) fn processor(
    vdevs: &[Vdev],
    options: Options,
    act: impl FnMut(&Side<'_>) -> Step + 'static,
) -> Processor<Sim> {
    let mut processor = Processor::new(simulated(act), Options { spin: Duration::ZERO, ..options });
    processor.load(&Firmware::parse(&elf(vdevs, true)).unwrap()).unwrap();
    processor
}

/// The simulated remote of such a processor.
pub(crate) fn simulated(act: impl FnMut(&Side<'_>) -> Step + 'static) -> Sim {
    Sim::new(firmware(act))
}

/// One that is started and has had its first turn, with one device.
pub(crate) fn started(act: impl FnMut(&Side<'_>) -> Step + 'static) -> Processor<Sim> {
    let mut processor = processor(&[Vdev::rpmsg(1)], Options::new("sim"), act);
    processor.start().unwrap();
    processor.wait(Some(SOON));
    processor
}

fn firmware(mut act: impl FnMut(&Side<'_>) -> Step + 'static) -> impl FnMut(&mut sim::Remote<'_>) -> Step {
    let ring = Rc::new(Cell::new(false));
    let mut registers: Vec<table::Device<Arc<Mapping>>> = Vec::new();
    let mut devices: Vec<Option<Messages>> = Vec::new();
    let mut again = 0;
    move |remote| {
        if remote.steps == 0 {
            devices.clear();
            registers = entries(remote);
            devices.resize_with(registers.len(), || None);
        }
        let mut fresh = false;
        for (device, registers) in devices.iter_mut().zip(&registers) {
            if device.as_ref().is_some_and(|messages| messages.link().is_closed()) {
                // The driver has reset and is back already, which the status does not tell.
                registers.start_over();
                *device = None;
            }
            if registers.poll() == Change::Started {
                let ring = Rc::clone(&ring);
                let bell = move |_| Box::new(move |_: u16| ring.set(true)) as Box<dyn Fn(u16)>;
                let cancelled = vec![Cell::new(0); NUM as usize];
                // Registers that say nonsense (a hostile test wrote it) make no link.
                let link = attach(registers, remote.memories.clone(), cancelled, bell).ok();
                *device = link.map(|(link, _)| Rpmsg::new(link, vec![Slot::new(); 8]));
                fresh = true;
            }
        }
        let rings = registers
            .iter()
            .map(|registers| [0, 1].map(|queue| DeviceAddr(registers.vring(queue).unwrap().da.into())))
            .collect();
        let step = act(&Side { devices: &devices, registers: &registers, fresh, remote, rings });
        remote.ring = ring.take();
        // As every firmware does before it sleeps: arm, and look whether something came meanwhile.
        let waiting = devices.iter().flatten().fold(false, |any, messages| messages.link().arm() | any);
        // A link that the other side (or a hostile test) broke says so for ever.
        again = if waiting { again + 1 } else { 0 };
        if step == Step::Sleep && (1..8).contains(&again) { Step::Work } else { step }
    }
}

/// The vdev entries of the loaded table.
fn entries(remote: &sim::Remote<'_>) -> Vec<table::Device<Arc<Mapping>>> {
    let Some((at, len)) = remote.boot.table else { return Vec::new() };
    let table = remote.memories.resolve(at, len as usize).unwrap();
    let count = table.load::<u32>(4).unwrap();
    let offset = |index: u32| table.load::<u32>(16 + 4 * index as usize).unwrap() as usize;
    (0..count).map(|index| table::Device::new(&table, offset(index)).unwrap()).collect()
}

/// Announces a service at an endpoint of its own on each device whenever these are set up, and sends everything back that comes.
pub(crate) fn echo(service: &'static str) -> impl FnMut(&Side<'_>) -> Step {
    move |side| {
        for messages in side.devices.iter().flatten() {
            if side.fresh {
                let endpoint = messages.open(ADDR_ANY, ADDR_ANY).unwrap();
                // A host that set up rings of nonsense hears of nothing.
                let _ = messages.announce(endpoint, &service.parse_name());
            }
            while let Ok(Some(event)) = messages.poll() {
                if let sidecore_rpmsg::Event::Message(message) = event {
                    let mut payload = vec![0; message.len()];
                    message.read(0, &mut payload).unwrap();
                    // A host that takes nothing back loses answers here, as it deserves.
                    let _ = message.reply(&payload);
                }
            }
        }
        Step::Sleep
    }
}

pub(crate) trait ParseName {
    fn parse_name(&self) -> sidecore_rpmsg::Name;
}

impl ParseName for str {
    fn parse_name(&self) -> sidecore_rpmsg::Name {
        sidecore_rpmsg::Name::new(self).unwrap()
    }
}

/// All events that wait.
pub(crate) fn events(processor: &Processor<Sim>) -> Vec<Event> {
    std::iter::from_fn(|| processor.event()).collect()
}
