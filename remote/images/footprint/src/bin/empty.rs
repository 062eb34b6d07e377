//! The board alone, listening to its doorbell: what every other image has in common.
#![no_std]
#![no_main]

use sidecore_firmware::{bare, platform::board::Bare};

bare! { main: main }

fn main(bare: &Bare) {
    loop {
        bare.wait(|| false);
        bare.ring(1);
    }
}
