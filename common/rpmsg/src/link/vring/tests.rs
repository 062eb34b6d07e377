extern crate std;

mod clauses;

use std::boxed::Box;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::vec;
use std::vec::Vec;

use sidecore_mem::{AddressMap, DeviceAddr, Memory, Region};
use sidecore_virtio::QueueError;
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::table;
use sidecore_wire::features::{EVENT_IDX, F_NS, INDIRECT_DESC};
use sidecore_wire::split::Layout;

use super::*;
use crate::host::{HostLink, UNDERSTOOD, bring_up};
use crate::link::{Link, LinkError};
use crate::remote::{AttachError, RemoteLink, attach};
use crate::{ADDR_ANY, Announcement, Event, Header, Name, Rpmsg, SendError, Slot};

const NUM: u16 = 4;
const SIZE: u32 = 64;
const RINGS: [u64; 2] = [0x1_0000, 0x1_0400];
const POOLS: [u64; 2] = [0x1_0800, 0x1_0c00];
const BASE: u64 = 0x1_0000;

type Kicks = Rc<RefCell<Vec<u16>>>;
type Kick = Box<dyn Fn(u16)>;
type Host = Rpmsg<HostLink<Vec<split::Slot>, Kick, ()>, Vec<Slot>>;
type Remote = Rpmsg<RemoteLink<Kick, Vec<Cell<u16>>, (), 8>, Vec<Slot>>;

struct Bench {
    host: Host,
    remote: Remote,
    memory: Region,
    table: Region,
    vdev: table::Device,
    host_kicks: Kicks,
    remote_kicks: Kicks,
}

fn table(dfeatures: u64) -> Region {
    let memory: &'static Memory<256> = Box::leak(Box::default());
    let table = memory.region();
    for (at, value) in [(0, 3), (4, 7), (12, dfeatures as u32)] {
        table.store(at, value).unwrap();
    }
    table.store(25, 2_u8).unwrap();
    for (i, da) in RINGS.into_iter().enumerate() {
        for (at, value) in [(0, da as u32), (4, 16), (8, u32::from(NUM)), (12, 10 + i as u32)] {
            table.store(28 + 20 * i + at, value).unwrap();
        }
    }
    table
}

fn kicks() -> (Kicks, Kick) {
    let kicks = Kicks::default();
    let inner = kicks.clone();
    (kicks, Box::new(move |queue| inner.borrow_mut().push(queue)))
}

fn slots() -> [Vec<split::Slot>; 2] {
    [vec![split::Slot::default(); usize::from(NUM)], vec![split::Slot::default(); usize::from(NUM)]]
}

fn bench(features: u64) -> Bench {
    let table = table(features);
    let memory: &'static Memory<4096> = Box::leak(Box::default());
    let memory = memory.region();
    let vdev = table::Device::new(&table, 0).unwrap();
    assert_eq!(vdev.poll(), Change::None);
    let (host, host_kicks) = start_host(&table, &memory, features);
    assert_eq!(vdev.poll(), Change::Started);
    let (remote, remote_kicks) = start_remote(&vdev, &memory).unwrap();
    assert_eq!(host_kicks.take(), [FROM_DEVICE], "Linux kicks queue 0 after DRIVER_OK");
    Bench { host, remote, memory, table, vdev, host_kicks, remote_kicks }
}

fn start_host(table: &Region, memory: &Region, features: u64) -> (Host, Kicks) {
    let layout = Layout::new(NUM, 16).unwrap();
    let at = |addr: u64, len: usize| memory.slice((addr - BASE) as usize, len).unwrap();
    let rings = RINGS.map(|addr| Parts::contiguous(&at(addr, 1024), &layout).unwrap());
    let buffers = POOLS.map(|addr| Buffers { region: at(addr, 1024), addr: DeviceAddr(addr), size: SIZE });
    let (kicks, kick) = kicks();
    let driver = table::Driver::new(table, 0).unwrap();
    let (link, agreed) = bring_up(&driver, UNDERSTOOD, rings, slots(), buffers, kick).unwrap();
    assert_eq!(agreed, features);
    (Rpmsg::new(link, vec![Slot::new(); 4]), kicks)
}

