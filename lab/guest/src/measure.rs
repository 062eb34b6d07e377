//! How many messages go back and forth in a second. Numbers to be told, not to be judged.

use std::time::Instant;

use anyhow::{Result, ensure};

use crate::endpoint::{self, Endpoint, PAYLOAD};

/// Messages that are under way at once, where it is more than one.
const WINDOW: u32 = 64;

pub(crate) fn run(count: u32) -> Result<()> {
    let endpoints = endpoint::raw(1)?;
    ensure!(!endpoints.is_empty(), "there is no channel to measure");
    let endpoint = &endpoints[0];
    for (size, window) in [(32, 1), (PAYLOAD, 1), (32, WINDOW)] {
        rounds(endpoint, count / 10, size, window)?;
        let began = Instant::now();
        rounds(endpoint, count, size, window)?;
        let rate = f64::from(count) / began.elapsed().as_secs_f64();
        println!("measured: {size} bytes, {window} under way: {rate:.0} round trips/s");
    }
    Ok(())
}

fn rounds(endpoint: &Endpoint, count: u32, size: usize, window: u32) -> Result<()> {
    let (mut sent, mut received) = (0, 0);
    let mut message = vec![0x5a; size];
    let mut answer = [0; PAYLOAD];
    while received < count {
        while sent < count && sent - received < window {
            message[..4].copy_from_slice(&sent.to_le_bytes());
            endpoint.send(&message)?;
            sent += 1;
        }
        // One system call, which costs more here than all the rest.
        let length = endpoint.receive_whenever(&mut answer)?;
        ensure!(length == size && answer[..4] == received.to_le_bytes(), "answer {received} is another's");
        received += 1;
    }
    Ok(())
}
