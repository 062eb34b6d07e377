//! Between the main side and the other core of its board: remote of the one, host of the other. What comes on the channel
//! `rpmsg-echo` goes on to that core's `rpmsg-echo`, and its answer back.
#![no_std]
#![no_main]

use sidecore_firmware::{ADDR_ANY, Error, Event, Host, Remote, image, trace};

image! { main: main }

/// Entries of the longest ring that the other core may ask for.
const RING: usize = 64;

/// The most that a message of the usual size takes.
const SIZE_MAX: usize = 496;

fn main(mut remote: Remote) -> Result<(), Error> {
    let host = Host::<RING>::connect(remote.machine())?;
    let addr = loop {
        match host.next().wait()? {
            Event::Announcement(service) if service.name.matches("rpmsg-echo") => break service.addr,
            _ => {}
        }
    };
    let echo = host.open(ADDR_ANY, addr)?;
    trace!("relay: the other core's rpmsg-echo is at {addr:#x}");
    loop {
        let connection = remote.connect()?;
        let served = connection.machine().block_on(async {
            let relay = connection.open("rpmsg-echo").await?;
            loop {
                let mut bytes = [0; SIZE_MAX];
                let call = relay.receive().await?;
                host.send(echo, call.copy_to(&mut bytes)?).await?;
                let src = call.src();
                drop(call);
                let answer = loop {
                    if let Event::Message(answer) = host.next().await? {
                        break answer;
                    }
                };
                let len = answer.len();
                let bytes = bytes.get_mut(..len).ok_or(Error::PeerAnswer)?;
                answer.read(0, bytes)?;
                drop(answer);
                relay.send_to(src, bytes).await?;
            }
        });
        match served {
            Err(Error::Link(error)) => trace!("relay: {error}"),
            other => return other,
        }
        remote = connection.disconnect();
    }
}
