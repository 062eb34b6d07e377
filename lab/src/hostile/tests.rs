use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{play_device, play_driver};
use crate::tape::Seed;
use crate::watchdog;

const LIMIT: Duration = Duration::from_secs(120);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn no_device_gets_our_driver_to_do_wrong(bytes in vec(any::<u8>(), 0..1500)) {
        play_driver(&bytes);
    }

    #[test]
    fn no_driver_gets_our_device_to_do_wrong(bytes in vec(any::<u8>(), 0..1500)) {
        play_device(&bytes);
    }
}

/// Plays that are long enough for the indices to pass 65535.
#[test]
fn no_patience_of_a_peer_gets_our_ends_to_do_wrong() {
    watchdog::within(LIMIT, || {
        for (seed, header) in [(1, 0x00), (2, 0x31), (3, 0x12), (4, 0x34)] {
            let mut tape = Seed::new(seed).bytes(2_000_000);
            tape[0] = header;
            play_driver(&tape);
            play_device(&tape);
        }
    });
}
