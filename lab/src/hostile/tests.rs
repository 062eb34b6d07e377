mod storm;

use std::iter::repeat_n;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::{device, driver, play_device, play_driver, play_rpmsg, rpmsg};
use crate::tape::Seed;
use crate::watchdog;

const LIMIT: Duration = Duration::from_secs(120);

proptest! {
    // What fails is printed; it belongs in a fuzz corpus, or in a test of its own.
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_device_gets_our_driver_to_do_wrong(bytes in vec(any::<u8>(), 0..1500)) {
        play_driver(&bytes);
    }

    #[test]
    fn no_driver_gets_our_device_to_do_wrong(bytes in vec(any::<u8>(), 0..1500)) {
        play_device(&bytes);
    }

    #[test]
    fn no_peer_gets_our_rpmsg_to_do_wrong(bytes in vec(any::<u8>(), 0..1500)) {
        play_rpmsg(&bytes);
    }
}

/// First bytes of a tape: rings of two descriptors with each set of features.
const RINGS_OF_TWO: [u8; 4] = [0x01, 0x11, 0x21, 0x31];

/// One word of the ring is overwritten once, between any two steps of an exchange that is honest otherwise.
#[test]
fn no_single_word_at_any_moment_gets_our_ends_to_do_wrong() {
    watchdog::within(LIMIT, || {
        for header in RINGS_OF_TWO {
            lie_once(&[header], &driver_exchange(), driver::Step::WriteAnyWord as u8, play_driver);
            lie_once(
                &[header, 0xff, 0xff],
                &device_exchange(),
                device::Step::WriteAnyWord as u8,
                play_device,
            );
        }
    });
}

fn lie_once(header: &[u8], exchange: &[Vec<u8>], write: u8, play: fn(&[u8]) -> usize) {
    let honest = [header, &exchange.concat()].concat();
    assert_eq!(play(&honest), 4, "the exchange moves four chains");
    // The words of the ring; those that follow are its buffers'.
    for (moment, word) in (0..=exchange.len()).flat_map(|moment| (0..43_u16).map(move |word| (moment, word)))
    {
        for value in [0, 1, 2, 3, 4, 5, 0x7fff, 0x8000, 0xfffe, 0xffff_u16] {
            let (before, after) = exchange.split_at(moment);
            let [word_low, word_high] = word.to_le_bytes();
            let [low, high] = value.to_le_bytes();
            let lie = [write, word_low, word_high, low, high];
            play(&[header, &before.concat(), &lie, &after.concat()].concat());
        }
    }
}

/// The same for both ends of a link: one index, flag, wish, identifier, length or part of a descriptor is changed once.
#[test]
fn no_single_lie_at_any_moment_gets_our_rpmsg_to_do_wrong() {
    let lies = (0..2).flat_map(|queue| {
        let words = [vec![0], vec![1]].into_iter().chain((0..4).flat_map(|number| {
            let entries = [2, 3, 4].map(|entry| vec![entry, number]);
            let fields = (0..8).map(move |field| vec![5, number, field]);
            entries.into_iter().chain(fields).chain([vec![6, number]])
        }));
        words.flat_map(move |word| {
            [&[1][..], &[0xff], &[0x40], &[0, 0, 0], &[0, 0, 0x80]]
                .map(|change| [&[rpmsg::Step::Lie as u8, queue][..], &word, change].concat())
        })
    });
    let lies: Vec<Vec<u8>> = lies.collect();
    watchdog::within(LIMIT, move || {
        let exchange = rpmsg_exchange();
        // Rings of four descriptors with and without the event index, and memory that is written to.
        for header in [0x2a, 0x3a] {
            assert_eq!(
                play_rpmsg(&[&[header], &*exchange.concat()].concat()),
                4,
                "the exchange moves four messages"
            );
            for (before, after) in (0..=exchange.len()).map(|moment| exchange.split_at(moment)) {
                for lie in &lies {
                    play_rpmsg(&[&[header], &*before.concat(), lie, &after.concat()].concat());
                }
            }
        }
    });
}

