//! Features and versions.

use sidecore_wire::resource_table::vdev::offset;

use crate::as_host::{AsHost, OURS, Start};
use crate::as_remote::AsRemote;
use crate::clause::{Row, host, host_at, remote};
use crate::clauses::memory::host_is_up;
use crate::verdict::{Claim as _, Outcome, must, not_shown};

const EVENT_IDX: u32 = 1 << 29;
/// The bits that mean anything behind a resource table: F_NS, F_BUFSZ, INDIRECT_DESC, EVENT_IDX.
const KNOWN: u32 = 3 | 3 << 28;
const BUFSZ: u32 = 2;

pub(super) const ROWS: &[Row] = &[
    host_at(
        "FEATURE-1",
        "accepts no more than is offered",
        |table| table.features = 1,
        |peer| {
            peer.await_start(20 * peer.pace)?;
            let accepted = peer.register(offset::GFEATURES);
            must(accepted & !1 == 0, || format!("accepted {accepted:#x}, offered was 0x1"))
        },
    ),
    host_at(
        "FEATURE-2",
        "accepts nothing that it does not implement",
        |table| table.features = !BUFSZ,
        only_what_it_does,
    ),
    remote("FEATURE-3", "refuses a host that accepts what was not offered", not_offered),
    host("FEATURE-4", "does not wait for FEATURES_OK", host_is_up),
    remote("FEATURE-6", "announces nothing where the name service is not accepted", |peer| {
        if peer.offered() & 1 == 0 {
            return not_shown("F_NS is not offered");
        }
        peer.start(&Start { features: Some(0), ..Start::default() });
        let end = std::time::Instant::now() + 4 * peer.pace;
        // One that has nothing to do then may end.
        while std::time::Instant::now() < end && peer.turn("nothing came").is_ok() {}
        let broken = peer.watch.seen("FEATURE-6").broken;
        must(broken.is_none(), || broken.unwrap_or_default())
    }),
    host_at(
        "FEATURE-6",
        "announces nothing where the name service is not offered",
        |table| table.features = 0,
        |peer| {
            peer.await_start(20 * peer.pace)?;
            let end = std::time::Instant::now() + 4 * peer.pace;
            while std::time::Instant::now() < end {
                peer.turn("nothing came")?;
            }
            let broken = peer.watch.seen("FEATURE-6").broken;
            must(broken.is_none(), || broken.unwrap_or_default())
        },
    ),
    host_at(
        "FEATURE-7",
        "takes the sizes of the configuration",
        |table| {
            table.features = 1 | BUFSZ;
            // Version 1, 11 bytes; the remote sends in 512 and receives in 256.
            table.config = vec![1, 11, 0, 0, 2, 0, 0, 0, 1, 0, 0];
        },
        |peer| {
            peer.await_start(20 * peer.pace)?;
            if peer.register(offset::GFEATURES) & BUFSZ == 0 {
                return not_shown("F_BUFSZ is not accepted");
            }
            let (_, _, room) = peer.buffer()?;
            must(room == 512, || format!("buffers of ring 0 have {room} bytes, the configuration says 512"))
        },
    ),
    remote("FEATURE-7", "has a configuration that is one, where it offers F_BUFSZ", |peer| {
        if peer.offered() & BUFSZ == 0 {
            return not_shown("F_BUFSZ is not offered");
        }
        let at = peer.vdev + offset::VRINGS as u64 + 40;
        let mut bytes = [0; 11];
        peer.ground.read(at, &mut bytes);
        must(bytes[0] == 1 && bytes[1] >= 11, || format!("the configuration begins with {bytes:02x?}"))
    }),
    host_at(
        "FEATURE-8",
        "takes a configuration of another version for none",
        |table| {
            table.features = 1 | BUFSZ;
            table.config = vec![9, 11, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0];
        },
        |peer| {
            peer.await_start(20 * peer.pace).claim("a configuration of version 9")?;
            let (_, _, room) = peer.buffer()?;
            must((16..=0x1_0000).contains(&room), || format!("took buffers of {room} bytes from it"))
        },
    ),
    remote("FEATURE-9", "does not offer EVENT_IDX to whoever may not have it", |peer| {
        let offered = peer.offered();
        must(offered & EVENT_IDX == 0, || format!("offers EVENT_IDX ({offered:#x})"))
    }),
    remote("FEATURE-11", "works with a host that accepts as little as can be", |peer| {
        let to = peer.up_with(&Start { features: Some(peer.offered() & 1), ..Start::default() })?;
        peer.echo(to, b"little")
    }),
    host_at(
        "FEATURE-11",
        "works with a remote that offers as little as can be",
        |table| table.features = 1,
        |peer| {
            peer.up()?;
            peer.serve(1).claim("with F_NS alone").map(drop)
        },
    ),
];

fn only_what_it_does(peer: &mut AsRemote<'_>) -> Outcome {
    peer.await_start(20 * peer.pace)?;
    let accepted = peer.register(offset::GFEATURES);
    must(accepted & !KNOWN == 0, || {
        format!("accepted {:#x}, bits that nobody has given a meaning", accepted & !KNOWN)
    })?;
    Ok(())
}

fn not_offered(peer: &mut AsHost<'_>) -> Outcome {
    let bit = (16..24).find(|bit| peer.offered() & 1 << bit == 0).unwrap_or(20);
    peer.watch.look_away();
    peer.start(&Start { features: Some(peer.offered() & 1 | 1 << bit), ..Start::default() });
    let end = std::time::Instant::now() + 5 * peer.pace;
    while std::time::Instant::now() < end {
        if peer.status() & 0x40 != 0 {
            return Ok(());
        }
        peer.turn("nothing came")?;
        let is_up = !peer.services.is_empty();
        must(!is_up, || format!("came up though bit {bit} was accepted and never offered"))?;
    }
    // Nothing was announced, which it may not have to; then it shows in an answer.
    peer.send(OURS, 1024, b"up?")?;
    let answer = peer.receive_within(OURS, 3 * peer.pace)?;
    must(answer.is_none(), || format!("came up though bit {bit} was accepted and never offered"))
}
