//! Clauses of the protocol (`book/src/protocol`) that nothing else shows, by their ids.

use std::format;
use std::string::String;

use sidecore_virtio::transport::DriverTransport;
use sidecore_wire::split::{DESC_WRITE, Descriptor};
use sidecore_wire::status::Status;

use super::*;
use crate::NAME_SERVICE_ADDR;

fn layout() -> Layout {
    Layout::new(NUM, 16).unwrap()
}

/// Where ring `queue` begins in the memory.
fn ring(queue: usize) -> usize {
    (RINGS[queue] - BASE) as usize
}

fn bytes(memory: &Region, at: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory.read(at, &mut bytes).unwrap();
    bytes
}

/// The descriptors and available parts of both rings, and the buffers of queue 1: what is the host's.
fn of_the_host(memory: &Region) -> Vec<Vec<u8>> {
    let part = |queue| bytes(memory, ring(queue), layout().used_flags() as usize);
    let pool = (POOLS[1] - BASE) as usize;
    vec![part(0), part(1), bytes(memory, pool, usize::from(NUM) * SIZE as usize)]
}

/// The used parts of both rings, and the buffers of queue 0 while they are with the remote: what is the remote's.
fn of_the_remote(memory: &Region) -> Vec<Vec<u8>> {
    let (used, end) = (layout().used_flags() as usize, layout().size() as usize);
    let part = |queue| bytes(memory, ring(queue) + used, end - used);
    let pool = (POOLS[0] - BASE) as usize;
    vec![part(0), part(1), bytes(memory, pool, usize::from(NUM) * SIZE as usize)]
}

#[test]
fn mem_4_each_side_writes_its_own_part_of_the_rings_alone() {
    for features in [F_NS, F_NS | EVENT_IDX] {
        let bench = bench(features);
        let (ours, theirs) = connect(&bench);
        for turn in 0..50 {
            let before = of_the_remote(&bench.memory);
            bench.host.send(ours, &[turn; 48]).unwrap();
            bench.host.send(ours, &[turn; 3]).unwrap();
            let _ = bench.host.link().arm();
            bench.host.link().disarm();
            while message(&bench.host).is_some() {}
            assert_eq!(of_the_remote(&bench.memory), before, "turn {turn}");

            let before = of_the_host(&bench.memory);
            while message(&bench.remote).is_some() {}
            bench.remote.send(theirs, &[turn; 48]).unwrap();
            drop(bench.remote.reserve(theirs).unwrap());
            let _ = bench.remote.link().arm();
            bench.remote.link().disarm();
            assert_eq!(of_the_host(&bench.memory), before, "turn {turn}");
        }
    }
}

/// Registers that write down what is done to them, and how queue 0 stands each time.
struct Diary<'m> {
    memory: &'m Region,
    status: Cell<Status>,
    steps: Rc<RefCell<Vec<String>>>,
}

impl Diary<'_> {
    fn note(&self, what: &str) {
        let at = |at: u32| self.memory.load::<u16>(ring(0) + at as usize).unwrap();
        let (available, used) = (at(layout().available_index()), at(layout().used_index()));
        self.steps.borrow_mut().push(format!("{what}: {available:x}, {used:x}"));
    }
}

impl DriverTransport for Diary<'_> {
    fn offered(&self) -> u64 {
        F_NS | 1 << 45
    }

    fn accept(&self, features: u64) {
        self.note(&format!("features {features:x}"));
    }

    fn status(&self) -> Status {
        self.status.get()
    }

    fn set_status(&self, status: Status) {
        self.status.set(status);
        self.note(&format!("status {:x}", status.0));
    }
}