/// A service is announced; a message is answered; one is put aside, and one is written in place.
fn rpmsg_exchange() -> Vec<Vec<u8>> {
    use rpmsg::Step::{Arm, Fill, Open, Poll, Release, Reserve, Resume, Send, SendReserved, Tell};
    let host = |step, rest: &[u8]| [&[step as u8], rest].concat();
    let remote = |step, rest: &[u8]| [&[0x80 | step as u8], rest].concat();
    let start = vec![host(Open, &[0, 0, 0, 1]), remote(Open, &[0, 1, 0, 0])];
    let names = vec![remote(Tell, &[0, 0, 0]), host(Poll, &[]), host(Arm, &[])];
    let answered = vec![host(Send, &[0, 5]), remote(Poll, &[3]), host(Poll, &[0])];
    let held = vec![host(Send, &[0, 40]), remote(Poll, &[6]), remote(Resume, &[0]), remote(Release, &[0])];
    let in_place = vec![remote(Arm, &[]), host(Reserve, &[0]), host(Fill, &[0, 9]), host(SendReserved, &[0])];
    [start, names, answered, held, in_place, vec![remote(Poll, &[0])]].concat()
}

/// Our driver sends chains of two and one, twice each, to a device that gives them back.
fn driver_exchange() -> Vec<Vec<u8>> {
    use driver::Step::{Add, Complete, Free, PopUsed, Publish, Wish};
    let buffer = [0, 3, 1, 16, 0, 0, 0];
    let one = [&[Add as u8, 1][..], &buffer].concat();
    let two = [&[Add as u8, 2][..], &buffer, &buffer].concat();
    let home = [vec![Complete as u8, 0, 5], vec![PopUsed as u8], vec![Free as u8, 0], vec![Wish as u8, 1]];
    let round = |chain: &Vec<u8>| [vec![chain.clone(), vec![Publish as u8]], home.to_vec()].concat();
    [round(&two), round(&one), round(&two), round(&one)].concat()
}

/// Our device takes chains, looks at them and gives them back.
fn device_exchange() -> Vec<Vec<u8>> {
    use device::Step::{AddUsed, Offer, PopAvailable, Publish, Single, UndoPop, Walk, Wish};
    // A chain of two whose second descriptor is one again, or points to a table of two.
    let part = [3, 1, 16, 0];
    let single = [&[Offer as u8, 1, 0, 0][..], &part, &[0]].concat();
    let table = [&[Offer as u8, 1, 0, 0][..], &part, &[1, 8, 1], &part, &part].concat();
    let look = [vec![PopAvailable as u8], vec![Single as u8, 0, 0], vec![Walk as u8, 0], vec![UndoPop as u8]];
    let back = [
        vec![PopAvailable as u8],
        vec![AddUsed as u8, 0, 5, 0, 0, 0],
        vec![Publish as u8],
        vec![Wish as u8, 1],
    ];
    let round = |chain: &Vec<u8>| [vec![chain.clone()], look.to_vec(), back.to_vec()].concat();
    [round(&single), round(&table), round(&single), round(&table)].concat()
}

/// Exchanges that go on until the indices have passed 65535, with lies in between.
#[test]
fn no_patience_of_a_peer_gets_our_ends_to_do_wrong() {
    let plays = [(play_driver as fn(&[u8]) -> usize, driver_exchange()), (play_device, device_exchange())];
    for (play, exchange) in plays {
        watchdog::within(LIMIT, move || {
            let mut seed = Seed::new(1);
            let exchanges =
                repeat_n(exchange.concat(), 90_000).map(|honest| [honest, seed.bytes(8)].concat());
            let tape: Vec<u8> = [vec![0x13, 0, 0]].into_iter().chain(exchanges).flatten().collect();
            assert!(play(&tape) > 0x1_0000);
        });
    }
}
