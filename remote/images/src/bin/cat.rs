//! Prints its input, byte for byte, until there is none, for one main side after the other.
#![no_std]
#![no_main]

use sidecore_firmware::{Connection, Error, Remote, Stream, image};

image! { main: main }

fn main(mut remote: Remote) -> Result<i32, Error> {
    loop {
        let connection = remote.connect()?;
        match copy(&connection) {
            // A console goes with its main side; the next one has another.
            Err(Error::Link(_)) => {}
            ended => return ended,
        }
        remote = connection.disconnect();
    }
}

fn copy(connection: &Connection<'_>) -> Result<i32, Error> {
    let mut console = connection.console().wait()?;
    let mut memory = [0; 256];
    loop {
        let len = console.read(&mut memory).wait()?;
        let Some(piece @ [_, ..]) = memory.get(..len) else { break };
        console.write(Stream::Out, piece).wait()?;
    }
    console.exit(0).wait()?;
    Ok(0)
}
