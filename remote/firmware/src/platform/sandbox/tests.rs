extern crate std;

use std::boxed::Box;
use std::io::{PipeReader, PipeWriter, Read as _, Write as _, pipe};
use std::os::fd::AsRawFd as _;
use std::thread;
use std::time::Instant;

use sidecore_mem::Memory;
use sidecore_wire::Fault;

use super::*;
use crate::platform::{MainSide, SharedMap};

/// A sandbox whose doorbells are pipes, seen from the main side.
struct Bench {
    page: Region,
    platform: Sandbox,
    to_remote: PipeWriter,
    from_remote: PipeReader,
    // Kept open for the sandbox, which knows their numbers only.
    _ends: (PipeReader, PipeWriter),
}

const HAND_OVER: HandOver = HandOver {
    table_da: 0,
    table_len: 0,
    tick_hz: 0,
    cpu_count: 1,
    doorbell_in: 0,
    doorbell_out: 0,
    trace_bell: 0,
    stack_top: 0x3000_0000,
    stack_size: 0x1_0000,
    memories_count: 0,
};

fn fresh(hand_over: &HandOver) -> Region {
    let page: &'static Memory<{ page::SIZE }> = Box::leak(Box::default());
    let page = page.region();
    page.write(0, &hand_over.emit()).unwrap();
    page
}

fn bench(cpu_count: u32) -> Bench {
    let (doorbell_in, to_remote) = pipe().unwrap();
    let (from_remote, doorbell_out) = pipe().unwrap();
    let page = fresh(&HandOver {
        cpu_count,
        doorbell_in: doorbell_in.as_raw_fd(),
        doorbell_out: doorbell_out.as_raw_fd(),
        ..HAND_OVER
    });
    let platform = Sandbox::adopt(&page).unwrap();
    Bench { page, platform, to_remote, from_remote, _ends: (doorbell_in, doorbell_out) }
}

#[test]
fn a_page_of_another_layout_is_refused() {
    let page = fresh(&HAND_OVER);
    page.store(page::VERSION, 7_u32).unwrap();
    let fault = Fault::Unsupported { supported: page::VERSION_VALUE.into() };
    let expected = Malformed { field: "version", value: 7, fault };
    assert_eq!(Sandbox::adopt(&page).unwrap_err(), HandOverError::Malformed(expected));
    let short = page.slice(0, 100).unwrap();
    assert!(matches!(Sandbox::adopt(&short).unwrap_err(), HandOverError::Access(_)));
}

#[test]
fn an_unknown_clock_is_measured() {
    let platform = bench(1).platform;
    let (ticks, time) = (platform.now(), Instant::now());
    thread::sleep(Duration::from_millis(50));
    let measured = duration(platform.now() - ticks, platform.ticks_per_second());
    let real = time.elapsed();
    assert!(measured > real / 2 && measured < real * 2, "{measured:?} for {real:?}");
}

#[test]
fn a_main_side_that_is_awake_is_not_rung() {
    let mut bench = bench(1);
    bench.platform.ring(0);
    bench.page.store(page::HOST_ASLEEP, 1_u32).unwrap();
    bench.platform.ring(0);
    let mut rung = [0; 16];
    assert_eq!(bench.from_remote.read(&mut rung).unwrap(), 8);
    assert_eq!(rung[..8], 1_u64.to_le_bytes());
}

#[test]
fn a_main_side_that_goes_and_another_that_comes_are_told_of() {
    let bench = bench(1);
    let say = |count: u32, gone: u32| {
        bench.page.store(page::MAIN_SIDES, count).unwrap();
        bench.page.store(page::MAIN_SIDE_GONE, gone).unwrap();
        bench.platform.main_side()
    };
    assert_eq!(say(1, 0), MainSide { is_there: true, count: 1 });
    assert_eq!(say(1, 1), MainSide { is_there: false, count: 1 });
    assert_eq!(say(2, 0), MainSide { is_there: true, count: 2 });
}

#[test]
fn a_wait_that_is_ready_does_not_sleep_and_has_said_that_it_may() {
    let bench = bench(1);
    let asleep = bench.page.word::<u32>(page::REMOTE_ASLEEP).unwrap();
    let mut seen = None;
    bench.platform.wait(None, &mut || seen.replace(asleep.load()).is_none());
    assert_eq!((seen, asleep.load()), (Some(1), 0));
}

#[test]
fn a_wait_inside_of_the_last_look_leaves_the_outer_one_wakeable() {
    let Bench { page, platform, mut to_remote, _ends, .. } = bench(1);
    let asleep = page.word::<u32>(page::REMOTE_ASLEEP).unwrap();
    let mut looks = 0;
    platform.wait(None, &mut || {
        looks += 1;
        assert_eq!(asleep.load(), 1);
        match looks {
            1 => platform.wait(None, &mut || true),
            // The outer wait has started over; now it sleeps, and only the doorbell ends that.
            _ => to_remote.write_all(&1_u64.to_le_bytes()).unwrap(),
        }
        false
    });
    assert_eq!(looks, 2);
}

#[test]
fn only_a_remote_with_more_than_one_processor_has_patience() {
    assert_eq!(bench(1).platform.patience(), 0);
    let platform = bench(2).platform;
    assert_eq!(platform.patience(), platform.ticks_per_second().div_ceil(20_000));
}

