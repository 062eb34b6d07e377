//! Devmem: registers of the machine that the firmware wants to reach.
//!
//! Linux maps them through the remote's IOMMU and refuses the firmware where there is none; OpenAMP ignores them. Here
//! the wish is checked and kept, and a finding says that nothing was mapped.

use alloc::string::String;

use sidecore_mem::{DeviceAddr, PhysAddr};
use sidecore_wire::resource_table::{self as wire, FixedName, Located};

use super::error::{Fault, Place, PlanError};
use crate::text::escape;

/// Registers that the firmware wants to reach, and that nothing maps for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devmem {
    /// Number of its entry in the table.
    pub entry: u32,
    /// Its name, made printable.
    pub name: String,
    /// Where the firmware wants them.
    pub at: DeviceAddr,
    /// Where they are.
    pub physical: PhysAddr,
    /// Length in bytes.
    pub len: u32,
    /// Flags for an IOMMU, in the firmware's own terms.
    pub flags: u32,
}

impl Devmem {
    pub(super) fn new(located: &Located<wire::Devmem>) -> Result<Devmem, PlanError> {
        let wire::Devmem { da, pa, len, flags, name, .. } = located.entry;
        let place = |field| Place { entry: located.index, kind: "devmem", ring: None, field };
        if len == 0 {
            return Err(place("len").with(0, Fault::Zero));
        }
        for (field, address) in [("da", da), ("pa", pa)] {
            if address.checked_add(len - 1).is_none() {
                let fault = Fault::Wraps { at: address.into(), len: len.into() };
                return Err(place(field).with(address.into(), fault));
            }
        }
        Ok(Devmem {
            entry: located.index,
            name: escape(name.as_bytes(), FixedName::SIZE),
            at: DeviceAddr(da.into()),
            physical: PhysAddr(pa.into()),
            len,
            flags,
        })
    }
}
