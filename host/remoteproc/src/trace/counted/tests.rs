use alloc::boxed::Box;
use alloc::vec::Vec;

use proptest::prelude::*;
use sidecore_mem::Memory;

use super::*;

/// The byte with this number, which tells it from others.
fn byte(number: u64) -> u8 {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8 | 1
}

/// Firmware that writes as the book says, a store at a time.
struct Firmware {
    buffer: Region,
    words: Region,
    total: u64,
    /// The piece that is being written, and how many stores of it were made.
    piece: Option<(u64, u64)>,
}

impl Firmware {
    /// One that has written `total` bytes to a buffer of `len`, the last ones of which are there.
    fn new(len: usize, total: u64) -> Self {
        let buffer = Box::leak(Box::<Memory<64>>::default()).region().slice(0, len).unwrap();
        let words = Box::leak(Box::<Memory<{ TraceWords::SIZE }>>::default()).region();
        let firmware = Self { buffer, words, total, piece: None };
        for number in total.saturating_sub(len as u64 - 1)..total {
            firmware.put(number, byte(number));
        }
        firmware.tell(TraceWords::CLAIMED_AT, total);
        firmware.tell(TraceWords::TOTAL_AT, total);
        firmware
    }

    fn put(&self, number: u64, byte: u8) {
        self.buffer.store(number as usize % self.buffer.len(), byte).unwrap();
    }

    fn tell(&self, at: usize, number: u64) {
        self.words.store(at, number as u32).unwrap();
    }

    fn begin(&mut self, len: u64) {
        self.piece.get_or_insert((len, 0));
    }

    /// Makes the next store: the claim, the bytes but the first, the NUL, the first byte, the total.
    fn step(&mut self) {
        let Some((len, made)) = self.piece else { return };
        self.piece = Some((len, made + 1));
        let end = self.total + len;
        let start = self.total + len.saturating_sub(self.buffer.len() as u64 - 1);
        let rest = end - start - 1;
        match made {
            0 => self.tell(TraceWords::CLAIMED_AT, end),
            _ if made <= rest => self.put(start + made, byte(start + made)),
            _ if made == rest + 1 => self.put(end, 0),
            _ if made == rest + 2 => self.put(start, byte(start)),
            _ => {
                self.tell(TraceWords::TOTAL_AT, end);
                (self.total, self.piece) = (end, None);
            }
        }
    }
}

proptest! {
    /// Stores of the firmware come before, between and after those two halves of a look in every order.
    #[test]
    fn every_byte_is_told_once_or_counted_as_lost(
        power in 1_u32..7,
        begin in prop_oneof![Just(0_u64), 0..200_u64, (1_u64 << 32) - 40..(1_u64 << 32) + 40],
        turns in prop::collection::vec((1_u64..100, 0_usize..120, 0_usize..120), 0..40),
    ) {
        let mut firmware = Firmware::new(1 << power, begin);
        let mut drain = Counted { next: begin as u32 };
        let mut number = begin;
        let take = |number: &mut u64, look: Look| -> Result<(), TestCaseError> {
            prop_assert_eq!(look.trouble, None);
            *number += match look.lost {
                Lost::Nothing => 0,
                Lost::Bytes(lost) => lost,
                Lost::Unknown => return Err(TestCaseError::fail("it counts")),
            };
            for told in look.bytes {
                prop_assert_eq!(told, byte(*number));
                *number += 1;
            }
            Ok(())
        };
        for (len, before, between) in turns {
            firmware.begin(len);
            (0..before).for_each(|_| firmware.step());
            let seen = firmware.total;
            let copied = drain.copy(&firmware.buffer, &firmware.words).unwrap();
            (0..between).for_each(|_| firmware.step());
            take(&mut number, drain.check(copied, &firmware.words).unwrap())?;
            prop_assert_eq!(number, seen);
        }
        while firmware.piece.is_some() {
            firmware.step();
        }
        let last = drain.look(&firmware.buffer, &firmware.words).unwrap();
        let whole = (firmware.total - number).min((1 << power) - 1);
        prop_assert_eq!(last.bytes.len() as u64, whole, "nothing is lost that could have been read");
        take(&mut number, last)?;
        prop_assert_eq!(number, firmware.total);
    }

    /// Whatever the words say, a look ends, and tells no more than the buffer holds.
    #[test]
    fn words_that_lie_cost_nothing_but_sense(
        words in prop::collection::vec((any::<u32>(), any::<u32>()), 1..20),
    ) {
        let firmware = Firmware::new(16, 0);
        let mut drain = Counted::default();
        for (total, claimed) in words {
            let before = drain.next;
            firmware.tell(TraceWords::TOTAL_AT, total.into());
            firmware.tell(TraceWords::CLAIMED_AT, claimed.into());
            let look = drain.look(&firmware.buffer, &firmware.words).unwrap();
            prop_assert!(look.bytes.len() <= 15);
            let expected = if total.wrapping_sub(before) >= HALF {
                Some(Trouble::WentBack { from: before, to: total })
            } else if claimed.wrapping_sub(total) >= HALF {
                Some(Trouble::ClaimsLess { total, claimed })
            } else {
                None
            };
            prop_assert_eq!(look.trouble, expected);
        }
    }
}

#[test]
fn a_drain_that_keeps_up_loses_nothing() {
    let mut firmware = Firmware::new(16, 0);
    let mut drain = Counted::default();
    let mut told = Vec::new();
    for len in (1..=15).cycle().take(300) {
        firmware.begin(len);
        while firmware.piece.is_some() {
            firmware.step();
        }
        let look = drain.look(&firmware.buffer, &firmware.words).unwrap();
        assert_eq!((look.lost, look.bytes.len() as u64), (Lost::Nothing, len));
        told.extend(look.bytes);
    }
    assert!(told.into_iter().eq((0..firmware.total).map(byte)));
}

#[test]
fn the_firmware_is_told_how_far_the_reader_is_and_the_reader_what_came_meanwhile() {
    let firmware = Firmware::new(16, 9);
    let mut drain = Counted::default();
    drain.look(&firmware.buffer, &firmware.words).unwrap();
    assert_eq!(drain.answer(&firmware.words, 2), Ok(false));
    let words = [TraceWords::READ_AT, TraceWords::WAKE_AT].map(|at| firmware.words.load::<u32>(at));
    assert_eq!(words, [Ok(9), Ok(2)]);
    firmware.tell(TraceWords::TOTAL_AT, 10);
    assert_eq!(drain.answer(&firmware.words, 2), Ok(false));
    assert_eq!(drain.answer(&firmware.words, 1), Ok(true));
    assert_eq!(drain.answer(&firmware.words, 0), Ok(false), "it does not want to be rung for");
}
