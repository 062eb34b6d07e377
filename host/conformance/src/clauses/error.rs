//! Errors.

use std::time::Instant;

use sidecore_rpmsg::Header;

use crate::as_host::{AsHost, FROM_REMOTE, Liveness, OURS, TO_REMOTE};
use crate::as_remote::HostGoes;
use crate::clause::{Row, host, remote};
use crate::clauses::reset::{broken_host, broken_remote};
use crate::verdict::{Claim as _, Outcome, deviates, must};

pub(super) const ROWS: &[Row] = &[
    remote("ERROR-1", "uses a broken link no more", |peer| {
        broken_remote(peer)?;
        let look = |peer: &AsHost<'_>| peer.rings.map(|ring| ring.remotes_part(&*peer.ground));
        std::thread::sleep(peer.pace);
        let before = look(peer);
        // As if nothing had been.
        peer.publish(TO_REMOTE);
        let liveness = peer.still_answers(peer.services.first().map_or(1024, |service| service.addr));
        must(liveness != Liveness::Gone, || "died of an available index that jumped".to_owned())?;
        must(before == look(peer), || "went on in rings whose available index had jumped".to_owned())
    }),
    host("ERROR-1", "uses a broken link no more", |peer| {
        broken_host(peer)?;
        match peer.goes_on() {
            HostGoes::On | HostGoes::Wild => {
                deviates("went on after a used entry with an id that no descriptor has")
            }
            HostGoes::Away => deviates("died of a used entry with an id that no descriptor has"),
            _ => Ok(()),
        }
    }),
    remote("ERROR-2", "asks for a reset where it gives a link up", |peer| {
        broken_remote(peer)?;
        let status = peer.status();
        must(status & 0x40 != 0, || {
            format!("NEEDS_RESET is not set after an available index that jumped: {status:#04x}")
        })
    }),
    host("ERROR-2", "sets FAILED where it gives a link up", |peer| {
        broken_host(peer)?;
        match peer.goes_on() {
            HostGoes::GivesUp | HostGoes::Resets => Ok(()),
            how => deviates(format!(
                "a used entry with an id that no descriptor has: FAILED is not set ({how:?})"
            )),
        }
    }),
    remote("ERROR-3", "loses nothing to frames of no use", |peer| {
        let to = peer.up()?;
        for _ in 0..3 * u32::from(peer.rings[TO_REMOTE].num().min(128)) {
            peer.send(OURS, 4711, b"for nobody").claim("among frames of no use")?;
        }
        peer.echo(to, b"of use").claim("after many frames of no use")
    }),
    host("ERROR-3", "loses nothing to frames of no use", |peer| {
        peer.up()?;
        for _ in 0..3 * u32::from(peer.rings[FROM_REMOTE].num().min(128)) {
            let header = Header { src: 1024, dst: 4711, reserved: 0, len: 4, flags: 0 };
            peer.send_frame(&header, b"none", 20).claim("among frames of no use")?;
        }
        peer.serve(1).claim("after many frames of no use").map(drop)
    }),
    remote("ERROR-5", "loses nothing where it has no buffer to send in", no_buffers),
];

/// Keeps all buffers of ring 0, so that answers have to wait; then gives them back.
fn no_buffers(peer: &mut AsHost<'_>) -> Outcome {
    let to = peer.up()?;
    peer.keeps = true;
    let count = u32::from(peer.buffers(FROM_REMOTE)) + 4;
    let (mut sent, mut answers) = (0_u32, Vec::new());
    let mut end = Instant::now() + 3 * peer.pace;
    while sent < count && Instant::now() < end {
        if peer.has_free_buffer() {
            peer.send(OURS, to, &sent.to_le_bytes())?;
            (sent, end) = (sent + 1, Instant::now() + 3 * peer.pace);
        }
        while let Some(frame) = peer.receive_within(OURS, std::time::Duration::ZERO)? {
            answers.push(frame.payload);
        }
        peer.turn("no buffer came back")?;
    }
    std::thread::sleep(peer.pace);
    peer.give_kept();
    while (answers.len() as u32) < sent {
        let Some(frame) = peer.receive_within(OURS, 10 * peer.pace)? else { break };
        answers.push(frame.payload);
        peer.give_kept();
    }
    let expected: Vec<Vec<u8>> = (0..sent).map(|number| number.to_le_bytes().to_vec()).collect();
    must(answers == expected, || {
        format!("{} of {sent} answers came where buffers to send in were short for a while", answers.len())
    })
}
