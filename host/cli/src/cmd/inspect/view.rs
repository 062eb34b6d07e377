//! Everything that inspect shows, as data. Addresses and sizes are numbers of bytes.

use serde::Serialize;
use sidecore_remoteproc::firmware::{Class, Machine};
use sidecore_remoteproc::resource::{Options, Plan, PlanError};
use sidecore_remoteproc::{Firmware, Limits, Memory};
use sidecore_wire::config::RpmsgConfig;
use sidecore_wire::features::{F_BUFSZ, names_for};
use sidecore_wire::resource_table::vdev::{ID_BLOCK, ID_CONSOLE, ID_NET, ID_RPMSG};
use sidecore_wire::resource_table::{ADDR_ANY, Entry, FixedName, TraceWords, Vdev};

use crate::image::Image;

#[derive(Serialize)]
pub(super) struct View {
    pub(super) name: String,
    /// Bytes of the file.
    pub(super) size: usize,
    pub(super) class: &'static str,
    /// ELF `e_machine`.
    pub(super) machine: u16,
    pub(super) machine_name: Option<&'static str>,
    pub(super) flags: u32,
    pub(super) entry: u64,
    pub(super) build_id: Option<String>,
    pub(super) interpreter: Option<String>,
    /// Whether the sandbox on this machine could run it.
    pub(super) runs_here: bool,
    pub(super) segments: Vec<Segment>,
    pub(super) resource_table: Option<Table>,
    /// The memories that the firmware needs; none if they cannot be planned, and then a finding says why.
    pub(super) memories: Option<Vec<Placed>>,
    pub(super) findings: Vec<Finding>,
}

#[derive(Serialize)]
pub(super) struct Segment {
    pub(super) header: u32,
    pub(super) name: String,
    pub(super) address: u64,
    pub(super) runs_at: u64,
    pub(super) memory_size: u64,
    pub(super) file_size: usize,
    pub(super) access: String,
    pub(super) align: u64,
}

#[derive(Serialize)]
pub(super) struct Table {
    pub(super) section: u32,
    /// Where it is loaded; none if no segment holds it.
    pub(super) address: Option<u64>,
    pub(super) size: usize,
    pub(super) version: u32,
    pub(super) entries: Vec<Row>,
}

