//! The name service.

use sidecore_rpmsg::{Announcement, Name};

use crate::as_host::{AsHost, NAMES, OURS, STEPS, Start};
use crate::as_remote::AsRemote;
use crate::clause::{Row, host, remote, watched};
use crate::clauses::message::next_or_done;
use crate::peer::Role::{Host, Remote};
use crate::verdict::{Claim as _, Outcome, Stop, deviates, must, not_shown};

/// Where services of names are that begin alike.
const ALIKE: u32 = 3000;

pub(super) const ROWS: &[Row] = &[
    remote("NS-1", "drops announcements of another length, and sends those of 40 bytes", |peer| {
        let to = peer.up()?;
        for len in [0, 39, 41, 100] {
            peer.send(OURS, NAMES, &vec![b'x'; len])?;
            peer.echo(to, b"well").claim(&format!("after an announcement of {len} bytes"))?;
        }
        kept(peer, "NS-1")
    }),
    host("NS-1", "drops announcements of another length", |peer| {
        peer.await_start(20 * peer.pace)?;
        // Of a service that it looks for, at an address at which there is none.
        let name = peer.names.first().map_or("rpmsg-conformance".to_owned(), |name| name.to_string());
        let mut bytes = announcement(&name, 1099, 0).to_vec();
        bytes.push(0);
        for len in [0, 39, 41] {
            peer.send(1024, NAMES, &bytes[..len])?;
        }
        peer.announce()?;
        let served = peer.serve(1).claim("after announcements of 0, 39 and 41 bytes")?;
        let addr = served.first().map(|frame| frame.header.dst);
        must(addr != Some(1099), || "took an announcement of 39 or 41 bytes for one".to_owned())
    }),
    watched("NS-2", "announces names of printable characters, filled up with NULs", Remote),
    watched("NS-2", "announces names of printable characters", Host),
    remote("NS-3", "bears names that are none", |peer| {
        let to = peer.up()?;
        for name in [[0; 32], [b'n'; 32], [0xFF; 32]] {
            peer.send(OURS, NAMES, &raw(name, OURS, 0))?;
            peer.echo(to, b"well").claim(&format!("after the name {:02x?}..", &name[..2]))?;
        }
        Ok(())
    }),
    host("NS-3", "bears names that are none", |peer| {
        peer.await_start(20 * peer.pace)?;
        for name in [[0; 32], [b'n'; 32], [0xFF; 32]] {
            peer.send(1024, NAMES, &raw(name, 1099, 0))?;
        }
        peer.announce()?;
        peer.serve(1).claim("after names that are none").map(drop)
    }),
    watched("NS-4", "leaves all flags but the first 0", Remote),
    watched("NS-4", "leaves all flags but the first 0", Host),
    remote("NS-5", "is found at the address that it announced", |peer| peer.up().map(drop)),
    host("NS-5", "writes to the address that was announced", |peer| {
        peer.await_start(20 * peer.pace)?;
        peer.announce()?;
        peer.serve(1)?;
        let broken = peer.watch.seen("NS-5").broken;
        must(broken.is_none(), || broken.unwrap_or_default())
    }),
    remote("NS-6", "announces its services once, after each start", announces_once),
    remote("NS-7", "takes announcements of the host's", |peer| {
        let to = peer.up()?;
        for flags in [0, 1] {
            peer.send(OURS, NAMES, &announcement("rpmsg-conformance", OURS + 1, flags))?;
            peer.echo(to, b"well").claim("after an announcement of a host's")?;
        }
        Ok(())
    }),
    watched("NS-8", "says nothing before it was spoken to", Remote),
    host("NS-8", "speaks first", |peer| {
        peer.up()?;
        peer.serve(1).map(drop)
    }),
    watched("NS-9", "withdraws what it closes", Remote),
    remote("NS-10", "leaves things as they are where nothing new is announced", |peer| {
        let to = peer.up()?;
        for flags in [0, 0, 0, 1, 1, 1] {
            peer.send(OURS, NAMES, &announcement("rpmsg-conformance", OURS + 1, flags))?;
        }
        peer.echo(to, b"well").claim("after the same announced again and again")
    }),
    host("NS-10", "leaves things as they are where nothing new is announced", |peer| {
        peer.up()?;
        let before = peer.serve(1)?.len();
        peer.send(1090, NAMES, &announcement("rpmsg-never", 1090, 1))?;
        peer.announce()?;
        must(before > 0, String::new)?;
        match peer.receive_within(10 * peer.pace).claim("after services that were known already")? {
            Some(frame) => {
                peer.answer(&frame)?;
                next_or_done(peer, "services that were known already")
            }
            None => not_shown("the host sent nothing more"),
        }
    }),
    remote("NS-11", "bears a flood of announcements", |peer| {
        let to = peer.up()?;
        for number in 0..2000_u32 {
            peer.send(OURS, NAMES, &announcement(&format!("rpmsg-flood-{number}"), 5000 + number, 0))?;
        }
        peer.echo(to, b"well").claim("after 2000 announcements")
    }),
    host("NS-11", "bears a flood of announcements", flood),
    host("NS-12", "takes an instance of a service for one, and no other name that begins alike", instances),
];

