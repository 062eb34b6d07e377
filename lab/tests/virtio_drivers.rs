//! Our device against the driver of rcore-os: `virtio-drivers`, over the same bytes.
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, reason = "these are tests")]
#![allow(unsafe_code)]

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ptr::NonNull;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use sidecore_lab::rigs::{Heap, Shared, shared};
use sidecore_lab::tape::{Seed, Tape};
use sidecore_mem::{AddressMap, DeviceAddr};
use sidecore_virtio::split::{Device, Parts};
use sidecore_virtio::{Buffer, DeviceQueue, Direction, RingFeatures};
use sidecore_wire::split::Layout;
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Error, Hal, PAGE_SIZE, PhysAddr};
use zerocopy::{FromBytes, Immutable, IntoBytes};

proptest! {
    // What fails is printed; it belongs in a fuzz corpus, or in a test of its own.
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn virtio_drivers_and_our_device_agree(
        bytes in vec(any::<u8>(), 0..3000),
        small: bool,
        event_index: bool,
        indirect: bool,
        legacy: bool,
    ) {
        let features = RingFeatures { event_index, indirect };
        let tape = &mut Tape::new(&bytes);
        if small {
            Bench::<2>::new(features, legacy).play_to_the_end(tape);
        } else {
            Bench::<16>::new(features, legacy).play_to_the_end(tape);
        }
    }
}

/// Long enough for every index to pass 65535.
#[test]
fn virtio_drivers_and_our_device_agree_where_indices_wrap() {
    for (seed, event_index, indirect) in [(1, false, false), (2, true, true)] {
        let mut bench = Bench::<8>::new(RingFeatures { event_index, indirect }, seed == 1);
        let mut seed = Seed::new(seed);
        while bench.messages < 80_000 {
            bench.play(&mut Tape::new(&seed.bytes(10_000)));
        }
        bench.play_to_the_end(&mut Tape::new(&[]));
    }
}

/// A chain on its way: the driver's buffers, and what the device is known to have written.
struct Message {
    requests: Vec<Vec<u8>>,
    answers: Vec<Vec<u8>>,
    written: Vec<Vec<u8>>,
}

struct Bench<const SIZE: usize> {
    driver: VirtQueue<Arena, SIZE>,
    device: Device<Arc<Heap>>,
    map: AddressMap<Arc<Heap>, 1>,
    features: RingFeatures,
    /// Chains that are not with the driver, by their heads.
    away: HashMap<u16, Message>,
    /// Heads in the order they were made available in.
    available: VecDeque<u16>,
    taken: Vec<u16>,
    /// What the device has given back, in order, and how many of these it has not published.
    used: VecDeque<(u16, u32)>,
    unpublished: usize,
    /// What the driver said last of notifications.
    driver_listens: bool,
    /// Whether it took all that was published when it took one last: then it asks to hear of the next.
    driver_asks: bool,
    /// Whether the device found nothing when it asked last, and nothing has come since.
    device_asks: bool,
    messages: u64,
}

impl<const SIZE: usize> Bench<SIZE> {
    fn new(features: RingFeatures, legacy: bool) -> Self {
        let mut registers = Registers { legacy, queue: None };
        let driver = VirtQueue::new(&mut registers, 0, features.indirect, features.event_index).unwrap();
        let mut map = AddressMap::new();
        map.insert(BASE, ARENA.with(|arena| arena.memory.clone())).unwrap();
        let (descriptors, available, used) = registers.queue.unwrap();
        let area = |at: PhysAddr, len: usize| map.resolve(DeviceAddr(at), len).unwrap();
        let parts = if legacy {
            let layout = Layout::new(SIZE as u16, PAGE_SIZE as u32).unwrap();
            let contiguous = [
                descriptors + u64::from(layout.available_flags()),
                descriptors + u64::from(layout.used_flags()),
            ];
            assert_eq!([available, used], contiguous);
            Parts::contiguous(&area(descriptors, layout.size() as usize), &layout).unwrap()
        } else {
            let (driver_len, device_len) = (6 + 2 * SIZE, 6 + 8 * SIZE);
            Parts::separate(
                &area(descriptors, 16 * SIZE),
                &area(available, driver_len),
                &area(used, device_len),
                SIZE as u16,
            )
            .unwrap()
        };
        Self {
            driver,
            device: Device::new(parts, features),
            map,
            features,
            away: HashMap::new(),
            available: VecDeque::new(),
            taken: Vec::new(),
            used: VecDeque::new(),
            unpublished: 0,
            driver_listens: true,
            driver_asks: true,
            device_asks: true,
            messages: 0,
        }
    }

    fn play_to_the_end(mut self, tape: &mut Tape<'_>) {
        self.play(tape);
        while !self.away.is_empty() {
            self.device_takes(tape);
            self.device_gives_back(tape);
            self.device_publishes();
            self.driver_takes_back();
        }
        assert_eq!(self.device.pop_available(), Ok(None));
        assert_eq!((self.device.outstanding(), self.driver.can_pop()), (0, false));
    }

