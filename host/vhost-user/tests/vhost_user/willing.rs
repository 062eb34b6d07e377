//! Front ends that keep the rules.

use std::os::fd::AsFd as _;

use sidecore_vhost_user::{BindError, Channel, Event, Server};

use crate::front_end::*;
use crate::guest::{Guest, NUM, SIZE};
use crate::running::{Running, until};

/// What User-Mode Linux agrees on.
pub(crate) const UML: u64 = REPLY_ACK | BACKEND_REQ | CONFIG | INBAND;

/// Every way in which a front end can notify.
const WAYS: [u64; 4] = [0, REPLY_ACK | BACKEND_REQ | STATUS | MEM_SLOTS | MQ, UML, UML | STATUS];

#[test]
fn a_guest_finds_every_channel_and_gets_every_message_back_whole() {
    let running = Running::start(&["echo", "tty", "raw", "raw", "sample"]);
    for protocol in WAYS {
        let mut guest = Guest::boot(&running.path(), protocol);
        assert!(!running.started(), "a fresh driver");
        let names = ["rpmsg-echo", "rpmsg-tty", "rpmsg-raw", "rpmsg-raw", "rpmsg-client-sample"];
        let endpoints = names.map(|name| guest.channel(name));
        for len in 0..=SIZE as usize - 16 {
            let payload: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
            guest.round_trip(endpoints[len % endpoints.len()], &payload);
        }
        drop(guest);
        let gone = running.heard("its end", |event| matches!(event, Event::Disconnected { .. }));
        assert_eq!(gone, Event::Disconnected { fault: None });
    }
}

#[test]
fn a_sample_goes_when_it_is_told_goodbye() {
    let running = Running::start(&["sample"]);
    let mut guest = Guest::boot(&running.path(), 0);
    let endpoint = guest.channel("rpmsg-client-sample");
    guest.round_trip(endpoint, b"hello world!");
    guest.round_trip(endpoint, b"goodbye!");
    let told = guest.announcement();
    assert!(told.is_destroy() && told.name.as_str() == Some("rpmsg-client-sample"), "{told:?}");
}

#[test]
fn doorbells_are_rung_for_what_comes() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::boot(&running.path(), 0);
    let endpoint = guest.channel("rpmsg-echo");
    until("a call for the announcement", || Guest::was_rung(&guest.calls[0]));
    let _ = sidecore_rpmsg::Link::arm(guest.host().link());
    guest.host().send(endpoint, b"ring").unwrap();
    until("a call for the echo", || Guest::was_rung(&guest.calls[0]));
    assert_eq!(guest.message(), (endpoint, b"ring".to_vec()));
}

#[test]
fn notifications_are_messages_where_that_was_agreed_on() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::boot(&running.path(), UML);
    let outward = guest.outward.take().unwrap();
    // VRING_CALL for ring 0, and it wants no answer.
    assert_eq!(receive(&outward), (4, 1, pair(0, 0)));
    let endpoint = guest.channel("rpmsg-echo");
    let _ = sidecore_rpmsg::Link::arm(guest.host().link());
    guest.host().send(endpoint, b"ring").unwrap();
    assert_eq!(receive(&outward), (4, 1, pair(0, 0)));
    assert_eq!(guest.message(), (endpoint, b"ring".to_vec()));
}

#[test]
fn calls_that_found_no_room_are_made_later() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::boot(&running.path(), UML);
    let endpoint = guest.channel("rpmsg-echo");
    let outward = guest.outward.take().unwrap();
    // Many more calls than a socket takes, none of them read.
    for number in 0..3000_u32 {
        let _ = sidecore_rpmsg::Link::arm(guest.host().link());
        guest.round_trip(endpoint, &number.to_le_bytes());
    }
    outward.set_nonblocking(true).unwrap();
    let mut bytes = [0; 4096];
    while matches!(std::io::Read::read(&mut &outward, &mut bytes), Ok(1..)) {}
    outward.set_nonblocking(false).unwrap();
    let _ = sidecore_rpmsg::Link::arm(guest.host().link());
    guest.host().send(endpoint, b"and now").unwrap();
    assert_eq!(receive(&outward), (4, 1, pair(0, 0)));
}