fn start_remote(vdev: &table::Device, memory: &Region) -> Result<(Remote, Kicks), AttachError> {
    let (kicks, kick) = kicks();
    let mut map = AddressMap::new();
    map.insert(DeviceAddr(BASE), memory.clone()).unwrap();
    let cancelled = vec![Cell::new(0); usize::from(NUM)];
    let (link, _) = attach(vdev, map, cancelled, |_| kick)?;
    Ok((Rpmsg::new(link, vec![Slot::new(); 4]), kicks))
}

fn message<L: Link>(rpmsg: &Rpmsg<L, Vec<Slot>>) -> Option<(u32, u32, Vec<u8>)> {
    match rpmsg.poll().unwrap() {
        Some(Event::Message(message)) => {
            let mut bytes = vec![0; message.len()];
            message.read(0, &mut bytes).unwrap();
            Some((message.src(), message.endpoint().addr(), bytes))
        }
        Some(Event::Announcement(announcement)) => panic!("{announcement:?}"),
        None => None,
    }
}

#[test]
fn a_channel_is_announced_and_messages_go_both_ways_under_every_feature_set() {
    for features in [0, F_NS, F_NS | EVENT_IDX, F_NS | INDIRECT_DESC | EVENT_IDX] {
        let Bench { host, remote, .. } = bench(features);
        let service = remote.open(ADDR_ANY, ADDR_ANY).unwrap();
        let name = Name::new("rpmsg-echo").unwrap();
        assert_eq!(remote.send(service, b"early"), Err(SendError::NoPeer));
        remote.announce(service, &name).unwrap();
        let Some(Event::Announcement(announcement)) = host.poll().unwrap() else { panic!("no announcement") };
        assert_eq!(announcement, Announcement { name, addr: service.addr(), flags: 0 });
        let client = host.open(ADDR_ANY, announcement.addr).unwrap();
        for turn in 0..1000_u32 {
            host.send(client, &turn.to_le_bytes()).unwrap();
            let Some(Event::Message(message)) = remote.poll().unwrap() else { panic!("no message") };
            let mut bytes = [0; 4];
            message.read(0, &mut bytes).unwrap();
            message.reply(&bytes).unwrap();
            drop(message);
            let answer = (service.addr(), client.addr(), turn.to_le_bytes().to_vec());
            assert_eq!(self::message(&host), Some(answer));
        }
        remote.withdraw(service, &name).unwrap();
        let Some(Event::Announcement(gone)) = host.poll().unwrap() else { panic!("no withdrawal") };
        assert!(gone.is_destroy());
    }
}

/// Connected endpoints on both sides.
fn connect(bench: &Bench) -> (crate::Endpoint, crate::Endpoint) {
    let ours = bench.host.open(2000, 3000).unwrap();
    let theirs = bench.remote.open(3000, 2000).unwrap();
    (ours, theirs)
}

#[test]
fn too_long_full_and_closed_are_different_answers_and_lose_no_buffer() {
    let bench = bench(F_NS);
    let (ours, theirs) = connect(&bench);
    let (host, remote) = (&bench.host, &bench.remote);
    for _ in 0..20 {
        let long = SendError::TooLong { len: 49, max: 48 };
        assert_eq!(host.send(ours, &[0; 49]), Err(long));
        assert_eq!(remote.send(theirs, &[0; 49]), Err(long));
    }
    for turn in 0..3 {
        for i in 0..4 {
            host.send(ours, &[i; 48]).unwrap();
            remote.send(theirs, &[i; 48]).unwrap();
        }
        assert_eq!(host.send(ours, &[]), Err(SendError::Full), "turn {turn}");
        assert_eq!(host.send(ours, &[0; 49]), Err(SendError::TooLong { len: 49, max: 48 }), "turn {turn}");
        assert_eq!(remote.send(theirs, &[]), Err(SendError::Full), "turn {turn}");
        for i in 0..4 {
            assert_eq!(message(remote), Some((2000, 3000, vec![i; 48])));
            assert_eq!(message(host), Some((3000, 2000, vec![i; 48])));
        }
    }
    assert!(host.close(ours));
    assert_eq!(host.send(ours, &[]), Err(SendError::EndpointClosed));
}

