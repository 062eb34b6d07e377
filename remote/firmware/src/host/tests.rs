extern crate std;

use std::boxed::Box;
use std::rc::Rc;
use std::string::ToString as _;
use std::vec;
use std::vec::Vec;

use sidecore_mem::Memory;
use sidecore_rpmsg::ADDR_ANY;
use sidecore_virtio::transport::DeviceTransport as _;

use super::*;
use crate::bench;
use pair::{DEVICE, HostOf, NUM, Other, Pair, RESOURCES, SIZE_MAX, TABLE, pair, used_index};

mod pair;

const SOON: Duration = Duration::from_secs(2);

/// A host whose sibling has announced its service, and an endpoint for that.
fn connect(machine: &Machine<Pair>) -> (HostOf<'_>, Endpoint) {
    let host = HostOf::connect(machine).within(SOON).wait().expect("it comes up").unwrap();
    let addr = match host.next().within(SOON).wait().expect("it announces").unwrap() {
        Event::Announcement(service) => service.addr,
        Event::Message(message) => panic!("a message of before: {message:?}"),
    };
    let echo = host.open(ADDR_ANY, addr).unwrap();
    (host, echo)
}

/// The next message.
fn message(host: &HostOf<'_>) -> Vec<u8> {
    match host.next().within(SOON).wait().expect("it answers").unwrap() {
        Event::Message(message) => {
            let mut bytes = vec![0; message.len()];
            message.read(0, &mut bytes).unwrap();
            bytes
        }
        Event::Announcement(service) => panic!("another service: {service:?}"),
    }
}

fn echo(host: &HostOf<'_>, endpoint: Endpoint, bytes: &[u8]) {
    host.send(endpoint, bytes).wait().unwrap();
    assert_eq!(message(host), bytes);
}

/// The error that ends the link.
fn end(host: &HostOf<'_>) -> LinkError {
    loop {
        match host.next().within(SOON).wait().expect("it is noticed") {
            Ok(_of_before) => {}
            Err(error) => return error,
        }
    }
}

#[test]
fn messages_of_every_length_and_more_than_the_rings_hold_come_back() {
    let (machine, _) = pair(Other::turn);
    let (host, endpoint) = connect(&machine);
    assert!(machine.platform().has_begun.get());
    for len in 0..=SIZE_MAX {
        echo(&host, endpoint, &vec![len as u8; len]);
    }
    let too_long = host.send(endpoint, &[0; SIZE_MAX + 1]).wait();
    assert!(matches!(too_long, Err(SendError::TooLong { len: 497, max: SIZE_MAX })), "{too_long:?}");
    // Taken only once there is no room for more.
    for round in 0..50_u8 {
        for number in 0..NUM as u8 {
            host.send(endpoint, &[round, number]).wait().unwrap();
        }
        for number in 0..NUM as u8 {
            assert_eq!(message(&host), [round, number]);
        }
    }
}

#[test]
fn a_sibling_that_comes_late_is_waited_for_as_long_as_one_likes() {
    let (machine, other) = pair(|_| ());
    other.borrow().table.clear(0, 512).unwrap();
    assert!(HostOf::connect(&machine).within(SOON).wait().is_none());
    assert!(!machine.platform().has_begun.get());
    let mut turns = 0;
    *machine.platform().script.borrow_mut() = Box::new(move |other| {
        turns += 1;
        if turns == 50 {
            other.reload();
        }
        other.turn();
    });
    let (host, endpoint) = connect(&machine);
    echo(&host, endpoint, b"at last");
}

#[test]
fn a_sibling_that_is_reset_in_mid_message_asks_for_a_new_link_and_gets_it() {
    let (machine, other) = pair(Other::turn);
    for round in 0..5 {
        let (host, endpoint) = connect(&machine);
        echo(&host, endpoint, b"before");
        for number in 0..round {
            host.send(endpoint, &[number]).wait().unwrap();
        }
        let begun = host.reserve(endpoint).wait().unwrap();
        other.borrow_mut().restart();
        assert_eq!(end(&host), LinkError::Closed);
        drop(begun);
        assert_eq!(host.send(endpoint, b"x").wait(), Err(SendError::Link(LinkError::Closed)));
        assert!(host.reserve(endpoint).wait().is_err());
    }
    let (host, endpoint) = connect(&machine);
    echo(&host, endpoint, b"after");
}

#[test]
fn a_sibling_that_is_loaded_again_is_connected_to_anew() {
    let (machine, other) = pair(Other::turn);
    let (host, endpoint) = connect(&machine);
    echo(&host, endpoint, b"before");
    other.borrow_mut().reload();
    let (host, endpoint) = connect(&machine);
    echo(&host, endpoint, b"after");
}

