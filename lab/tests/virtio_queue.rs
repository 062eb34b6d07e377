//! Our driver against the device of rust-vmm: `virtio-queue` on `vm-memory`, over the same bytes.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::num::Wrapping;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use proptest::collection::vec;
use proptest::prelude::*;
use sidecore_lab::tape::{Seed, Tape};
use sidecore_mem::{DeviceAddr, Region};
use sidecore_virtio::split::{Driver, Parts, Slot};
use sidecore_virtio::{Buffer, Direction, DriverQueue, QueueError, RingFeatures, Used};
use virtio_queue::{Queue, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

const DESCRIPTORS: u64 = 0x1000;
const AVAILABLE: u64 = 0x2000;
const USED: u64 = 0x3000;
const DATA: u64 = 0x1_0000;
/// Memory for each chain: four buffers of up to 32 bytes, then its indirect table.
const SLOT: u64 = 256;
const TABLE: u64 = 128;
const SLOTS: u64 = 128;

proptest! {
    // What fails is printed; it belongs in a fuzz corpus, or in a test of its own.
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn virtio_queue_and_our_driver_agree(
        bytes in vec(any::<u8>(), 0..4000),
        log_num in 0..6_u32,
        event_index: bool,
        indirect: bool,
    ) {
        let mut bench = Bench::new(1 << log_num, RingFeatures { event_index, indirect });
        bench.play(&mut Tape::new(&bytes));
        bench.drain();
    }
}

/// Long enough for every index to pass 65535, more than once.
#[test]
fn virtio_queue_and_our_driver_agree_where_indices_wrap() {
    for (seed, event_index, indirect) in [(1, false, false), (2, true, true)] {
        let mut bench = Bench::new(8, RingFeatures { event_index, indirect });
        let mut seed = Seed::new(seed);
        while bench.messages < 150_000 {
            bench.play(&mut Tape::new(&seed.bytes(10_000)));
        }
        bench.drain();
    }
}

/// A chain on its way, and what is known of it.
struct Message {
    buffers: Vec<Buffer>,
    /// Descriptors of the ring that it takes.
    cost: u16,
    slot: u64,
    /// What the readable buffers hold, one after the other.
    request: Vec<u8>,
    /// What the device wrote to the writable ones.
    answer: Vec<u8>,
}

struct Bench {
    memory: Arc<GuestMemoryMmap>,
    region: Region<Arc<GuestMemoryMmap>>,
    features: RingFeatures,
    driver: Driver<Box<[Slot]>, Arc<GuestMemoryMmap>>,
    device: Queue,
    /// Chains that are not with the driver, by their heads.
    away: HashMap<u16, Message>,
    slots: Vec<u64>,
    /// Heads in the order they were offered in, and how many of them have not been published.
    offered: VecDeque<u16>,
    unpublished: usize,
    /// Heads that the device has taken.
    taken: Vec<u16>,
    /// What the device has given back, in order.
    used: VecDeque<Used>,
    device_wants: Wish,
    driver_wants: Wish,
    messages: u64,
}

/// What one end has let the other know of its wish to be notified.
struct Wish {
    flag: bool,
    event: Wrapping<u16>,
    /// The index that the wish is about, as the other end has published it.
    index: Wrapping<u16>,
}

impl Wish {
    fn new() -> Self {
        Self { flag: true, event: Wrapping(0), index: Wrapping(0) }
    }

    /// Moves the index on and says whether the wish is met (2.7.7, 2.7.10), by counting.
    fn met_by(&mut self, entries: usize, features: RingFeatures) -> bool {
        let mut passed = false;
        for _ in 0..entries {
            passed |= self.index == self.event;
            self.index += 1;
        }
        entries > 0 && if features.event_index { passed } else { self.flag }
    }
}

impl Bench {
    fn new(num: u16, features: RingFeatures) -> Self {
        let size = usize::try_from(DATA + SLOTS * SLOT).unwrap();
        let memory = Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), size)]).unwrap());
        let base = NonNull::new(memory.get_host_address(GuestAddress(0)).unwrap()).unwrap();
        // SAFETY: the mapping lives as long as its owner, and both libraries reach it by volatile accesses alone.
        let region = unsafe { Region::from_raw(base, size, memory.clone()) };
        let area = |at: u64| region.slice(usize::try_from(at).unwrap(), 0x1000).unwrap();
        let parts = Parts::separate(&area(DESCRIPTORS), &area(AVAILABLE), &area(USED), num).unwrap();
        let slots = vec![Slot::default(); usize::from(num)].into_boxed_slice();
        let mut device = Queue::new(num).unwrap();
        device.try_set_desc_table_address(GuestAddress(DESCRIPTORS)).unwrap();
        device.try_set_avail_ring_address(GuestAddress(AVAILABLE)).unwrap();
        device.try_set_used_ring_address(GuestAddress(USED)).unwrap();
        device.set_event_idx(features.event_index);
        device.set_ready(true);
        assert!(device.is_valid(&*memory));
        Self {
            driver: Driver::new(parts, features, slots).unwrap(),
            memory,
            region,
            features,
            device,
            away: HashMap::new(),
            slots: (0..SLOTS).collect(),
            offered: VecDeque::new(),
            unpublished: 0,
            taken: Vec::new(),
            used: VecDeque::new(),
            device_wants: Wish::new(),
            driver_wants: Wish::new(),
            messages: 0,
        }
    }

    fn play(&mut self, tape: &mut Tape<'_>) {
        while !tape.is_at_end() {
            match tape.below(9) {
                0 => self.driver_adds(tape),
                1 => self.driver_offers_one(tape),
                2 => self.driver_publishes(),
                3 | 4 => self.device_takes(tape),
                5 | 6 => self.device_gives_back(tape),
                7 => self.driver_takes_back(),
                _ => self.somebody_wishes(tape),
            }
            let held: u16 = self.away.values().map(|message| message.cost).sum();
            assert_eq!(self.driver.free_count(), self.driver.num() - held);
        }
    }

    /// Everything comes home.
    fn drain(&mut self) {
        self.driver_publishes();
        let nothing_left = &mut Tape::new(&[]);
        while !self.away.is_empty() {
            self.device_takes(nothing_left);
            self.device_gives_back(nothing_left);
            self.driver_takes_back();
        }
        assert_eq!(self.driver.pop_used(), Ok(None));
        assert_eq!(self.driver.free_count(), self.driver.num());
    }

    /// Up to four buffers of random lengths, those for the device to write last, with random contents.
    fn compose(&mut self, tape: &mut Tape<'_>, len: usize) -> Option<Message> {
        let slot = self.slots.pop()?;
        let readable = tape.below(len + 1);
        let mut message =
            Message { buffers: Vec::new(), cost: 0, slot, request: Vec::new(), answer: Vec::new() };
        for i in 0..len {
            let addr = DATA + slot * SLOT + 32 * i as u64;
            let direction = if i < readable { Direction::ToDevice } else { Direction::FromDevice };
            let bytes: Vec<u8> = (0..tape.below(33)).map(|_| tape.u8()).collect();
            self.region.write(usize::try_from(addr).unwrap(), &bytes).unwrap();
            message.buffers.push(Buffer { addr: DeviceAddr(addr), len: bytes.len() as u32, direction });
            if direction == Direction::ToDevice {
                message.request.extend(bytes);
            }
        }
        Some(message)
    }

    fn driver_adds(&mut self, tape: &mut Tape<'_>) {
        let len = 1 + tape.below(4);
        let by_table = self.features.indirect && tape.flag();
        let Some(mut message) = self.compose(tape, len) else { return };
        message.cost = if by_table { 1 } else { len as u16 };
        let added = if by_table {
            let at = DATA + message.slot * SLOT + TABLE;
            let table = self.region.slice(usize::try_from(at).unwrap(), 64).unwrap();
            self.driver.add_indirect(&message.buffers, &table, DeviceAddr(at))
        } else {
            self.driver.add(&message.buffers)
        };
        match added {
            Ok(head) => self.send(head, message),
            Err(QueueError::Full) => {
                assert!(message.cost > self.driver.free_count());
                self.slots.push(message.slot);
            }
            Err(QueueError::ChainLength { .. }) => {
                assert!(len > usize::from(self.driver.num()));
                self.slots.push(message.slot);
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn driver_offers_one(&mut self, tape: &mut Tape<'_>) {
        let Some(head) = self.driver.reserve() else {
            assert_eq!(self.driver.free_count(), 0);
            return;
        };
        let Some(mut message) = self.compose(tape, 1) else { return self.driver.free(head).unwrap() };
        message.cost = 1;
        if tape.flag() {
            let buffer = message.buffers[0];
            let longer = Buffer { len: buffer.len.saturating_add(u32::from(tape.u8() % 2)), ..buffer };
            self.driver.bind(head, longer).unwrap();
            self.driver.offer_bound(head, buffer.len).unwrap();
        } else {
            self.driver.offer(head, message.buffers[0]).unwrap();
        }
        self.send(head, message);
    }

    fn send(&mut self, head: u16, message: Message) {
        assert!(self.away.insert(head, message).is_none(), "head {head} is given twice");
        self.offered.push_back(head);
        self.unpublished += 1;
        self.messages += 1;
    }

    fn driver_publishes(&mut self) {
        let wanted = self.device_wants.met_by(self.unpublished, self.features);
        assert_eq!(self.driver.publish(), wanted);
        self.unpublished = 0;
        assert_eq!(self.device.avail_idx(&*self.memory, Ordering::Acquire).unwrap(), self.device_wants.index);
    }

    fn device_takes(&mut self, tape: &mut Tape<'_>) {
        let Some(chain) = self.device.pop_descriptor_chain(&*self.memory) else {
            assert_eq!(self.offered.len(), self.unpublished);
            return;
        };
        let head = chain.head_index();
        assert_eq!(Some(head), self.offered.pop_front());
        let message = self.away.get_mut(&head).unwrap();
        let mut request = Vec::new();
        let mut buffers = Vec::new();
        for descriptor in chain {
            let mut bytes = vec![0; descriptor.len() as usize];
            let direction = if descriptor.is_write_only() {
                bytes.fill_with(|| tape.u8());
                self.memory.write_slice(&bytes, descriptor.addr()).unwrap();
                message.answer.extend(bytes);
                Direction::FromDevice
            } else {
                self.memory.read_slice(&mut bytes, descriptor.addr()).unwrap();
                request.extend(bytes);
                Direction::ToDevice
            };
            let addr = DeviceAddr(descriptor.addr().0);
            buffers.push(Buffer { addr, len: descriptor.len(), direction });
        }
        assert_eq!(request, message.request);
        assert_eq!(buffers, message.buffers);
        self.taken.push(head);
    }

    fn device_gives_back(&mut self, tape: &mut Tape<'_>) {
        if self.taken.is_empty() {
            return;
        }
        let head = self.taken.swap_remove(tape.below(self.taken.len()));
        let len = self.away[&head].answer.len() as u32;
        self.device.add_used(&*self.memory, head, len).unwrap();
        let wanted = self.device.needs_notification(&*self.memory).unwrap();
        // Their device does not know the flag of the available ring and notifies always.
        let met = self.driver_wants.met_by(1, self.features);
        assert_eq!(wanted, met || !self.features.event_index);
        self.used.push_back(Used { head, len });
    }

    fn driver_takes_back(&mut self) {
        let expected = self.used.pop_front();
        let head = if self.driver.free_count() == 0 {
            let acquired = self.driver.acquire();
            assert_eq!(acquired, expected.map(|used| used.head).ok_or(QueueError::Full));
            acquired.ok()
        } else {
            let used = self.driver.pop_used().unwrap();
            assert_eq!(used, expected);
            used.map(|used| used.head)
        };
        let Some(head) = head else { return };
        let message = self.away.remove(&head).unwrap();
        let mut answer = Vec::new();
        for buffer in message.buffers.iter().filter(|buffer| buffer.direction == Direction::FromDevice) {
            let mut bytes = vec![0; buffer.len as usize];
            self.region.read(usize::try_from(buffer.addr.0).unwrap(), &mut bytes).unwrap();
            answer.extend(bytes);
        }
        assert_eq!(answer, message.answer);
        self.slots.push(message.slot);
        self.driver.free(head).unwrap();
    }

    fn somebody_wishes(&mut self, tape: &mut Tape<'_>) {
        match tape.below(4) {
            0 => {
                let there = self.device.enable_notification(&*self.memory).unwrap();
                assert_eq!(there, self.offered.len() > self.unpublished);
                let next = Wrapping(self.device.next_avail());
                self.device_wants.flag = true;
                self.device_wants.event = next;
            }
            1 => {
                self.device.disable_notification(&*self.memory).unwrap();
                self.device_wants.flag = false;
            }
            2 => {
                assert_eq!(self.driver.enable_notifications(), !self.used.is_empty());
                self.driver_wants.flag = true;
                self.driver_wants.event = self.driver_wants.index - Wrapping(self.used.len() as u16);
            }
            _ => {
                self.driver.disable_notifications();
                self.driver_wants.flag = false;
            }
        }
    }
}
