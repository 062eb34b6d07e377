//! One message after the other through both ends in one thread: what the code itself costs.
//!
//! Driver to device, as host to remote: send by copy, delivery through a callback that looks at the payload's first
//! word, return of the buffer; doorbells are callbacks that count.

use std::hint::black_box;

use sidecore_rpmsg::{Delivered, Endpoint, Link, Message, Slot};

use crate::pair::{Host, Pair, Remote};

/// Sends `count` messages of 64 bytes, each published and returned for itself.
pub fn single(count: u64) -> u64 {
    let pair = Pair::in_memory();
    let (host, remote) = (pair.host(), pair.remote());
    let (ours, _) = Pair::connect(&host, &remote);
    let payload = black_box([7; 64]);
    let mut sum = 0;
    for _ in 0..count {
        send(&host, ours, &payload);
        deliver(&remote, &mut sum);
    }
    sum
}

/// Sends `count` messages of 64 bytes, eight for each publication of either side.
pub fn batched(count: u64) -> u64 {
    let pair = Pair::in_memory();
    let (host, remote) = (pair.host(), pair.remote());
    let (ours, _) = Pair::connect(&host, &remote);
    let payload = black_box([7; 64]);
    let mut sum = 0;
    for _ in 0..count / 8 {
        send_eight(&host, ours, &payload);
        deliver_eight(&remote, &mut sum);
    }
    sum
}

#[inline(always)]
fn send(host: &Host, endpoint: Endpoint, payload: &[u8; 64]) {
    if host.send(endpoint, payload).is_err() {
        std::process::abort();
    }
}

#[inline(always)]
fn deliver(remote: &Remote, sum: &mut u64) {
    let delivered = remote.deliver(|message| read(&message, sum));
    if delivered != Ok(Delivered::Message) {
        std::process::abort();
    }
}

#[inline(always)]
fn send_eight(host: &Host, endpoint: Endpoint, payload: &[u8; 64]) {
    if host.send_all(endpoint, std::iter::repeat_n(payload.as_slice(), 8)) != Ok(8) {
        std::process::abort();
    }
}

#[inline(always)]
fn deliver_eight(remote: &Remote, sum: &mut u64) {
    let delivered = remote.deliver_all(8, |message| read(&message, sum));
    if delivered != Ok((8, Delivered::Message)) {
        std::process::abort();
    }
}

/// What a callback does in all of these: it looks at the length and the first eight bytes.
#[inline(always)]
fn read<L: Link, S: AsRef<[Slot]>>(message: &Message<'_, L, S>, sum: &mut u64) {
    let mut first = [0; 8];
    if message.read(0, &mut first).is_ok() {
        *sum += u64::from_le_bytes(first) + message.len() as u64;
    }
}
