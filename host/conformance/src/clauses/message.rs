//! Messages, buffers, addresses.

use std::time::Instant;

use sidecore_rpmsg::Header;
use sidecore_wire::split::UsedElement;

use crate::as_host::{AsHost, FROM_REMOTE, OURS, Start, TO_REMOTE};
use crate::as_remote::AsRemote;
use crate::clause::{Row, host, host_refuses, pattern, refused, remote, watched};
use crate::peer::Role::{Host, Remote};
use crate::verdict::{Claim as _, Outcome, Stop, deviates, must, not_shown};

pub(super) const ROWS: &[Row] = &[
    host("MESSAGE-1", "has made all buffers of ring 0 available at DRIVER_OK", |peer| {
        peer.await_start(20 * peer.pace)?;
        let (available, num) = (peer.at_start.available, peer.rings[FROM_REMOTE].num());
        must(available > 0, || format!("{available} of {num} buffers of ring 0 were available"))
    }),
    remote("MESSAGE-2", "takes the room of each buffer for what it is", |peer| {
        let to = peer.up_with(&Start { room: Some(128), ..Start::default() })?;
        let max = peer.max_payload().min(112);
        for len in [0, 1, max - 1, max] {
            peer.echo(to, &pattern(len, 3)).claim("into buffers of 128 bytes")?;
        }
        stays_inside(peer, to, 128)
    }),
    watched("MESSAGE-2", "claims no more than a frame has", Host),
    watched("MESSAGE-3", "gives frames lengths that are possible", Remote),
    watched("MESSAGE-3", "gives frames lengths that are possible", Host),
    remote("MESSAGE-4", "takes no conclusion from the length of a descriptor of ring 1", |peer| {
        let to = peer.up()?;
        let max = peer.max_payload();
        for len in [1, max * 4 / 5, 3, max] {
            peer.echo(to, &pattern(len, 4)).claim("after shorter ones")?;
        }
        Ok(())
    }),
    watched("MESSAGE-5", "gives a buffer of ring 1 back with the length that it had", Remote),
    host("MESSAGE-6", "takes the length of a returned buffer for nothing", lengths_of_returned),
    remote("MESSAGE-7", "refuses a buffer that is too short for a header", |peer| {
        let to = peer.up()?;
        peer.send_descriptor(|descriptor| descriptor.len = 15)?;
        refused(peer, to, "a message of 15 bytes")
    }),
    host("MESSAGE-7", "refuses a frame that is longer than its buffer", |peer| {
        peer.up()?;
        let frame = first(peer)?;
        peer.watch.look_away();
        let header = Header { src: frame.header.dst, dst: frame.header.src, reserved: 0, len: 4, flags: 0 };
        peer.send_frame(&header, b"long", 0x10_0000)?;
        host_refuses(peer, "a frame of 1048576 bytes")
    }),
    watched("MESSAGE-8", "gives no buffer back without a frame", Remote),
    remote("MESSAGE-9", "gives messages back where it has all buffers, and no other can come", |peer| {
        let to = peer.up()?;
        let count = peer.buffers(TO_REMOTE);
        for turn in 0..count {
            let header = Header { src: OURS, dst: to, reserved: 0, len: 2, flags: 0 };
            peer.put(&header, &turn.to_le_bytes(), 18)?;
        }
        peer.publish(TO_REMOTE);
        peer.kick(TO_REMOTE);
        let end = Instant::now() + 10 * peer.pace;
        while peer.lent(TO_REMOTE) > 0 && Instant::now() < end {
            peer.turn("no buffer came back").claim("where it had all of them")?;
        }
        let left = peer.lent(TO_REMOTE);
        must(left == 0, || format!("kept {left} of {count} messages, which were all that there can be"))
    }),
    host("MESSAGE-9", "gives messages back where it has all buffers, and no other can come", |peer| {
        peer.up()?;
        let frame = first(peer)?;
        let count = peer.at_start.available;
        for turn in 0..u32::from(count) * 2 {
            peer.send(frame.header.dst, frame.header.src, &turn.to_le_bytes())
                .claim("where the host had all buffers")?;
        }
        Ok(())
    }),
    watched("MESSAGE-10", "writes 0 into reserved and flags", Remote),
    host("MESSAGE-10", "writes 0 into reserved and flags, and ignores both", |peer| {
        peer.up()?;
        let frame = first(peer)?;
        let Header { src: dst, dst: src, len, .. } = frame.header;
        let header = Header { src, dst, reserved: 0xDEAD_BEEF, len, flags: 0x5A5A };
        peer.send_frame(&header, &frame.payload, Header::SIZE as u32 + u32::from(len))?;
        next_or_done(peer, "a frame with bits in reserved and flags")
    }),
    remote("MESSAGE-11", "drops a frame whose header claims more than there is", claims_more),
    host("MESSAGE-11", "drops a frame whose header claims more than there is", |peer| {
        peer.up()?;
        let frame = first(peer)?;
        let Header { src: dst, dst: src, .. } = frame.header;
        let header = Header { src, dst, reserved: 0, len: 60_000, flags: 0 };
        peer.send_frame(&header, b"more", 20)?;
        peer.answer(&frame)?;
        next_or_done(peer, "a header that claims 60000 bytes in a frame of 20")
    }),
    remote("MESSAGE-12", "sends no part of a message that does not fit", too_long),
    remote("MESSAGE-13", "takes and sends messages of every length", |peer| {
        let to = peer.up()?;
        let max = peer.max_payload();
        for len in [0, 1, 2, 3, 15, 16, 17, 255, 256, max - 1, max].into_iter().filter(|len| *len <= max) {
            peer.echo(to, &pattern(len, 5)).claim(&format!("a message of {len} bytes"))?;
        }
        Ok(())
    }),
    host("MESSAGE-13", "takes an empty message", |peer| {
        peer.up()?;
        let frame = first(peer)?;
        let Header { src: dst, dst: src, .. } = frame.header;
        peer.send(src, dst, b"")?;
        peer.answer(&frame)?;
        next_or_done(peer, "an empty message")
    }),
    remote("MESSAGE-14", "answers in the order in which it was asked", |peer| {
        let to = peer.up()?;
        for round in 0..8_u8 {
            for turn in 0..8_u8 {
                peer.send(OURS, to, &[round, turn])?;
            }
            for turn in 0..8_u8 {
                let answer = peer.receive_within(OURS, 10 * peer.pace)?.map(|frame| frame.payload);
                must(answer == Some(vec![round, turn]), || {
                    format!("the answer to message {turn} of 8 was {answer:?}")
                })?;
            }
        }
        Ok(())
    }),
    remote("ADDRESS-1", "sends from the address that it announced", |peer| {
        let to = peer.up()?;
        peer.send(OURS, to, b"who")?;
        let src = peer.receive_within(OURS, 10 * peer.pace)?.map(|frame| frame.header.src);
        must(src == Some(to), || format!("announced {to} and answered from {src:?}"))
    }),
    watched("ADDRESS-1", "sends from an address", Host),
    watched("ADDRESS-2", "keeps 53 for the name service", Remote),
    watched("ADDRESS-3", "gives out addresses from 1024 on, and none twice", Remote),
    watched("ADDRESS-3", "gives out addresses from 1024 on", Host),
    watched("ADDRESS-4", "gives the address of a service that went to no other while it has more", Remote),
    remote("ADDRESS-5", "drops messages for nobody", |peer| {
        let to = peer.up()?;
        for dst in [4711, 0, u32::MAX, to + 100] {
            peer.send(OURS, dst, b"for nobody")?;
            peer.echo(to, b"for somebody").claim(&format!("after a message to {dst}"))?;
        }
        Ok(())
    }),
    host("ADDRESS-5", "drops messages for nobody", |peer| {
        peer.up()?;
        let frame = first(peer)?;
        for dst in [4711, 0, u32::MAX] {
            peer.send(1024, dst, b"for nobody")?;
        }
        peer.answer(&frame)?;
        next_or_done(peer, "messages for nobody")
    }),
    remote("ADDRESS-6", "takes the first that writes for its peer", |peer| {
        let to = peer.up()?;
        peer.send(OURS, to, b"mine")?;
        let answer = peer.receive_within(OURS, 10 * peer.pace)?;
        must(answer.is_some_and(|frame| frame.header.dst == OURS), || {
            format!("did not answer to {OURS}, which wrote first")
        })
    }),
];

