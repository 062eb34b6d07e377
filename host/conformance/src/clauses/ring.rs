//! Rings.

use sidecore_wire::split::{DESC_NEXT, UsedElement};

use crate::as_host::{AsHost, FROM_REMOTE, OURS, TO_REMOTE};
use crate::clause::{Row, host, host_at, host_refuses, pattern, refused, remote, watched};
use crate::clauses::memory::host_is_up;
use crate::peer::Role::Host;
use crate::verdict::{Claim as _, Outcome, must};

pub(super) const ROWS: &[Row] = &[
    remote("RING-1", "finds the parts of a ring where they are", |peer| peer.up().map(drop)),
    host("RING-1", "finds the parts of a ring where they are", host_is_up),
    remote("RING-2", "goes round the ring, slot by slot", |peer| {
        let to = peer.up()?;
        for turn in 0..3 * u32::from(peer.rings[TO_REMOTE].num().min(512)) {
            peer.echo(to, &turn.to_le_bytes()).claim("where the ring goes round")?;
        }
        Ok(())
    }),
    watched("RING-2", "counts entries, and never back", Host),
    host_at(
        "RING-3",
        "clears the remote's part of each ring before DRIVER_OK",
        |table| table.litter = true,
        |peer| {
            peer.await_start(20 * peer.pace)?;
            let used = peer.at_start.used;
            must(used == [[0; 3]; 2], || {
                format!("flags, index and event of the used parts at DRIVER_OK: {used:x?}")
            })
        },
    ),
    watched("RING-4", "makes no descriptor available twice", Host),
    watched("RING-5", "makes single descriptors available", Host),
    remote("RING-5", "refuses a chain of descriptors", |peer| {
        let to = peer.up()?;
        peer.send_descriptor(|descriptor| (descriptor.flags, descriptor.next) = (DESC_NEXT, 0))?;
        refused(peer, to, "a descriptor with NEXT")
    }),
    watched("RING-6", "sets WRITE in ring 0 and not in ring 1", Host),
    host("RING-7", "refuses a used entry that names a descriptor which is not with the remote", |peer| {
        peer.up()?;
        peer.serve(1)?;
        peer.lie(FROM_REMOTE, &UsedElement { id: 0x00FF_0000, len: 20 }, 1)?;
        host_refuses(peer, "a used entry with id 0xff0000")
    }),
    host("RING-8", "refuses a used index that jumps", |peer| {
        peer.up()?;
        peer.serve(1)?;
        let ahead = peer.lie_beyond(FROM_REMOTE)?;
        host_refuses(peer, &format!("a used index {ahead} ahead, in a ring of {}", ahead - 7))
    }),
    remote("RING-9", "gives each buffer back, and once", gives_back),
    remote("RING-10", "refuses an available index that jumps", index_jumps),
    remote("RING-11", "refuses a head that the ring does not have", |peer| {
        let to = peer.up()?;
        peer.watch.look_away();
        let ring = peer.rings[TO_REMOTE];
        // One that a mask would make a descriptor of.
        ring.offer(&*peer.ground, peer.made(TO_REMOTE), ring.num());
        peer.ground.store(ring.available_index(), peer.made(TO_REMOTE).wrapping_add(1));
        peer.kick(TO_REMOTE);
        refused(peer, to, "a head as large as the ring")
    }),
];

fn gives_back(peer: &mut AsHost<'_>) -> Outcome {
    let to = peer.up()?;
    for turn in 0..16 {
        peer.echo(to, &pattern(100.min(peer.max_payload()), turn))?;
    }
    let before = (0..peer.buffers(TO_REMOTE)).count();
    for turn in 0..before {
        peer.send(OURS, to, &[turn as u8]).claim("a buffer of ring 1 did not come back")?;
    }
    for _ in 0..before {
        peer.receive_within(OURS, 10 * peer.pace)?;
    }
    Ok(())
}

fn index_jumps(peer: &mut AsHost<'_>) -> Outcome {
    let to = peer.up()?;
    peer.watch.look_away();
    let ring = peer.rings[TO_REMOTE];
    let index = peer.made(TO_REMOTE).wrapping_add(ring.num()).wrapping_add(7);
    peer.ground.store(ring.available_index(), index);
    peer.kick(TO_REMOTE);
    refused(peer, to, "an available index 7 beyond the ring")
}
