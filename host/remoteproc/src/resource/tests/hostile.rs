//! Tables of any bytes.

use alloc::vec::Vec;

use proptest::prelude::*;
use sidecore_wire::config::RpmsgConfig;
use sidecore_wire::resource_table::{ADDR_ANY, VdevHeader};

use super::place;
use crate::MAX_MEMORIES;
use crate::firmware::Class;
use crate::resource::*;
use crate::testing::{DATA, Elf, ring, rpmsg, table};

/// What holds for any table that is accepted.
fn check(bytes: &[u8]) {
    let file = Elf::with_table(Class::Elf32, bytes).build();
    let firmware = Firmware::parse(&file).unwrap();
    let options = Options { limits: Limits { memory: 1 << 24, ..Limits::DEFAULT }, ..Options::DEFAULT };
    let Ok(plan) = Plan::new(&firmware, &options) else { return };
    assert!(plan.memories().len() <= MAX_MEMORIES);
    assert!(plan.memories().iter().map(|memory| memory.len).sum::<u64>() <= 1 << 24);
    let mut fixed: Vec<(u64, u64)> =
        plan.memories().iter().filter_map(|memory| Some((memory.at?.0, memory.len))).collect();
    fixed.sort_unstable();
    assert!(fixed.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "{fixed:?}");
    let mut ids = Vec::new();
    let resources = place(&plan);
    let inside = |at: DeviceAddr, len: u64| {
        resources
            .memories
            .iter()
            .any(|memory| at.offset_from(memory.at.unwrap()).is_some_and(|offset| offset + len <= memory.len))
    };
    for vdev in &resources.vdevs {
        for vring in &vdev.vrings {
            assert!(inside(vring.at, vring.len.into()) && !ids.contains(&vring.notifyid));
            ids.push(vring.notifyid);
        }
        assert!(vdev.buffers.is_none_or(|buffers| inside(buffers.at, buffers.len)));
    }
    assert!(resources.traces.iter().all(|trace| inside(trace.at, trace.len.into())));
    assert!(resources.carveouts.iter().all(|carveout| inside(carveout.at, carveout.len.into())));
    assert!(Table::parse(&resources.table.unwrap().bytes).is_ok());
}

fn sound_table() -> Vec<u8> {
    table(|entries| {
        entries.carveout("vdev0buffer", 0x3000_0000, 0x8000);
        entries.trace("log", DATA as u32 + 0x300, 0x80);
        let config = RpmsgConfig::new(512, 256).emit();
        let header = VdevHeader { dfeatures: 3, ..rpmsg() };
        entries.vdev(&header, &[ring(ADDR_ANY, 16, 0), ring(0x3010_0000, 16, 1)], &config);
        entries.entry(200, b"vendor");
    })
}

#[test]
fn every_byte_of_a_table_may_be_anything() {
    let table = sound_table();
    check(&table);
    for at in 0..table.len() {
        for value in [0, 1, 2, 0x7f, 0x80, 0xfe, 0xff, table[at] ^ 1, table[at] ^ 0x10] {
            let mut changed = table.clone();
            changed[at] = value;
            check(&changed);
        }
        check(&table[..at.max(1)]);
    }
}

proptest! {
    #[test]
    fn any_table_is_an_error_or_a_plan(
        patches in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..16),
        words in prop::collection::vec(
            (any::<prop::sample::Index>(), prop_oneof![Just(0), Just(u32::MAX), Just(0x1000_1000), any::<u32>()]),
            0..4,
        ),
    ) {
        let mut bytes = sound_table();
        for (at, word) in words {
            let at = at.index(bytes.len() / 4) * 4;
            let word: u32 = word;
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        for (at, value) in patches {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        check(&bytes);
    }
}
