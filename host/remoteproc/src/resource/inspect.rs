//! What is odd about a resource table, as far as the table itself tells.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::ToString as _;
use alloc::vec::Vec;

use sidecore_wire::config::{Epochs, RpmsgConfig};
use sidecore_wire::features::{F_BUFSZ, F_EPOCH};
use sidecore_wire::resource_table::vdev::ID_RPMSG;
use sidecore_wire::resource_table::{ADDR_ANY, Devmem, Entry, FixedName, TraceWords, Vdev, Vring};
use sidecore_wire::split::Layout;

use crate::codes;
use crate::finding::Finding;
use crate::firmware::Firmware;
use crate::text::escape;

/// A vdev of remoteproc has so many rings in Linux at most.
const LINUX_RINGS: u8 = 2;

pub(crate) fn inspect(firmware: &Firmware<'_>, findings: &mut Vec<Finding>) {
    let table = match firmware.table() {
        Ok(Some(table)) => table,
        Ok(None) => return,
        Err(error) => {
            findings.push(Finding::error(codes::TABLE_ENTRY_MALFORMED, error.to_string()));
            return;
        }
    };
    findings.extend(table.findings().map(|odd| Finding::warning(codes::TABLE_ODD, odd.to_string())));
    let mut ids = BTreeSet::new();
    for located in table.entries() {
        let located = match located {
            Ok(located) => located,
            Err(error) => {
                findings.push(Finding::error(codes::TABLE_ENTRY_MALFORMED, error.to_string()));
                continue;
            }
        };
        let index = located.index;
        match located.entry {
            Entry::Carveout(_) | Entry::Trace(_) => {}
            Entry::Devmem(Devmem { len, pa, name, .. }) => {
                let name = escape(name.as_bytes(), FixedName::SIZE);
                let text = format!("entry {index}: {len:#x} bytes of registers ({name}) at pa {pa:#x}");
                findings.push(Finding::warning(codes::DEVMEM_NOT_MAPPED, text));
            }
            Entry::Vdev(vdev) => inspect_vdev(index, &vdev, &mut ids, findings),
            // One that is of no use is told of where the memories are planned.
            Entry::Vendor { kind, bytes } if !matches!(TraceWords::parse(kind, bytes), Ok(None)) => {}
            Entry::Vendor { kind, .. } => {
                findings.push(Finding::note(codes::ENTRY_VENDOR, format!("entry {index}: type is {kind}")));
            }
            Entry::Unknown { kind } => {
                let text = format!("entry {index}: type is {kind}");
                findings.push(Finding::warning(codes::ENTRY_UNKNOWN, text));
            }
        }
    }
}

/// At most one finding of each kind, however many rings the device has.
fn inspect_vdev(index: u32, vdev: &Vdev<'_>, ids: &mut BTreeSet<u32>, findings: &mut Vec<Finding>) {
    let rings = vdev.num_of_vrings;
    if rings > LINUX_RINGS || (vdev.id == ID_RPMSG && rings != LINUX_RINGS) {
        let text = format!("entry {index}: num_of_vrings is {rings}, of a device with id {}", vdev.id);
        findings.push(Finding::warning(codes::RING_COUNT, text));
    }
    let fits =
        |vring: &Vring| u16::try_from(vring.num).is_ok_and(|num| Layout::new(num, vring.align).is_ok());
    if let Some((vring, number)) = vdev.vrings().zip(0_u8..).find(|(vring, _)| !fits(vring)) {
        let (num, align) = (vring.num, vring.align);
        let text = format!("entry {index}: num of vring {number} is {num} and align {align:#x}");
        findings.push(Finding::error(codes::RING_DIMENSIONS, text));
    }
    let given = vdev.vrings().zip(0_u8..).filter(|(vring, _)| vring.notifyid != ADDR_ANY);
    let mut again = given.filter(|(vring, _)| !ids.insert(vring.notifyid));
    if let Some((vring, number)) = again.next() {
        let id = vring.notifyid;
        let text = format!("entry {index}: notifyid of vring {number} is {id}, as that of an earlier ring");
        findings.push(Finding::warning(codes::NOTIFY_ID_DUPLICATE, text));
    }
    again.for_each(drop);

    let offers_sizes = vdev.id == ID_RPMSG && u64::from(vdev.dfeatures) & F_BUFSZ != 0;
    let epochs = Epochs::at(vdev.config_len as usize);
    let offers_epochs = vdev.id == ID_RPMSG && u64::from(vdev.dfeatures) & F_EPOCH != 0;
    if offers_epochs && epochs.is_none_or(|at| !at.is_multiple_of(4)) {
        let text = format!("entry {index}: feature bit 16 is offered, but config_len is {}", vdev.config_len);
        findings.push(Finding::warning(codes::EPOCHS, text));
    }
    if offers_sizes && let Err(malformed) = RpmsgConfig::parse(vdev.config()) {
        let text = format!("entry {index}: feature bit 1 is offered, but {malformed}");
        findings.push(Finding::warning(codes::BUFFER_SIZES, text));
    }
}
