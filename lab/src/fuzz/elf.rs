//! Firmware files: taken apart, planned and placed.

use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::resource::{Options, Plan, Resources};
use sidecore_remoteproc::{Firmware, Limits, MAX_MEMORIES, Memory};

/// Does with the bytes what is done with a firmware file before anything of it reaches a processor. Everything that a
/// file is granted lies in its memories, these do not overlap, and no text of a file's own reaches a terminal raw.
pub fn elf(bytes: &[u8]) {
    let firmware = match Firmware::parse(bytes) {
        Ok(firmware) => firmware,
        Err(error) => return printable(&error.to_string()),
    };
    let mut taken = Vec::new();
    for segment in firmware.segments() {
        printable(&segment.name);
        assert!(segment.memsz > 0 && segment.bytes.len() as u64 <= segment.memsz);
        taken.push((segment.at.0, segment.memsz));
    }
    apart(taken);
    assert!(firmware.build_id().is_none_or(|id| id.len() <= 64));
    for finding in firmware.findings() {
        printable(&finding.to_string());
    }
    let plan = match Plan::new(&firmware, &Options::DEFAULT) {
        Ok(plan) => plan,
        Err(error) => return printable(&error.to_string()),
    };
    for finding in plan.findings() {
        printable(&finding.to_string());
    }
    let memories = plan.memories();
    assert!(memories.len() <= MAX_MEMORIES);
    assert!(memories.iter().map(|memory| memory.len).sum::<u64>() <= Limits::DEFAULT.memory);
    let memories = settle(memories);
    match plan.place(&memories) {
        Ok(resources) => inside(&resources, &firmware),
        Err(error) => printable(&error.to_string()),
    }
}

/// Places what has no address of its own, as a backend does.
fn settle(memories: &[Memory]) -> Vec<Memory> {
    let mut settled = memories.to_vec();
    // High enough that it never meets those that have an address.
    let mut next = settled
        .iter()
        .filter_map(|memory| memory.at?.checked_add(memory.len))
        .fold(0x2000_0000, |next, end| next.max(end.0));
    for memory in &mut settled {
        printable(&memory.name);
        assert!(memory.len > 0 && memory.align.is_power_of_two());
        if memory.at.is_none()
            && let Some(at) = next.checked_next_multiple_of(memory.align)
            && let Some(end) = at.checked_add(memory.len)
        {
            memory.at = Some(DeviceAddr(at));
            next = end;
        }
    }
    apart(settled.iter().filter_map(|memory| Some((memory.at?.0, memory.len))).collect());
    settled
}

fn inside(resources: &Resources, firmware: &Firmware<'_>) {
    let check = |what: &str, at: DeviceAddr, len: u64| {
        let held = resources.memories.iter().any(|memory| {
            let offset = memory.at.and_then(|start| at.offset_from(start));
            offset.is_some_and(|offset| offset <= memory.len && len <= memory.len - offset)
        });
        assert!(held, "{what} at {at} of {len} bytes lies in no memory");
    };
    for segment in firmware.segments() {
        check("a segment", segment.at, segment.memsz);
    }
    for carveout in &resources.carveouts {
        printable(&carveout.name);
        check("a carveout", carveout.at, carveout.len.into());
    }
    for trace in &resources.traces {
        printable(&trace.name);
        check("a trace", trace.at, trace.len.into());
    }
    for vdev in &resources.vdevs {
        let mut taken = Vec::new();
        for vring in &vdev.vrings {
            assert!(vring.num.is_power_of_two() && vring.at.is_aligned(16));
            check("a ring", vring.at, vring.len.into());
            taken.push((vring.at.0, vring.len.into()));
        }
        if let Some(buffers) = &vdev.buffers {
            check("the buffers", buffers.at, buffers.len);
            taken.push((buffers.at.0, buffers.len));
            for pool in [&buffers.from_remote, &buffers.to_remote] {
                let offset = pool.at.offset_from(buffers.at).unwrap();
                assert!(offset + u64::from(pool.size) * u64::from(pool.count) <= buffers.len);
            }
        }
        apart(taken);
    }
}

/// Checks that stretches (address and length) share no byte.
fn apart(mut stretches: Vec<(u64, u64)>) {
    stretches.retain(|(_, len)| *len > 0);
    stretches.sort_unstable();
    for pair in stretches.windows(2) {
        assert!(pair[1].0 - pair[0].0 >= pair[0].1, "{pair:x?} overlap");
    }
}

fn printable(text: &str) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "{text:?}");
}