/// The first message that the host sends.
fn first(peer: &mut AsRemote<'_>) -> Result<crate::as_host::Frame, Stop> {
    match peer.receive_within(10 * peer.pace)? {
        Some(frame) => Ok(frame),
        None => not_shown("the host opened none of our services and sent nothing"),
    }
}

/// The host goes on, or has done all that it wanted.
pub(super) fn next_or_done(peer: &mut AsRemote<'_>, what: &str) -> Outcome {
    match peer.receive_within(10 * peer.pace).claim(&format!("after {what}"))? {
        Some(_) => Ok(()),
        None if peer.status() & 0x84 == 4 => not_shown(format!("the host sent nothing more after {what}")),
        None => deviates(format!("gave the link up after {what}")),
    }
}

/// Gives buffers back as if they had 18 bytes, once messages are longer than the 2 that would fit them.
fn lengths_of_returned(peer: &mut AsRemote<'_>) -> Outcome {
    peer.up()?;
    let lens: Vec<usize> = peer.serve(8)?.iter().map(|frame| frame.payload.len()).collect();
    let before = lens.last().copied().unwrap_or(0);
    // A host whose messages grow does not come back to 2 bytes by itself; of another that shows only in several.
    let enough = if lens.is_sorted() && lens.first().is_some_and(|len| *len > 2) { 1 } else { 4 };
    let mut short = 0;
    if before <= 3 {
        return not_shown(format!("the host sends messages of {before} bytes, which tell nothing"));
    }
    peer.returned_len = Some(18);
    // Longer than there are buffers, so that each one comes round again.
    for _ in 0..2 * usize::from(peer.rings[TO_REMOTE].num()) + 8 {
        let frame = match peer.receive_within(10 * peer.pace) {
            Ok(Some(frame)) => frame,
            // It has said what it had to say.
            Ok(None) | Err(Stop::NotShown(_)) => break,
            Err(deviates) => return Err(deviates),
        };
        let len = frame.payload.len();
        let claimed = usize::from(frame.header.len);
        short = if len == 2 { short + 1 } else { 0 };
        must(claimed == len && short < enough, || {
            format!("took 18 for the size of a buffer: a message of {claimed} bytes after one of {before}")
        })?;
        peer.answer(&frame)?;
    }
    Ok(())
}

