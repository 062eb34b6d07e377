//! Sends every message on the channel `rpmsg-echo` back to whoever it came from, for one main side after the other.
#![no_std]
#![no_main]

use sidecore_firmware::{Connection, Error, Remote, SendError, image, trace};
use sidecore_images::send_back;

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
        match send_back(&echo, &message) {
            Ok(()) => {}
            // The main side's fault, and nobody else's.
            Err(error @ Error::Send(SendError::TooLong { .. })) => trace!("echo: {error}"),
            Err(error) => return Err(error),
        }
    }
}