#[derive(Serialize)]
pub(super) struct Row {
    pub(super) index: u32,
    /// Where it begins, in bytes from the beginning of the table; none if that cannot be read.
    pub(super) offset: Option<u32>,
    #[serde(flatten)]
    pub(super) what: What,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum What {
    /// An address of none: the host chooses.
    Carveout {
        name: String,
        address: Option<u32>,
        physical_address: Option<u32>,
        size: u32,
        flags: u32,
    },
    Devmem {
        name: String,
        address: Option<u32>,
        physical_address: u32,
        size: u32,
        flags: u32,
    },
    Trace {
        name: String,
        address: Option<u32>,
        size: u32,
    },
    Vdev {
        id: u32,
        device: Option<&'static str>,
        notify_id: Option<u32>,
        features: u32,
        feature_names: String,
        config: String,
        buffers: Option<Buffers>,
        rings: Vec<Ring>,
    },
    /// How much was written to the trace of that entry.
    #[serde(rename = "trace-words")]
    TraceWords {
        trace: u32,
        rings: bool,
    },
    Vendor {
        kind: u32,
        size: usize,
    },
    Unknown {
        kind: u32,
    },
    Malformed {
        reason: String,
    },
}

#[derive(Serialize)]
pub(super) struct Ring {
    pub(super) address: Option<u32>,
    pub(super) descriptors: u32,
    pub(super) align: u32,
    pub(super) notify_id: Option<u32>,
}

/// Sizes of buffers that an rpmsg device asks for, headers included.
#[derive(Serialize)]
pub(super) struct Buffers {
    pub(super) from_remote: u32,
    pub(super) to_remote: u32,
}

#[derive(Serialize)]
pub(super) struct Placed {
    pub(super) name: String,
    /// None: whatever runs it chooses.
    pub(super) address: Option<u64>,
    pub(super) size: u64,
    pub(super) access: String,
}

#[derive(Serialize)]
pub(super) struct Finding {
    pub(super) code: String,
    pub(super) severity: String,
    pub(super) text: String,
}

impl View {
    pub(super) fn new(image: &Image, firmware: &Firmware<'_>) -> Self {
        let mut findings: Vec<Finding> = firmware.findings().iter().map(Finding::of).collect();
        let memories = match Plan::new(firmware, &OPTIONS) {
            Ok(plan) => {
                findings.extend(plan.findings().iter().map(Finding::of));
                Some(plan.memories().iter().map(Placed::of).collect())
            }
            Err(error) => {
                findings.push(Finding::unplanned(&error));
                None
            }
        };
        let Machine { number, class, .. } = firmware.machine();
        Self {
            name: image.name.clone(),
            size: image.bytes.len(),
            class: if class == Class::Elf32 { "ELF32" } else { "ELF64" },
            machine: number,
            machine_name: firmware.machine().name(),
            flags: firmware.flags(),
            entry: firmware.entry().0,
            build_id: firmware.build_id().map(hex),
            interpreter: firmware.interpreter().map(str::to_owned),
            runs_here: Machine::NATIVE == Some(firmware.machine()),
            segments: firmware.segments().iter().map(Segment::of).collect(),
            resource_table: Table::of(firmware),
            memories,
            findings,
        }
    }
}

/// Showing memory costs none: the limits are those of what can be named at all.
const OPTIONS: Options =
    Options { limits: Limits { memory: u32::MAX as u64, ..Limits::DEFAULT }, ..Options::DEFAULT };

impl Segment {
    fn of(segment: &sidecore_remoteproc::firmware::Segment<'_>) -> Self {
        Self {
            header: segment.header,
            name: segment.name.clone(),
            address: segment.at.0,
            runs_at: segment.runs_at,
            memory_size: segment.memsz,
            file_size: segment.bytes.len(),
            access: segment.access().to_string(),
            align: segment.align,
        }
    }
}

impl Table {
    fn of(firmware: &Firmware<'_>) -> Option<Self> {
        let section = firmware.table_section()?;
        // What is wrong with its frame is a finding.
        let table = firmware.table().ok().flatten()?;
        let entries = table.entries().zip(0..).map(|(entry, index)| match entry {
            Ok(located) => {
                Row { index: located.index, offset: Some(located.offset), what: What::of(&located.entry) }
            }
            Err(error) => Row { index, offset: None, what: What::Malformed { reason: error.to_string() } },
        });
        Some(Self {
            section: section.section,
            address: section.at.map(|at| at.0),
            size: section.bytes.len(),
            version: table.header().version,
            entries: entries.collect(),
        })
    }
}

impl What {
    fn of(entry: &Entry<'_>) -> Self {
        match *entry {
            Entry::Carveout(entry) => Self::Carveout {
                name: name(&entry.name),
                address: chosen(entry.da),
                physical_address: chosen(entry.pa),
                size: entry.len,
                flags: entry.flags,
            },
            Entry::Devmem(entry) => Self::Devmem {
                name: name(&entry.name),
                address: chosen(entry.da),
                physical_address: entry.pa,
                size: entry.len,
                flags: entry.flags,
            },
            Entry::Trace(entry) => {
                Self::Trace { name: name(&entry.name), address: chosen(entry.da), size: entry.len }
            }
            Entry::Vdev(ref vdev) => Self::vdev(vdev),
            Entry::Vendor { kind, bytes } => match TraceWords::parse(kind, bytes) {
                Ok(Some(TraceWords { trace, flags, .. })) => {
                    Self::TraceWords { trace, rings: flags & TraceWords::RINGS != 0 }
                }
                Ok(None) => Self::Vendor { kind, size: bytes.len() },
                Err(malformed) => Self::Malformed { reason: malformed.to_string() },
            },
            Entry::Unknown { kind } => Self::Unknown { kind },
        }
    }

    fn vdev(vdev: &Vdev<'_>) -> Self {
        let features = u64::from(vdev.dfeatures);
        let sized = vdev.id == ID_RPMSG && features & F_BUFSZ != 0;
        let config = RpmsgConfig::parse(vdev.config()).ok().filter(|_| sized);
        let rings = vdev.vrings().map(|vring| Ring {
            address: chosen(vring.da),
            descriptors: vring.num,
            align: vring.align,
            notify_id: chosen(vring.notifyid),
        });
        Self::Vdev {
            id: vdev.id,
            device: device(vdev.id),
            notify_id: chosen(vdev.notifyid),
            features: vdev.dfeatures,
            feature_names: names_for(vdev.id, features).to_string(),
            config: hex(vdev.config()),
            buffers: config
                .map(|config| Buffers { from_remote: config.txbuf_size, to_remote: config.rxbuf_size }),
            rings: rings.collect(),
        }
    }
}

impl Placed {
    fn of(memory: &Memory) -> Self {
        Self {
            name: memory.name.clone(),
            address: memory.at.map(|at| at.0),
            size: memory.len,
            access: memory.access.to_string(),
        }
    }
}

impl Finding {
    fn of(finding: &sidecore_remoteproc::Finding) -> Self {
        let sidecore_remoteproc::Finding { code, severity, text } = finding;
        Self { code: code.to_string(), severity: severity.to_string(), text: text.clone() }
    }

    fn unplanned(error: &PlanError) -> Self {
        Self { code: error.code().to_string(), severity: "error".to_owned(), text: error.to_string() }
    }
}

/// Nobody has chosen yet where the field has all bits set.
fn chosen(value: u32) -> Option<u32> {
    (value != ADDR_ANY).then_some(value)
}

fn name(name: &FixedName) -> String {
    name.to_string()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn device(id: u32) -> Option<&'static str> {
    match id {
        ID_NET => Some("network"),
        ID_BLOCK => Some("block"),
        ID_CONSOLE => Some("console"),
        ID_RPMSG => Some("rpmsg"),
        _ => None,
    }
}
