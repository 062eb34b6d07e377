//! Notifications.

use std::time::Instant;

use sidecore_rpmsg::Header;
use sidecore_wire::resource_table::vdev::offset;

use crate::as_host::{AsHost, FROM_REMOTE, OURS, Start, TO_REMOTE};
use crate::as_remote::AsRemote;
use crate::clause::{Row, host, host_at, remote};
use crate::clauses::start::kicked;
use crate::peer::Woken;
use crate::verdict::{Claim as _, Outcome, deviates, must, not_shown};

pub(super) const ROWS: &[Row] = &[
    remote("NOTIFY-1", "kicks for what it shows, where that is wanted", |peer| {
        let to = peer.up()?;
        // Of ring 1 none is wanted, so that a kick is for ring 0.
        peer.ground.store(peer.rings[TO_REMOTE].available_flags(), 1);
        for turn in 0..10 {
            drain(peer);
            let before = peer.used_index(FROM_REMOTE);
            let woken = peer.send_asleep(to, &[turn])?;
            match (woken, peer.used_index(FROM_REMOTE) == before) {
                (Woken::Gone(how), _) => return not_shown(format!("the peer is gone: {how}")),
                (Woken::Time, false) => return deviates("sent no kick for a message, though one was wanted"),
                (Woken::Time, true) => return not_shown("nothing came back that a kick would be due for"),
                (Woken::Kick, false) => {}
                // That was for something else.
                (Woken::Kick, true) => kicked(peer, before, "for a message, though one was wanted")?,
            }
            peer.receive_within(OURS, 10 * peer.pace)?;
        }
        Ok(())
    }),
    host("NOTIFY-1", "kicks for what it shows, where that is wanted", |peer| {
        peer.up()?;
        // Of ring 0 none is wanted, so that a kick is for a message.
        peer.ground.store(peer.rings[FROM_REMOTE].used_flags(), 1);
        for _ in 0..4 {
            let Some(frame) = peer.receive_within(10 * peer.pace)? else { return Ok(()) };
            // Kicks for what was shown before; of one that does not wait for its answers none can be told from another.
            let is_waiting = |peer: &AsRemote<'_>| !peer.has_message();
            while is_waiting(peer) && peer.ground.wait(peer.pace / 4) == Woken::Kick {}
            let waits = is_waiting(peer);
            peer.answer(&frame)?;
            let end = Instant::now() + 10 * peer.pace;
            while !peer.has_message() && Instant::now() < end {
                std::thread::sleep(peer.pace / 64);
            }
            if !waits || !peer.has_message() {
                continue;
            }
            match peer.ground.wait(3 * peer.pace) {
                Woken::Kick => {}
                Woken::Time => return deviates("sent no kick for a message"),
                Woken::Gone(how) => return not_shown(format!("the host is gone: {how}")),
            }
        }
        Ok(())
    }),
    remote("NOTIFY-2", "is woken by one kick, however long it slept", |peer| {
        let to = peer.up()?;
        let mut late = 0;
        for turn in 0..20_u8 {
            std::thread::sleep(peer.pace * u32::from(turn % 4) / 8);
            // It may say that it needs none, but then it has to be awake.
            peer.heeds = true;
            let sent = Instant::now();
            peer.echo(to, &[turn]).claim("one kick after a pause, if it wants one")?;
            late += u32::from(sent.elapsed() > peer.pace / 2);
        }
        // Now and then it is the machine that is slow.
        must(late < 4, || {
            format!("took its time for {late} messages of 20: it sleeps without a wish to be woken")
        })
    }),
    remote("NOTIFY-4", "bears kicks for nothing, and one for many messages", |peer| {
        let to = peer.up()?;
        for _ in 0..100 {
            peer.ground.kick(peer.rings[0].notifyid);
            peer.ground.kick(peer.rings[1].notifyid);
        }
        peer.echo(to, b"well").claim("after 200 kicks for nothing")
    }),
    host("NOTIFY-4", "bears kicks for nothing", |peer| {
        peer.up()?;
        for _ in 0..100 {
            peer.ground.kick(peer.rings[0].notifyid);
            peer.ground.kick(peer.rings[1].notifyid);
        }
        peer.serve(1).claim("after 200 kicks for nothing").map(drop)
    }),
    remote("NOTIFY-5", "bears a host that wants no notification", |peer| {
        let to = peer.up()?;
        let flags = peer.rings[FROM_REMOTE].available_flags();
        peer.ground.store(flags, 1);
        for turn in 0..4 {
            peer.echo(to, &[turn]).claim("with NO_INTERRUPT set")?;
        }
        peer.ground.store(flags, 0);
        peer.echo(to, b"again").claim("with NO_INTERRUPT taken back")
    }),
    remote("NOTIFY-6", "kicks where its index passed the event", events),
    host_at(
        "NOTIFY-6",
        "moves its event along where it accepted EVENT_IDX",
        |table| table.features = 1 | 1 << 29,
        hosts_event,
    ),
    remote("NOTIFY-7", "kicks for buffers that it gives back, where that is wanted", |peer| {
        peer.up()?;
        let ring = peer.rings[TO_REMOTE];
        for _ in 0..3 {
            drain(peer);
            let before = peer.ground.load(ring.used_index());
            // For nobody, so that there is no answer, and a kick is for the buffer.
            let woken = peer.send_asleep(4711, b"back?")?;
            let is_back = peer.ground.load(ring.used_index()) != before;
            match (is_back, woken) {
                (_, Woken::Kick) => {}
                (true, _) => return deviates("sent no kick for a buffer that it gave back"),
                (false, _) => return not_shown("no buffer came back"),
            }
        }
        Ok(())
    }),
    remote("NOTIFY-8", "wants no notification of the ring in which it sends", |peer| {
        let to = peer.up()?;
        peer.echo(to, b"well")?;
        std::thread::sleep(peer.pace);
        let flags = peer.ground.load(peer.rings[FROM_REMOTE].used_flags()).unwrap_or(0);
        must(flags & 1 == 1, || "wants a kick for each buffer that is made available to send in".to_owned())
    }),
    host("NOTIFY-8", "wants no notification of the ring in which it sends", |peer| {
        peer.up()?;
        peer.serve(2)?;
        let flags = peer.ground.load(peer.rings[TO_REMOTE].available_flags()).unwrap_or(0);
        must(flags & 1 == 1, || "wants a kick for each buffer that is given back".to_owned())
    }),
    remote("NOTIFY-9", "takes several messages that are shown at once", |peer| {
        let to = peer.up()?;
        for turn in 0..8_u8 {
            let header = Header { src: OURS, dst: to, reserved: 0, len: 1, flags: 0 };
            peer.put(&header, &[turn], 17)?;
        }
        peer.publish(TO_REMOTE);
        peer.kick(TO_REMOTE);
        for turn in 0..8_u8 {
            let answer = peer.receive_within(OURS, 10 * peer.pace)?.map(|frame| frame.payload);
            must(answer == Some(vec![turn]), || format!("message {turn} of 8 shown at once: {answer:?}"))?;
        }
        Ok(())
    }),
    remote("NOTIFY-3", "looks whatever number it is kicked with", |peer| {
        let to = peer.up()?;
        let header = Header { src: OURS, dst: to, reserved: 0, len: 4, flags: 0 };
        peer.put(&header, b"well", 20)?;
        peer.publish(TO_REMOTE);
        peer.ground.kick(99);
        let answer = peer.receive_within(OURS, 10 * peer.pace)?;
        must(answer.is_some(), || "did not look at a kick of number 99".to_owned())
    }),
];

