//! Rings that are not where they should be, and guests that break their rules.

use std::os::fd::AsFd as _;

use sidecore_vhost_user::{Event, Fault};

use crate::front_end::*;
use crate::guest::{Guest, LEN, NUM, USER, addresses, rings_at};
use crate::running::{Running, until};

/// The driver has made its rings and told of them, all but one message.
fn nearly(running: &Running, protocol: u64) -> Guest {
    let mut guest = Guest::new(&running.path(), protocol);
    guest.make_rings();
    guest.tell_rings([0, 0]);
    guest
}

#[test]
fn a_ring_that_is_nowhere_is_told_to_everybody_and_can_be_put_right() {
    let running = Running::start(&["echo"]);
    let [ring, end] = [USER + rings_at(1), USER + LEN];
    let places = [
        ([0, ring, ring], "the descriptor table at 0x0"),
        ([end - 16, ring, ring], "the descriptor table"),
        ([u64::MAX, ring, ring], "the descriptor table at 0xffffffffffffffff, 1024 bytes"),
        ([ring, ring, end], "the available ring"),
        ([ring, end - 1, ring], "the used ring"),
        ([ring + 8, ring, ring], "ring 1: "),
        ([ring, ring + 2, ring], "ring 1: "),
        ([ring, ring, ring + 1], "ring 1: "),
    ];
    for (place, why) in places {
        let mut guest = nearly(&running, REPLY_ACK | STATUS);
        let [descriptors, used, available] = place;
        let wrong = [pair(1, 0), words(&[descriptors, used, available, 0])].concat();
        guest.front_end.send(SET_VRING_ADDR, &wrong, &[]);
        guest.driver_ok();
        let fault = running.broken().to_string();
        assert!(fault.contains("ring 1") && fault.contains(why), "{fault}\nnot: {why}");
        until("the error doorbell", || Guest::was_rung(&guest.errors[1]));
        assert_eq!(guest.front_end.number(GET_STATUS), 15 | 0x40, "it needs a reset");
        guest.front_end.send(SET_VRING_ADDR, &addresses(1, USER), &[]);
        let endpoint = guest.channel("rpmsg-echo");
        guest.round_trip(endpoint, b"put right");
    }
}

#[test]
fn a_guest_that_breaks_its_rings_loses_them_until_it_resets() {
    let running = Running::start(&["echo"]);
    // In ring 1: the index, an entry, a descriptor's address, length, flags.
    type Lie = (u64, Vec<u8>, &'static str);
    let available = rings_at(1) + 16 * u64::from(NUM);
    let lies: [Lie; 6] = [
        (available + 2, 0x8000_u16.to_le_bytes().to_vec(), "jumped"),
        (available + 4, 0xffff_u16.to_le_bytes().to_vec(), "descriptor 65535"),
        (rings_at(1), words(&[u64::MAX]), "lies in no shared memory"),
        (rings_at(1) + 8, u32::MAX.to_le_bytes().to_vec(), "lies in no shared memory"),
        (rings_at(1) + 8, 3_u32.to_le_bytes().to_vec(), "is of no use"),
        (rings_at(1) + 12, 7_u16.to_le_bytes().to_vec(), "bad flags"),
    ];
    for protocol in [REPLY_ACK | STATUS, REPLY_ACK | STATUS | BACKEND_REQ | INBAND] {
        for (at, bytes, why) in &lies {
            let mut guest = Guest::boot(&running.path(), protocol);
            let endpoint = guest.channel("rpmsg-echo");
            // Published before it is told of, so that the device looks at what it is then.
            let silent = guest.host().batch();
            guest.host().send(endpoint, b"lie").unwrap();
            guest.memory.write(*at as usize, bytes).unwrap();
            if *why != "jumped" {
                guest.memory.write((available + 2) as usize, &1_u16.to_le_bytes()).unwrap();
            }
            guest.kick(1);
            let fault = running.broken();
            assert!(matches!(fault, Fault::Link(_)), "{fault}");
            assert!(fault.to_string().contains(why), "{fault}\nnot: {why}");
            drop(silent);
            assert_eq!(guest.front_end.number(GET_STATUS), 15 | 0x40);
            guest.front_end.send(SET_STATUS, &words(&[0]), &[]);
            guest.make_rings();
            guest.tell_rings([0, 0]);
            guest.driver_ok();
            let endpoint = guest.channel("rpmsg-echo");
            guest.round_trip(endpoint, b"after the reset");
        }
    }
}

#[test]
fn a_base_that_no_ring_can_have_is_refused() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::new(&running.path(), 0);
    guest.make_rings();
    guest.tell_rings([0, u32::from(NUM) + 1]);
    guest.driver_ok();
    let fault = running.broken();
    assert!(matches!(fault, Fault::Ring { queue: 1, .. }), "{fault}");
    guest.tell_rings([0, 0]);
    guest.channel("rpmsg-echo");
}

