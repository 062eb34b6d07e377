//! The whole of rpmsg on split rings, both roles, under a peer that lies in shared memory and under links that misbehave.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::cell::Cell;

use sidecore_mem::{AddressMap, DeviceAddr, Memory, Region};
use sidecore_rpmsg::host::{HostLink, UNDERSTOOD, bring_up};
use sidecore_rpmsg::link::vring::Buffers;
use sidecore_rpmsg::link::{Faults, Faulty, Wire};
use sidecore_rpmsg::remote::{RemoteLink, attach};
use sidecore_rpmsg::{
    ADDR_ANY, Directory, DirectoryError, Drops, Endpoint, Event, Header, Link, LinkError, Name, Rpmsg,
    SendError, Service, Slot,
};
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;
use sidecore_wire::features::{EVENT_IDX, F_NS, INDIRECT_DESC};
use sidecore_wire::split::Layout;

const NUM: u16 = 8;
const SIZE: u32 = 128;
const BASE: u64 = 0x2000_0000;
/// Table, two rings, two pools.
const AT: [usize; 5] = [0, 0x400, 0x800, 0xc00, 0x1000];
const LEN: usize = 0x1400;

type Kick = fn(u16);
type Host = Rpmsg<HostLink<Vec<split::Slot>, Kick, ()>, Vec<Slot>>;
type Remote = Rpmsg<RemoteLink<Kick, Vec<Cell<u16>>, (), 8>, Vec<Slot>>;

fn nobody(_queue: u16) {}

struct Pair {
    memory: Region,
    host: Host,
    remote: Remote,
}

/// The memory of a vdev with two rings, as firmware leaves it to its host.
fn memory(features: u64) -> Region {
    let memory: &'static Memory<LEN> = Box::leak(Box::default());
    let memory = memory.region();
    for (at, value) in [(0, 3), (4, 7), (12, features as u32)] {
        memory.store(at, value).unwrap();
    }
    memory.store(25, 2_u8).unwrap();
    for (i, at) in [AT[1], AT[2]].into_iter().enumerate() {
        let da = BASE as u32 + at as u32;
        for (field, value) in [(0, da), (4, 16), (8, u32::from(NUM)), (12, i as u32)] {
            memory.store(28 + 20 * i + field, value).unwrap();
        }
    }
    memory
}

fn pair(features: u64) -> Pair {
    let memory = memory(features);
    let vdev = table::Device::new(&memory, 0).unwrap();
    let host = host(&memory);
    assert_eq!(vdev.poll(), Change::Started);
    let mut map = AddressMap::new();
    map.insert(DeviceAddr(BASE), memory.clone()).unwrap();
    let (link, agreed) =
        attach(&vdev, map, vec![Cell::new(0); usize::from(NUM)], |_| nobody as Kick).unwrap();
    assert_eq!(agreed, features);
    Pair { host, remote: Rpmsg::new(link, vec![Slot::new(); 8]), memory }
}

fn host(memory: &Region) -> Host {
    let layout = Layout::new(NUM, 16).unwrap();
    let ring = |at: usize| Parts::contiguous(&memory.slice(at, 0x400).unwrap(), &layout).unwrap();
    let pool = |at: usize| Buffers {
        region: memory.slice(at, 0x400).unwrap(),
        addr: DeviceAddr(BASE + at as u64),
        size: SIZE,
    };
    let slots = || vec![split::Slot::default(); usize::from(NUM)];
    let driver = table::Driver::new(memory, 0).unwrap();
    let (link, _) = bring_up(
        &driver,
        UNDERSTOOD,
        [ring(AT[1]), ring(AT[2])],
        [slots(), slots()],
        [pool(AT[3]), pool(AT[4])],
        nobody as Kick,
    )
    .unwrap();
    Rpmsg::new(link, vec![Slot::new(); 8])
}

struct Luck(u64);

impl Luck {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % below
    }
}

