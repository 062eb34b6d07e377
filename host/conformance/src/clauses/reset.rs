//! Reset and restart.

use std::time::{Duration, Instant};

use sidecore_wire::config::Epochs;
use sidecore_wire::features::F_EPOCH;
use sidecore_wire::resource_table::vdev::offset;
use sidecore_wire::resource_table::vring;

use crate::as_host::{AsHost, FROM_REMOTE, OURS, Start, TO_REMOTE};
use crate::as_remote::{AsRemote, HostGoes};
use crate::clause::{Row, Table, host, host_at, remote};
use crate::ring::Ring;
use crate::verdict::{Claim as _, Outcome, deviates, must, not_shown};

pub(super) const ROWS: &[Row] = &[
    remote("RESET-1", "touches nothing after a reset", |peer| {
        let to = peer.up()?;
        peer.echo(to, b"before")?;
        untouched_after(peer, 0)
    }),
    remote("RESET-2", "takes it for a reset where DRIVER_OK is gone, and stops where FAILED came", |peer| {
        let to = peer.up()?;
        peer.echo(to, b"before")?;
        untouched_after(peer, 3)?;
        peer.up().claim("after a reset that left bits")?;
        untouched_after(peer, 0x87)
    }),
    remote("RESET-3", "sees a reset without a kick", |peer| {
        let to = peer.up()?;
        peer.echo(to, b"before")?;
        // It was kicked for nothing since: whether it looked shows where a message comes.
        untouched_after(peer, 0)?;
        peer.up().claim("after a reset that nobody kicked for").map(drop)
    }),
    remote("RESET-4", "sees a reset that was over before it looked", |peer| {
        for turn in 0..5 {
            let to = peer.up().claim("after a start that took the place of another")?;
            for count in 0..turn {
                peer.echo(to, &[count])?;
            }
        }
        Ok(())
    }),
    remote("RESET-5", "writes no used index of an old life, not even its first", |peer| {
        peer.up()?;
        for _ in 0..3 {
            peer.start(&Start::default());
        }
        peer.up().claim("after starts one upon the other").map(drop)
    }),
    remote("RESET-6", "touches nothing once it asked for a reset, and keeps the other bits", asks),
    remote("RESET-7", "comes up again where its request is gone, whatever else the status says", |peer| {
        broken(peer)?;
        if peer.status() & 0x40 == 0 {
            return not_shown("it does not ask for a reset");
        }
        peer.up().claim("after a reset that was asked for").map(drop)
    }),
    host("RESET-8", "stops using a device that asks for a reset", |peer| {
        peer.up()?;
        peer.serve(1)?;
        peer.ask_for_reset();
        peer.ground.kick(peer.rings[0].notifyid);
        std::thread::sleep(2 * peer.pace);
        match peer.goes_on() {
            HostGoes::On => deviates("went on sending to a device that asks for a reset"),
            HostGoes::Wild => deviates("broke the rules of its rings after a request for a reset"),
            _ => Ok(()),
        }
    }),
    remote("RESET-9", "forgets whom it talked to", |peer| {
        let to = peer.up()?;
        peer.echo(to, b"before")?;
        peer.set_status(0);
        std::thread::sleep(2 * peer.pace);
        let to = peer.up()?;
        peer.send(OURS + 5, to, b"another")?;
        let answer = peer.receive_within(OURS + 5, 3 * peer.pace)?;
        // The probe of the new link came first: that one is its peer now, or each who writes is.
        let other = peer.receive_within(OURS, peer.pace)?;
        must(answer.is_some() || other.is_some(), || "answers nobody after a reset".to_owned())
    }),
    host_at(
        "RESET-11",
        "goes through the whole start, whatever it finds",
        |table| (table.status, table.litter) = (7, true),
        |peer| {
            // Its own DRIVER_OK cannot be told from the one that was left; what it does with the rings can.
            let end = Instant::now() + 20 * peer.pace;
            loop {
                peer.await_start(20 * peer.pace)?;
                if peer.at_start.used == [[0; 3]; 2] && peer.at_start.available > 0 {
                    return Ok(());
                }
                if Instant::now() >= end {
                    return deviates(format!(
                        "began in rings that were not cleared: {:x?}",
                        peer.at_start.used
                    ));
                }
                std::thread::sleep(peer.pace / 16);
            }
        },
    ),
    host_at(
        "RESET-13",
        "leaves status 0 for a while where it finds that another host was there",
        |table| (table.status, table.litter) = (7, true),
        leaves_time,
    ),
    remote("RESET-12", "takes cleared rings for a reset, and not for a broken rule", |peer| {
        let to = peer.up()?;
        for turn in 0..3 {
            peer.echo(to, &[turn])?;
        }
        peer.start(&Start::default());
        let status = peer.status();
        peer.service().claim("in rings that were cleared under it")?;
        must(status & 0x40 == 0, || "asked for a reset in rings that were cleared under it".to_owned())
    }),
    host_at("RESET-17", "numbers its resets where the remote acknowledges them", with_epochs, |peer| {
        // Its own DRIVER_OK cannot be told from the one that was left.
        await_reset(peer).map_or_else(|| deviates("left driver_epoch as it was"), |_| Ok(()))
    }),
    remote(
        "RESET-18",
        "acknowledges a reset when it has let go, and nothing while it has a link",
        acknowledges,
    ),
    host_at(
        "RESET-19",
        "goes on when the remote has acknowledged the reset",
        with_epochs,
        heeds_acknowledgement,
    ),
];