#[test]
fn requests_about_rings_that_make_no_sense_are_refused_and_change_nothing() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::boot(&running.path(), REPLY_ACK);
    let endpoint = guest.channel("rpmsg-echo");
    let folder = std::fs::File::open("/").unwrap();
    let bell = guest.kicks[0].try_clone().unwrap();
    let cases: [(u32, Vec<u8>, Vec<_>, &str); 16] = [
        (SET_VRING_NUM, pair(2, 64), vec![], "index is 0x2"),
        (SET_VRING_NUM, pair(0, 0), vec![], "num is 0x0"),
        (SET_VRING_NUM, pair(0, 65), vec![], "num is 0x41"),
        (SET_VRING_NUM, pair(0, 0x1_0000), vec![], "num is 0x10000"),
        (SET_VRING_BASE, pair(0, 0x1_0000), vec![], "base is 0x10000"),
        (SET_VRING_BASE, pair(u32::MAX, 0), vec![], "index is 0xffffffff"),
        (SET_VRING_ADDR, [pair(0, 1), words(&[0; 4])].concat(), vec![], "flags is 0x1"),
        (SET_VRING_ENABLE, pair(0, 2), vec![], "enable is 0x2"),
        (SET_VRING_ENABLE, pair(9, 1), vec![], "index is 0x9"),
        (SET_VRING_KICK, words(&[0]), vec![], "came with 0 descriptors; 1 belong"),
        (SET_VRING_KICK, words(&[0x100]), vec![bell.as_fd()], "came with 1 descriptors; 0 belong"),
        (SET_VRING_KICK, words(&[0]), vec![folder.as_fd()], "read a doorbell"),
        (SET_VRING_CALL, words(&[0xff]), vec![bell.as_fd()], "index is 0xff"),
        (SET_VRING_KICK, words(&[7]), vec![bell.as_fd()], "index is 0x7"),
        (VRING_KICK, pair(0, 0), vec![], "INBAND_NOTIFICATIONS, which is not in use"),
        (SET_STATUS, words(&[15]), vec![], "STATUS, which is not in use"),
    ];
    for (request, payload, fds, why) in cases {
        assert!(!guest.front_end.is_done(request, &payload, &fds), "{why}");
        let event = running.heard(why, |event| matches!(event, Event::Refused { .. })).to_string();
        assert!(event.contains(why), "{event}\nnot: {why}");
        guest.round_trip(endpoint, b"as before");
    }
}

#[test]
fn a_doorbell_that_ends_is_told_and_another_one_taken() {
    let running = Running::start(&["echo"]);
    let mut guest = Guest::boot(&running.path(), 0);
    let endpoint = guest.channel("rpmsg-echo");
    let (near, far) = rustix::pipe::pipe().unwrap();
    guest.front_end.send(SET_VRING_KICK, &words(&[1]), &[near.as_fd()]);
    // The guest of this test rings its own doorbell, where nobody listens any more.
    guest.host().send(endpoint, b"by a pipe").unwrap();
    rustix::io::write(&far, b"ring!").unwrap();
    assert_eq!(guest.message(), (endpoint, b"by a pipe".to_vec()));
    drop(far);
    let fault = running.broken();
    assert!(matches!(fault, Fault::Descriptor { what: "answer a doorbell", .. }), "{fault}");
    guest.front_end.send(SET_VRING_KICK, &words(&[1]), &[guest.kicks[1].as_fd()]);
    guest.round_trip(endpoint, b"as ever");
}
