//! The resource table.

use sidecore_wire::resource_table::vdev::offset;

use crate::as_host::AsHost;
use crate::as_remote::AsRemote;
use crate::clause::{Row, host, host_at, remote, stays_down};
use crate::clauses::memory::host_is_up;
use crate::verdict::{Claim as _, Outcome, must, not_shown};

pub(super) const ROWS: &[Row] = &[
    remote("TABLE-1", "has a table of version 1", |peer| {
        let version = word(peer, 0)?;
        must(version == 1, || format!("the version is {version}"))
    }),
    host_at(
        "TABLE-1",
        "refuses a table of another version",
        |table| table.version = 2,
        |peer| stays_down(peer, "a table of version 2"),
    ),
    remote("TABLE-2", "leaves reserved fields 0", |peer| {
        let reserved = [word(peer, 8)?, word(peer, 12)?, peer.register(offset::RESERVED) & 0xFFFF];
        must(reserved == [0; 3], || format!("reserved fields are {reserved:x?}"))
    }),
    remote("TABLE-3", "has entries behind the offsets, at multiples of 4", |peer| {
        let count = word(peer, 4)?;
        for entry in 0..count.min(256) {
            let at = word(peer, 16 + 4 * u64::from(entry))?;
            must(at >= 16 + 4 * count && at % 4 == 0, || {
                format!("entry {entry} is at {at} of {count} entries")
            })?;
        }
        Ok(())
    }),
    host_at(
        "TABLE-3",
        "refuses an entry that leaves the table",
        |table| table.astray = 0x10_0000,
        |peer| stays_down(peer, "an entry behind the end of the table"),
    ),
    host_at(
        "TABLE-4",
        "skips entries that it does not know",
        |table| table.has_stranger = true,
        |peer| {
            peer.await_start(20 * peer.pace).claim("a table with an entry of type 100 before the device's")
        },
    ),
    remote("TABLE-5", "has a device with id 7 and two rings", |peer| {
        let (id, rings) = (peer.register(offset::ID), peer.register(offset::STATUS) >> 8 & 0xFF);
        must(id == 7 && rings == 2, || format!("the device has id {id} and {rings} rings"))?;
        peer.up().map(drop)
    }),
    host("TABLE-5", "takes ring 0 as the remote's and ring 1 as its own", host_is_up),
    remote("TABLE-6", "reads its registers in the loaded table", |peer| peer.up().map(drop)),
    host("TABLE-6", "writes its registers in the loaded table", host_is_up),
    remote("TABLE-7", "writes nothing into its entry but NEEDS_RESET", registers_stay),
    host("TABLE-7", "writes nothing into the entry but what is a host's", hosts_registers),
    host_at(
        "TABLE-8",
        "places rings that have no place, and numbers those that have none",
        |table| {
            // Short ones: the buffers take what room there is.
            for ring in &mut table.rings {
                (ring.da, ring.notifyid, ring.num, ring.align) = (u32::MAX, u32::MAX, 16, 64);
            }
        },
        |peer| {
            peer.await_start(20 * peer.pace).claim("rings whose addresses are the host's to choose")?;
            let vrings = [peer.vring(0), peer.vring(1)];
            let are_placed = vrings.iter().all(|vring| vring.da != u32::MAX && vring.notifyid != u32::MAX);
            must(are_placed, || format!("left addresses open: {vrings:?}"))
        },
    ),
    remote("TABLE-9", "has rings with a power of two of descriptors", |peer| {
        let rings = peer.rings.map(|ring| ring.num());
        must(rings.iter().all(|num| num.is_power_of_two()), || format!("rings of {rings:?}"))
    }),
    host_at(
        "TABLE-9",
        "refuses a ring of 3 descriptors",
        |table| table.rings[0].num = 3,
        |peer| stays_down(peer, "a ring of 3 descriptors"),
    ),
    remote("TABLE-10", "reads the number of its rings once", |peer| {
        let to = peer.up()?;
        let at = peer.vdev + offset::NUM_VRINGS as u64;
        peer.ground.store_byte(at, 200);
        let answered = peer.echo(to, b"the same").claim("after num_of_vrings had changed");
        peer.ground.store_byte(at, 2);
        answered
    }),
    host_at(
        "TABLE-11",
        "puts a ring into the carveout of its name",
        |table| table.carveout = true,
        |peer| {
            peer.await_start(20 * peer.pace)?;
            let (now, wanted) = (peer.vring(0).da, peer.found.carveout_at());
            must(now == wanted, || {
                format!("put ring 0 at {now:#x}, where a carveout vdev0vring0 is at {wanted:#x}")
            })
        },
    ),
    remote("TABLE-12", "has a notifyid of its own for each ring", |peer| {
        let ids = peer.rings.map(|ring| ring.notifyid);
        must(ids[0] != ids[1], || format!("both rings have the notifyid {}", ids[0]))
    }),
    host_at(
        "TABLE-12",
        "gives each ring a notifyid of its own",
        |table| table.rings.iter_mut().for_each(|ring| ring.notifyid = u32::MAX),
        |peer| {
            peer.await_start(20 * peer.pace)?;
            let ids = [peer.vring(0).notifyid, peer.vring(1).notifyid];
            must(ids[0] != ids[1], || format!("both rings have the notifyid {}", ids[0]))
        },
    ),
];

/// A word of the table.
fn word(peer: &AsHost<'_>, at: u64) -> Result<u32, crate::verdict::Stop> {
    let Some(table) = peer.table else { return not_shown("the table is in no memory that is shared") };
    let mut bytes = [0; 4];
    peer.ground.read(table + at, &mut bytes);
    Ok(u32::from_le_bytes(bytes))
}

fn registers_stay(peer: &mut AsHost<'_>) -> Outcome {
    let to = peer.up()?;
    let before = entry(peer);
    for turn in 0..8 {
        peer.echo(to, &[turn])?;
    }
    must(before == entry(peer), || "changed its own entry while messages went".to_owned())
}

fn entry(peer: &AsHost<'_>) -> [u8; 68] {
    let mut bytes = [0; 68];
    peer.ground.read(peer.vdev, &mut bytes);
    bytes
}

fn hosts_registers(peer: &mut AsRemote<'_>) -> Outcome {
    let read = |peer: &AsRemote<'_>| {
        [offset::KIND, offset::ID, offset::DFEATURES, offset::CONFIG_LEN].map(|at| peer.register(at))
    };
    // As they were written; the host may have been there before us.
    let usual = peer.found.clone();
    let before = [3, 7, usual.features, 0];
    let rings = usual.rings.map(|vring| (vring.align, vring.num));
    peer.up()?;
    peer.serve(1)?;
    let now = [peer.vring(0), peer.vring(1)].map(|vring| (vring.align, vring.num));
    must(before == read(peer) && rings == now, || {
        format!("changed the entry from {before:x?} {rings:?} to {:x?} {now:?}", read(peer))
    })?;
    let status = peer.status();
    must(status & 0x40 == 0, || format!("set NEEDS_RESET, which is the remote's: {status:#x}"))
}