fn announcement(name: &str, addr: u32, flags: u32) -> [u8; Announcement::SIZE] {
    let mut bytes = [0; 32];
    bytes.iter_mut().zip(name.bytes().take(31)).for_each(|(to, from)| *to = from);
    raw(bytes, addr, flags)
}

/// An announcement whose name may be none.
fn raw(name: [u8; 32], addr: u32, flags: u32) -> [u8; Announcement::SIZE] {
    let mut bytes = Announcement { name: Name::from_wire(name), addr, flags }.emit();
    bytes[..32].copy_from_slice(&name);
    bytes
}

fn kept(peer: &AsHost<'_>, clause: &str) -> Outcome {
    let broken = peer.watch.seen(clause).broken;
    must(broken.is_none(), || broken.unwrap_or_default())
}

fn announces_once(peer: &mut AsHost<'_>) -> Outcome {
    peer.up()?;
    let first = peer.services.clone();
    peer.set_status(0);
    std::thread::sleep(2 * peer.pace);
    peer.start(&Start { steps: STEPS, ..Start::default() });
    let end = std::time::Instant::now() + 5 * peer.pace;
    while std::time::Instant::now() < end && peer.services.len() < first.len() {
        // Of who goes on in rings that were cleared, RESET-4 tells.
        peer.turn("nothing was announced").or_else(|stop| match stop {
            Stop::Deviates(why) => not_shown(format!("it did not come up again: {why}")),
            other => Err(other),
        })?;
    }
    must(peer.services.len() >= first.len(), || {
        format!("announced {} services at first and {} after a reset", first.len(), peer.services.len())
    })?;
    kept(peer, "NS-6")
}

/// Names that begin alike, then instances, and at last the names themselves.
fn instances(peer: &mut AsRemote<'_>) -> Outcome {
    peer.await_start(20 * peer.pace)?;
    let names: Vec<String> = peer.names.iter().map(Name::to_string).collect();
    let announce = |peer: &mut AsRemote<'_>, suffix: &str, first: u32| {
        let all = names.iter().zip(first..);
        all.into_iter().try_for_each(|(name, addr)| {
            peer.send(addr, NAMES, &announcement(&format!("{name}{suffix}"), addr, 0))
        })
    };
    announce(peer, "s", ALIKE)?;
    announce(peer, "-", ALIKE)?;
    peer.watch.look_away();
    if let Some(frame) = peer.receive_within(4 * peer.pace)? {
        return deviates(format!(
            "took a name that begins alike for the service, and wrote to {}",
            frame.header.dst
        ));
    }
    announce(peer, "-1", 1024)?;
    if peer.receive_within(10 * peer.pace)?.is_some() {
        return Ok(());
    }
    peer.announce()?;
    match peer.receive_within(10 * peer.pace)? {
        Some(_) => deviates("found a service by its name, and no instance of it"),
        None => not_shown("the host opened none of our services and sent nothing"),
    }
}

fn flood(peer: &mut AsRemote<'_>) -> Outcome {
    peer.up()?;
    for number in 0..1000_u32 {
        peer.send(1024, NAMES, &announcement(&format!("rpmsg-flood-{number}"), 5000 + number, 0))
            .claim("in a flood of announcements")?;
    }
    peer.serve(1).claim("after 1000 announcements").map(drop)
}
