//! Says hello and ends.
#![no_std]
#![no_main]

use sidecore_firmware::{Remote, image, trace};

image! { main: main }

fn main(_remote: Remote) -> i32 {
    trace!("hello from the remote");
    0
}
