//! What a firmware image asks for, and where it is put.
//!
//! A [`Plan`] is made from the image alone: the memories that it needs, checked against each other and against
//! [`Limits`]. A backend gives them ([`Backend::prepare`](crate::Backend::prepare)), and [`Plan::place`] then says
//! where each ring, buffer, carveout and trace lies, with the resource table as the remote shall see it.
//!
//! Only the image's own bytes are read here, never those in the remote's memory, which the remote may change.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use sidecore_mem::DeviceAddr;
use sidecore_wire::resource_table::{Entry, Located, Table};

mod carveout;
mod devmem;
mod error;
mod inspect;
mod space;
mod trace;
mod vdev;
mod vendor;

pub use carveout::Carveout;
pub use devmem::Devmem;
pub use error::{Fault, Place, PlanError};
pub use vdev::{BufferPlace, Buffers, Pool, PoolPlace, Vdev, VringPlace};
pub use vendor::Vendor;

pub(crate) use inspect::inspect;

use crate::codes;
use crate::finding::Finding;
use crate::firmware::Firmware;
use crate::trace::TraceBuffer;
use crate::{Limits, Memory};

use self::space::{Space, Spot};
use self::vdev::NotifyIds;

/// How memories are planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How much the firmware may ask for.
    pub limits: Limits,
    /// Memories begin and end on multiples of so many bytes: the page of the backend, a power of two (anything else is
    /// rounded up to one).
    pub granule: u64,
    /// Buffers of rpmsg devices.
    pub buffers: Buffers,
}

impl Options {
    /// Default limits, pages of 4096 bytes, buffers as the firmware has them.
    pub const DEFAULT: Options = Options {
        limits: Limits::DEFAULT,
        granule: 4096,
        buffers: Buffers {
            from_remote: Pool { size: None, count: None },
            to_remote: Pool { size: None, count: None },
        },
    };
}

impl Default for Options {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Which memories a firmware image needs, and what goes where in them.
#[derive(Clone, Debug)]
pub struct Plan {
    memories: Vec<Memory>,
    /// Which memory each floating one is.
    numbers: Vec<usize>,
    table: Option<PlannedTable>,
    findings: Vec<Finding>,
}

#[derive(Clone, Debug)]
struct PlannedTable {
    at: Option<DeviceAddr>,
    bytes: Vec<u8>,
    carveouts: Vec<carveout::Planned>,
    traces: Vec<trace::Planned>,
    vdevs: Vec<vdev::Planned>,
    devmems: Vec<Devmem>,
    vendors: Vec<Vendor>,
}

impl Plan {
    /// Plans the memories of a firmware image: its segments, and all that its resource table asks for.
    ///
    /// # Errors
    /// The table is malformed, asks for what cannot be (each error names entry, field and value) or for more than the
    /// limits allow, or the image is a program that wants an interpreter.
    pub fn new(firmware: &Firmware<'_>, options: &Options) -> Result<Plan, PlanError> {
        if let Some(path) = firmware.interpreter() {
            return Err(PlanError::Interpreter { path: path.to_string() });
        }
        let mut findings = Vec::new();
        let mut building = Building { options, space: Space::new(firmware.segments()), rings: 0 };
        let table = match firmware.table().map_err(PlanError::Table)? {
            Some(table) => {
                let at = firmware.table_section().and_then(|section| section.at);
                Some(PlannedTable::new(table, at, &mut building, &mut findings)?)
            }
            None => None,
        };
        let granule = options.granule.checked_next_power_of_two().unwrap_or(1);
        let (memories, numbers) = building.space.memories(granule, &options.limits, &mut findings)?;
        Ok(Plan { memories, numbers, table, findings })
    }

    /// Plans what the resource table of a remote asks for that runs already, `bytes` being a private copy of what lies
    /// at `at`: where its rings, traces and carveouts are, and what is still to be placed
    /// ([`Backend::place`](crate::Backend::place)).
    ///
    /// # Errors
    /// As for [`Plan::new`].
    pub fn of_running(bytes: &[u8], at: DeviceAddr, options: &Options) -> Result<Plan, PlanError> {
        let table = Table::parse(bytes).map_err(PlanError::Table)?;
        let mut findings = Vec::new();
        let mut building = Building { options, space: Space::new(&[]), rings: 0 };
        let table = PlannedTable::new(table, Some(at), &mut building, &mut findings)?;
        // Nothing is mapped for it, so nothing is rounded up to pages; and its segments are not known, in which a trace
        // buffer lies that lies nowhere else.
        let (memories, numbers) = building.space.memories(1, &options.limits, &mut findings)?;
        findings.retain(|finding| finding.code != codes::TRACE_OUTSIDE);
        Ok(Plan { memories, numbers, table: Some(table), findings })
    }

    /// The memories, for [`Backend::prepare`](crate::Backend::prepare): buffers and rings first, so that a lookup in
    /// the remote's address map finds them first.
    #[must_use]
    pub fn memories(&self) -> &[Memory] {
        &self.memories
    }

