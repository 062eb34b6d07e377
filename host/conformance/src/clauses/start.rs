//! Start.

use sidecore_wire::resource_table::{vdev::offset, vring};
use sidecore_wire::split::DESC_WRITE;

use crate::as_host::{AsHost, FROM_REMOTE, Liveness, OURS, Start};
use crate::clause::{Row, host, remote};
use crate::clauses::notification::drain;
use crate::peer::Woken;
use crate::verdict::{Claim as _, Outcome, deviates, must, not_shown};

/// The first address that is given out.
const FIRST: u32 = 1024;

pub(super) const ROWS: &[Row] = &[
    remote("START-1", "touches nothing before DRIVER_OK, whatever kicks come", nothing_before),
    remote("START-2", "finds messages that were sent before it looked", |peer| {
        // Nobody has said yet where the service is; most have it at the first address.
        peer.start(&Start { steps: &[0, 1, 3, 3], kicks: false, ..Start::default() });
        peer.send(OURS, FIRST, b"early")?;
        peer.set_status(7);
        peer.kick(FROM_REMOTE);
        let answer = peer.receive_within(OURS, 10 * peer.pace)?;
        if answer.is_none() && peer.service()? != FIRST {
            return not_shown(format!("its service is not at {FIRST}"));
        }
        must(answer.is_some(), || "a message that was there at DRIVER_OK was not answered".to_owned())
    }),
    remote("START-3", "sees DRIVER_OK by a kick of any number, or by none", |peer| {
        peer.start(&Start { kicks: false, ..Start::default() });
        peer.ground.kick(77);
        peer.service().claim("DRIVER_OK with a kick of number 77 alone").map(drop)
    }),
    remote("START-5", "takes DRIVER_OK for what it is, whatever other bits are set", any_bits),
    remote("START-6", "reads its rings after DRIVER_OK", places_change),
    remote("START-7", "uses no rings that are in use, and asks for a reset", rings_in_use),
    remote("START-9", "relies on no features of a host that has not negotiated", |peer| {
        if peer.offered() & 1 << 29 == 0 {
            return not_shown("EVENT_IDX is not offered");
        }
        let features = Some(peer.offered() & (1 << 29 | 1));
        let to = peer.up_with(&Start { features, steps: &[0, 4], ..Start::default() })?;
        for turn in 0..4 {
            let before = peer.used_index(FROM_REMOTE);
            peer.send(OURS, to, &[turn])?;
            kicked(peer, before, "for a used buffer, to a host that wrote DRIVER_OK alone")?;
            peer.receive_within(OURS, 10 * peer.pace)?;
        }
        Ok(())
    }),
    host("START-4", "goes through all steps, in their order, and kicks ring 0 at the end", |peer| {
        peer.await_start(20 * peer.pace)?;
        let seen = peer.at_start.history.clone();
        let last = peer.status();
        must(last & 3 == 3, || format!("set DRIVER_OK without ACKNOWLEDGE and DRIVER: {last:#04x}"))?;
        must(seen.is_sorted(), || format!("went through the status {seen:02x?}"))?;
        must(peer.at_start.available > 0, || "no buffer of ring 0 was available at DRIVER_OK".to_owned())?;
        let end = std::time::Instant::now() + 3 * peer.pace;
        while !peer.at_start.kicked && std::time::Instant::now() < end {
            if peer.ground.wait(peer.pace) == Woken::Kick {
                return Ok(());
            }
        }
        must(peer.at_start.kicked, || "kicked nobody after DRIVER_OK".to_owned())
    }),
    remote(
        "START-10",
        "takes the first kick of a host without a status for its start, and notifies of all",
        bare,
    ),
    host("START-10", "has its rings set up when it kicks ring 0, and hands its buffers over", |peer| {
        peer.await_start(20 * peer.pace)?;
        let (available, num) = (peer.at_start.available, peer.rings[FROM_REMOTE].num());
        must(available > 0, || {
            format!("{available} of {num} buffers of ring 0 were available at the first kick")
        })?;
        peer.announce()?;
        peer.serve(1).map(drop)
    }),
    host("START-11", "repeats its first kick until the remote speaks", |peer| {
        peer.await_start(20 * peer.pace)?;
        must(peer.ground.wait(5 * peer.pace) == Woken::Kick, || {
            "kicked once, and a remote that boots later never comes up".to_owned()
        })
    }),
    host("START-8", "waits for a remote that says nothing", |peer| {
        peer.await_start(20 * peer.pace)?;
        std::thread::sleep(4 * peer.pace);
        let status = peer.status();
        must(status & 0x84 == 4, || format!("gave up: the status is {status:#04x}"))?;
        peer.announce()?;
        peer.serve(1).claim("a remote that spoke late").map(drop)
    }),
];