/// One side does what applications do: it looks, answers, keeps a message for a while, and sends. Whatever the peer does
/// to the memory, no call may panic or go on for ever, no payload may be longer than a buffer, and a link that was found
/// broken stays broken.
fn live<L: Link>(rpmsg: &Rpmsg<L, Vec<Slot>>, endpoint: Endpoint, luck: &mut Luck, broken: &mut bool) {
    let mut kept = Vec::new();
    for _ in 0..luck.next(12) {
        match rpmsg.poll() {
            Ok(Some(Event::Message(message))) => {
                let mut buffer = [0; SIZE as usize];
                assert!(message.copy_to(&mut buffer).is_ok(), "{message:?}");
                let _answered = message.reply(&buffer[..message.len()]);
                if luck.next(3) == 0 {
                    kept.push(message);
                }
            }
            Ok(Some(Event::Announcement(announcement))) => assert!(announcement.name.is_valid()),
            Ok(None) => assert!(!*broken, "a broken link works again"),
            // Rings that were cleared look as if the driver had started anew.
            Err(error) => {
                assert!(error.is_peer() || error == LinkError::Closed, "{error}");
                *broken = true;
            }
        }
    }
    for _ in 0..luck.next(6) {
        match rpmsg.send(endpoint, &[7; 100][..luck.next(100)]) {
            Ok(()) => assert!(!*broken, "a broken link sends again"),
            Err(SendError::Full) => {}
            Err(SendError::Link(error)) => {
                assert!(error.is_peer() || error == LinkError::Closed, "{error}");
                *broken = true;
            }
            Err(error) => panic!("{error}"),
        }
    }
    if luck.next(4) == 0
        && let Ok(mut out) = rpmsg.reserve(endpoint)
    {
        let _fits = out.append(&[1; 40]);
    }
    let _something = rpmsg.link().arm();
    rpmsg.link().disarm();
}

/// Writes somewhere in what both share: more often to rings than to buffers.
fn lie(memory: &Region, luck: &mut Luck) {
    let values = [0, 1, 2, 7, 8, 15, 16, 0x7f, 0xff, 0x100, 0x7fff, 0xffff, 0x8000_0000, 0xffff_ffff];
    let at = match luck.next(4) {
        0 => luck.next(LEN - 4),
        1 => AT[3] + luck.next(LEN - AT[3] - 4),
        _ => AT[1] + luck.next(AT[3] - AT[1]),
    };
    let value: u32 = values[luck.next(values.len())];
    let len = [1, 2, 4][luck.next(3)];
    memory.write(at, &value.to_le_bytes()[..len]).unwrap();
}

fn endpoints(pair: &Pair) -> (Endpoint, Endpoint) {
    (pair.host.open(1024, 1025).unwrap(), pair.remote.open(1025, 1024).unwrap())
}

