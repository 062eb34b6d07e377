//! Is the host of the other core of its board, where `liar` runs: has it lie in every way that it knows, sees that each lie
//! costs the link at most, and connects to it again. Ends with code 0 where all of that was so. The trace tells.
#![no_std]
#![no_main]

use core::time::Duration;

use sidecore_firmware::{
    ADDR_ANY, Error, Event, Host, Machine, Remote, Resources, SiblingEndpoint, image, trace,
};

// No device: nothing is wanted of a main side.
image! { main: main, resources: Resources::new() }

/// Entries of the longest ring that the other core may ask for.
const RING: usize = 64;

/// How long the other core may take to come up, and for each answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A message that is sent back.
const HONEST: &[u8; 7] = b"\xffhonest";

/// Lies that cost the link.
const BREAKING: [u8; 4] = [0, 1, 2, 3];
/// Frames that are nothing, which cost nothing.
const BABBLE: u8 = 7;
/// Noise in all that is shared, without end.
const NOISE: u8 = 6;

/// How long the noise is listened to.
const LISTENING: Duration = Duration::from_secs(3);

fn main(remote: Remote) -> Result<i32, Error> {
    let machine = remote.machine();
    for lie in BREAKING {
        let Some((host, liar)) = befriend(machine)? else { return Ok(lost("no honest answer")) };
        host.send(liar, &[lie]).wait()?;
        match host.next().within(PATIENCE).wait() {
            Some(Err(error)) => trace!("tamer: lie {lie}: {error}"),
            Some(Ok(_)) => return Ok(lost("a lie was believed")),
            None => return Ok(lost("a lie was not noticed")),
        }
    }

    let Some((host, liar)) = befriend(machine)? else { return Ok(lost("no honest answer")) };
    host.send(liar, &[BABBLE]).wait()?;
    host.send(liar, HONEST).wait()?;
    if !answers(&host, HONEST)? {
        return Ok(lost("no answer after babble"));
    }
    trace!("tamer: babble: nothing lost");

    host.send(liar, &[NOISE]).wait()?;
    let mut host = Some(host);
    let end = machine.now() + LISTENING;
    while machine.now() < end {
        let is_up = host.as_ref().is_some_and(|host| {
            let heard = host.next().within(Duration::from_millis(5)).wait();
            heard.is_none_or(|heard| heard.is_ok())
        });
        if !is_up {
            // It may come up, be refused, or not answer: in noise there is anything.
            let connected = Host::connect(machine).within(Duration::from_millis(300)).wait();
            host = connected.and_then(Result::ok);
        }
    }
    trace!("tamer: noise: still here");
    Ok(0)
}

/// The other core's service, of which an honest answer was had.
fn befriend(machine: &Machine) -> Result<Option<(Host<'_, RING>, SiblingEndpoint)>, Error> {
    let Some(host) = Host::<RING>::connect(machine).within(PATIENCE).wait() else { return Ok(None) };
    let host = host?;
    let addr = loop {
        match host.next().within(PATIENCE).wait() {
            Some(Ok(Event::Announcement(service))) if service.name.matches("rpmsg-liar") => {
                break service.addr;
            }
            Some(other) => drop(other?),
            None => return Ok(None),
        }
    };
    let liar = host.open(ADDR_ANY, addr)?;
    host.send(liar, HONEST).wait()?;
    Ok(answers(&host, HONEST)?.then_some((host, liar)))
}

/// Whether this comes, whatever comes before it.
fn answers(host: &Host<'_, RING>, expected: &[u8; 7]) -> Result<bool, Error> {
    while let Some(event) = host.next().within(PATIENCE).wait() {
        let Event::Message(message) = event? else { continue };
        let mut bytes = [0; 7];
        if message.len() == bytes.len() && message.read(0, &mut bytes).is_ok() && bytes == *expected {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Says why it ends, with code 1.
fn lost(why: &str) -> i32 {
    trace!("tamer: {why}");
    1
}