/// Takes kicks that came before.
pub(super) fn drain(peer: &mut AsHost<'_>) {
    for _ in 0..64 {
        let polled = peer.poll();
        if polled.is_err() || peer.ground.wait(peer.pace / 8) != Woken::Kick {
            return;
        }
    }
}

fn events(peer: &mut AsHost<'_>) -> Outcome {
    if peer.offered() & 1 << 29 == 0 {
        return not_shown("EVENT_IDX is not offered");
    }
    let to = peer.up_with(&Start { features: Some(peer.offered() & (1 << 29 | 1)), ..Start::default() })?;
    let ring = peer.rings[FROM_REMOTE];
    for turn in 0..10 {
        drain(peer);
        // The next one.
        let index = peer.used_index(FROM_REMOTE);
        peer.ground.store(ring.used_event(), index);
        let before = peer.ground.load(peer.rings[TO_REMOTE].available_event()).unwrap_or(0);
        let made = peer.made(TO_REMOTE);
        must(before == made, || {
            format!("fell asleep at available_event {before}, where {made} were made available: kicks end")
        })?;
        peer.send(OURS, to, &[turn])?;
        kicked(peer, index, "where its index passed the event")?;
        peer.receive_within(OURS, 10 * peer.pace)?;
    }
    Ok(())
}

fn hosts_event(peer: &mut AsRemote<'_>) -> Outcome {
    peer.await_start(20 * peer.pace)?;
    if peer.register(offset::GFEATURES) & 1 << 29 == 0 {
        return not_shown("EVENT_IDX is not accepted");
    }
    peer.announce()?;
    let served = peer.serve(8)?.len();
    // Idle: it has said now for which entry it wants to be woken.
    std::thread::sleep(peer.pace);
    let ring = peer.rings[FROM_REMOTE];
    let event = peer.ground.load(ring.used_event()).unwrap_or(0);
    let index = peer.ground.load(ring.used_index()).unwrap_or(0);
    must(event == index || (event != 0 && peer.status() & 4 == 0), || {
        format!(
            "accepted EVENT_IDX, took {served} messages and waits with its used_event at {event}, where the used index is \
             {index}: who heeds that sends no further kick, and all that comes is lost on it"
        )
    })
}
