//! Memory that is lent, taken back, lied about and truncated.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::MemfdFlags;
use sidecore_vhost_user::{Event, Fault};

use crate::front_end::*;
use crate::guest::{GUEST, Guest, LEN, NUM, OFFSET, USER, file, rings_at};
use crate::running::Running;

#[test]
fn memory_comes_and_goes_under_a_link_that_is_up() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::boot(&running.path(), REPLY_ACK | MEM_SLOTS);
    assert!(!running.started());
    let endpoint = guest.channel("rpmsg-echo");
    let more = file(MemfdFlags::ALLOW_SEALING, 0x4000);
    let row = |guest: u64, user: u64| words(&[0, guest, 0x4000, user, 0]);
    for round in 1..31_u64 {
        let (there, user) = (GUEST + 0x100_0000 * round, USER + 0x100_0000 * round);
        assert!(guest.front_end.is_done(ADD_MEM_REG, &row(there, user), &[more.as_fd()]));
        assert!(running.started(), "it goes on");
        guest.round_trip(endpoint, b"with more memory");
    }
    let there = GUEST + 0x4000_0000;
    assert!(guest.front_end.is_done(ADD_MEM_REG, &row(there, there), &[more.as_fd()]), "32 in all");
    assert!(!guest.front_end.is_done(ADD_MEM_REG, &row(there * 2, there * 2), &[more.as_fd()]));
    guest.round_trip(endpoint, b"as before");
    assert!(guest.front_end.is_done(REM_MEM_REG, &row(there, there), &[]));
    assert!(!guest.front_end.is_done(REM_MEM_REG, &row(there, there), &[]));
    // A new table in place of all.
    guest.lend();
    guest.round_trip(endpoint, b"as at the start");
    // What the rings are in.
    assert!(guest.front_end.is_done(REM_MEM_REG, &words(&[0, GUEST, LEN, USER, 0]), &[]));
    let fault = running.broken();
    assert!(matches!(fault, Fault::RingAddress { queue: 0, part: "the descriptor table", .. }), "{fault}");
    guest.lend();
    guest.round_trip(endpoint, b"as ever");
}

#[test]
fn lies_about_memory_are_refused_by_name_and_change_nothing() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::boot(&running.path(), REPLY_ACK);
    let endpoint = guest.channel("rpmsg-echo");
    let (memory, short) = (guest.file.try_clone().unwrap(), file(MemfdFlags::ALLOW_SEALING, 0x1000));
    let (pipe, _end) = rustix::pipe::pipe().unwrap();
    let process = std::fs::File::open("/proc/self/stat").unwrap();
    let read_only = std::fs::File::open(format!("/proc/self/fd/{}", fd_number(&short))).unwrap();
    let good = [GUEST, LEN, USER, OFFSET];
    let next = |user: u64| [GUEST + LEN, 0x1000, user, 0];
    type Lie<'a> = (&'a str, Vec<u8>, Vec<BorrowedFd<'a>>);
    let lies: Vec<Lie<'_>> = vec![
        ("came with 0 descriptors; 1 belong", table(&[good]), vec![]),
        ("came with 2 descriptors; 1 belong", table(&[good]), vec![memory.as_fd(), memory.as_fd()]),
        ("0 bytes of payload", vec![], vec![memory.as_fd()]),
        ("it needs 4294967304", pair(1 << 27, 0), vec![memory.as_fd()]),
        ("its file is shorter", table(&[good]), vec![short.as_fd()]),
        ("its file is shorter", table(&[[0, u64::MAX, 0, 0]]), vec![memory.as_fd()]),
        ("its file is shorter", table(&[[0, 0x1000, 0, u64::MAX]]), vec![memory.as_fd()]),
        ("its file is shorter", table(&[[0, 0, 0, 0]]), vec![memory.as_fd()]),
        ("use a file as memory", table(&[good]), vec![pipe.as_fd()]),
        ("use a file as memory", table(&[good]), vec![process.as_fd()]),
        ("map lent memory (mmap)", table(&[[0, 0x1000, 0, 0]]), vec![read_only.as_fd()]),
        ("the guest's addresses", table(&[good, good]), vec![memory.as_fd(), memory.as_fd()]),
        ("the front end's addresses", table(&[good, next(USER)]), vec![memory.as_fd(), short.as_fd()]),
        ("wraps around", table(&[[u64::MAX - 8, 0x1000, 0, 0]]), vec![short.as_fd()]),
        ("wraps around", table(&[[0, 0x1000, u64::MAX - 8, 0]]), vec![short.as_fd()]),
    ];
    for (why, payload, fds) in &lies {
        assert!(!guest.front_end.is_done(SET_MEM_TABLE, payload, fds), "{why}");
        let event = running.heard(why, |event| matches!(event, Event::Refused { .. })).to_string();
        assert!(event.starts_with("refused SET_MEM_TABLE: ") && event.contains(why), "{event}\nnot: {why}");
        guest.round_trip(endpoint, why.as_bytes());
    }
    drop(guest);
    // Who does not ask how it went is shown out, and the next one served.
    for (why, payload, fds) in &lies {
        let guest = Guest::new(&running.path(), 0);
        guest.front_end.send(SET_MEM_TABLE, payload, fds);
        let fault = running.heard(why, |event| event.is_trouble()).to_string();
        assert!(fault.contains(why), "{fault}\nnot: {why}");
        assert!(guest.front_end.is_over());
    }
}

#[test]
fn a_file_that_is_truncated_under_us_costs_its_front_end_alone() {
    let running = Running::start(&["echo"]);
    for len in [0, OFFSET, OFFSET + 0x1_0000, OFFSET + 0x6_0000] {
        // One that cannot be sealed.
        let mut guest = Guest::with_file(&running.path(), REPLY_ACK, file(MemfdFlags::empty(), OFFSET + LEN));
        guest.make_rings();
        guest.tell_rings([0, 0]);
        guest.driver_ok();
        let endpoint = guest.channel("rpmsg-echo");
        for _ in 0..10 {
            guest.round_trip(endpoint, b"while it is there");
        }
        rustix::fs::ftruncate(&guest.file, len).unwrap();
        rustix::io::write(&guest.kicks[0], &1_u64.to_ne_bytes()).unwrap();
        if len > OFFSET + 0x1_0000 {
            // The rings are still there; the messages that they tell of are not.
            let silent = guest.host().batch();
            guest.host().send(endpoint, b"into the void").unwrap();
            for descriptor in 0..u64::from(NUM) {
                let at = (rings_at(1) + 16 * descriptor) as usize;
                guest.memory.store(at, GUEST + 0x7_0000).unwrap();
            }
            drop(silent);
            guest.kick(1);
        }
        assert_eq!(running.shown_out(), Fault::MemoryLost { guest: GUEST });
        assert!(guest.front_end.is_over());
    }
    let mut guest = Guest::boot(&running.path(), REPLY_ACK);
    let endpoint = guest.channel("rpmsg-echo");
    guest.round_trip(endpoint, b"as ever");
}

fn fd_number(fd: &impl std::os::fd::AsRawFd) -> i32 {
    fd.as_raw_fd()
}
