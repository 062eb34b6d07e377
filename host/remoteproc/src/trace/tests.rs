use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use proptest::prelude::*;
use sidecore_mem::Memory;

use super::*;

const AT: DeviceAddr = DeviceAddr(0x1000);

fn buffer(len: u32) -> (AddressMap<(), 4>, TraceBuffer) {
    let mut map = AddressMap::new();
    map.insert(AT, Box::leak(Box::<Memory<256>>::default()).region()).unwrap();
    (map, TraceBuffer { entry: 0, name: "log".into(), at: AT, len })
}

fn write(map: &AddressMap<(), 4>, at: usize, bytes: &[u8]) {
    map.region(0).unwrap().write(at, bytes).unwrap();
}

fn escaped(bytes: &[u8]) -> String {
    let (map, trace) = buffer(256);
    write(&map, 0, bytes);
    read_trace(&map, &trace).unwrap()
}

#[test]
fn a_trace_is_the_text_up_to_the_first_nul() {
    assert_eq!(escaped(b"[    0.000] boot\r\n\tok\n\0stale"), "[    0.000] boot\n\tok\n");
    assert_eq!(escaped(b""), "");
    let (map, trace) = buffer(8);
    write(&map, 0, b"no end in sight");
    assert_eq!(read_trace(&map, &trace).unwrap(), "no end i");
}

#[test]
fn a_trace_cannot_command_the_terminal() {
    assert_eq!(escaped(b"\x1b[2J\x07\x7f\rx \\"), "\\x1b[2J\\x07\\x7f\\x0dx \\\\");
    assert_eq!(escaped("größe 5 µs".as_bytes()), "größe 5 µs");
    assert_eq!(escaped(b"\xff\xc3 \xe2\x82"), "\\xff\\xc3 \\xe2\\x82");
    assert_eq!(escaped("\u{202e}\u{9b}\u{200b}".as_bytes()), "\\u{202e}\\u{9b}\\u{200b}");
}

#[test]
fn a_trace_outside_the_memories_is_an_error() {
    let (map, mut trace) = buffer(257);
    assert!(read_trace(&map, &trace).is_err());
    trace.at = DeviceAddr(0);
    assert_eq!(read_trace(&map, &trace), Err(MapError::Unmapped { address: DeviceAddr(0), len: 257 }));
    assert!(TraceFollower::new(trace).poll(&map).is_err());
}

#[test]
fn a_follower_tells_only_what_is_new() {
    let (map, trace) = buffer(64);
    let mut follower = TraceFollower::new(trace);
    assert_eq!(follower.poll(&map), Ok(TraceChange::Nothing));
    write(&map, 0, b"one\n");
    assert_eq!(follower.poll(&map), Ok(TraceChange::Appended("one\n".into())));
    assert_eq!(follower.poll(&map), Ok(TraceChange::Nothing));
    write(&map, 4, b"two\n");
    assert_eq!(follower.poll(&map), Ok(TraceChange::Appended("two\n".into())));
}

#[test]
fn a_follower_says_when_the_buffer_wrapped() {
    let (map, trace) = buffer(8);
    let mut follower = TraceFollower::new(trace);
    write(&map, 0, b"abcdef");
    follower.poll(&map).unwrap();
    // Two bytes to the end, then three over the beginning.
    write(&map, 6, b"gh");
    write(&map, 0, b"ijk");
    assert_eq!(follower.poll(&map), Ok(TraceChange::Wrapped("ghijk".into())));
    write(&map, 3, b"lm");
    assert_eq!(follower.poll(&map), Ok(TraceChange::Wrapped("lm".into())));
    assert_eq!(follower.poll(&map), Ok(TraceChange::Nothing));
}