#[test]
fn a_driver_that_resets_finds_the_channels_announced_again() {
    let running = Running::start(&["echo", "tty"]);
    let mut guest = Guest::boot(&running.path(), STATUS | REPLY_ACK);
    for _ in 0..5 {
        assert!(!running.started());
        let endpoint = guest.channel("rpmsg-echo");
        guest.channel("rpmsg-tty");
        guest.round_trip(endpoint, b"once");
        assert_eq!(guest.front_end.number(GET_STATUS), 15);
        guest.front_end.send(SET_STATUS, &words(&[0]), &[]);
        assert_eq!(guest.front_end.number(GET_STATUS), 0);
        running.heard("its end", |event| *event == Event::Stopped);
        guest.make_rings();
        guest.tell_rings([0, 0]);
        // Not before the driver is ready, whatever kicks say.
        guest.kick(0);
        guest.kick(1);
        assert_eq!(guest.front_end.number(GET_STATUS), 0);
        assert!(running.said().is_empty(), "{:?}", running.said());
        guest.driver_ok();
    }
}

#[test]
fn a_link_that_stood_still_goes_on_and_loses_nothing() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::boot(&running.path(), REPLY_ACK);
    assert!(!running.started());
    let endpoint = guest.channel("rpmsg-echo");
    for round in 1..300_u32 {
        guest.round_trip(endpoint, &round.to_le_bytes());
        let base = |queue: u32| {
            let state = guest.front_end.ask(GET_VRING_BASE, &pair(queue, 0));
            assert_eq!(state[..4], queue.to_ne_bytes());
            u32::from_ne_bytes(state[4..].try_into().unwrap())
        };
        let bases = [base(0), base(1)];
        assert_eq!(bases, [2 * round, 2 * round - 1]);
        // Sent while nobody looks.
        guest.host().send(endpoint, b"meanwhile").unwrap();
        guest.tell_rings(bases);
        assert!(running.started(), "it goes on");
        assert_eq!(guest.message(), (endpoint, b"meanwhile".to_vec()));
    }
}

#[test]
fn a_front_end_that_reconnects_goes_on_where_its_guest_is() {
    let mut running = Running::start(&["echo"]);
    let mut guest = Guest::boot(&running.path(), 0);
    let endpoint = guest.channel("rpmsg-echo");
    for round in 1..20_u32 {
        guest.round_trip(endpoint, b"before");
        guest.front_end.0.shutdown(std::net::Shutdown::Both).unwrap();
        running.heard("its end", |event| matches!(event, Event::Disconnected { .. }));
        if round % 2 == 0 {
            // Even where the process at the other end is another one.
            running = Running::start(&["echo"]);
        }
        guest.front_end = FrontEnd::connect(&running.path());
        guest.front_end.agree(0);
        guest.lend();
        guest.tell_rings([2 * round, 2 * round - 1]);
        guest.round_trip(endpoint, b"after");
    }
}

#[test]
fn front_ends_are_served_one_after_the_other() {
    let running = Running::start(&["echo"]);
    let mut first = Guest::boot(&running.path(), 0);
    let endpoint = first.channel("rpmsg-echo");
    let path = running.path();
    let second = std::thread::spawn(move || {
        // Waits until the first one is gone.
        let mut guest = Guest::boot(&path, 0);
        let endpoint = guest.channel("rpmsg-echo");
        guest.round_trip(endpoint, b"second");
    });
    for _ in 0..100 {
        first.round_trip(endpoint, b"first");
    }
    assert!(!second.is_finished());
    drop(first);
    second.join().unwrap();
}