#[test]
fn a_sibling_that_dies_keeps_nobody_and_may_come_again() {
    let (machine, other) = pair(Other::turn);
    let (host, endpoint) = connect(&machine);
    let script = machine.platform().script.replace(Box::new(|_| ()));
    let mut sent = 0;
    while let Some(result) = host.send(endpoint, b"anybody?").within(SOON).wait() {
        result.unwrap();
        sent += 1;
    }
    assert_eq!(sent, NUM);
    assert!(host.next().within(SOON).wait().is_none());
    *machine.platform().script.borrow_mut() = script;
    other.borrow_mut().restart();
    assert_eq!(end(&host), LinkError::Closed);
    let (host, endpoint) = connect(&machine);
    echo(&host, endpoint, b"somebody");
}

#[test]
fn a_sibling_has_the_time_to_let_go_of_the_rings_of_the_link_before() {
    let (reset, kept) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(true)));
    let (machine, other) = pair({
        let (reset, kept) = (Rc::clone(&reset), Rc::clone(&kept));
        move |other| {
            if other.status() == Status::RESET {
                reset.set(reset.get() + 1);
                // The index that it wrote last is still there.
                kept.set(kept.get() && other.memory.load::<u16>(used_index()) == Ok(7));
            }
        }
    });
    let connect = || HostOf::connect(&machine).wait().map(|_host| ()).unwrap();
    connect();
    assert_eq!(reset.get(), 0, "there was no link before");
    other.borrow().memory.store(used_index(), 7_u16).unwrap();
    connect();
    assert!((250..300).contains(&reset.get()) && kept.get(), "{}", reset.get());
    other.borrow().vdev.set_needs_reset();
    connect();
    assert!(reset.get() < 300, "it asked for it");
}

#[test]
fn reset_19_a_sibling_that_says_that_it_has_let_go_is_waited_for_no_longer() {
    let turns = Rc::new(Cell::new(0));
    let (machine, other) = pair({
        let turns = Rc::clone(&turns);
        move |other| {
            turns.set(turns.get() + u32::from(other.status() == Status::RESET));
            other.turn();
        }
    });
    for round in 1..5 {
        let (host, endpoint) = connect(&machine);
        echo(&host, endpoint, b"one more");
        assert!(turns.get() <= 2 * round, "{} looks", turns.get());
    }
    assert!(other.borrow().rpmsg.is_some());
}

#[test]
fn a_sibling_that_lies_in_its_ring_costs_its_link_and_is_told() {
    let lies: [(Option<[u32; 2]>, u16); 6] = [
        (None, 0x7000),
        (None, u16::MAX),
        (Some([0x7fff_ffff, 16]), 1),
        (Some([u32::from(NUM), 16]), 1),
        (Some([0, u32::MAX]), 1),
        (Some([0, 3]), 1),
    ];
    let (machine, other) = pair(Other::turn);
    for (element, by) in lies {
        let (host, endpoint) = connect(&machine);
        echo(&host, endpoint, b"honest");
        other.borrow().lie(element, by);
        let error = host.next().wait().map(drop).unwrap_err();
        assert!(error.is_peer(), "{element:?}, {by}: {error}");
        assert!(other.borrow().status().contains(Status::FAILED), "{element:?}, {by}");
        // It stays that error, whatever is tried.
        assert_eq!(end(&host), error);
        assert_eq!(host.send(endpoint, b"x").wait(), Err(SendError::Link(error)));
    }
    let (host, endpoint) = connect(&machine);
    echo(&host, endpoint, b"honest again");
}

#[test]
fn tables_that_make_no_sense_are_refused_and_others_are_taken_again() {
    let (machine, other) = pair(Other::turn);
    let connected = || {
        let connected = HostOf::connect(&machine).within(SOON).wait();
        connected.map(|connected| connected.map(drop).map_err(|error| error.to_string()))
    };
    let ring = DEVICE + vdev::offset::VRINGS;
    let changes: [(usize, u32, &str); 9] = [
        (4, u32::MAX, "table"),
        (DEVICE, 9, "device"),
        (ring + vring::offset::NUM, 0, "ring"),
        (ring + vring::offset::NUM, 3, "ring"),
        (ring + vring::offset::NUM, 8, "ring"),
        (ring + vring::offset::NUM, 0x1_0004, "ring"),
        (ring + vring::offset::ALIGN, 3, "ring"),
        (ring + vring::SIZE + vring::offset::ALIGN, 1 << 31, "bytes are needed"),
        (DEVICE + vdev::offset::CONFIG_LEN, u32::MAX, ""),
    ];
    for (at, value, part) in changes {
        other.borrow_mut().reload();
        other.borrow().table.store(at, value).unwrap();
        let refused = connected().expect("nothing is waited for").unwrap_err();
        assert!(refused.contains(part), "{at}, {value:#x}: {refused}");
    }
    other.borrow().table.write(0, &[0xff; 512]).unwrap();
    assert!(connected().is_none_or(|connected| connected.is_err()));
    other.borrow_mut().reload();
    let (host, endpoint) = connect(&machine);
    echo(&host, endpoint, b"sense");
}

