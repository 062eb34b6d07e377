//! Floods the main side: `storm [messages [COUNT [SIZE]] | nobody [COUNT [SIZE]] | names [COUNT]]`.
//!
//! `messages` go to whoever answers on the channel `rpmsg-discard` with a first message, `nobody` is an address at which
//! there is nothing, `names` are announcements of ever new services.
#![no_std]
#![no_main]

use core::time::Duration;

use sidecore_firmware::{Connection, Endpoint, Error, Remote, Resources, Rpmsg, features, image};
use sidecore_images::{program, usage};

image! {
    main: main,
    resources: Resources::new().rpmsg(Rpmsg {
        to_host: 256,
        features: features::F_NS | features::F_EPOCH | features::EVENT_IDX,
        ..Rpmsg::DEFAULT
    }),
}

const USAGE: &str = "storm [messages [COUNT [SIZE]] | nobody [COUNT [SIZE]] | names [COUNT]], SIZE up to 496";

/// How long to wait for someone who wants the messages.
const PATIENCE: Duration = Duration::from_secs(5);

/// Messages that are shown to the main side at once.
const BATCH: u64 = 32;

/// An address that nobody has: the main side's own begin at 1024.
const NOBODY: u32 = 1000;

/// The most that a message of the usual size takes.
const SIZE_MAX: usize = 496;

fn main(remote: Remote) -> Result<i32, Error> {
    program(remote, |connection, console, line| {
        let payload = [0x5A; SIZE_MAX];
        let payload = line.number(2, 64_usize).and_then(|size| payload.get(..size));
        let (Some(count), Some(payload)) = (line.number(1, 100_000_u64), payload) else {
            return usage(console, USAGE);
        };
        let start = connection.machine().now();
        match line.at(0) {
            b"" | b"messages" => {
                let storm = connection.open("rpmsg-discard").wait()?;
                let Some(hello) = storm.receive().within(PATIENCE).wait() else {
                    console.print_error("nobody answers on rpmsg-discard\n").wait()?;
                    return Ok(1);
                };
                let peer = hello?.src();
                flood(connection, &storm, peer, payload, count)?;
            }
            b"nobody" => {
                let storm = connection.open("rpmsg-discard").wait()?;
                flood(connection, &storm, NOBODY, payload, count)?;
            }
            b"names" => rename(connection, count)?,
            _ => return usage(console, USAGE),
        }
        let time = connection.machine().now() - start;
        let rate = u128::from(count) * 1_000_000_000 / time.as_nanos().max(1);
        console.print(format_args!("{count} sent, {rate} a second\n")).wait()?;
        Ok(0)
    })
}

/// Sends `count` messages as fast as buffers come back.
fn flood(
    connection: &Connection,
    storm: &Endpoint,
    peer: u32,
    payload: &[u8],
    count: u64,
) -> Result<(), Error> {
    let mut sent = 0;
    while sent < count {
        // Waits for a buffer; the rest of the batch takes what is there.
        storm.send_to(peer, payload).wait()?;
        sent += 1;
        let _batch = connection.rpmsg().batch();
        for _ in 1..BATCH.min(count - sent + 1) {
            match storm.send_to(peer, payload).now() {
                Some(result) => result?,
                None => break,
            }
            sent += 1;
        }
    }
    Ok(())
}

/// Announces `count` services and withdraws none.
fn rename(connection: &Connection, count: u64) -> Result<(), Error> {
    let mut endpoint = connection.open_at(NOBODY, NOBODY)?;
    for number in 0..count {
        let mut name = *b"storm-0000000000";
        let mut rest = number;
        for digit in name.iter_mut().rev().take(10) {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        endpoint.announce(str::from_utf8(&name).unwrap_or_default()).wait()?;
    }
    Ok(())
}