#[test]
fn devices_do_not_disturb_each_other() {
    let servers = [(); 4].map(|()| Running::start(&["echo"]));
    std::thread::scope(|scope| {
        for running in &servers {
            scope.spawn(|| {
                let mut guest = Guest::boot(&running.path(), UML);
                let endpoint = guest.channel("rpmsg-echo");
                (0..500_u32).for_each(|number| guest.round_trip(endpoint, &number.to_le_bytes()));
            });
        }
    });
}

#[test]
fn a_guest_that_takes_no_answers_is_not_answered_and_loses_none() {
    let running = Running::start(&["echo", "discard"]);
    let mut guest = Guest::boot(&running.path(), 0);
    let endpoint = guest.channel("rpmsg-echo");
    guest.channel("rpmsg-discard");
    // Three of every ring: answers, one that waits, and messages behind it.
    let mut sent = 0_u32;
    until("full rings", || {
        while guest.host().send(endpoint, &sent.to_le_bytes()).is_ok() {
            sent += 1;
        }
        sent > 2 * u32::from(NUM)
    });
    for number in 0..sent {
        assert_eq!(guest.message(), (endpoint, number.to_le_bytes().to_vec()));
    }
    guest.round_trip(endpoint, b"as ever");
}

#[test]
fn a_guest_is_told_when_the_device_goes() {
    let mut running = Running::start(&["echo", "tty"]);
    let mut guest = Guest::boot(&running.path(), 0);
    guest.channel("rpmsg-echo");
    guest.channel("rpmsg-tty");
    running.stop();
    let gone: Vec<_> = (0..2).map(|_| guest.announcement()).collect();
    assert!(gone.iter().all(sidecore_rpmsg::Announcement::is_destroy), "{gone:?}");
    assert_eq!(gone[0].name.as_str(), Some("rpmsg-tty"));
    assert!(guest.front_end.is_over());
}

#[test]
fn rings_that_are_polled_need_no_kicks() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::new(&running.path(), 0);
    guest.make_rings();
    guest.tell_rings([0, 0]);
    for queue in 0..2 {
        // Without a descriptor.
        guest.front_end.send(SET_VRING_KICK, &words(&[queue | 0x100]), &[]);
    }
    let endpoint = guest.channel("rpmsg-echo");
    guest.round_trip(endpoint, b"no kick");
}

#[test]
fn a_socket_that_was_left_is_taken_over_and_one_in_use_is_not() {
    let mut running = Running::start(&[]);
    let bind = |path: &std::path::Path| Server::bind(path, Vec::<Channel>::new());
    let refusal = |error: BindError| error.to_string();
    assert!(refusal(bind(&running.path()).unwrap_err()).starts_with("somebody listens there: "));
    running.stop();
    drop(std::os::unix::net::UnixListener::bind(running.path()).unwrap());
    drop(bind(&running.path()).unwrap());
    std::fs::write(running.path(), "precious").unwrap();
    assert!(refusal(bind(&running.path()).unwrap_err()).contains("no socket"));
    assert_eq!(std::fs::read(running.path()).unwrap(), b"precious");
    std::fs::remove_file(running.path()).unwrap();
    assert!(refusal(bind(&running.path().join("x".repeat(200))).unwrap_err()).starts_with("use the path: "));
}

#[test]
fn what_is_asked_is_answered() {
    let running = Running::start(&["echo"]);
    let guest = Guest::new(&running.path(), UML | MEM_SLOTS | MQ);
    assert_eq!(guest.front_end.number(GET_QUEUE_NUM), 2);
    assert_eq!(guest.front_end.number(GET_MAX_MEM_SLOTS), 32);
    // There is no configuration space.
    let config = [pair(0, 4), vec![0; 8]].concat();
    assert_eq!(guest.front_end.ask(GET_CONFIG, &config), []);
    assert!(guest.front_end.is_done(SET_OWNER, &[], &[]));
    assert!(!guest.front_end.is_done(SET_OWNER, &[], &[guest.file.as_fd()]));
}