#[test]
fn the_doorbell_ends_a_wait_and_is_cleared_by_it() {
    let mut bench = bench(1);
    bench.to_remote.write_all(&1_u64.to_le_bytes()).unwrap();
    bench.platform.wait(None, &mut || false);
    let start = Instant::now();
    let until = bench.platform.now() + ticks(Duration::from_millis(20), bench.platform.ticks_per_second());
    bench.platform.wait(Some(until), &mut || false);
    assert!(start.elapsed() >= Duration::from_millis(10), "the second wait found the doorbell of the first");
    assert_eq!(bench.page.load::<u32>(page::REMOTE_ASLEEP).unwrap(), 0);
}

#[test]
fn a_sleeping_remote_is_woken_by_a_peer_that_follows_the_protocol() {
    let Bench { page, platform, mut to_remote, _ends, .. } = bench(2);
    let published = page.clone();
    let peer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(10));
        // Any word that nobody else uses stands for the rings.
        published.store(2048, 1_u32).unwrap();
        full_fence();
        if published.load::<u32>(page::REMOTE_ASLEEP).unwrap() != 0 {
            to_remote.write_all(&1_u64.to_le_bytes()).unwrap();
        }
        to_remote
    });
    while page.load::<u32>(2048).unwrap() == 0 {
        platform.wait(None, &mut || page.load::<u32>(2048).unwrap() != 0);
    }
    drop(peer.join().unwrap());
}

#[test]
fn a_wait_ends_when_its_time_has_come_and_feeds_the_watchdog_meanwhile() {
    let bench = bench(2);
    let count = || bench.page.load::<u32>(page::WATCHDOG_COUNT).unwrap();
    bench.platform.arm_watchdog(Duration::from_micros(9500));
    assert_eq!(bench.page.load::<u32>(page::WATCHDOG_PERIOD_MS).unwrap(), 10);
    let (before, start) = (count(), Instant::now());
    let until = bench.platform.now() + ticks(Duration::from_millis(60), bench.platform.ticks_per_second());
    bench.platform.wait(Some(until), &mut || false);
    assert!(start.elapsed() >= Duration::from_millis(30));
    assert!(count().wrapping_sub(before) >= 4, "{} feedings", count().wrapping_sub(before));
}

#[test]
fn only_memory_that_the_sandbox_places_is_shared() {
    let bench = bench(1);
    let places: [(u64, u64, bool); 11] = [
        (0x2000_0000, 0x1000, true),
        (0xFFFF_F000, 0x1000, true),
        (0xFFFF_F000, 0x1001, false),       // above what a table can name
        (0x1FFF_FFFF, 0x10, false),         // in the image
        (0x2FFE_E000, 0x2001, false),       // the stack's first byte
        (0x2FFE_F000, 0x1000, true),        // up to the stack
        (0x2FFF_8000, 0x10, false),         // inside the stack
        (0x2FFF_FFFF, 0x10, false),         // the stack's last byte
        (0x3000_0000, 0x10, true),          // behind the stack
        (u64::MAX, 2, false),               // wraps
        (0x4000_0000, u64::MAX / 2, false), // longer than everything
    ];
    for (number, (start, len, _)) in places.into_iter().enumerate() {
        let at = page::MEMORIES + page::MEMORY_SIZE * number;
        bench.page.store(at, start).unwrap();
        bench.page.store(at + 8, len).unwrap();
    }
    let mut map = SharedMap::new();
    bench.platform.shared(&mut map).unwrap();
    let shared: std::vec::Vec<_> =
        map.windows().map(|window| (window.start.0, window.region.len() as u64)).collect();
    let expected: std::vec::Vec<_> =
        places.into_iter().filter_map(|(start, len, shared)| shared.then_some((start, len))).collect();
    assert_eq!(shared, expected);
}

#[test]
fn memories_that_overlap_are_an_error() {
    let bench = bench(1);
    for at in [page::MEMORIES, page::MEMORIES + page::MEMORY_SIZE] {
        bench.page.store(at, 0x2000_0000_u64).unwrap();
        bench.page.store(at + 8, 0x1000_u64).unwrap();
    }
    assert!(matches!(bench.platform.shared(&mut SharedMap::new()), Err(MapError::Overlaps { .. })));
}

#[test]
fn a_panic_record_is_shortened_to_its_room() {
    let page = fresh(&HAND_OVER);
    leave_record(&page, "main.rs:7: ouch");
    assert_eq!(page.load::<u32>(page::PANIC_LEN).unwrap(), 15);
    assert_eq!(&page.read_array::<15>(page::PANIC_TEXT).unwrap(), b"main.rs:7: ouch");
    let long = std::string::String::from_utf8(std::vec![b'x'; 5000]).unwrap();
    leave_record(&page, &long);
    let room = page::PANIC_TEXT_END - page::PANIC_TEXT;
    assert_eq!(page.load::<u32>(page::PANIC_LEN).unwrap() as usize, room);
    assert_eq!(
        page.load::<u64>(page::PANIC_TEXT_END).unwrap(),
        HAND_OVER.stack_top,
        "what lies behind is as it was"
    );
}