#[test]
fn start_4_a_host_goes_through_its_steps_in_order_and_kicks_queue_0_last() {
    let memory: &'static Memory<4096> = Box::leak(Box::default());
    let memory = memory.region();
    memory.write(0, &[0xEE; 4096]).unwrap();
    let steps = Rc::default();
    let diary = Diary { memory: &memory, status: Cell::new(Status(0x47)), steps: Rc::clone(&steps) };
    let at = |addr: u64, len| memory.slice((addr - BASE) as usize, len).unwrap();
    let rings = RINGS.map(|addr| Parts::contiguous(&at(addr, 1024), &layout()).unwrap());
    let buffers = POOLS.map(|addr| Buffers { region: at(addr, 1024), addr: DeviceAddr(addr), size: SIZE });
    let kicks = Rc::clone(&steps);
    let kick = move |queue: u16| kicks.borrow_mut().push(format!("kick {queue}"));
    bring_up(&diary, UNDERSTOOD, rings, slots(), buffers, kick).unwrap();

    let expected = [
        "status 0: eeee, eeee",
        "status 1: eeee, eeee",
        "status 3: eeee, eeee",
        "features 1: eeee, eeee",
        // RING-3 and MESSAGE-1: cleared, and all buffers are there.
        "status 7: 4, 0",
        "kick 0",
    ];
    assert_eq!(*steps.borrow(), expected);
    for queue in 0..2 {
        for zero in [layout().used_flags(), layout().used_index(), layout().available_event()] {
            assert_eq!(memory.load::<u16>(ring(queue) + zero as usize), Ok(0), "queue {queue}, {zero}");
        }
    }
    let sent = ring(1) + layout().available_index() as usize;
    assert_eq!(memory.load::<u16>(sent), Ok(0));
}

#[test]
fn ring_6_and_message_3_descriptors_and_lengths_are_those_of_frames() {
    let bench = bench(F_NS);
    let (ours, theirs) = connect(&bench);
    let descriptor = |queue, id: usize| {
        Descriptor::parse(&bench.memory.read_array(ring(queue) + id * Descriptor::SIZE).unwrap())
    };
    let header = |addr: u64| Header::parse(&bench.memory.read_array((addr - BASE) as usize).unwrap());
    bench.memory.write((POOLS[0] - BASE) as usize, &[0xEE; 64]).unwrap();
    bench.memory.write((POOLS[1] - BASE) as usize, &[0xEE; 64]).unwrap();
    for (turn, payload) in [&b"abc"[..], &[], &[7; 48]].into_iter().enumerate() {
        bench.host.send(ours, payload).unwrap();
        let sent = descriptor(1, turn);
        assert_eq!((sent.len as usize, sent.flags), (16 + payload.len(), 0));
        let expected = Header { src: 2000, dst: 3000, reserved: 0, len: payload.len() as u16, flags: 0 };
        assert_eq!(header(sent.addr), expected);
        assert_eq!(message(&bench.remote), Some((2000, 3000, payload.to_vec())));

        bench.remote.send(theirs, payload).unwrap();
        let offered = descriptor(0, turn);
        assert_eq!((offered.len, offered.flags), (SIZE, DESC_WRITE));
        let used = ring(0) + layout().used_ring() as usize + 8 * turn;
        assert_eq!(bench.memory.load::<u32>(used + 4), Ok(16 + payload.len() as u32));
        let expected = Header { src: 3000, dst: 2000, ..expected };
        assert_eq!(header(offered.addr), expected);
        assert_eq!(message(&bench.host), Some((3000, 2000, payload.to_vec())));
    }
}

#[test]
fn start_6_the_notify_ids_are_those_that_the_driver_left() {
    let table = table(F_NS);
    for queue in 0..2 {
        table.store(28 + 20 * queue, u32::MAX).unwrap();
    }
    let vdev = table::Device::new(&table, 0).unwrap();
    assert_eq!(vdev.poll(), Change::None);
    // Only now the driver chooses.
    for (queue, addr) in RINGS.into_iter().enumerate() {
        table.store(28 + 20 * queue, addr as u32).unwrap();
        table.store(28 + 20 * queue + 12, 70 + queue as u32).unwrap();
    }
    let memory: &'static Memory<4096> = Box::leak(Box::default());
    let memory = memory.region();
    let _host = start_host(&table, &memory, F_NS);
    assert_eq!(vdev.poll(), Change::Started);
    let mut map = AddressMap::<(), 8>::new();
    map.insert(DeviceAddr(BASE), memory).unwrap();
    let mut given = None;
    let made = attach(&vdev, map, vec![Cell::new(0); usize::from(NUM)], |ids| {
        given = Some(ids);
        |_: u16| {}
    });
    assert!(made.is_ok());
    assert_eq!(given, Some([70, 71]));
}