    fn play(&mut self, tape: &mut Tape<'_>) {
        while !tape.is_at_end() {
            match tape.below(9) {
                0 | 1 => self.driver_adds(tape),
                2 | 3 => self.device_takes(tape),
                4 | 5 => self.device_gives_back(tape),
                6 => self.device_publishes(),
                7 => self.driver_takes_back(),
                _ => self.somebody_wishes(tape),
            }
            assert_eq!(usize::from(self.device.outstanding()), self.taken.len());
        }
    }

    fn driver_adds(&mut self, tape: &mut Tape<'_>) {
        let (readable, writable) = (tape.below(3), tape.below(3));
        let mut random = || -> Vec<u8> { (0..1 + tape.below(40)).map(|_| tape.u8()).collect() };
        let requests: Vec<Vec<u8>> = (0..readable).map(|_| random()).collect();
        let answers: Vec<Vec<u8>> = (0..writable).map(|_| random()).collect();
        let mut message = Message { requests, answers, written: Vec::new() };
        let (inputs, mut outputs) = message.slices();
        // SAFETY: what is shared is a copy, see `Arena::share`; the buffers are kept until they come back.
        match unsafe { self.driver.add(&inputs, &mut outputs) } {
            Ok(head) => {
                assert!(self.away.insert(head, message).is_none());
                self.available.push_back(head);
                self.messages += 1;
                // With the event index their test is not modular: it can be relied on for one step only.
                assert!(!std::mem::take(&mut self.device_asks) || self.driver.should_notify());
            }
            Err(Error::QueueFull) => {}
            Err(error) => assert_eq!((error, readable + writable), (Error::InvalidParam, 0)),
        }
    }

    fn device_takes(&mut self, tape: &mut Tape<'_>) {
        let next = self.available.pop_front();
        let single = next.is_some_and(|head| self.away[&head].is_single()) && !self.features.indirect;
        let head = if single && tape.flag() {
            let direction = self.away[&next.unwrap()].direction();
            self.device.pop_single(direction).unwrap().map(|(head, _)| head)
        } else {
            self.device.pop_available().unwrap()
        };
        assert_eq!(head, next);
        let Some(head) = head else { return };
        let message = self.away.get_mut(&head).unwrap();
        let buffers: Vec<Buffer> = self.device.walk(head, &self.map).map(Result::unwrap).collect();
        let mut requests = Vec::new();
        for buffer in &buffers {
            let region = self.map.resolve(buffer.addr, buffer.len as usize).unwrap();
            let mut bytes = vec![0; region.len()];
            if buffer.direction == Direction::FromDevice {
                bytes.fill_with(|| tape.u8());
                region.write(0, &bytes).unwrap();
                message.written.push(bytes);
            } else {
                region.read(0, &mut bytes).unwrap();
                requests.push(bytes);
            }
        }
        assert_eq!(requests, message.requests);
        let lengths = |buffers: &[Vec<u8>]| buffers.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&message.written), lengths(&message.answers));
        if let [only] = &buffers[..]
            && !self.features.indirect
        {
            assert_eq!(self.device.single(head, only.direction), Ok(*only));
        }
        if tape.below(8) == 0 {
            // Put back and taken again.
            self.device.undo_pop(head).unwrap();
            assert_eq!(self.device.pop_available(), Ok(Some(head)));
        }
        self.taken.push(head);
    }

    fn device_gives_back(&mut self, tape: &mut Tape<'_>) {
        if self.taken.is_empty() {
            return;
        }
        let head = self.taken.swap_remove(tape.below(self.taken.len()));
        let written = tape.u32();
        self.device.add_used(head, written);
        self.used.push_back((head, written));
        self.unpublished += 1;
    }

    fn device_publishes(&mut self) {
        let listens = if self.features.event_index { self.driver_asks } else { self.driver_listens };
        let published = std::mem::take(&mut self.unpublished) > 0;
        assert_eq!(self.device.publish(), published && listens);
        self.driver_asks &= !published;
        assert_eq!(self.driver.can_pop(), !self.used.is_empty());
    }

    fn driver_takes_back(&mut self) {
        let Some(head) = self.driver.peek_used() else {
            assert_eq!(self.used.len(), self.unpublished);
            return;
        };
        let (expected, written) = self.used.pop_front().unwrap();
        assert_eq!(head, expected);
        let mut message = self.away.remove(&head).unwrap();
        let (inputs, mut outputs) = message.slices();
        // SAFETY: these are the buffers that were added when it answered this head.
        assert_eq!(unsafe { self.driver.pop_used(head, &inputs, &mut outputs) }, Ok(written));
        assert_eq!(message.answers, message.written);
        self.driver_asks = self.used.len() == self.unpublished;
    }

    fn somebody_wishes(&mut self, tape: &mut Tape<'_>) {
        match tape.below(3) {
            0 => {
                let there = self.device.enable_notifications();
                assert_eq!(there, !self.available.is_empty());
                self.device_asks = !there;
                if !self.features.event_index {
                    assert!(self.driver.should_notify());
                }
            }
            1 => {
                self.device.disable_notifications();
                self.device_asks &= self.features.event_index;
                if !self.features.event_index {
                    assert!(!self.driver.should_notify());
                }
            }
            _ => {
                self.driver_listens = tape.flag();
                self.driver.set_dev_notify(self.driver_listens);
            }
        }
    }
}