/// What stands in both epochs when a host finds them.
const LEFT: u32 = 7;
/// Where in a vdev entry of two rings and nothing else in the configuration space the epochs are.
const EPOCHS: u64 = (offset::VRINGS + 2 * vring::SIZE) as u64;

/// A device that acknowledges resets, as another host left it.
fn with_epochs(table: &mut Table) {
    (table.status, table.litter) = (7, true);
    table.features |= F_EPOCH as u32;
    table.config = Epochs { driver: LEFT, device: LEFT }.emit().to_vec();
}

fn hosts_epoch(peer: &AsRemote<'_>) -> u32 {
    peer.register(EPOCHS as usize + Epochs::DRIVER)
}

/// The number of the host's reset, as soon as there is one.
fn await_reset(peer: &AsRemote<'_>) -> Option<u32> {
    let end = Instant::now() + 20 * peer.pace;
    loop {
        match hosts_epoch(peer) {
            LEFT if Instant::now() >= end => return None,
            LEFT => std::thread::sleep(Duration::from_micros(20)),
            epoch => return Some(epoch),
        }
    }
}

fn heeds_acknowledgement(peer: &mut AsRemote<'_>) -> Outcome {
    if await_reset(peer).is_none() {
        return not_shown("the host does not number its resets");
    }
    std::thread::sleep(LOOKS / 5);
    let driver = hosts_epoch(peer);
    must(peer.status() == 0, || "did not wait for the reset to be acknowledged".to_owned())?;
    let at = peer.vdev + EPOCHS + Epochs::DEVICE as u64;
    peer.ground.write(at, &driver.to_le_bytes());
    let since = Instant::now();
    while peer.status() == 0 {
        let waited = since.elapsed();
        must(waited < LOOKS, || format!("still waits {waited:?} after the reset was acknowledged"))?;
        std::thread::sleep(Duration::from_micros(20));
    }
    Ok(())
}

fn acknowledges(peer: &mut AsHost<'_>) -> Outcome {
    if u64::from(peer.offered()) & F_EPOCH == 0 {
        return not_shown("it does not offer F_EPOCH");
    }
    let len = peer.register(offset::CONFIG_LEN) as usize;
    let at = Epochs::at(len).map(|at| offset::VRINGS + 2 * vring::SIZE + at);
    let at = at.filter(|at| (peer.vdev as usize + at).is_multiple_of(4));
    let Some(at) = at else {
        return deviates(format!("the configuration space of {len} bytes has no place for the epochs"));
    };
    let host = peer.vdev + (at + Epochs::DRIVER) as u64;
    let told = |peer: &AsHost<'_>| peer.register(at + Epochs::DEVICE);
    for round in 0..3 {
        let to = peer.up()?;
        peer.echo(to, b"before")?;
        let epoch = told(peer).wrapping_add(1 + round);
        peer.ground.write(host, &epoch.to_le_bytes());
        std::thread::sleep(2 * peer.pace);
        peer.echo(to, b"nothing was reset")?;
        must(told(peer) != epoch, || "acknowledged a reset while its link was up".to_owned())?;
        peer.set_status(0);
        peer.kick(FROM_REMOTE);
        let end = Instant::now() + 5 * peer.pace;
        while told(peer) != epoch {
            must(Instant::now() < end, || format!("has not acknowledged reset {epoch} in time"))?;
            std::thread::sleep(peer.pace / 16);
        }
    }
    peer.up().claim("after resets that it acknowledged").map(drop)
}

