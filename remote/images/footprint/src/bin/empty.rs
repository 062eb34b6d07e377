//! The platform alone, which finds the memory and hears the doorbell: what every other image has in common.
#![no_std]
#![no_main]

use sidecore_firmware::bare;
use sidecore_firmware::platform::{Native, Platform as _};
use sidecore_mem::AddressMap;

bare! { main: main }

fn main(platform: Native) -> i32 {
    let mut map = AddressMap::<(), 1>::new();
    if platform.shared(&mut map).is_err() {
        return 1;
    }
    loop {
        platform.wait(None, &mut || false);
        platform.ring(1);
    }
}
