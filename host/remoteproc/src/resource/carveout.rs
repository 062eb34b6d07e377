//! Carveout: memory that the firmware wants besides its segments, or around them.
//!
//! A carveout at a fixed address may hold whole segments, rings and traces. One named `vdev0vring1` or `vdev0buffer` is
//! where that ring or those buffers go (Linux `rproc_alloc_vring`, `rproc_find_carveout_by_name`). Where it came to
//! lie is written back: `da`, and `pa`. The backends so far know no address of the main side's own bus, and then both are
//! the same, as on processors without address translation.

use alloc::format;
use alloc::string::String;

use sidecore_mem::DeviceAddr;
use sidecore_wire::resource_table::{self as wire, ADDR_ANY, FixedName, Located};

use super::error::{Fault, Place, PlanError};
use super::space::{Purpose, Rank, Spot};
use super::{Building, Placing};
use crate::text::escape;

/// A carveout and where it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Carveout {
    /// Number of its entry in the table.
    pub entry: u32,
    /// Its name, made printable.
    pub name: String,
    /// Device address.
    pub at: DeviceAddr,
    /// Length in bytes.
    pub len: u32,
    /// Flags for an IOMMU, in the firmware's own terms.
    pub flags: u32,
}

/// A carveout that is still to be placed.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    pub(super) located: Located<wire::Carveout>,
    pub(super) name: String,
    pub(super) spot: Spot,
}

impl Planned {
    pub(super) fn new(
        located: Located<wire::Carveout>,
        building: &mut Building<'_>,
    ) -> Result<Planned, PlanError> {
        let wire::Carveout { da, len, .. } = located.entry;
        let at_fault = |field, value: u32, fault| place(located.index, field).with(value.into(), fault);
        let limit = building.options.limits.memory;
        if len == 0 {
            return Err(at_fault("len", len, Fault::Zero));
        }
        if u64::from(len) > limit {
            return Err(at_fault("len", len, Fault::TooLarge { needed: len.into(), limit }));
        }
        let mut name = escape(located.entry.name.as_bytes(), FixedName::SIZE);
        if name.is_empty() {
            name = format!("carveout{}", located.index);
        }
        let spot = if da == ADDR_ANY {
            building.space.float(name.clone(), len.into(), 1, Rank::Other)
        } else {
            let fixed = building.space.fix(&name, da, len.into(), Purpose::Carveout);
            fixed.map_err(|fault| at_fault("da", da, fault))?
        };
        Ok(Planned { located, name, spot })
    }

    /// Whether the name up to its NUL is this one.
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.located.entry.name.as_bytes() == name.as_bytes()
    }

    pub(super) fn place(&self, placing: &mut Placing<'_>) -> Result<Carveout, PlanError> {
        let Located { index: entry, offset, entry: carveout } = self.located;
        let da = placing.address(self.spot, carveout.len.into())?;
        placing.write(offset, &wire::Carveout { da, pa: da, ..carveout }.emit());
        let at = DeviceAddr(da.into());
        Ok(Carveout { entry, name: self.name.clone(), at, len: carveout.len, flags: carveout.flags })
    }
}

pub(super) fn place(entry: u32, field: &'static str) -> Place {
    Place { entry, kind: "carveout", ring: None, field }
}
