//! One message after the other through both ends in one thread: what the code itself costs.
//!
//! `bench-instructions MODE COUNT` is run under callgrind with two counts; the difference is free of start-up costs and
//! repeats to the instruction. It prints where the program was loaded, for whoever looks the counted addresses up.
//!
//! What is counted for each message, as for the other implementations in this field: 64 bytes sent by copy, from driver
//! to device and host to remote; delivery to a callback, which looks at the length and the first eight bytes; return of
//! the buffer; a doorbell callback wherever the ring asks for one (nothing suppresses notifications); and the loop around
//! it. All of it is compiled into one function, as it is in an application: nothing of sidecore is behind a call that an
//! application would not have.

use std::cell::Cell;
use std::hint::black_box;
use std::process::ExitCode;

use sidecore_bench::{Host, Pair, Remote};
use sidecore_mem::Memory;
use sidecore_rpmsg::{Delivered, Endpoint, Link, Message, Slot};
use sidecore_virtio::RingFeatures;

/// Sends as many messages as it is told to; the answer depends on all of them.
type Mode = fn(u64) -> u64;

/// What can be counted, by name.
const MODES: &[(&str, Mode)] =
    &[("one-way", one_way), ("batched", batched), ("one-way-any-length", one_way_any_length)];

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let (mode, count) = (args.next(), args.next().and_then(|count| count.parse().ok()));
    let mode = MODES.iter().find(|(name, _)| Some(*name) == mode.as_deref());
    let (Some((_, run)), Some(count)) = (mode, count) else {
        let modes: Vec<_> = MODES.iter().map(|(name, _)| *name).collect();
        eprintln!("bench-instructions {} COUNT", modes.join("|"));
        return ExitCode::FAILURE;
    };
    black_box(run(count));
    println!("{:#x}", loaded_at().unwrap_or(0));
    ExitCode::SUCCESS
}

/// Sends `count` messages of 64 bytes, each published and returned for itself.
#[inline(never)]
fn one_way(count: u64) -> u64 {
    let Ends { host, remote, endpoint } = Ends::new();
    let payload: [u8; 64] = black_box([7; 64]);
    let mut sum = 0;
    for _ in 0..count {
        accept(host.send(endpoint, &payload));
        expect(remote.deliver(|message| look(&message, &mut sum)), Ok(Delivered::Message));
    }
    sum
}

/// Sends `count` messages of 64 bytes, eight for each publication of either side.
#[inline(never)]
fn batched(count: u64) -> u64 {
    let Ends { host, remote, endpoint } = Ends::new();
    let payload: [u8; 64] = black_box([7; 64]);
    let mut sum = 0;
    for _ in 0..count / 8 {
        expect(host.send_all(endpoint, std::iter::repeat_n(payload.as_slice(), 8)), Ok(8));
        let delivered = remote.deliver_all(8, |message| look(&message, &mut sum));
        expect(delivered, Ok((8, Delivered::Message)));
    }
    sum
}

/// As [`one_way`], with a length that the compiler does not know.
#[inline(never)]
fn one_way_any_length(count: u64) -> u64 {
    let Ends { host, remote, endpoint } = Ends::new();
    let payload: &[u8] = black_box(&[7; 64]);
    let mut sum = 0;
    for _ in 0..count {
        accept(host.send(endpoint, payload));
        expect(remote.deliver(|message| look(&message, &mut sum)), Ok(Delivered::Message));
    }
    sum
}

struct Ends {
    host: Host<Kick>,
    remote: Remote<Kick>,
    endpoint: Endpoint,
}

/// A doorbell behind a pointer, as a board's would be.
type Kick = fn(u16);

impl Ends {
    fn new() -> Self {
        let memory: &'static Memory<{ Pair::<()>::LEN }> = Box::leak(Box::default());
        let pair = Pair::new(&memory.region(), RingFeatures::default());
        let (host, remote) = (pair.host(count_kick as Kick), pair.remote(count_kick as Kick));
        Pair::remote_endpoint(&remote);
        let endpoint = Pair::host_endpoint(&host);
        Self { host, remote, endpoint }
    }
}

thread_local! {
    static KICKS: Cell<u64> = const { Cell::new(0) };
}

fn count_kick(_queue: u16) {
    KICKS.set(KICKS.get() + 1);
}

/// What a callback does in all of these.
#[inline(always)]
fn look<L: Link, S: AsRef<[Slot]>>(message: &Message<'_, L, S>, sum: &mut u64) {
    let mut first = [0; 8];
    if message.read(0, &mut first).is_ok() {
        *sum += u64::from_le_bytes(first) + message.len() as u64;
    }
}

#[inline(always)]
fn accept<E>(sent: Result<(), E>) {
    if sent.is_err() {
        std::process::abort();
    }
}

#[inline(always)]
fn expect<T: PartialEq>(what: T, wanted: T) {
    if what != wanted {
        std::process::abort();
    }
}

/// The address of this program's first byte.
fn loaded_at() -> Option<u64> {
    let program = std::env::current_exe().ok()?;
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let first = maps.lines().find(|line| line.ends_with(program.to_str().unwrap_or("\0")))?;
    u64::from_str_radix(first.split('-').next()?, 16).ok()
}