    /// What is odd about the memories. (See [`Firmware::findings`] for the rest.)
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// Says where everything lies, now that the memories are placed: `memories` are those of the plan, in their order,
    /// with `at` filled in.
    ///
    /// # Errors
    /// A memory that the table must name lies above 4 GiB, or nowhere.
    pub fn place(&self, memories: &[Memory]) -> Result<Resources, PlanError> {
        let mut resources = Resources { memories: memories.to_vec(), ..Resources::default() };
        if let Some(table) = &self.table {
            let bytes = table.bytes.clone();
            let mut placing = Placing { memories, numbers: &self.numbers, table: table.at, bytes };
            for carveout in &table.carveouts {
                resources.carveouts.push(carveout.place(&mut placing)?);
            }
            for trace in &table.traces {
                resources.traces.push(trace.place(&mut placing)?);
            }
            for vdev in &table.vdevs {
                resources.vdevs.push(vdev.place(&mut placing)?);
            }
            resources.devmems.clone_from(&table.devmems);
            resources.vendors.clone_from(&table.vendors);
            resources.table = Some(LoadedTable { at: table.at, bytes: placing.bytes });
        }
        Ok(resources)
    }
}

impl PlannedTable {
    fn new(
        table: Table<'_>,
        at: Option<DeviceAddr>,
        building: &mut Building<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<PlannedTable, PlanError> {
        let (count, limit) = (table.header().count, building.options.limits.entries);
        if count > limit {
            return Err(PlanError::TooManyEntries { count, limit });
        }
        let entries: Vec<Located<Entry<'_>>> =
            table.entries().collect::<Result<_, _>>().map_err(PlanError::Table)?;
        let mut planned = PlannedTable {
            at,
            bytes: table.bytes().to_vec(),
            carveouts: Vec::new(),
            traces: Vec::new(),
            vdevs: Vec::new(),
            devmems: Vec::new(),
            vendors: Vec::new(),
        };
        // Whatever their place in the table, carveouts come first, for other entries may lie inside them.
        for &Located { index, offset, ref entry } in &entries {
            if let Entry::Carveout(entry) = *entry {
                planned.carveouts.push(carveout::Planned::new(Located { index, offset, entry }, building)?);
            }
        }
        let (words, faults) = crate::trace::words(table, at);
        findings.extend(faults.into_iter().map(|fault| Finding::warning(codes::TRACE_WORDS, fault)));
        let mut ids = NotifyIds::new(&entries);
        for &Located { index, offset, ref entry } in &entries {
            match *entry {
                Entry::Carveout(_) => {}
                Entry::Devmem(entry) => {
                    planned.devmems.push(Devmem::new(&Located { index, offset, entry })?);
                }
                Entry::Trace(entry) => {
                    let number = planned.traces.len();
                    let located = Located { index, offset, entry };
                    let words = words.get(&index).copied();
                    planned.traces.push(trace::Planned::new(located, number, words, building, findings)?);
                }
                Entry::Vdev(entry) => {
                    let number = planned.vdevs.len() as u32;
                    let located = Located { index, offset, entry };
                    let carveouts = &planned.carveouts;
                    planned.vdevs.push(vdev::Planned::new(&located, number, &mut ids, carveouts, building)?);
                }
                Entry::Vendor { kind, bytes } => {
                    planned.vendors.push(Vendor { entry: index, kind, bytes: bytes.to_vec() });
                }
                Entry::Unknown { .. } => {}
            }
        }
        Ok(planned)
    }
}

/// A plan in the making.
struct Building<'o> {
    options: &'o Options,
    space: Space,
    /// Rings of all devices so far.
    rings: u32,
}

/// A plan whose memories have been placed, and the table's bytes with the addresses that are known by now.
struct Placing<'p> {
    memories: &'p [Memory],
    numbers: &'p [usize],
    table: Option<DeviceAddr>,
    bytes: Vec<u8>,
}

impl Placing<'_> {
    /// The address of a thing of `len` bytes as the table can hold it.
    fn address(&self, spot: Spot, len: u64) -> Result<u32, PlanError> {
        let number = match spot {
            Spot::Fixed(da) => return Ok(da),
            Spot::Floating(index) => self.numbers[index],
        };
        let memory = self.memories.get(number);
        let at = memory.and_then(|memory| memory.at);
        let last = at.and_then(|at| at.checked_add(len - 1));
        match (at.and_then(|at| u32::try_from(at.0).ok()), last.map(|last| u32::try_from(last.0))) {
            (Some(da), Some(Ok(_))) => Ok(da),
            _ => {
                let name = memory.map(|memory| memory.name.clone()).unwrap_or_default();
                Err(PlanError::PlacedHigh { name, at })
            }
        }
    }

    /// Replaces a part of the table that was read from these very bytes.
    fn write(&mut self, offset: u32, part: &[u8]) {
        let start = offset as usize;
        let place = self.bytes.get_mut(start..start + part.len());
        place.expect("the entry was read from here").copy_from_slice(part);
    }
}

/// What a firmware image was given, and where everything lies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Resources {
    /// The memories, as the backend gave them.
    pub memories: Vec<Memory>,
    /// The resource table as the remote shall find it.
    pub table: Option<LoadedTable>,
    /// The carveouts, in the order of the table.
    pub carveouts: Vec<Carveout>,
    /// Registers that the firmware wants to reach; nothing maps them.
    pub devmems: Vec<Devmem>,
    /// The trace buffers, in the order of the table.
    pub traces: Vec<TraceBuffer>,
    /// The virtio devices, in the order of the table.
    pub vdevs: Vec<Vdev>,
    /// Vendors' entries, as they are.
    pub vendors: Vec<Vendor>,
}

/// The resource table with all addresses written back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedTable {
    /// Device address of the table; none if no segment holds it.
    pub at: Option<DeviceAddr>,
    /// The table. The remote's own copy may say something else by now.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests;
