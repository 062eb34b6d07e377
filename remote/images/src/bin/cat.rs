//! Prints its input, byte for byte, until there is none.
#![no_std]
#![no_main]

use sidecore_firmware::{Error, Remote, Stream, image};
use sidecore_images::program;

image! { main: main }

fn main(remote: Remote) -> Result<i32, Error> {
    program(remote, |_, console, _| {
        let mut memory = [0; 256];
        loop {
            let len = console.read(&mut memory).wait()?;
            let Some(piece @ [_, ..]) = memory.get(..len) else { return Ok(0) };
            console.write(Stream::Out, piece).wait()?;
        }
    })
}
