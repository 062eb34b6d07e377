//! Is the host of the other core of its board, with no main side: calls that core's `rpmsg-echo` a thousand times with
//! messages of all lengths, checks every answer, and ends with code 0 where all were right. The trace tells.
#![no_std]
#![no_main]

use core::time::Duration;

use sidecore_firmware::{ADDR_ANY, Error, Event, Host, LinkError, Remote, Resources, image, trace};
use sidecore_images::Micros;

// No device: nothing is wanted of a main side.
image! { main: main, resources: Resources::new() }

/// Entries of the longest ring that the other core may ask for.
const RING: usize = 64;

/// Round trips, of messages of up to so many bytes.
const CALLS: u32 = 1000;
const SIZE_MAX: usize = 496;

/// How long the other core may take to come up, and for each answer.
const PATIENCE: Duration = Duration::from_secs(20);

fn main(remote: Remote) -> Result<i32, Error> {
    let machine = remote.machine();
    let host = Host::<RING>::connect(machine).wait()?;
    trace!("caller: connected");
    let addr = loop {
        match host.next().within(PATIENCE).wait() {
            Some(Ok(Event::Announcement(service))) if service.name.matches("rpmsg-echo") => {
                break service.addr;
            }
            Some(other) => drop(other?),
            None => return Ok(lost("nobody announces rpmsg-echo")),
        }
    };
    let echo = host.open(ADDR_ANY, addr)?;
    trace!("caller: rpmsg-echo is at {addr:#x}");
    let start = machine.now();
    for number in 0..CALLS {
        let len = number as usize * 7 % (SIZE_MAX + 1);
        let byte = |at: usize| (at as u32).wrapping_mul(31).wrapping_add(number) as u8;
        // Written where the other core reads it, and read where that one has written.
        let mut call = host.reserve(echo).wait()?;
        for at in 0..len {
            call.write(at, &[byte(at)])?;
        }
        call.send()?;
        let Some(answer) = host.next().within(PATIENCE).wait() else { return Ok(lost("no answer")) };
        let Event::Message(answer) = answer? else { return Ok(lost("another announcement")) };
        let mut is_same = answer.len() == len;
        for at in 0..len.min(answer.len()) {
            let mut one = [0];
            answer.read(at, &mut one).map_err(|_| LinkError::Closed)?;
            is_same &= one == [byte(at)];
        }
        if !is_same {
            return Ok(lost("another answer"));
        }
    }
    let time = (machine.now() - start).as_nanos() as u64 / u64::from(CALLS);
    trace!("caller: {CALLS} calls, each answered in {}", Micros(time));
    Ok(0)
}

/// Says why it ends, with code 1.
fn lost(why: &str) -> i32 {
    trace!("caller: {why}");
    1
}
