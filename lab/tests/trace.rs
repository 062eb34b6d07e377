//! Traces: the firmware's writer and the main side's drain on the same memory, at the same time.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::thread;

use sidecore_firmware::__Trace as Trace;
use sidecore_mem::{AddressMap, DeviceAddr, Memory, Region};
use sidecore_remoteproc::trace::{Drain, Lost, TraceBuffer, Words};
use sidecore_wire::resource_table::TraceWords;

const LEN: usize = 256;
/// Pieces that are written.
const PIECES: u32 = 200_000;

static BUFFER: Memory<LEN> = Memory::new();
static WORDS: Memory<{ TraceWords::SIZE }> = Memory::new();
static TRACE: Trace = Trace::new(|| BUFFER.region(), || Some(WORDS.region()), || ());

/// The byte with this number.
fn byte(number: u64) -> u8 {
    (number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8
}

/// Writes pieces of every length, some longer than the buffer; gives the number of bytes.
fn write() -> u64 {
    let (mut number, mut random) = (0_u64, 1_u32);
    for _ in 0..PIECES {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let most = if random >> 28 == 0 { 600 } else { 40 };
        let piece: Vec<u8> = (0..u64::from(random >> 8) % most).map(|at| byte(number + at)).collect();
        number += piece.len() as u64;
        let mut writer = TRACE.writer();
        writer.append(&piece);
        writer.finish();
        if random >> 24 & 0xF == 0 {
            thread::yield_now();
        }
    }
    number
}

#[test]
fn every_byte_that_firmware_writes_is_read_once_or_counted_as_lost() {
    let (buffer, words): (Region, Region) = (BUFFER.region(), WORDS.region());
    let mut map = AddressMap::<(), 2>::new();
    map.insert(DeviceAddr(0x1000), buffer).unwrap();
    map.insert(DeviceAddr(0x2000), words).unwrap();
    let words = Some(Words { at: DeviceAddr(0x2000), rings: false });
    let trace =
        TraceBuffer { entry: 0, name: "trace0".into(), at: DeviceAddr(0x1000), len: LEN as u32, words };
    let mut drain = Drain::new(trace);

    let writer = thread::spawn(write);
    let (mut number, mut told, mut gaps) = (0_u64, 0_u64, 0_u64);
    loop {
        let has_ended = writer.is_finished();
        let look = drain.look(&map).unwrap();
        assert_eq!(look.trouble, None);
        match look.lost {
            Lost::Nothing => {}
            Lost::Bytes(lost) => (number, gaps) = (number + lost, gaps + 1),
            Lost::Unknown => panic!("a buffer with words counts"),
        }
        for there in look.bytes {
            assert_eq!(there, byte(number), "byte {number}");
            (number, told) = (number + 1, told + 1);
        }
        drain.answer(&map, 0).unwrap();
        if has_ended {
            break;
        }
    }
    assert_eq!(number, writer.join().unwrap(), "{told} told, {gaps} gaps");
    assert!(told > 0);
}
