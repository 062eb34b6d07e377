//! Pings the main side on the channel `rpmsg-ping` and prints how long that takes: `ping [COUNT [SIZE]]`.
//!
//! The main side sends the first message, so that its address is known here, and from then on sends every message back.
#![no_std]
#![no_main]

use core::time::Duration;

use sidecore_firmware::{Console, Endpoint, Error, Machine, Remote, image};
use sidecore_images::{Micros, program, usage};

image! { main: main }

const USAGE: &str = "ping [COUNT [SIZE]], COUNT from 1 and SIZE up to 496";

/// How long to wait for the main side to open the channel, and for each answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Times that are kept, the last ones.
const SAMPLES: usize = 4096;

/// The most that a message of the usual size takes.
const SIZE_MAX: usize = 496;

fn main(remote: Remote) -> Result<i32, Error> {
    program(remote, |connection, console, line| {
        let mut payload = [0; SIZE_MAX];
        let payload = line.number(1, 64).and_then(|size| payload.get_mut(..size));
        let (Some(count @ 1..), Some(payload)) = (line.number(0, 1000_u32), payload) else {
            return usage(console, USAGE);
        };

        let ping = connection.open("rpmsg-ping").wait()?;
        let Some(hello) = ping.receive().within(PATIENCE).wait() else {
            console.print_error("the main side does not answer on rpmsg-ping\n").wait()?;
            return Ok(1);
        };
        drop(hello?);

        let (mut times, mut lost) = ([0; SAMPLES], 0_u32);
        for (number, place) in (0..count).zip((0..SAMPLES).cycle()) {
            for (byte, step) in payload.iter_mut().zip(number..) {
                *byte = step as u8;
            }
            match (round_trip(connection.machine(), &ping, payload)?, times.get_mut(place)) {
                (Some(time), Some(place)) => *place = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX),
                _ => lost += 1,
            }
        }
        let kept = times.get_mut(..SAMPLES.min((count - lost) as usize)).unwrap_or_default();
        report(console, kept, count, payload.len(), lost)?;
        Ok(i32::from(lost > 0))
    })
}

/// Sends a message and waits for it to come back; `None` where it does not, or another one does.
fn round_trip(machine: &Machine, ping: &Endpoint, payload: &[u8]) -> Result<Option<Duration>, Error> {
    let start = machine.now();
    ping.send(payload).wait()?;
    let Some(answer) = ping.receive().within(PATIENCE).wait() else { return Ok(None) };
    let mut bytes = [0; SIZE_MAX];
    let is_same = answer?.copy_to(&mut bytes).is_ok_and(|bytes| bytes == payload);
    Ok(is_same.then(|| machine.now() - start))
}

fn report(console: &mut Console, times: &mut [u64], count: u32, size: usize, lost: u32) -> Result<(), Error> {
    times.sort_unstable();
    let part = |percent: usize| {
        Micros(times.get((times.len() * percent / 100).min(times.len() - 1)).copied().unwrap_or(0))
    };
    console.print(format_args!("{count} round trips of {size} bytes, {lost} lost\n")).wait()?;
    if !times.is_empty() {
        let (least, most) = (part(0), part(100));
        console
            .print(format_args!("least {least}, median {}, 99 % {}, most {most}\n", part(50), part(99)))
            .wait()?;
    }
    Ok(())
}