fn claims_more(peer: &mut AsHost<'_>) -> Outcome {
    let to = peer.up()?;
    for _ in 0..4 {
        let header = Header { src: OURS, dst: to, reserved: 0, len: 60_000, flags: 0 };
        peer.put(&header, b"more", 20)?;
        peer.publish(TO_REMOTE);
        peer.kick(TO_REMOTE);
        let answer = peer.receive_within(OURS, peer.pace).claim("a header that claims 60000 bytes")?;
        if let Some(frame) = answer {
            return deviates(format!(
                "took a frame of 20 bytes whose header claims 60000, and answered with {} bytes",
                frame.payload.len()
            ));
        }
        peer.echo(to, b"well").claim("after a header that claims 60000 bytes in a frame of 20")?;
    }
    Ok(())
}

/// A message that is longer than the buffers for its answer: nothing behind their ends may be written.
fn stays_inside(peer: &mut AsHost<'_>, to: u32, room: u64) -> Outcome {
    let max = peer.max_payload();
    let behind = vec![0xC3; (max + Header::SIZE).saturating_sub(room as usize)];
    let ends = (0..peer.buffers(FROM_REMOTE)).map(|head| peer.place(FROM_REMOTE, head) + room);
    let ends: Vec<u64> = ends.filter(|_| !behind.is_empty()).collect();
    for end in &ends {
        peer.ground.write(*end, &behind);
    }
    peer.watch.look_away();
    peer.send(OURS, to, &pattern(max, 3))?;
    peer.receive_within(OURS, 3 * peer.pace)?;
    for end in ends {
        let mut now = behind.clone();
        peer.ground.read(end, &mut now);
        must(now == behind, || format!("wrote beyond the end of a buffer of {room} bytes"))?;
    }
    Ok(())
}

/// An echo into buffers that are smaller than the message: nothing may come, or all of it.
fn too_long(peer: &mut AsHost<'_>) -> Outcome {
    let to = peer.up_with(&Start { room: Some(64), ..Start::default() })?;
    let message = pattern(peer.max_payload().min(200), 6);
    if message.len() <= 48 {
        return not_shown("its buffers are too short to tell");
    }
    peer.send(OURS, to, &message)?;
    match peer.receive_within(OURS, 3 * peer.pace)? {
        None => {}
        Some(frame) if frame.payload == message => {}
        Some(frame) if usize::from(frame.header.len) == message.len() => {
            return not_shown("it sent all of it, beyond the end of the buffer, see MESSAGE-2");
        }
        Some(frame) => {
            return deviates(format!(
                "sent {} of {} bytes where a buffer has room for 48, and said nothing",
                frame.payload.len(),
                message.len()
            ));
        }
    }
    peer.echo(to, b"short").claim("after a message that did not fit")
}

/// A used entry that nobody asked for: for tests that break rules.
pub(super) const NOBODYS: UsedElement = UsedElement { id: 0x00FF_0000, len: 20 };
