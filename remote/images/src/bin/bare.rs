//! What a message is measured against: a doorbell, or a flag and 64 bytes of payload, to and fro with nothing around it.
//!
//! In the memory that is shared: at 0 the main side's count and at 128 ours, of 16 bits, the payload of each 64 bytes behind
//! it; at 4 a word that is not zero where we are to sleep until the doorbell, and to ring it back.
#![no_std]
#![no_main]

use sidecore_firmware::SharedMap;
use sidecore_firmware::platform::{Native, Platform};

sidecore_firmware::bare! { main: main }

const PAYLOAD: usize = 64;

fn main(platform: Native) -> i32 {
    let mut map = SharedMap::new();
    if platform.shared(&mut map).is_err() {
        return 1;
    }
    let Some(memory) = map.windows().next().map(|window| window.region.clone()) else { return 2 };
    let (Ok(theirs), Ok(ours), Ok(sleeps)) =
        (memory.word::<u16>(0), memory.word::<u16>(128), memory.word::<u32>(4))
    else {
        return 3;
    };
    let mut last = 0;
    loop {
        let is_asleep = sleeps.load() != 0;
        if is_asleep {
            platform.wait(None, &mut || theirs.load() != last);
        }
        let count = theirs.load_acquire();
        if count == last {
            core::hint::spin_loop();
            continue;
        }
        last = count;
        let mut payload = [0; PAYLOAD];
        if memory.read(64, &mut payload).is_err() || memory.write(192, &payload).is_err() {
            return 4;
        }
        ours.store_release(count);
        if is_asleep {
            sidecore_mem::sync::full_fence();
            platform.ring(0);
        }
    }
}