/// Writes a status that ends the link, and looks whether the remote keeps its hands off.
fn untouched_after(peer: &mut AsHost<'_>, status: u8) -> Outcome {
    peer.watch.look_away();
    peer.set_status(status);
    std::thread::sleep(3 * peer.pace);
    let look = |peer: &AsHost<'_>| peer.rings.map(|ring| ring.remotes_part(&*peer.ground));
    let before = look(peer);
    // A message that it must not take.
    let to = peer.services.first().map_or(1024, |service| service.addr);
    peer.send(OURS, to, b"not for you")?;
    peer.kick(FROM_REMOTE);
    std::thread::sleep(3 * peer.pace);
    must(before == look(peer), || format!("took a message while the status was {status:#04x}"))
}

/// How far a remote's looks at the status may be apart.
const LOOKS: Duration = Duration::from_millis(100);

fn leaves_time(peer: &mut AsRemote<'_>) -> Outcome {
    let end = Instant::now() + 20 * peer.pace;
    let ring = Ring::new(&peer.found.rings[FROM_REMOTE]).filter(|ring| ring.at != u64::from(u32::MAX));
    let mut reset: Option<Instant> = None;
    while Instant::now() < end {
        let is_cleared = ring.is_some_and(|ring| peer.ground.load(ring.used_index()) == Some(0));
        match (peer.status(), reset) {
            (0, None) => reset = Some(Instant::now()),
            (0, _) => {}
            (_, Some(since)) => {
                let left = since.elapsed();
                return must(left >= LOOKS, || format!("left status 0 for {left:?} and went on"));
            }
            (_, None) if is_cleared => return deviates("began anew without a moment of status 0 before"),
            _ => {}
        }
        std::thread::sleep(Duration::from_micros(20));
    }
    not_shown("the host did not begin")
}

/// Brings the link up and breaks it: an available index that jumps.
fn broken(peer: &mut AsHost<'_>) -> Outcome {
    peer.up()?;
    peer.watch.look_away();
    let ring = peer.rings[TO_REMOTE];
    peer.ground.store(ring.available_index(), peer.made(TO_REMOTE).wrapping_add(ring.num()).wrapping_add(9));
    peer.kick(TO_REMOTE);
    let end = Instant::now() + 5 * peer.pace;
    while Instant::now() < end && peer.status() & 0x40 == 0 {
        std::thread::sleep(peer.pace / 16);
    }
    Ok(())
}

fn asks(peer: &mut AsHost<'_>) -> Outcome {
    broken(peer)?;
    let status = peer.status();
    if status & 0x40 == 0 {
        return not_shown("it does not ask for a reset");
    }
    must(status & 7 == 7, || format!("took other bits away: {status:#04x}"))?;
    let look = |peer: &AsHost<'_>| peer.rings.map(|ring| ring.remotes_part(&*peer.ground));
    let before = look(peer);
    peer.kick(TO_REMOTE);
    std::thread::sleep(2 * peer.pace);
    must(before == look(peer), || "used the rings after it had asked for a reset".to_owned())
}

/// Brings a host's link up and breaks it.
pub(super) fn broken_host(peer: &mut AsRemote<'_>) -> Outcome {
    peer.up()?;
    peer.serve(1)?;
    peer.lie(FROM_REMOTE, &super::message::NOBODYS, 1)
}

/// Brings a remote's link up and breaks it.
pub(super) fn broken_remote(peer: &mut AsHost<'_>) -> Outcome {
    broken(peer)
}