impl Message {
    fn is_single(&self) -> bool {
        self.requests.len() + self.answers.len() == 1
    }

    /// That of a single buffer.
    fn direction(&self) -> Direction {
        if self.answers.is_empty() { Direction::ToDevice } else { Direction::FromDevice }
    }

    fn slices(&mut self) -> (Vec<&[u8]>, Vec<&mut [u8]>) {
        let inputs = self.requests.iter().map(Vec::as_slice).collect();
        (inputs, self.answers.iter_mut().map(Vec::as_mut_slice).collect())
    }
}

/// Memory that both ends see; each test's thread has its own. What the driver shares is copied into it and back.
struct Arena {
    memory: Shared,
    /// Begin and end of what is in use.
    blocks: RefCell<BTreeMap<usize, usize>>,
}

const BASE: DeviceAddr = DeviceAddr(0x8000_0000);

thread_local! {
    static ARENA: Arena = Arena { memory: shared(1 << 18), blocks: RefCell::default() };
}

impl Arena {
    fn take(&self, len: usize, align: usize) -> usize {
        let mut blocks = self.blocks.borrow_mut();
        let mut at = 0;
        for (&begin, &end) in blocks.iter() {
            if at + len <= begin {
                break;
            }
            at = end.next_multiple_of(align);
        }
        assert!(at + len <= self.memory.len(), "the arena is full");
        blocks.insert(at, at + len);
        at
    }

    fn give_back(&self, at: usize) {
        self.blocks.borrow_mut().remove(&at).expect("a block that was taken");
    }

    fn offset(paddr: PhysAddr) -> usize {
        usize::try_from(paddr - BASE.0).unwrap()
    }
}

// SAFETY: memory comes from one arena, zeroed, aligned, and in one place at a time.
unsafe impl Hal for Arena {
    fn dma_alloc(pages: usize, _: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        ARENA.with(|arena| {
            let at = arena.take(pages * PAGE_SIZE, PAGE_SIZE);
            let region = arena.memory.slice(at, pages * PAGE_SIZE).unwrap();
            region.clear(0, region.len()).unwrap();
            (BASE.0 + at as u64, region.pointer())
        })
    }

    unsafe fn dma_dealloc(paddr: PhysAddr, _: NonNull<u8>, _: usize) -> i32 {
        ARENA.with(|arena| arena.give_back(Self::offset(paddr)));
        0
    }

    unsafe fn mmio_phys_to_virt(_: PhysAddr, _: usize) -> NonNull<u8> {
        unreachable!("no registers are mapped")
    }

    unsafe fn share(buffer: NonNull<[u8]>, _: BufferDirection) -> PhysAddr {
        ARENA.with(|arena| {
            let at = arena.take(buffer.len(), 16);
            // SAFETY: the caller's buffer is valid, and no one else's for the time of the call.
            let bytes = unsafe { buffer.as_ref() };
            arena.memory.write(at, bytes).unwrap();
            BASE.0 + at as u64
        })
    }

    unsafe fn unshare(paddr: PhysAddr, mut buffer: NonNull<[u8]>, direction: BufferDirection) {
        ARENA.with(|arena| {
            let at = Self::offset(paddr);
            if direction != BufferDirection::DriverToDevice {
                // SAFETY: the caller's buffer is valid, and no one else's for the time of the call.
                let bytes = unsafe { buffer.as_mut() };
                arena.memory.read(at, bytes).unwrap();
            }
            arena.give_back(at);
        });
    }
}

/// A transport that only notes where the queue is.
struct Registers {
    legacy: bool,
    queue: Option<(PhysAddr, PhysAddr, PhysAddr)>,
}

impl Transport for Registers {
    fn device_type(&self) -> DeviceType {
        DeviceType::Rpmsg
    }

    fn read_device_features(&mut self) -> u64 {
        0
    }

    fn write_driver_features(&mut self, _: u64) {}

    fn max_queue_size(&mut self, _: u16) -> u32 {
        32768
    }

    fn notify(&mut self, _: u16) {}

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::empty()
    }

    fn set_status(&mut self, _: DeviceStatus) {}

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        self.legacy
    }

    fn queue_set(&mut self, _: u16, _: u32, descriptors: PhysAddr, driver: PhysAddr, device: PhysAddr) {
        self.queue = Some((descriptors, driver, device));
    }

    fn queue_unset(&mut self, _: u16) {
        self.queue = None;
    }

    fn queue_used(&mut self, _: u16) -> bool {
        self.queue.is_some()
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, _: usize) -> Result<T, Error> {
        Err(Error::ConfigSpaceMissing)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, _: usize, _: T) -> Result<(), Error> {
        Err(Error::ConfigSpaceMissing)
    }
}
