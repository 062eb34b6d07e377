//! Front ends that break the protocol, at any place.

use std::os::fd::AsFd as _;

use sidecore_vhost_user::{Event, Fault};

use crate::front_end::*;
use crate::guest::{GUEST, Guest, LEN, OFFSET, USER, addresses};
use crate::running::Running;
use crate::willing::UML;

/// A willing front end is served as ever.
fn serves(running: &Running) {
    let mut guest = Guest::boot(&running.path(), UML);
    let endpoint = guest.channel("rpmsg-echo");
    guest.round_trip(endpoint, b"as ever");
}

#[test]
fn what_is_no_message_ends_the_connection_by_name() {
    let running = Running::start(&["echo"]);
    let cases: [(Vec<u8>, &str); 7] = [
        (vec![0xff; 64], "flags 0xffffffff"),
        (message(1, 0, &[]), "flags 0x0"),
        (message(1, 5, &[]), "flags 0x5"),
        ([pair(1, 1), u32::MAX.to_ne_bytes().to_vec()].concat(), "size 0xffffffff"),
        (message(99, 1, &[]), "no request 99"),
        (message(SET_FEATURES, 1, &words(&[u64::MAX])), "were never offered"),
        (message(SET_PROTOCOL_FEATURES, 1, &words(&[1 << 63])), "bits 0x8000000000000000"),
    ];
    for (bytes, why) in cases {
        let front_end = FrontEnd::connect(&running.path());
        front_end.put(&bytes, &[]).unwrap();
        let fault = running.shown_out().to_string();
        assert!(fault.contains(why), "{fault}\nnot: {why}");
        assert!(front_end.is_over());
    }
    serves(&running);
}

#[test]
fn a_connection_that_ends_at_any_byte_costs_nothing_but_itself() {
    let running = Running::start(&["echo"]);
    let steps = [
        message(GET_FEATURES, 1, &[]),
        message(SET_PROTOCOL_FEATURES, 1, &words(&[UML])),
        message(SET_MEM_TABLE, 9, &table(&[[GUEST, LEN, USER, OFFSET]])),
        message(SET_VRING_ADDR, 9, &addresses(0, USER)),
        message(VRING_KICK, 9, &pair(0, 0)),
    ];
    let whole = steps.concat();
    let mut ends = vec![0];
    ends.extend(steps.iter().scan(0, |at, step| {
        *at += step.len();
        Some(*at)
    }));
    for cut in 0..whole.len() {
        let front_end = FrontEnd::connect(&running.path());
        if cut > 0 {
            front_end.put(&whole[..cut], &[]).unwrap();
        }
        drop(front_end);
        let gone = running.heard("its end", |event| matches!(event, Event::Disconnected { .. }));
        let is_partial = matches!(gone, Event::Disconnected { fault: Some(Fault::Partial { .. }) });
        assert_eq!(is_partial, !ends.contains(&cut), "{cut}: {gone}");
    }
    serves(&running);
}

#[test]
fn answers_that_nobody_reads_end_the_connection() {
    let running = Running::start(&["echo"]);
    let front_end = FrontEnd::connect(&running.path());
    while front_end.put(&message(GET_FEATURES, 1, &[]).repeat(300), &[]).is_ok() {}
    let fault = running.shown_out();
    assert!(matches!(fault, Fault::Unread { .. } | Fault::Descriptor { .. }), "{fault}");
    serves(&running);
}

#[test]
fn refusals_without_end_end_the_connection() {
    let running = Running::start(&["echo"]);
    let front_end = FrontEnd::connect(&running.path());
    front_end.agree(REPLY_ACK);
    let refused = message(SET_VRING_NUM, 9, &pair(7, 7));
    while front_end.put(&refused, &[]).is_ok() {}
    let fault = running.shown_out();
    assert!(matches!(fault, Fault::TooMany { count } if count < 200), "{fault}");
    serves(&running);
}

#[test]
fn a_storm_of_kicks_and_requests_does_not_keep_the_rings_from_their_work() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::boot(&running.path(), 0);
    let endpoint = guest.channel("rpmsg-echo");
    std::thread::scope(|scope| {
        let (front_end, kicks) = (&guest.front_end.0, &guest.kicks);
        let (front_end, kick) = (front_end.try_clone().unwrap(), kicks[0].try_clone().unwrap());
        let storm = scope.spawn(move || {
            let owner = message(SET_OWNER, 1, &[]);
            for _ in 0..20_000 {
                rustix::io::write(&kick, &1_u64.to_ne_bytes()).unwrap();
                std::io::Write::write_all(&mut &front_end, &owner).unwrap();
            }
        });
        let mut count = 0;
        while !storm.is_finished() || count < 100 {
            guest.round_trip(endpoint, b"in the storm");
            count += 1;
        }
    });
}

/// A stream of numbers that looks random, the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Mostly what could be meant.
    fn number(&mut self) -> u64 {
        let wide = self.throw();
        match self.throw() % 8 {
            0..=3 => wide % 3,
            4 => 64,
            5 => USER + (wide % 8) * 0x1_0000,
            6 => GUEST + (wide % 8) * 0x1_0000,
            _ => wide,
        }
    }
}

#[test]
fn whatever_a_front_end_says_in_whatever_order_the_next_one_is_served() {
    let running = Running::start(&["echo"]);
    for seed in 0..400 {
        let mut dice = Dice(seed);
        // From the very start, or with a link at work.
        let protocol = [0, UML, UML | STATUS | MEM_SLOTS | MQ][(dice.throw() % 3) as usize];
        let guest = if dice.throw().is_multiple_of(2) {
            Guest::boot(&running.path(), protocol)
        } else {
            Guest::new(&running.path(), protocol)
        };
        let pipe = rustix::pipe::pipe().unwrap();
        let fds = [guest.file.as_fd(), guest.kicks[0].as_fd(), pipe.0.as_fd(), guest.front_end.0.as_fd()];
        for _ in 0..60 {
            let request = 1 + (dice.throw() % 41) as u32;
            let payload: Vec<u64> = (0..dice.throw() % 10).map(|_| dice.number()).collect();
            let flags = if dice.throw().is_multiple_of(8) { 1 } else { 9 };
            let count = (dice.throw() % 3) as usize;
            let first = (dice.throw() % 3) as usize;
            let fds = &fds[first..(first + count).min(fds.len())];
            if guest.front_end.put(&message(request, flags, &words(&payload)), fds).is_err() {
                break;
            }
            // And in the rings.
            let at = (dice.throw() % (LEN / 8)) as usize * 8;
            guest.memory.store(at, dice.number()).unwrap();
        }
    }
    serves(&running);
}