#[test]
fn noise_in_all_that_is_shared_costs_nothing_but_links() {
    let mut state = 0x9e37_79b9_u32;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state
    };
    let (machine, other) = pair(Other::turn);
    let wild = move |other: &mut Other| {
        for _ in 0..noise() % 40 {
            let (at, byte) = (noise() as usize, noise() as u8);
            other.memory.store(at % other.memory.len(), byte).unwrap();
            // Now and then in the registers.
            if at % 16 == 0 {
                other.table.store(DEVICE + at / 16 % (TABLE.len() - DEVICE), byte).unwrap();
            }
        }
    };
    let mut wild = Some(wild);
    let (mut links, mut failures) = (0, 0);
    for _ in 0..300 {
        other.borrow_mut().reload();
        machine.platform().waits.set(0);
        *machine.platform().script.borrow_mut() = Box::new(Other::turn);
        let (host, endpoint) = connect(&machine);
        links += 1;
        let mut this = wild.take().expect("it is given back");
        for _ in 0..20 {
            this(&mut other.borrow_mut());
            let sent = host.send(endpoint, b"hello?").now();
            let came = host.next().now().map(|came| came.map(drop));
            failures += u32::from(matches!(sent, Some(Err(_))) || matches!(came, Some(Err(_))));
        }
        wild = Some(this);
    }
    assert_eq!(links, 300);
    assert!(failures > 300, "{failures}");
}

#[test]
fn names_and_messages_without_end_leave_the_host_its_turns() {
    let (machine, other) = pair(Other::turn);
    let (host, endpoint) = connect(&machine);
    let other = &other;
    // Messages to nobody, as many as there is room for, in every millisecond.
    *machine.platform().script.borrow_mut() = Box::new(|other| {
        other.turn();
        let Some(rpmsg) = &other.rpmsg else { return };
        let from = rpmsg.open(ADDR_ANY, ADDR_ANY).unwrap();
        while rpmsg.send_to(from, 3000, b"nobody").is_ok() {}
        rpmsg.close(from);
    });
    for round in 0..50_u8 {
        host.send(endpoint, &[round]).wait().unwrap();
        // Its answer may find no room.
        if let Some(Ok(Event::Message(answer))) = host.next().within(Duration::from_millis(5)).wait() {
            assert_eq!(answer.len(), 1);
        }
    }
    assert!(host.rpmsg().drops().unknown_destination.get() > 50);
    *machine.platform().script.borrow_mut() = Box::new(Other::turn);
    while host.next().within(Duration::from_millis(20)).wait().is_some() {}
    echo(&host, endpoint, b"still here");
    assert!(!other.borrow().status().contains(Status::FAILED));
}

#[test]
fn a_board_with_one_core_has_nobody_to_be_the_host_of() {
    let error = bench::alone(|remote| Host::<4, _>::connect(remote.machine()).wait().map(drop));
    assert_eq!(error, Err(Error::NoSibling));
}

#[test]
fn the_device_of_a_sibling_is_found_and_nonsense_is_none() {
    let memory: &'static Memory<4096> = Box::leak(Box::default());
    let table = memory.region();
    assert!(matches!(find_device(&table), Err(Error::SiblingTable(_))));
    table.write(0, &RESOURCES.table::<{ RESOURCES.table_len() }>()).unwrap();
    assert_eq!(find_device(&table), Ok(RESOURCES.rpmsg_at().unwrap()));
    table.store(RESOURCES.rpmsg_at().unwrap(), 8_u32).unwrap();
    assert_eq!(find_device(&table), Err(Error::NoDevice));
    table.write(0, &[0xff; 4096]).unwrap();
    assert!(find_device(&table).unwrap_err().to_string().contains("table"));
}

#[test]
fn memory_is_given_once_and_no_more_than_there_is() {
    let memory: &'static Memory<1024> = Box::leak(Box::default());
    let memory = memory.region();
    let mut room = Room { memory: &memory, at: DeviceAddr(0x1000), used: 0 };
    assert_eq!(room.take(100, 16).unwrap().1, DeviceAddr(0x1000));
    assert_eq!(room.take(100, 256).unwrap().1, DeviceAddr(0x1100));
    assert!(matches!(room.take(1000, 64), Err(Error::NoRoom { needed: 1384, room: 1024 })));
    assert!(room.take(usize::MAX, usize::MAX).is_err());
}
