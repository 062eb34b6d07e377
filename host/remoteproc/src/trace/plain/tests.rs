use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;
use sidecore_mem::Memory;

use super::*;

/// A buffer of so many bytes.
fn buffer(len: usize) -> Region {
    Box::leak(Box::<Memory<256>>::default()).region().slice(0, len).unwrap()
}

fn write(buffer: &Region, at: usize, bytes: &[u8]) {
    buffer.write(at, bytes).unwrap();
}

#[test]
fn a_follower_tells_only_what_is_new() {
    let buffer = buffer(64);
    let mut follower = Plain::default();
    assert_eq!(follower.look(&buffer), Change::Nothing);
    write(&buffer, 0, b"one\n");
    assert_eq!(follower.look(&buffer), Change::Appended("one\n".into()));
    assert_eq!(follower.look(&buffer), Change::Nothing);
    write(&buffer, 4, b"two\n");
    assert_eq!(follower.look(&buffer), Change::Appended("two\n".into()));
}

#[test]
fn a_follower_says_when_the_buffer_wrapped() {
    let buffer = buffer(8);
    let mut follower = Plain::default();
    write(&buffer, 0, b"abcdef");
    follower.look(&buffer);
    // Two bytes to the end, then three over the beginning.
    write(&buffer, 6, b"gh");
    write(&buffer, 0, b"ijk");
    assert_eq!(follower.look(&buffer), Change::Wrapped("ghijk".into()));
    write(&buffer, 3, b"lm");
    assert_eq!(follower.look(&buffer), Change::Wrapped("lm".into()));
    assert_eq!(follower.look(&buffer), Change::Nothing);
}

#[test]
fn a_follower_says_when_the_buffer_was_written_anew() {
    let buffer = buffer(64);
    let mut follower = Plain::default();
    write(&buffer, 0, b"first run\n");
    follower.look(&buffer);
    write(&buffer, 0, b"again\n\0\0\0\0");
    assert_eq!(follower.look(&buffer), Change::Rewritten("again\n".into()));
    write(&buffer, 0, b"\0");
    assert_eq!(follower.look(&buffer), Change::Rewritten(Vec::new()));
}

#[test]
fn a_follower_waits_for_the_rest_of_a_character() {
    let buffer = buffer(64);
    let mut follower = Plain::default();
    write(&buffer, 0, b"5 \xe2\x82");
    assert_eq!(follower.look(&buffer), Change::Appended("5 ".into()));
    assert_eq!(follower.look(&buffer), Change::Nothing);
    write(&buffer, 4, b"\xac.");
    assert_eq!(follower.look(&buffer), Change::Appended("€.".into()));
    write(&buffer, 6, b"\xff");
    assert_eq!(follower.look(&buffer), Change::Appended(vec![0xff]));

    // Where the buffer ends, no rest will come.
    let buffer = super::tests::buffer(2);
    write(&buffer, 0, b"x\xe2");
    assert_eq!(Plain::default().look(&buffer), Change::Appended(vec![b'x', 0xe2]));
}

proptest! {
    #[test]
    fn pieces_that_are_only_appended_make_the_whole(
        pieces in prop::collection::vec(prop::collection::vec(1_u8.., 0..12), 0..20),
    ) {
        let buffer = buffer(256);
        let mut follower = Plain::default();
        let mut told = Vec::new();
        let mut at = 0;
        for piece in &pieces {
            write(&buffer, at, piece);
            at += piece.len();
            match follower.look(&buffer) {
                Change::Nothing => {}
                Change::Appended(text) => told.extend(text),
                other => prop_assert!(false, "{other:?}"),
            }
        }
        let written: Vec<u8> = pieces.concat();
        let complete = written.len() - unfinished(&written);
        prop_assert_eq!(told, &written[..complete]);
    }
}

/// Writes as our firmware does: round in a circle, with a NUL ahead of the text.
struct Circle<'m> {
    buffer: &'m Region,
    len: usize,
    at: usize,
}

impl Circle<'_> {
    fn append(&mut self, text: &[u8]) {
        for &byte in text {
            write(self.buffer, (self.at + 1) % self.len, b"\0");
            write(self.buffer, self.at, &[byte]);
            self.at = (self.at + 1) % self.len;
        }
    }
}

#[test]
fn a_circle_is_read_from_its_oldest_byte_and_followed_without_a_loss() {
    let buffer = buffer(16);
    let mut circle = Circle { buffer: &buffer, len: 16, at: 0 };
    let mut follower = Plain::default();
    let (mut all, mut told) = (Vec::new(), Vec::new());
    for number in 0..200_u32 {
        let line = alloc::format!("{number:x}.");
        circle.append(line.as_bytes());
        all.extend_from_slice(line.as_bytes());
        let text = snapshot(&buffer).bytes;
        assert!(all.ends_with(&text), "{text:?}");
        assert!(text.len() >= 14.min(all.len()), "{text:?}");
        match follower.look(&buffer) {
            Change::Appended(new) => told.extend(new),
            other => panic!("{other:?} at {number}"),
        }
        assert_eq!(told, all);
    }
    assert_eq!(follower.look(&buffer), Change::Nothing);
    circle.append(b"more than the buffer holds");
    assert!(matches!(follower.look(&buffer), Change::Rewritten(_)));
}

#[test]
fn an_overlap_is_the_longest_one_whatever_the_bytes() {
    let naive = |before: &[u8], now: &[u8]| {
        (0..=before.len().min(now.len())).rev().find(|&len| before.ends_with(&now[..len])).unwrap()
    };
    for seed in 0..4096_u32 {
        let bit = |at: u32| b'a' + (seed >> at & 1) as u8;
        let before: Vec<u8> = (0..6).map(bit).collect();
        let now: Vec<u8> = (6..12).map(bit).collect();
        assert_eq!(overlap(&before, &now), naive(&before, &now), "{before:?} {now:?}");
    }
}
