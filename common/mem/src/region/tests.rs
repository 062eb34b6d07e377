extern crate std;

use std::boxed::Box;
use std::string::ToString;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::Memory;

/// The first `len` bytes of leaked memory of the test's own.
fn region(len: usize) -> Region {
    let memory: &'static Memory<256> = Box::leak(Box::default());
    memory.region().slice(0, len).expect("at most 256 bytes")
}

#[test]
fn scalars_are_little_endian_in_memory() {
    let region = region(16);
    region.store(8, 0x1122_3344_5566_7788_u64).unwrap();
    assert_eq!(region.read_array(8), Ok([0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]));
    assert_eq!(region.load::<u16>(10), Ok(0x5566));
    assert_eq!(region.load::<u8>(15), Ok(0x11));
}

#[test]
fn copies_of_every_length_and_alignment_round_trip_and_touch_nothing_else() {
    for at in 0..17 {
        for len in 0..40 {
            let region = region(64);
            region.write(0, &[0xee; 64]).unwrap();
            let bytes: Vec<u8> = (1..=len).collect();
            region.write(at, &bytes).unwrap();
            let mut back = vec![0; usize::from(len)];
            region.read(at, &mut back).unwrap();
            assert_eq!(back, bytes);
            let mut all = [0; 64];
            region.read(0, &mut all).unwrap();
            let outside = all[..at].iter().chain(&all[at + usize::from(len)..]);
            assert!(outside.copied().all(|byte| byte == 0xee), "at {at} len {len}");
        }
    }
}

#[test]
fn clear_sets_just_the_bytes_it_names() {
    let region = region(256);
    region.write(0, &[0xff; 256]).unwrap();
    region.clear(3, 130).unwrap();
    let all: [u8; 256] = region.read_array(0).unwrap();
    assert!((0..256).all(|i| (all[i] == 0) == (3..133).contains(&i)));
}

#[test]
fn an_access_outside_is_refused_with_its_place() {
    let region = region(10);
    assert_eq!(
        region.load::<u32>(8),
        Err(AccessError { fault: Fault::OutOfBounds, at: 8, len: 4, region: 10 })
    );
    assert!(region.read(usize::MAX, &mut [0; 2]).is_err());
    assert!(region.write(11, &[]).is_err());
    assert!(region.write(10, &[]).is_ok());
    assert!(region.slice(4, 7).is_err());
    assert!(region.clear(1, usize::MAX).is_err());
    let error = region.slice(4, 7).unwrap_err();
    assert_eq!(error.to_string(), "7 bytes at offset 0x4 leave a region of 0xa bytes");
}

#[test]
fn a_misaligned_scalar_is_refused() {
    let region = region(16);
    assert_eq!(region.load::<u32>(2).unwrap_err().fault, Fault::Misaligned { align: 4 });
    assert_eq!(region.slice(2, 8).unwrap().load::<u32>(0).unwrap_err().fault, Fault::Misaligned { align: 4 });
    assert!(region.word::<u16>(1).is_err());
    assert!(region.word::<u16>(14).is_ok());
}

#[test]
fn a_ring_wraps_its_index_and_wants_a_power_of_two() {
    let region = region(64);
    let ring = region.ring::<u16>(0, 4).unwrap();
    ring.store(5, 7);
    assert_eq!((ring.load(1), ring.load(usize::MAX - 2), ring.count()), (7, 7, 4));
    assert_eq!(region.load::<u16>(2), Ok(7));
    assert_eq!(region.ring::<u16>(0, 3).unwrap_err().fault, Fault::NotAPowerOfTwo);
    assert_eq!(region.ring::<u32>(0, 0).unwrap_err().fault, Fault::NotAPowerOfTwo);
    assert_eq!(region.ring::<u16>(0, 64).unwrap_err().fault, Fault::OutOfBounds);
    assert_eq!(region.ring::<u64>(0, usize::MAX).unwrap_err().fault, Fault::OutOfBounds);
}

#[test]
fn pairs_wrap_their_index_or_refuse_it() {
    let region = region(64);
    let pairs = region.pairs::<u32>(0, 4).unwrap();
    pairs.store(5, [7, 8]);
    assert_eq!((pairs.load(1), pairs.load_first(9), pairs.count()), ([7, 8], 7, 4));
    assert_eq!((pairs.get(1), pairs.get(3), pairs.get(4)), (Some([7, 8]), Some([0, 0]), None));
    assert_eq!(pairs.get(usize::MAX), None);
    assert_eq!((region.load::<u32>(8), region.load::<u32>(12)), (Ok(7), Ok(8)));
    assert_eq!(region.pairs::<u32>(0, 16).unwrap_err().fault, Fault::OutOfBounds);
}

#[test]
fn what_is_renewed_is_there_whatever_was_there_before() {
    let region = region(64);
    let (ring, pairs) = (region.ring::<u16>(0, 4).unwrap(), region.pairs::<u32>(32, 4).unwrap());
    for [first, second] in [[0, 1], [1, 1], [1, 2], [1, 2], [3, 4]] {
        ring.renew(5, first as u16);
        pairs.renew(6, [first, second]);
        assert_eq!((ring.load(1), pairs.load(2)), (first as u16, [first, second]));
    }
}

#[test]
fn clones_and_slices_name_the_same_bytes() {
    let region = region(32);
    let slice = region.slice(16, 16).unwrap();
    let word = slice.word::<u16>(2).unwrap();
    word.store_release(0xabcd);
    assert_eq!(region.clone().load::<u16>(18), Ok(0xabcd));
    assert_eq!(word.load_acquire(), 0xabcd);
}
