//! The platform alone, which hears the doorbell and rings it: what every other image has in common.
#![no_std]
#![no_main]

use sidecore_firmware::bare;
use sidecore_firmware::platform::{Native, Platform as _};

bare! { main: main }

fn main(platform: Native) -> i32 {
    loop {
        platform.wait(None, &mut || false);
        platform.ring(1);
    }
}
