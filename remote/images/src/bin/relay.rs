//! Between the main side and the other core of its board: remote of the one, host of the other. What comes on the channel
//! `rpmsg-echo` goes on to that core's `rpmsg-echo`, and its answer back. Either of them may go and come again.
#![no_std]
#![no_main]

use sidecore_firmware::{ADDR_ANY, Connection, Error, Event, Host, Remote, SiblingEndpoint, image, trace};

image! { main: main }

/// Entries of the longest ring that the other core may ask for.
const RING: usize = 64;

/// The most that a message of the usual size takes.
const SIZE_MAX: usize = 496;

/// Who is gone.
enum Lost {
    MainSide(Error),
    OtherCore(Error),
}

fn main(mut remote: Remote) -> Result<(), Error> {
    loop {
        let host = Host::<RING>::connect(remote.machine()).wait()?;
        let lost = match find(&host) {
            Ok(echo) => {
                let (back, lost) = relay(remote, &host, echo)?;
                remote = back;
                lost
            }
            Err(error) => error,
        };
        // It was started again, or broke the rules: it gets a new link.
        trace!("relay: the other core: {lost}");
    }
}

/// The other core's service, once it announces it.
fn find(host: &Host<'_, RING>) -> Result<SiblingEndpoint, Error> {
    let addr = loop {
        match host.next().wait()? {
            Event::Announcement(service) if service.name.matches("rpmsg-echo") => break service.addr,
            _ => {}
        }
    };
    trace!("relay: the other core's rpmsg-echo is at {addr:#x}");
    Ok(host.open(ADDR_ANY, addr)?)
}

/// Serves one main side after the other until the other core is lost; gives why it was.
fn relay<'s>(
    mut remote: Remote<'s>,
    host: &Host<'_, RING>,
    echo: SiblingEndpoint,
) -> Result<(Remote<'s>, Error), Error> {
    loop {
        let connection = remote.connect()?;
        let lost = match connection.machine().block_on(serve(&connection, host, echo)) {
            Err(lost) => lost,
            Ok(never) => match never {},
        };
        remote = connection.disconnect();
        match lost {
            Lost::OtherCore(error) => return Ok((remote, error)),
            Lost::MainSide(Error::Link(error)) => trace!("relay: {error}"),
            Lost::MainSide(error) => return Err(error),
        }
    }
}

async fn serve(
    connection: &Connection<'_>,
    host: &Host<'_, RING>,
    echo: SiblingEndpoint,
) -> Result<core::convert::Infallible, Lost> {
    let relay = connection.open("rpmsg-echo").await.map_err(Lost::MainSide)?;
    loop {
        let mut bytes = [0; SIZE_MAX];
        let call = relay.receive().await.map_err(|error| Lost::MainSide(error.into()))?;
        let text = call.copy_to(&mut bytes).map_err(|error| Lost::MainSide(error.into()))?;
        host.send(echo, text).await.map_err(|error| Lost::OtherCore(error.into()))?;
        let src = call.src();
        drop(call);
        let answer = loop {
            let event = host.next().await.map_err(|error| Lost::OtherCore(error.into()))?;
            if let Event::Message(answer) = event {
                break answer;
            }
        };
        let bytes = bytes.get_mut(..answer.len()).ok_or(Lost::OtherCore(Error::PeerAnswer))?;
        answer.read(0, bytes).map_err(|error| Lost::OtherCore(error.into()))?;
        drop(answer);
        relay.send_to(src, bytes).await.map_err(|error| Lost::MainSide(error.into()))?;
    }
}
