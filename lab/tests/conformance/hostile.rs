//! Peers of no use at all: the suite comes to its end whatever they do, in time, and says what they did.

use std::time::{Duration, Instant};

use sidecore_conformance::{Ground as _, Options, Peer, Report, Ring, Role, Verdict, report, rows, run};
use sidecore_rpmsg::{Announcement, Header, Name};
use sidecore_wire::resource_table::vdev::offset;
use sidecore_wire::split::UsedElement;

use crate::remote::{Fault, Remote};
use crate::rig::{End, LEN, Thread};

const LIMIT: Duration = Duration::from_millis(300);

/// Runs everything, and holds it to its time.
fn survive(peer: &mut dyn Peer) -> Report {
    let role = peer.role();
    let options = Options { pace: Duration::from_millis(5), limit: LIMIT, ..Options::default() };
    let began = Instant::now();
    let report = run(peer, &options, None, &mut |_| {});
    let count = rows().filter(|row| row.peer == role).count() as u32;
    // What a clause sleeps by itself is some paces more than its limit.
    let most = 3 * (LIMIT + Duration::from_millis(300)) * count;
    assert!(began.elapsed() < most, "{:?} for {count} clauses", began.elapsed());
    assert!(report.findings.len() >= count as usize);
    let silent = report.findings.iter().filter(|finding| finding.verdict != Verdict::Follows);
    assert!(silent.clone().all(|finding| finding.reason.is_some()));
    report
}

/// Numbers that look like chance and are the same each time.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn silence(mut end: End, _: u64) {
    while !end.is_over() {
        end.wait(Duration::from_millis(5));
    }
}

/// Writes anything anywhere, and kicks.
fn scribble(end: End, vdev: u64) {
    let mut numbers = Numbers(vdev + 0x9E37_79B9_7F4A_7C15);
    while !end.is_over() {
        for _ in 0..64 {
            // Mostly where it matters: registers and rings.
            let at = numbers.next() % if numbers.next().is_multiple_of(4) { LEN as u64 } else { 0xA000 };
            end.store(at & !1, numbers.next() as u16);
        }
        end.store_byte(vdev + offset::STATUS as u64, numbers.next() as u8);
        end.kick(0);
        std::thread::yield_now();
    }
}

/// Claims one more entry after the other, of buffers that hold announcements.
fn flood(end: End, vdev: u64) {
    let mut number = 0_u32;
    while !end.is_over() {
        for queue in 0..2 {
            let Some(ring) = Ring::new(&end.vring(vdev, queue)) else { continue };
            let entry = number as u16;
            let head = entry % ring.num();
            let name = Name::new(&format!("rpmsg-{number}")).unwrap();
            let header = Header { src: number, dst: 53, reserved: 0, len: 40, flags: 0 };
            let announcement = Announcement { name, addr: number, flags: 0 };
            let bytes = [&header.emit()[..], &announcement.emit()].concat();
            end.write(ring.descriptor(&end, head).addr, &bytes);
            ring.give(&end, entry, &UsedElement { id: head.into(), len: 56 });
            end.store(ring.used_index(), entry.wrapping_add(1));
            end.store(ring.available_index(), entry.wrapping_add(1));
        }
        end.store_byte(vdev + offset::STATUS as u64, 7);
        end.kick(0);
        number += 1;
        std::thread::sleep(Duration::from_micros(50));
    }
}

/// Works, and ends at some moment in the midst of it.
fn dies(end: End, vdev: u64) {
    let stops = end.stopper();
    let after = Duration::from_micros(200 + Numbers(vdev + 7).next() % 3000);
    std::thread::spawn(move || {
        std::thread::sleep(after);
        stops();
    });
    Remote::live(end, vdev, Fault::None);
}

/// Works, and begins anew every few milliseconds without a word.
fn restarts(end: End, vdev: u64) {
    while !end.is_over() {
        let (inner, stops) = end.again();
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(3));
            stops();
        });
        Remote::live(inner, vdev, Fault::TakesRingsInUse);
    }
}

#[test]
fn a_peer_that_says_nothing_shows_nothing() {
    for role in [Role::Remote, Role::Host] {
        let report = survive(&mut Thread::new(role, silence));
        assert!(report.count(Verdict::NotShown) > 30, "{}", report::summary(&report));
    }
}

#[test]
fn a_peer_that_writes_everywhere_ends_nothing() {
    for role in [Role::Remote, Role::Host] {
        let report = survive(&mut Thread::new(role, scribble));
        assert!(report.count(Verdict::Deviates) > 0, "{}", report::summary(&report));
    }
}

#[test]
fn a_peer_that_claims_and_announces_without_end_is_told_of() {
    for role in [Role::Remote, Role::Host] {
        let report = survive(&mut Thread::new(role, flood));
        assert!(report.count(Verdict::Deviates) > 0, "{}", report::summary(&report));
    }
}

#[test]
fn a_peer_that_ends_or_begins_anew_in_the_midst_of_it_ends_nothing() {
    survive(&mut Thread::new(Role::Remote, dies));
    survive(&mut Thread::new(Role::Remote, restarts));
}
