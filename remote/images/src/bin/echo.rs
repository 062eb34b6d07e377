//! Sends every message on the channel `rpmsg-echo` back to whoever it came from, for one main side after the other.
#![no_std]
#![no_main]

use sidecore_firmware::{Connection, Endpoint, Error, LinkError, Message, Remote, SendError, image, trace};

image! { main: main }

fn main(mut remote: Remote) -> Result<(), Error> {
    loop {
        let connection = remote.connect()?;
        trace!("echo: connected");
        match serve(&connection) {
            Err(Error::Link(error)) => trace!("echo: {error}"),
            other => other?,
        }
        remote = connection.disconnect();
    }
}

fn serve(connection: &Connection) -> Result<(), Error> {
    let echo = connection.open("rpmsg-echo").wait()?;
    trace!("echo: announced at {:#x}", echo.addr());
    loop {
        let message = echo.receive().wait()?;
        match answer(&echo, &message) {
            Ok(()) => {}
            // The main side's fault, and nobody else's.
            Err(error @ Error::Send(SendError::TooLong { .. })) => trace!("echo: {error}"),
            Err(error) => return Err(error),
        }
    }
}

/// Copies the message from the buffer that it came in to the one that it goes back in.
fn answer(echo: &Endpoint, message: &Message) -> Result<(), Error> {
    let mut answer = echo.reserve_to(message.src()).wait()?;
    let mut piece = [0; 256];
    let mut at = 0;
    while at < message.len() {
        let len = piece.len().min(message.len() - at);
        let Some(piece) = piece.get_mut(..len) else { return Err(LinkError::Closed.into()) };
        message.read(at, piece)?;
        answer.write(at, piece)?;
        at += len;
    }
    answer.send()?;
    Ok(())
}
