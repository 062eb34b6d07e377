//! Greets whoever is named on the command line, or nobody in particular, and ends.
#![no_std]
#![no_main]

use sidecore_firmware::{Error, Remote, Stream, image, trace};
use sidecore_images::program;

image! { main: main }

fn main(remote: Remote) -> Result<i32, Error> {
    trace!("hello: up");
    program(remote, |_, console, line| {
        if line.iter().next().is_none() {
            console.print("Hello from the remote!\n").wait()?;
        }
        for name in line.iter() {
            console.print("Hello from the remote, ").wait()?;
            console.write(Stream::Out, name).wait()?;
            console.print("!\n").wait()?;
        }
        Ok(0)
    })
}