#[test]
fn message_6_what_a_returned_buffer_is_said_to_hold_is_not_believed() {
    for claim in [0, 1, 15, 65, u32::MAX] {
        let bench = bench(F_NS);
        let (ours, _) = connect(&bench);
        for turn in 0..5 {
            for i in 0..4 {
                bench.host.send(ours, &[turn + i; 48]).unwrap();
                assert_eq!(message(&bench.remote), Some((2000, 3000, vec![turn + i; 48])));
            }
            for slot in 0..usize::from(NUM) {
                let used = ring(1) + layout().used_ring() as usize + 8 * slot;
                bench.memory.store(used + 4, claim).unwrap();
            }
        }
    }
}

#[test]
fn ns_5_the_address_of_a_service_is_the_announced_one() {
    let bench = bench(F_NS);
    let (_, theirs) = connect(&bench);
    let announcement = Announcement { name: Name::new("elsewhere").unwrap(), addr: 4242, flags: 0 };
    bench.remote.send_to(theirs, NAME_SERVICE_ADDR, &announcement.emit()).unwrap();
    let Some(Event::Announcement(heard)) = bench.host.poll().unwrap() else { panic!("no announcement") };
    assert_eq!(heard, announcement);
}

#[test]
fn notify_8_who_does_not_wait_for_buffers_is_not_notified_of_them() {
    let bench = bench(F_NS);
    let (ours, theirs) = connect(&bench);
    for turn in 0..10 {
        bench.host.send(ours, b"there").unwrap();
        assert_eq!(bench.host_kicks.take(), [TO_DEVICE], "turn {turn}");
        assert!(message(&bench.remote).is_some());
        assert_eq!(bench.remote_kicks.take(), [], "turn {turn}: the host waits for no buffer");
        bench.remote.send(theirs, b"back").unwrap();
        assert_eq!(bench.remote_kicks.take(), [FROM_DEVICE], "turn {turn}");
        assert!(message(&bench.host).is_some());
        assert_eq!(bench.host_kicks.take(), [], "turn {turn}: the remote waits for no buffer");
    }
}

#[test]
fn message_7_a_frame_too_short_for_a_header_breaks_the_link() {
    for claim in [0, 1, 15] {
        let bench = bench(F_NS);
        let (_, theirs) = connect(&bench);
        bench.remote.send(theirs, b"x").unwrap();
        let used = ring(0) + layout().used_ring() as usize;
        bench.memory.store(used + 4, claim).unwrap();
        for _ in 0..2 {
            let error = LinkError::PeerBufferLength { len: claim };
            assert_eq!(bench.host.poll().unwrap_err(), error);
        }
    }
}

#[test]
fn ns_1_an_announcement_has_its_length_and_no_other() {
    let bench = bench(F_NS);
    let (ours, _) = connect(&bench);
    let announcement = Announcement { name: Name::new("service").unwrap(), addr: 1024, flags: 0 };
    let mut bytes = [0; 48];
    bytes[..40].copy_from_slice(&announcement.emit());
    for len in (0..40).chain(41..=48) {
        bench.host.send_to(ours, NAME_SERVICE_ADDR, &bytes[..len]).unwrap();
        assert!(bench.remote.poll().unwrap().is_none(), "{len} bytes");
    }
    assert_eq!(bench.remote.drops().bad_announcement.get(), 48);
    bench.host.send_to(ours, NAME_SERVICE_ADDR, &bytes[..40]).unwrap();
    assert!(matches!(bench.remote.poll(), Ok(Some(Event::Announcement(heard))) if heard == announcement));
}
