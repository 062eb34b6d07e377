//! Messages between the two processes: round trips and throughput.

use std::hint::black_box;
use std::time::Instant;

use anyhow::Result;
use sidecore_bench::Pair;
use sidecore_rpmsg::{Delivered, Endpoint, Link, Message, Outgoing, Rpmsg, SendError, Slot};
use sidecore_virtio::{Notify, RingFeatures};

use crate::bell::{Bell, Waiter};
use crate::clock::{self, Chunks, median};
use crate::shared::{Shared, Side, spin};

/// How a message is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sending {
    /// Copied from private memory.
    Copied,
    /// Written where it travels.
    InPlace,
    /// Copied; one byte is left out of every other one, so that no descriptor and no used element is as it was.
    Varying,
}

/// As the sandbox negotiates it.
const FEATURES: RingFeatures = RingFeatures { event_index: true, indirect: true };

/// Nanoseconds of a round trip while both sides look at their rings all the time.
pub(crate) fn polled(shared: &Shared, size: usize, sending: Sending) -> Result<Option<f64>> {
    round_trip(shared, size, sending, &silent, &Looking)
}

/// Nanoseconds of a round trip while both sides use their doorbells, and neither is ever asleep.
pub(crate) fn doorbell(shared: &Shared, size: usize) -> Result<Option<f64>> {
    let bell = Bell::of_peer(shared)?;
    round_trip(shared, size, Sending::Copied, &|queue| bell.notify(queue), &Waiter::new(shared)?)
}

/// Waits for a message.
pub(crate) trait Wait {
    /// Looks at the link until there is something.
    fn wait<L: Link, T>(&self, link: &L, look: impl FnMut() -> Option<T>) -> T;
}

/// Looks, and that is all.
struct Looking;

impl Wait for Looking {
    #[inline(always)]
    fn wait<L: Link, T>(&self, _: &L, look: impl FnMut() -> Option<T>) -> T {
        spin(look)
    }
}

/// Nobody sleeps, so nobody is to be woken.
fn silent(_queue: u16) {}

fn round_trip(
    shared: &Shared,
    size: usize,
    sending: Sending,
    notify: &impl Notify,
    waiting: &impl Wait,
) -> Result<Option<f64>> {
    let pair = Pair::new(&shared.rings, FEATURES);
    let mut bytes = vec![7; size];
    Ok(match shared.side {
        Side::Host => {
            let host = pair.host(|queue| notify.notify(queue));
            let endpoint = Pair::host_endpoint(&host);
            shared.meet();
            shared.meet();
            let mut turn = Some(host.batch());
            let mut turns = 0;
            Some(clock::round_trips(|| {
                turns += 1;
                send(&host, endpoint, part(&bytes, sending, turns), sending);
                drop(turn.take());
                let read = |message: Message<'_, _, _>| {
                    expect(message.read(0, part_mut(&mut bytes, sending, turns)))
                };
                turn = Some(host.batch());
                receive(&host, waiting, read);
            }))
        }
        Side::Remote => {
            shared.meet();
            let remote = pair.remote(|queue| notify.notify(queue));
            let endpoint = Pair::remote_endpoint(&remote);
            shared.meet();
            for turns in 1..=Chunks::ROUND_TRIPS {
                receive(&remote, waiting, |message| {
                    expect(message.read(0, part_mut(&mut bytes, sending, turns)));
                    black_box(&mut bytes);
                    send(&remote, endpoint, part(&bytes, sending, turns), sending);
                });
            }
            None
        }
    })
}

/// What is sent of the bytes this time.
#[inline(always)]
fn part(bytes: &[u8], sending: Sending, turns: usize) -> &[u8] {
    &bytes[..len(bytes.len(), sending, turns)]
}

#[inline(always)]
fn part_mut(bytes: &mut [u8], sending: Sending, turns: usize) -> &mut [u8] {
    let len = len(bytes.len(), sending, turns);
    &mut bytes[..len]
}

// Rounds of the ring have an even number of messages, so a message is never as long as the one before in its place.
#[inline(always)]
fn len(len: usize, sending: Sending, turns: usize) -> usize {
    if sending == Sending::Varying { len - (turns + turns / 256) % 2 } else { len }
}

