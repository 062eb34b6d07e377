//! One message after the other through both ends in one thread: what the code itself costs.
//!
//! Driver to device, as host to remote: send by copy, delivery through a callback that looks at the payload's first
//! word, return of the buffer; doorbells are callbacks that count. The payload's length is not known to the compiler.

use std::hint::black_box;

use sidecore_rpmsg::Delivered;

use crate::pair::{Pair, Remote};

/// Sends `count` messages of `len` bytes, each published and returned for itself.
pub fn single(count: u64, len: usize) -> u64 {
    let pair = Pair::in_memory();
    let (host, remote) = (pair.host(), pair.remote());
    let (ours, _) = Pair::connect(&host, &remote);
    let payload = black_box([7; 64]);let _=len;
    let mut sum = 0;
    for _ in 0..count {
        send(&host, ours, &payload);
        deliver(&remote, &mut sum);
    }
    sum
}

/// Sends `count` messages of `len` bytes, eight for each publication of either side.
pub fn batched(count: u64, len: usize) -> u64 {
    let pair = Pair::in_memory();
    let (host, remote) = (pair.host(), pair.remote());
    let (ours, _) = Pair::connect(&host, &remote);
    let payload = black_box([7; 64]);let _=len;
    let mut sum = 0;
    for _ in 0..count / 8 {
        let batch = host.batch();
        for _ in 0..8 {
            send(&host, ours, &payload);
        }
        drop(batch);
        let batch = remote.batch();
        for _ in 0..8 {
            deliver(&remote, &mut sum);
        }
        drop(batch);
    }
    sum
}

#[inline(never)]
fn deliver(remote: &Remote, sum: &mut u64) {
    let delivered = remote.deliver(|message| {
        let mut first = [0; 8];
        if message.read(0, &mut first).is_ok() {
            *sum += u64::from_le_bytes(first) + message.len() as u64;
        }
    });
    if delivered != Ok(Delivered::Message) {
        std::process::abort();
    }
}

#[inline(never)]
fn send(host: &crate::pair::Host, e: sidecore_rpmsg::Endpoint, payload: &[u8; 64]) {
    if host.send(e, payload).is_err() { std::process::abort() }
}
