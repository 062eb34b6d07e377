//! Logs its arguments by the `defmt` crate: format strings stay in the file, and a few bytes go to the trace.
#![no_std]
#![no_main]

use sidecore_firmware::{Error, Remote, Resources, image};
use sidecore_images::program;

image! { main: main, resources: Resources::DEFAULT.defmt(1024) }

fn main(remote: Remote) -> Result<i32, Error> {
    defmt::info!("logs: up");
    program(remote, |_, _, line| {
        for (number, argument) in line.iter().enumerate() {
            defmt::warn!("argument {=usize} is {=[u8]:a}", number, argument);
        }
        defmt::debug!("that is all of {}", line.iter().count());
        Ok(0)
    })
}