#[inline(always)]
fn send<L: Link, S: AsRef<[Slot]>>(rpmsg: &Rpmsg<L, S>, endpoint: Endpoint, bytes: &[u8], sending: Sending) {
    expect(match sending {
        Sending::Copied | Sending::Varying => rpmsg.send(endpoint, bytes),
        Sending::InPlace => rpmsg.reserve(endpoint).and_then(|mut message: Outgoing<'_, L, S>| {
            message.write(0, bytes)?;
            message.send()
        }),
    });
}

#[inline(always)]
fn receive<'r, L: Link, S: AsRef<[Slot]>>(
    rpmsg: &'r Rpmsg<L, S>,
    waiting: &impl Wait,
    mut callback: impl FnMut(Message<'r, L, S>),
) {
    waiting.wait(rpmsg.link(), || match expect(rpmsg.deliver(&mut callback)) {
        Delivered::Message => Some(()),
        Delivered::Nothing | Delivered::Announcement(_) => None,
    });
}

/// Messages of a throughput measurement that are timed together.
const CHUNK: usize = 4096;
const CHUNKS: usize = 24;
const WARM_UP: usize = 2;

/// Nanoseconds for each message, at the receiver, of as many as there can be. `batch`: how many either side shows the
/// other at once.
pub(crate) fn throughput(
    shared: &Shared,
    size: usize,
    sending: Sending,
    batch: usize,
) -> Result<Option<f64>> {
    let pair = Pair::new(&shared.rings, FEATURES);
    let bytes = vec![7; size];
    match shared.side {
        Side::Host => {
            let host = pair.host(silent);
            let endpoint = Pair::host_endpoint(&host);
            shared.meet();
            shared.meet();
            let mut sent = 0;
            while sent < (WARM_UP + CHUNKS) * CHUNK {
                sent += spin(|| flood(&host, endpoint, &bytes, sending, batch));
            }
            Ok(Some(shared.hand_over(None)?))
        }
        Side::Remote => {
            shared.meet();
            let remote = pair.remote(silent);
            Pair::remote_endpoint(&remote);
            shared.meet();
            let mut buffer = bytes;
            let mut chunks = Vec::with_capacity(CHUNKS);
            for chunk in 0..WARM_UP + CHUNKS {
                let start = Instant::now();
                let mut received = 0;
                while received < CHUNK {
                    received += spin(|| drain(&remote, &mut buffer, batch));
                }
                let nanoseconds = start.elapsed().as_nanos() as f64 / CHUNK as f64;
                if chunk >= WARM_UP {
                    chunks.push(nanoseconds);
                }
            }
            shared.hand_over(Some(median(&mut chunks)))?;
            Ok(None)
        }
    }
}

/// Sends up to `batch` messages; how many, if any.
#[inline(always)]
fn flood<L: Link, S: AsRef<[Slot]>>(
    rpmsg: &Rpmsg<L, S>,
    endpoint: Endpoint,
    bytes: &[u8],
    sending: Sending,
    batch: usize,
) -> Option<usize> {
    if batch == 1 {
        let sent = match sending {
            Sending::Copied | Sending::Varying => rpmsg.send(endpoint, bytes),
            Sending::InPlace => rpmsg.reserve(endpoint).and_then(|mut message| {
                message.write(0, bytes)?;
                message.send()
            }),
        };
        return match sent {
            Err(SendError::Full) => None,
            sent => {
                expect(sent);
                Some(1)
            }
        };
    }
    match expect(rpmsg.send_all(endpoint, std::iter::repeat_n(bytes, batch))) {
        0 => None,
        sent => Some(sent),
    }
}

/// Takes up to `batch` messages; how many, if any.
#[inline(always)]
fn drain<L: Link, S: AsRef<[Slot]>>(rpmsg: &Rpmsg<L, S>, to: &mut [u8], batch: usize) -> Option<usize> {
    let read = |message: Message<'_, L, S>| {
        expect(message.read(0, to));
        black_box(&mut *to);
    };
    if batch == 1 {
        return (expect(rpmsg.deliver(read)) == Delivered::Message).then_some(1);
    }
    match expect(rpmsg.deliver_all(batch, read)).0 {
        0 => None,
        received => Some(received),
    }
}

/// Nothing can go wrong between two processes of ours; if something does, the figures are worth nothing.
#[inline(always)]
fn expect<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => broken(&error),
    }
}

#[cold]
fn broken(error: &dyn std::fmt::Debug) -> ! {
    eprintln!("bench-times: {error:?}");
    std::process::exit(1);
}