#[test]
fn a_peer_that_lies_anywhere_in_shared_memory_costs_its_own_link_and_nothing_else() {
    let mut broken_links = 0;
    for seed in 1..=1500_u64 {
        let features = [F_NS, F_NS | EVENT_IDX, F_NS | INDIRECT_DESC | EVENT_IDX][seed as usize % 3];
        let pair = pair(features);
        let bystander = self::pair(features);
        let (ours, theirs) = endpoints(&pair);
        let (client, _server) = endpoints(&bystander);
        let mut luck = Luck(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let (mut host_broken, mut remote_broken) = (false, false);
        for _ in 0..60 {
            live(&pair.host, ours, &mut luck, &mut host_broken);
            live(&pair.remote, theirs, &mut luck, &mut remote_broken);
            for _ in 0..luck.next(3) {
                lie(&pair.memory, &mut luck);
            }
            // Another remote's link knows nothing of it.
            bystander.host.send(client, b"still here").unwrap();
            let Some(Event::Message(message)) = bystander.remote.poll().unwrap() else { panic!("lost") };
            assert_eq!(message.copy_to(&mut [0; 10]).unwrap(), b"still here");
        }
        broken_links += usize::from(host_broken) + usize::from(remote_broken);
    }
    assert!(broken_links > 500, "the lies were too small: {broken_links} links broken");
}

#[test]
fn a_storm_of_announcements_and_of_messages_for_nobody_leaves_the_channel_its_turn() {
    let pair = pair(F_NS);
    let (ours, theirs) = endpoints(&pair);
    for turn in 0..500_u32 {
        for i in 0..NUM - 1 {
            let name = [b'a' + (i % 26) as u8; 40];
            let (dst, payload): (u32, &[u8]) = match turn % 3 {
                0 => (53, &name),
                1 => (53, &[0xff; 40]),
                _ => (0x7777_7777, b"nobody"),
            };
            pair.remote.send_to(theirs, dst, payload).unwrap();
        }
        pair.remote.send(theirs, &turn.to_le_bytes()).unwrap();
        let mut seen = None;
        let events = pair.host.drain(64, |event| {
            if let Event::Message(message) = event {
                let mut bytes = [0; 4];
                message.read(0, &mut bytes).unwrap();
                seen = Some(u32::from_le_bytes(bytes));
            }
        });
        assert_eq!(seen, Some(turn), "{events:?}");
        assert_eq!(pair.host.send(ours, b"x"), Ok(()));
        assert!(matches!(pair.remote.poll(), Ok(Some(Event::Message(_)))));
    }
    assert!(pair.host.drops().unknown_destination.get() > 1000);
    assert!(pair.host.drops().bad_announcement.get() > 1000);
}

#[test]
fn who_polls_gets_a_turn_between_frames_of_no_use_and_is_told_of_the_rest() {
    let wire = Wire::<100, 8>::default();
    let [one, other] = wire.ends().map(|end| Rpmsg::new(end, vec![Slot::new(); 2]));
    let ours = one.open(1024, 1025).unwrap();
    other.open(1025, 1024).unwrap();
    for _ in 0..99 {
        one.send_to(ours, 9999, &[]).unwrap();
    }
    one.send(ours, b"at last").unwrap();
    assert!(matches!(other.poll(), Ok(None)), "as many frames as it likes, and no turn");
    assert!((1..99).contains(&other.drops().unknown_destination.get()));
    assert!(other.link().arm(), "it sleeps beside a message");
    let Some(Event::Message(message)) = other.poll().unwrap() else { panic!("lost") };
    assert_eq!(message.copy_to(&mut [0; 8]).unwrap(), b"at last");
}

/// A frame whose header, and payload, are the sender's own: sent past rpmsg, its length changed behind its back.
fn send_raw<L: Link>(pair: &Pair, from: &Rpmsg<L, Vec<Slot>>, pool: usize, header: &Header, payload: &[u8]) {
    let link = from.link();
    let tx = link.reserve().unwrap();
    link.write(&tx, 0, payload).unwrap();
    let marked = Header { reserved: 0x5a5a_5a5a, len: payload.len() as u16, ..*header };
    link.commit(tx, &marked).unwrap();
    let buffers = (0..usize::from(NUM)).map(|i| pool + i * SIZE as usize);
    let is_marked = |at: &usize| pair.memory.load::<u32>(at + 8) == Ok(marked.reserved);
    let at = buffers.into_iter().find(is_marked).expect("the frame lies in its pool");
    pair.memory.write(at, &header.emit()).unwrap();
    link.flush();
}

/// What arrives at an end of one frame: a message of this many bytes for this address, a name, or nothing.
fn arrives<L: Link>(at: &Rpmsg<L, Vec<Slot>>) -> (Option<(u32, usize)>, Option<Name>) {
    match at.poll().unwrap() {
        Some(Event::Message(message)) => {
            message.copy_to(&mut [0; SIZE as usize]).unwrap();
            (Some((message.endpoint().addr(), message.len())), None)
        }
        Some(Event::Announcement(announcement)) => (None, Some(announcement.name)),
        None => (None, None),
    }
}

#[test]
fn a_frame_with_any_header_is_a_message_within_its_bounds_or_dropped_and_counted() {
    let addresses = [0, 1, 53, 1023, 1024, 1025, 1026, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
    let lens = [0, 1, 39, 40, 41, 99, 100, 101, 111, 112, 113, 0x7fff, 0x8000, 0xffff];
    let pair = pair(F_NS);
    endpoints(&pair);
    // Endpoints that were closed leave nothing behind that a frame could reach.
    for _ in 0..16 {
        pair.host.close(pair.host.open(ADDR_ANY, 7).unwrap());
        pair.remote.close(pair.remote.open(ADDR_ANY, 7).unwrap());
    }
    let (mut frames, mut useful) = (0, 0);
    for (dst, len) in addresses.into_iter().flat_map(|dst| lens.map(|len| (dst, len))) {
        for (src, flags) in addresses.into_iter().zip([0, 1, 0xffff].into_iter().cycle()) {
            let header = Header { src, dst, reserved: src ^ 0xffff, len, flags };
            let payload = [b'x'; 100];
            send_raw(&pair, &pair.remote, AT[3], &header, &payload);
            send_raw(&pair, &pair.host, AT[4], &header, &payload);
            frames += 2;
            for (ours, found) in [(1024, arrives(&pair.host)), (1025, arrives(&pair.remote))] {
                let message = (dst == ours && len <= 100).then_some((dst, len.into()));
                let name = (dst == 53 && len == 40).then(|| Name::new(&"x".repeat(31)).unwrap());
                assert_eq!(found, (message, name), "{header:?}");
                useful += usize::from(message.is_some() || name.is_some());
            }
        }
    }
    let count = |drops: &Drops| {
        [&drops.unknown_destination, &drops.malformed, &drops.bad_announcement]
            .map(|count| count.get() as usize)
    };
    let dropped: usize = [count(pair.host.drops()), count(pair.remote.drops())].concat().iter().sum();
    assert_eq!(dropped + useful, frames, "nothing is dropped in silence");
    pair.host.send(pair.host.open(ADDR_ANY, 1025).unwrap(), b"still here").unwrap();
    assert_eq!(arrives(&pair.remote), (Some((1025, 10)), None));
}

#[test]
fn names_that_are_none_never_arrive_and_names_without_end_fill_no_directory() {
    let pair = pair(F_NS);
    let (ours, theirs) = endpoints(&pair);
    let announce = |name: &[u8], addr: u32| {
        let mut bytes = [0; 40];
        bytes[..name.len()].copy_from_slice(name);
        bytes[32..36].copy_from_slice(&addr.to_le_bytes());
        pair.remote.send_to(theirs, 53, &bytes).unwrap();
        match pair.host.poll().unwrap() {
            Some(Event::Announcement(announcement)) => Some(announcement),
            Some(event) => panic!("{event:?}"),
            None => None,
        }
    };
    let none: [&[u8]; 6] = [b"", b"\0hidden", b"\x1b[2J", b"line\n", b"\xc3\xa9", b"tab\there"];
    for name in none {
        assert_eq!(announce(name, 1030), None, "{name:?}");
    }
    assert_eq!(pair.host.drops().bad_announcement.get(), 6);
    // Not terminated: the last byte is taken for the NUL that others put there.
    let unterminated = announce(&[b'n'; 32], 1030).unwrap();
    assert_eq!(unterminated.name.to_string(), "n".repeat(31));
    let after_the_end = announce(b"short\0\x1b[2J", 1031).unwrap();
    assert_eq!(after_the_end.name.to_string(), "short");
    let mut directory = Directory::new([None; 8]);
    for turn in 0..1000_u32 {
        let name = format!("service-{}", turn / 2);
        let announcement = announce(name.as_bytes(), turn / 2).unwrap();
        let expected = match (turn % 2, turn / 2) {
            (0, 0..8) => Ok(()),
            (_, 0..8) => {
                Err(DirectoryError::Known { service: Service { name: announcement.name, addr: turn / 2 } })
            }
            _ => Err(DirectoryError::Full { capacity: 8 }),
        };
        assert_eq!(directory.apply(&announcement), expected);
    }
    let mut kept: Vec<u32> = directory.services().map(|service| service.addr).collect();
    kept.sort_unstable();
    assert_eq!((kept, directory.refused()), ((0..8).collect(), 984));
    pair.host.send(ours, b"still here").unwrap();
    assert_eq!(arrives(&pair.remote), (Some((1025, 10)), None));
}

/// START-1: DRIVER_OK, and not a kick, is what lets a remote look at the rings; START-2: it may look late, and finds all.
#[test]
fn start_1_and_2_a_remote_that_looks_late_or_often_comes_up_once() {
    let memory = memory(F_NS);
    let vdev = table::Device::new(&memory, 0).unwrap();
    for _ in 0..5 {
        assert_eq!(vdev.poll(), Change::None, "an early kick is no start");
    }
    let host = host(&memory);
    // The host sends before the remote has looked for the first time.
    let client = host.open(ADDR_ANY, 400).unwrap();
    for i in 0..NUM {
        host.send(client, &[i as u8]).unwrap();
    }
    assert_eq!(vdev.poll(), Change::Started);
    assert_eq!(vdev.poll(), Change::None);
    let mut map = AddressMap::<(), 8>::new();
    map.insert(DeviceAddr(BASE), memory).unwrap();
    let (link, _) = attach(&vdev, map, vec![Cell::new(0); 8], |_| nobody as Kick).unwrap();
    let remote = Rpmsg::new(link, vec![Slot::new(); 2]);
    let service = remote.open(400, ADDR_ANY).unwrap();
    remote.announce(service, &Name::new("late").unwrap()).unwrap();
    for i in 0..NUM {
        let Some(Event::Message(message)) = remote.poll().unwrap() else { panic!("message {i} is lost") };
        assert_eq!(message.copy_to(&mut [0; 1]).unwrap(), [i as u8]);
    }
    assert!(matches!(host.poll(), Ok(Some(Event::Announcement(_)))));
}

#[test]
fn a_faulty_link_loses_what_it_loses_and_no_buffer() {
    for seed in 0..20 {
        let pair = pair(F_NS | EVENT_IDX);
        let Pair { memory, .. } = pair;
        let host = self::host(&memory);
        let vdev = table::Device::new(&memory, 0).unwrap();
        assert_eq!(vdev.poll(), Change::Started);
        let mut map = AddressMap::<(), 8>::new();
        map.insert(DeviceAddr(BASE), memory.clone()).unwrap();
        let (link, _) = attach(&vdev, map, vec![Cell::new(0); 8], |_| nobody as Kick).unwrap();
        let faults = Faults { lose: 9000, corrupt: 9000, reorder: 9000, delay: 9000 };
        let remote = Rpmsg::new(Faulty::new(link, faults, seed), vec![Slot::new(); 4]);
        let ours = host.open(1024, 1025).unwrap();
        remote.open(1025, 1024).unwrap();
        let mut arrived = 0;
        for number in 0..2000_u32 {
            // Were a single buffer lost a time, the ring would be full for good after eight.
            host.send(ours, &number.to_le_bytes()).unwrap();
            while let Some(event) = remote.poll().unwrap() {
                arrived += usize::from(matches!(event, Event::Message(_)));
            }
        }
        assert!((1000..1900).contains(&arrived), "{arrived}");
    }
}