#[test]
fn a_follower_says_when_the_buffer_was_written_anew() {
    let (map, trace) = buffer(64);
    let mut follower = TraceFollower::new(trace);
    write(&map, 0, b"first run\n");
    follower.poll(&map).unwrap();
    write(&map, 0, b"again\n\0\0\0\0");
    assert_eq!(follower.poll(&map), Ok(TraceChange::Rewritten("again\n".into())));
    write(&map, 0, b"\0");
    assert_eq!(follower.poll(&map), Ok(TraceChange::Rewritten(String::new())));
}

#[test]
fn a_follower_waits_for_the_rest_of_a_character() {
    let (map, trace) = buffer(64);
    let mut follower = TraceFollower::new(trace);
    write(&map, 0, b"5 \xe2\x82");
    assert_eq!(follower.poll(&map), Ok(TraceChange::Appended("5 ".into())));
    assert_eq!(follower.poll(&map), Ok(TraceChange::Nothing));
    write(&map, 4, b"\xac.");
    assert_eq!(follower.poll(&map), Ok(TraceChange::Appended("€.".into())));
    write(&map, 6, b"\xff");
    assert_eq!(follower.poll(&map), Ok(TraceChange::Appended("\\xff".into())));

    // Where the buffer ends, no rest will come.
    let (map, trace) = buffer(2);
    write(&map, 0, b"x\xe2");
    assert_eq!(TraceFollower::new(trace).poll(&map), Ok(TraceChange::Appended("x\\xe2".into())));
}

proptest! {
    #[test]
    fn pieces_that_are_only_appended_make_the_whole(
        pieces in prop::collection::vec(prop::collection::vec(1_u8.., 0..12), 0..20),
    ) {
        let (map, trace) = buffer(256);
        let mut follower = TraceFollower::new(trace.clone());
        let mut told = String::new();
        let mut at = 0;
        for piece in &pieces {
            write(&map, at, piece);
            at += piece.len();
            match follower.poll(&map).unwrap() {
                TraceChange::Nothing => {}
                TraceChange::Appended(text) => told.push_str(&text),
                other => prop_assert!(false, "{other:?}"),
            }
        }
        let written: Vec<u8> = pieces.concat();
        let complete = written.len() - unfinished(&written);
        let mut whole = String::new();
        push_text(&mut whole, &written[..complete]);
        // A line feed in the next piece makes its carriage return part of a line's end after the fact.
        prop_assert_eq!(told.replace("\\x0d\n", "\n"), whole.replace("\\x0d\n", "\n"));
    }
}

/// Writes as our firmware does: round in a circle, with a NUL ahead of the text.
struct Circle<'m> {
    map: &'m AddressMap<(), 4>,
    len: usize,
    at: usize,
}

impl Circle<'_> {
    fn append(&mut self, text: &[u8]) {
        for &byte in text {
            write(self.map, (self.at + 1) % self.len, b"\0");
            write(self.map, self.at, &[byte]);
            self.at = (self.at + 1) % self.len;
        }
    }
}

#[test]
fn a_circle_is_read_from_its_oldest_byte_and_followed_without_a_loss() {
    let (map, trace) = buffer(16);
    let mut circle = Circle { map: &map, len: 16, at: 0 };
    let mut follower = TraceFollower::new(trace.clone());
    let (mut all, mut told) = (String::new(), String::new());
    for number in 0..200_u32 {
        let line = alloc::format!("{number:x}.");
        circle.append(line.as_bytes());
        all.push_str(&line);
        let text = read_trace(&map, &trace).unwrap();
        assert!(all.ends_with(&text), "{text}");
        assert!(text.len() >= 14.min(all.len()), "{text}");
        match follower.poll(&map).unwrap() {
            TraceChange::Appended(new) => told.push_str(&new),
            other => panic!("{other:?} at {number}"),
        }
        assert_eq!(told, all);
    }
    assert_eq!(follower.poll(&map).unwrap(), TraceChange::Nothing);
    circle.append(b"more than the buffer holds");
    assert!(matches!(follower.poll(&map).unwrap(), TraceChange::Rewritten(_)));
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