fn nothing_before(peer: &mut AsHost<'_>) -> Outcome {
    peer.set_status(0);
    // Nothing that anybody could write there by chance.
    for ring in peer.rings {
        peer.ground.write(ring.at, &vec![0xA5; ring.layout.size() as usize]);
    }
    let look = |peer: &AsHost<'_>| {
        peer.rings.map(|ring| (ring.hosts_part(&*peer.ground), ring.remotes_part(&*peer.ground)))
    };
    let before = look(peer);
    for id in [peer.rings[0].notifyid, peer.rings[1].notifyid, 77, 0] {
        peer.ground.kick(id);
        std::thread::sleep(peer.pace / 4);
    }
    peer.set_status(3);
    peer.kick(FROM_REMOTE);
    std::thread::sleep(peer.pace);
    must(before == look(peer), || "wrote into the rings before DRIVER_OK".to_owned())?;
    must(peer.status() == 3, || {
        format!("looked at the rings before DRIVER_OK: status {:#04x}", peer.status())
    })?;
    // And again with rings that could be used.
    peer.start(&Start { steps: &[0, 1, 3, 3], ..Start::default() });
    std::thread::sleep(2 * peer.pace);
    let used = peer.rings.map(|ring| peer.ground.load(ring.used_index()).unwrap_or(0));
    must(used == [0; 2], || "used the rings before DRIVER_OK".to_owned())?;
    peer.up().claim("after kicks that came too early").map(drop)
}

/// A start as rpmsg-lite's hosts make it.
fn bare(peer: &mut AsHost<'_>) -> Outcome {
    for ring in peer.rings {
        peer.ground.write(ring.at, &vec![0xA5; ring.layout.size() as usize]);
    }
    let look = |peer: &AsHost<'_>| {
        peer.rings.map(|ring| (ring.hosts_part(&*peer.ground), ring.remotes_part(&*peer.ground)))
    };
    let before = look(peer);
    std::thread::sleep(peer.pace);
    must(before == look(peer), || "wrote into the rings before the first kick".to_owned())?;
    peer.start(&Start { kicks: false, ..Start::default() });
    // All buffers are writable, and all notifications unwanted, or so it says.
    peer.marks = DESC_WRITE;
    for ring in peer.rings {
        peer.ground.store(ring.available_flags(), 1);
    }
    peer.kick(FROM_REMOTE);
    let to = peer.service().claim("the first kick of a host without a status")?;
    for turn in 0..4 {
        drain(peer);
        let before = peer.used_index(FROM_REMOTE);
        peer.send(OURS, to, &[turn])?;
        kicked(peer, before, "for a message, to a host without a status")?;
        peer.receive_within(OURS, 10 * peer.pace)?;
    }
    Ok(())
}

fn any_bits(peer: &mut AsHost<'_>) -> Outcome {
    peer.up_with(&Start { steps: &[0, 1, 3, 11, 0x2F], ..Start::default() })
        .claim("a status that ends in 0x2f")
        .map(drop)
}

/// Other places for the rings before DRIVER_OK than at it.
fn places_change(peer: &mut AsHost<'_>) -> Outcome {
    let at = |queue: u64| peer.vdev + offset::VRINGS as u64 + queue * vring::SIZE as u64;
    let entries = [at(0), at(1)];
    peer.set_status(0);
    std::thread::sleep(peer.pace);
    let right = entries.map(|entry| {
        let mut bytes = [0; 4];
        peer.ground.read(entry, &mut bytes);
        bytes
    });
    for entry in entries {
        peer.ground.write(entry, &0xFFFF_FFFF_u32.to_le_bytes());
    }
    peer.set_status(3);
    peer.kick(FROM_REMOTE);
    std::thread::sleep(peer.pace);
    for (entry, right) in entries.into_iter().zip(right) {
        peer.ground.write(entry, &right);
    }
    peer.up_with(&Start { steps: &[3, 7], ..Start::default() })
        .claim("rings that were placed after DRIVER and before DRIVER_OK")
        .map(drop)
}

fn rings_in_use(peer: &mut AsHost<'_>) -> Outcome {
    peer.set_status(0);
    std::thread::sleep(peer.pace);
    peer.watch.look_away();
    for ring in peer.rings {
        ring.clear(&*peer.ground);
        peer.ground.store(ring.used_index(), 7);
    }
    peer.start(&Start { clears: false, ..Start::default() });
    std::thread::sleep(2 * peer.pace);
    let indices = peer.rings.map(|ring| peer.ground.load(ring.used_index()).unwrap_or(0));
    must(indices == [7; 2], || format!("used rings whose used index was 7: it is {indices:?} now"))?;
    let status = peer.status();
    must(status & 0x40 != 0, || format!("did not ask for a reset: the status is {status:#04x}"))?;
    match peer.still_answers(0) {
        Liveness::Gone => deviates("died of it"),
        _ => Ok(()),
    }
}

/// A kick has to come for what the remote gave back since its used index was `before`.
pub(super) fn kicked(peer: &mut AsHost<'_>, before: u16, what: &str) -> Outcome {
    let end = std::time::Instant::now() + 5 * peer.pace;
    while std::time::Instant::now() < end {
        match peer.ground.wait(peer.pace) {
            Woken::Kick if peer.used_index(FROM_REMOTE) != before => return Ok(()),
            Woken::Gone(how) => return not_shown(format!("the peer is gone: {how}")),
            _ => {}
        }
    }
    match peer.used_index(FROM_REMOTE) == before {
        true => not_shown("nothing came back that a kick would be due for"),
        false => deviates(format!("sent no kick {what}")),
    }
}