#[test]
fn an_unused_buffer_goes_back_by_itself() {
    let bench = bench(F_NS);
    let (ours, theirs) = connect(&bench);
    for _ in 0..20 {
        let mut out = bench.host.reserve(ours).unwrap();
        out.append(b"never sent").unwrap();
        drop(out);
        let first = bench.remote.reserve(theirs).unwrap();
        let second = bench.remote.reserve(theirs).unwrap();
        drop(first);
        drop(second);
    }
    let mut out = bench.remote.reserve(theirs).unwrap();
    assert_eq!(out.capacity(), 48);
    out.write(2, b"cd").unwrap();
    out.write(0, b"ab").unwrap();
    assert_eq!(out.write(47, b"yz"), Err(SendError::TooLong { len: 49, max: 48 }));
    out.send().unwrap();
    assert_eq!(message(&bench.host), Some((3000, 2000, b"abcd".to_vec())));
    for i in 0..4 {
        bench.remote.send(theirs, &[i]).unwrap();
    }
    assert_eq!((0..4).map(|_| message(&bench.host).unwrap().2[0]).collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn received_buffers_are_kept_and_released_in_any_order() {
    let bench = bench(F_NS | EVENT_IDX);
    let (ours, theirs) = connect(&bench);
    for turn in 0..100_u8 {
        let mut held = Vec::new();
        for i in 0..4 {
            bench.host.send(ours, &[turn, i]).unwrap();
            let Some(Event::Message(message)) = bench.remote.poll().unwrap() else { panic!("no message") };
            held.push(message);
        }
        assert_eq!(bench.host.send(ours, &[]), Err(SendError::Full));
        held.swap(0, 3);
        held.swap(1, usize::from(turn) % 4);
        for message in held {
            let mut bytes = [0; 2];
            message.read(0, &mut bytes).unwrap();
            assert_eq!(bytes[0], turn);
        }
    }
    bench.remote.send(theirs, b"x").unwrap();
    let Some(Event::Message(message)) = bench.host.poll().unwrap() else { panic!("no message") };
    let held = message.hold().unwrap();
    assert_eq!(bench.host.resume(held).unwrap().copy_to(&mut [0; 8]).unwrap(), b"x");
}

#[test]
fn a_batch_is_seen_at_its_end_and_notified_once() {
    let bench = bench(F_NS);
    let (ours, _) = connect(&bench);
    let batch = bench.host.batch();
    for i in 0..3 {
        bench.host.send(ours, &[i]).unwrap();
    }
    assert_eq!(message(&bench.remote), None);
    drop(batch);
    assert_eq!(bench.host_kicks.take(), [TO_DEVICE]);
    let mut seen = Vec::new();
    let count = bench.remote.drain(100, |event| {
        let Event::Message(message) = event else { panic!("an announcement") };
        seen.push(message.copy_to(&mut [0; 1]).unwrap()[0]);
    });
    assert_eq!((count, seen), (Ok(3), vec![0, 1, 2]));
    let payloads: [&[u8]; 6] = [b"a"; 6];
    assert_eq!(bench.host.send_all(ours, payloads), Ok(4));
}

#[test]
fn who_waits_for_a_transmit_buffer_is_notified_when_one_comes_back() {
    for features in [F_NS, F_NS | EVENT_IDX] {
        let bench = bench(features);
        let (ours, theirs) = connect(&bench);
        while bench.host.send(ours, b"x").is_ok() {}
        while bench.remote.send(theirs, b"x").is_ok() {}
        bench.host_kicks.take();
        bench.remote_kicks.take();
        assert!(bench.host.link().arm(), "messages wait");
        assert!(bench.remote.link().arm(), "messages wait");
        assert!(message(&bench.remote).is_some());
        assert_eq!(bench.remote_kicks.take(), [TO_DEVICE]);
        assert!(message(&bench.host).is_some());
        assert_eq!(bench.host_kicks.take(), [FROM_DEVICE]);
        assert_eq!(bench.host.send(ours, b"x"), Ok(()));
        assert_eq!(bench.remote.send(theirs, b"x"), Ok(()));
    }
}

#[test]
fn a_waiter_that_gave_up_is_not_kept_awake() {
    let bench = bench(F_NS);
    let (ours, _) = connect(&bench);
    while bench.host.send(ours, b"x").is_ok() {}
    while message(&bench.remote).is_some() {}
    assert!(bench.host.link().arm());
    assert!(!bench.host.link().arm());
}

#[test]
fn a_header_that_claims_more_than_its_frame_is_dropped_and_counted() {
    let bench = bench(F_NS);
    let (ours, _) = connect(&bench);
    let link = bench.host.link();
    for turn in 1..20 {
        let buffer = link.reserve().unwrap();
        link.commit(buffer, &Header { src: 2000, dst: 3000, reserved: 0, len: 48, flags: 0 }).unwrap();
        // The header's length, in every buffer: one of them is the frame's.
        for buffer in 0..4 {
            bench.memory.store(0xc00 + 64 * buffer + 12, 49_u16).unwrap();
        }
        link.flush();
        assert_eq!(message(&bench.remote), None);
        bench.host.send(ours, b"!").unwrap();
        assert_eq!(message(&bench.remote), Some((2000, 3000, b"!".to_vec())));
        assert_eq!(bench.remote.drops().malformed.get(), turn);
    }
}

#[test]
fn a_buffer_with_no_room_for_a_header_breaks_the_link_for_good() {
    let bench = bench(F_NS);
    let (_, theirs) = connect(&bench);
    let link = bench.host.link();
    let buffer = link.reserve().unwrap();
    link.commit(buffer, &Header { src: 2000, dst: 3000, reserved: 0, len: 0, flags: 0 }).unwrap();
    // The length of the first descriptor of queue 1.
    bench.memory.store(0x408, 15_u32).unwrap();
    link.flush();
    let error = LinkError::PeerBufferLength { len: 15 };
    assert_eq!(bench.remote.poll().unwrap_err(), error);
    assert_eq!(bench.remote.poll().unwrap_err(), error);
    assert_eq!(bench.remote.send(theirs, b"x"), Err(SendError::Link(error)));
}

#[test]
fn messages_for_nobody_and_bad_announcements_are_counted_and_others_go_on() {
    let bench = bench(F_NS);
    let (ours, _) = connect(&bench);
    for turn in 1..50 {
        bench.host.send_to(ours, 9999, b"?").unwrap();
        bench.host.send_to(ours, 53, &[b'a'; 39]).unwrap();
        bench.host.send_to(ours, 53, &[1; 40]).unwrap();
        bench.host.send(ours, b"!").unwrap();
        assert_eq!(message(&bench.remote), Some((2000, 3000, b"!".to_vec())));
        assert_eq!(bench.remote.drops().unknown_destination.get(), turn);
        assert_eq!(bench.remote.drops().bad_announcement.get(), 2 * turn);
    }
}

#[test]
fn a_buffer_outside_of_shared_memory_breaks_the_link_by_name() {
    let bench = bench(F_NS);
    let (ours, _) = connect(&bench);
    bench.host.send(ours, b"x").unwrap();
    // The first descriptor of queue 1 points past the memory.
    bench.memory.store(0x400, 0xdead_0000_u64).unwrap();
    let error = bench.remote.poll().unwrap_err();
    assert_eq!(error, LinkError::PeerBufferAddress { addr: DeviceAddr(0xdead_0000), len: 17 });
    assert!(error.is_peer());
}

#[test]
fn a_device_that_claims_more_than_the_buffer_breaks_the_link_by_name() {
    let bench = bench(F_NS);
    let (_, theirs) = connect(&bench);
    bench.remote.send(theirs, b"x").unwrap();
    let used = Layout::new(NUM, 16).unwrap().used_ring() as usize;
    bench.memory.store(used + 4, 65_u32).unwrap();
    let error = bench.host.poll().unwrap_err();
    let claim = QueueError::PeerBadLength { head: 0, len: 65, room: 64 };
    assert_eq!(error, LinkError::Queue(claim));
}

#[test]
fn the_length_of_a_returned_buffer_is_its_size_for_the_sake_of_openamp() {
    let bench = bench(F_NS);
    let (ours, _) = connect(&bench);
    bench.host.send(ours, b"abc").unwrap();
    assert!(message(&bench.remote).is_some());
    let used = 0x400 + Layout::new(NUM, 16).unwrap().used_ring() as usize;
    assert_eq!(bench.memory.load::<u32>(used + 4), Ok(19));
}

/// What traffic there was before a restart: messages from the host, messages from the remote.
const TRAFFIC: [[u32; 2]; 5] = [[0, 1], [1, 0], [3, 3], [0, 4], [70_000, 66_000]];

fn exchange(bench: &Bench, [there, back]: [u32; 2]) {
    let (ours, theirs) = connect(bench);
    for turn in 0..there.max(back) {
        if turn < there {
            bench.host.send(ours, b"there").unwrap();
            assert!(message(&bench.remote).is_some());
        }
        if turn < back {
            bench.remote.send(theirs, b"back").unwrap();
            assert!(message(&bench.host).is_some());
        }
    }
}

#[test]
fn a_driver_that_starts_anew_unseen_ends_the_link_and_is_shown_nothing_of_the_old_one() {
    for traffic in TRAFFIC {
        let bench = bench(F_NS);
        exchange(&bench, traffic);
        let (host, _kicks) = start_host(&bench.table, &bench.memory, F_NS);
        assert_eq!(bench.vdev.poll(), Change::None, "the status does not tell");
        let endpoint = bench.remote.open(ADDR_ANY, 5).unwrap();
        let lost = (0..4).find_map(|_| bench.remote.send(endpoint, b"lost").err());
        assert!(
            lost.is_none_or(|error| error == SendError::Link(LinkError::Closed)),
            "{traffic:?}: {lost:?}"
        );
        let Err(error) = bench.remote.poll() else { panic!("{traffic:?}: nothing noticed") };
        assert_eq!(error, LinkError::Closed, "{traffic:?}");
        assert_eq!(bench.remote.send(endpoint, b"late"), Err(SendError::Link(LinkError::Closed)));
        for ring in [0, 0x400] {
            let shown = ring + Layout::new(NUM, 16).unwrap().used_index() as usize;
            assert_eq!(bench.memory.load::<u16>(shown), Ok(0), "{traffic:?}");
        }
        bench.vdev.start_over();
        assert_eq!(bench.vdev.poll(), Change::Started);
        let (remote, _kicks) = start_remote(&bench.vdev, &bench.memory).unwrap();
        let endpoint = remote.open(3000, 2000).unwrap();
        host.open(2000, 3000).unwrap();
        remote.send(endpoint, b"anew").unwrap();
        assert_eq!(message(&host), Some((3000, 2000, b"anew".to_vec())));
    }
}

#[test]
fn a_remote_that_starts_anew_does_not_go_on_in_the_midst_of_a_ring() {
    for traffic in TRAFFIC {
        let bench = bench(F_NS);
        exchange(&bench, traffic);
        let vdev = table::Device::new(&bench.table, 0).unwrap();
        assert_eq!(vdev.poll(), Change::Started);
        let error = start_remote(&vdev, &bench.memory).err().unwrap();
        let queue = u16::from(traffic[1] == 0);
        let used = traffic[usize::from(queue == 0)] as u16;
        assert_eq!(error, AttachError::PeerRingInUse { queue, used });
    }
}

#[test]
fn rings_that_are_nowhere_or_impossible_are_named() {
    let cases: [(usize, u32); 4] = [(28, u32::MAX), (28 + 8, 3), (28 + 8, 0x1_0004), (28 + 4, 3)];
    for (at, value) in cases {
        let table = table(F_NS);
        table.store(at, value).unwrap();
        let vdev = table::Device::new(&table, 0).unwrap();
        let memory: &'static Memory<4096> = Box::leak(Box::default());
        let mut map = AddressMap::<(), 8>::new();
        map.insert(DeviceAddr(BASE), memory.region()).unwrap();
        let error = attach(&vdev, map, vec![Cell::new(0); 4], |_| |_: u16| {}).err().unwrap();
        let named = matches!(
            error,
            AttachError::PeerRing { queue: 0, .. } | AttachError::PeerRingAddress { queue: 0, .. }
        );
        assert!(named, "{at}: {error}");
    }
}
