//! Our driver's end of a ring, with a hostile device.

use std::collections::HashSet;
use std::iter::from_fn;
use std::sync::Arc;

use sidecore_mem::DeviceAddr;
use sidecore_virtio::split::{Driver, Slot};
use sidecore_virtio::{Buffer, Direction, DriverQueue, QueueError, Used};
use sidecore_wire::split::{DESC_INDIRECT, DESC_NEXT, DESC_WRITE, Descriptor, UsedElement};

use super::ground::Ground;
use crate::rigs::{DATA_ADDR, Heap};
use crate::tape::Tape;

/// Plays a hostile device against our driver, as the bytes have it: the first is the ring's size and features, the
/// rest are calls and writes. Answers how many chains went there and back.
///
/// # Panics
/// The driver does what it must not.
pub fn play_driver(bytes: &[u8]) -> usize {
    let mut tape = Tape::new(bytes);
    let mut play = Play::new(&mut tape);
    while !tape.is_at_end() {
        play.step(&mut tape);
    }
    play.balance();
    play.round_trips
}

/// What happens next: a call of our side's, or what the device does to the memory.
#[derive(Clone, Copy)]
pub(super) enum Step {
    Reserve,
    Acquire,
    Bind,
    OfferBound,
    Offer,
    Add,
    AddIndirect,
    Publish,
    PopUsed,
    Free,
    Wish,
    Complete,
    Lie,
    WriteAnyWord,
    OfferNext,
}

/// In the order of their numbers on the tape. The corpora know these: a new step takes the place of a double.
const STEPS: [Step; 16] = [
    Step::Reserve,
    Step::Acquire,
    Step::Bind,
    Step::OfferBound,
    Step::Offer,
    Step::Add,
    Step::AddIndirect,
    Step::Publish,
    Step::PopUsed,
    Step::Free,
    Step::Wish,
    Step::Complete,
    Step::Lie,
    Step::WriteAnyWord,
    Step::OfferNext,
    Step::Complete,
];

const _: () = {
    let mut number = 0;
    while number <= Step::OfferNext as usize {
        assert!(STEPS[number] as usize == number);
        number += 1;
    }
};

/// Where a descriptor is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Free,
    Held,
    /// With the device, with the others of its chain.
    Away(Vec<u16>),
    /// With the device, as part of a chain.
    Part,
}

/// What the device has written by the time that the driver looks.
struct Now {
    claim: u16,
    element: UsedElement,
}

struct Play {
    ground: Ground,
    driver: Driver<Box<[Slot]>, Arc<Heap>>,
    /// Our own books, to compare with the driver's.
    places: Vec<Place>,
    /// What each descriptor says when it stands alone, but for its address.
    told: Vec<(u32, Direction)>,
    offered: u16,
    published: u16,
    taken: u16,
    round_trips: usize,
}

impl Play {
    fn new(tape: &mut Tape<'_>) -> Self {
        let ground = Ground::new(tape.u8());
        let driver = ground.rig.driver();
        let places = vec![Place::Free; ground.num().into()];
        let told = vec![(0, Direction::ToDevice); ground.num().into()];
        Self { ground, driver, places, told, offered: 0, published: 0, taken: 0, round_trips: 0 }
    }

    fn step(&mut self, tape: &mut Tape<'_>) {
        let before = self.ground.picture();
        let index = self.ground.available_index();
        match STEPS[tape.below(STEPS.len())] {
            Step::Reserve => self.reserve(),
            Step::Acquire => self.acquire(),
            Step::Bind => self.bind(tape),
            Step::OfferBound => self.offer_bound(tape),
            Step::OfferNext => self.offer_next(tape),
            Step::Offer => self.offer(tape),
            Step::Add => self.add(tape),
            Step::AddIndirect => self.add_indirect(tape),
            Step::Publish => return self.publish(),
            Step::PopUsed => self.pop_used(),
            Step::Free => self.free(tape),
            Step::Wish => self.wish(tape.flag()),
            Step::Complete => return self.complete(tape),
            Step::Lie => return self.ground.lie(tape),
            Step::WriteAnyWord => return self.ground.write_any_word(tape),
        }
        // It writes no byte that is the device's, and shows nothing before it publishes.
        assert!(self.ground.picture().device == before.device);
        assert_eq!(self.ground.available_index(), index);
        let free = self.places.iter().filter(|place| **place == Place::Free).count();
        assert_eq!(usize::from(self.driver.free_count()), free);
    }

    fn reserve(&mut self) {
        match self.driver.reserve() {
            Some(head) => self.move_to(head, &Place::Free, Place::Held),
            None => assert!(!self.places.contains(&Place::Free)),
        }
    }

    fn acquire(&mut self) {
        let now = self.now();
        let acquired = self.driver.acquire();
        self.acquired(&now, acquired);
    }

    /// Judges which descriptor the driver found for the next buffer.
    fn acquired(&mut self, now: &Now, acquired: Result<u16, QueueError>) {
        let len = now.element.len;
        let popped = match acquired {
            Ok(head) if self.place(head) == Some(&Place::Free) => {
                return self.move_to(head, &Place::Free, Place::Held);
            }
            Ok(head) => Ok(Some(Used { head, len })),
            Err(QueueError::Full) => {
                assert!(!self.places.contains(&Place::Free));
                Ok(None)
            }
            Err(error) => Err(error),
        };
        self.took(now, popped);
    }

    fn offer_next(&mut self, tape: &mut Tape<'_>) {
        let (fills, Buffer { len, .. }) = (tape.flag(), Ground::buffer(tape));
        let now = self.now();
        let mut filled = None;
        let offered = self.driver.offer_next(|head| {
            assert_eq!(filled.replace((head, self.ground.descriptor(head))), None, "filled twice");
            fills.then_some(len)
        });
        let Some((head, before)) = filled else {
            return self.acquired(&now, Err(offered.expect_err("nothing was filled")));
        };
        assert_eq!(offered, Ok(fills));
        self.acquired(&now, Ok(head));
        if !fills {
            return self.move_to(head, &Place::Held, Place::Free);
        }
        self.move_to(head, &Place::Held, Place::Away(vec![]));
        self.entered(head);
        self.judge_bound(head, before, len);
    }

    /// Judges a descriptor that was offered with the buffer that it is bound to.
    fn judge_bound(&mut self, head: u16, before: Descriptor, len: u32) {
        let (told, direction) = &mut self.told[usize::from(head)];
        // What stands there stays, whoever wrote it, unless there is a new length to be told.
        let expected = if *told == len {
            before
        } else {
            describe(&Buffer { addr: DeviceAddr(before.addr), len, direction: *direction }, None)
        };
        *told = len;
        assert_eq!(self.ground.descriptor(head), expected);
    }

    fn bind(&mut self, tape: &mut Tape<'_>) {
        let (head, buffer) = (self.any_head(tape), Ground::buffer(tape));
        let bound = self.driver.bind(head, buffer);
        if self.place(head) != Some(&Place::Held) {
            return assert_eq!(bound, Err(QueueError::NotHeld { head }));
        }
        self.told[usize::from(head)] = (buffer.len, buffer.direction);
        assert_eq!((bound, self.ground.descriptor(head)), (Ok(()), describe(&buffer, None)));
    }

    fn offer_bound(&mut self, tape: &mut Tape<'_>) {
        let (head, Buffer { len, .. }) = (self.any_head(tape), Ground::buffer(tape));
        // Half of the time as long as it is, so that nothing need be told.
        let told = self.told.get(usize::from(head)).filter(|_| tape.flag()).map_or(len, |(told, _)| *told);
        let len = told;
        let before = self.place(head).map(|_| self.ground.descriptor(head));
        let offered = self.driver.offer_bound(head, len);
        if self.place(head) != Some(&Place::Held) {
            return assert_eq!(offered, Err(QueueError::NotHeld { head }));
        }
        assert_eq!(offered, Ok(()));
        self.move_to(head, &Place::Held, Place::Away(vec![]));
        self.entered(head);
        self.judge_bound(head, before.expect("inside the ring"), len);
    }

    fn offer(&mut self, tape: &mut Tape<'_>) {
        let (head, buffer) = (self.any_head(tape), Ground::buffer(tape));
        let offered = self.driver.offer(head, buffer);
        if self.place(head) != Some(&Place::Held) {
            return assert_eq!(offered, Err(QueueError::NotHeld { head }));
        }
        assert_eq!(offered, Ok(()));
        self.move_to(head, &Place::Held, Place::Away(vec![]));
        self.entered(head);
        self.told[usize::from(head)] = (buffer.len, buffer.direction);
        assert_eq!(self.ground.descriptor(head), describe(&buffer, None));
    }

    fn add(&mut self, tape: &mut Tape<'_>) {
        let num = usize::from(self.ground.num());
        let chain: Vec<Buffer> = (0..tape.below(num + 2)).map(|_| Ground::buffer(tape)).collect();
        let free = usize::from(self.driver.free_count());
        match self.driver.add(&chain) {
            Ok(head) => {
                let mut parts = Vec::new();
                let mut index = head;
                for (i, buffer) in chain.iter().enumerate() {
                    let written = self.ground.descriptor(index);
                    let next = (i + 1 < chain.len()).then_some(written.next);
                    assert_eq!(written, describe(buffer, next));
                    self.told[usize::from(index)] = (buffer.len, buffer.direction);
                    self.move_to(index, &Place::Free, Place::Part);
                    if let Some(next) = next {
                        parts.push(next);
                        index = next;
                    }
                }
                self.move_to(head, &Place::Part, Place::Away(parts));
                self.entered(head);
            }
            Err(QueueError::ChainLength { len }) => {
                assert_eq!(len, chain.len());
                assert!(len == 0 || len > num);
            }
            Err(error) => assert!(error == QueueError::Full && chain.len() > free),
        }
    }

    fn add_indirect(&mut self, tape: &mut Tape<'_>) {
        let chain: Vec<Buffer> = (0..tape.below(6)).map(|_| Ground::buffer(tape)).collect();
        let (at, room) = (16 * tape.below(8), tape.below(100));
        let table = self.ground.rig.data.slice(at, room).expect("inside");
        let addr = DeviceAddr(DATA_ADDR.0 + at as u64);
        match self.driver.add_indirect(&chain, &table, addr) {
            Ok(head) => {
                self.move_to(head, &Place::Free, Place::Away(vec![]));
                self.entered(head);
                let len = 16 * chain.len() as u32;
                let entry = Descriptor { addr: addr.0, len, flags: DESC_INDIRECT, next: 0 };
                assert_eq!(self.ground.descriptor(head), entry);
                self.told[usize::from(head)] = (len, Direction::ToDevice);
                for (i, buffer) in (0..).zip(&chain) {
                    let next = (usize::from(i) + 1 < chain.len()).then_some(i + 1);
                    assert_eq!(self.ground.indirect(addr.0, i), Some(describe(buffer, next)));
                }
            }
            Err(QueueError::ChainLength { len }) => {
                assert_eq!(len, chain.len());
                assert!(len == 0 || len > self.ground.num().into());
            }
            Err(QueueError::Access(_)) => assert!(16 * chain.len() > room),
            Err(error) => assert!(error == QueueError::Full && self.driver.free_count() == 0),
        }
    }

    fn publish(&mut self) {
        let wanted = self.ground.device_wishes(self.published, self.offered);
        let before = self.ground.picture();
        assert_eq!(self.driver.publish(), wanted);
        assert!(self.ground.picture().device == before.device);
        if self.offered != self.published {
            assert_eq!(self.ground.available_index(), self.offered);
        }
        self.published = self.offered;
    }

    fn pop_used(&mut self) {
        let now = self.now();
        let popped = self.driver.pop_used();
        self.took(&now, popped);
    }

    fn now(&self) -> Now {
        Now { claim: self.ground.used_index(), element: self.ground.used(self.taken) }
    }

    /// Judges what the driver took from the used ring as it was.
    fn took(&mut self, now: &Now, popped: Result<Option<Used>, QueueError>) {
        let Now { claim, element } = *now;
        let limit = self.published.wrapping_sub(self.taken);
        match popped {
            Ok(None) => assert_eq!(claim, self.taken),
            Ok(Some(used)) => {
                assert_ne!(limit, 0, "more is taken than was published");
                assert_eq!((u32::from(used.head), used.len), (element.id, element.len));
                let Some(Place::Away(parts)) = self.place(used.head).cloned() else {
                    panic!("{} was not with the device", used.head)
                };
                self.places[usize::from(used.head)] = Place::Held;
                for part in parts {
                    self.move_to(part, &Place::Part, Place::Free);
                }
                self.taken = self.taken.wrapping_add(1);
                self.round_trips += 1;
            }
            Err(QueueError::PeerIndexJump { ours, theirs, limit: most }) => {
                assert_eq!((ours, theirs, most), (self.taken, claim, limit));
                assert!(claim.wrapping_sub(self.taken) > limit);
            }
            Err(QueueError::PeerBadId { id, num }) => {
                assert_eq!((id, num), (element.id, self.ground.num()));
                let place = u16::try_from(id).ok().and_then(|id| self.place(id));
                assert!(!matches!(place, Some(Place::Away(_))));
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn free(&mut self, tape: &mut Tape<'_>) {
        let head = self.any_head(tape);
        let freed = self.driver.free(head);
        if self.place(head) != Some(&Place::Held) {
            return assert_eq!(freed, Err(QueueError::NotHeld { head }));
        }
        assert_eq!(freed, Ok(()));
        self.move_to(head, &Place::Held, Place::Free);
    }

    fn wish(&self, enable: bool) {
        let layout = &self.ground.rig.layout;
        let (event, flags) = (layout.used_event(), layout.available_flags());
        let was = self.ground.word(flags);
        if enable {
            assert_eq!(self.driver.enable_notifications(), self.ground.used_index() != self.taken);
        } else {
            self.driver.disable_notifications();
        }
        match (self.ground.features.event_index, enable) {
            (true, true) => assert_eq!(self.ground.word(event), self.taken),
            (true, false) => assert_eq!(self.ground.word(flags), was),
            (false, _) => assert_eq!(self.ground.word(flags), u16::from(!enable)),
        }
    }

    /// What an honest device might do: it gives a chain back. So that play gets anywhere.
    fn complete(&self, tape: &mut Tape<'_>) {
        let away = |place: &Place| matches!(place, Place::Away(_));
        let heads: Vec<usize> = (0..self.places.len()).filter(|head| away(&self.places[*head])).collect();
        if !heads.is_empty() {
            let id = heads[tape.below(heads.len())] as u32;
            let limit = self.published.wrapping_sub(self.taken);
            self.ground.complete(self.taken, limit, UsedElement { id, len: tape.u8().into() });
        }
    }

    /// In the end every descriptor is in one place, and the free ones are those that our books have as free.
    fn balance(&mut self) {
        let ours: HashSet<u16> =
            (0..self.ground.num()).filter(|index| self.place(*index) == Some(&Place::Free)).collect();
        let theirs: Vec<u16> = from_fn(|| self.driver.reserve()).take(self.places.len() + 1).collect();
        assert_eq!(theirs.len(), ours.len());
        assert_eq!(theirs.into_iter().collect::<HashSet<_>>(), ours);
    }

    /// A head that the caller might name: mostly a held one, at times any number.
    fn any_head(&self, tape: &mut Tape<'_>) -> u16 {
        let choice = tape.u8();
        let held: Vec<u16> =
            (0..self.ground.num()).filter(|index| self.place(*index) == Some(&Place::Held)).collect();
        if choice < 200 && !held.is_empty() {
            return held[usize::from(choice) % held.len()];
        }
        if choice == 255 { tape.u16() } else { u16::from(choice) % (self.ground.num() + 2) }
    }

    fn place(&self, index: u16) -> Option<&Place> {
        self.places.get(usize::from(index))
    }

    #[track_caller]
    fn move_to(&mut self, index: u16, from: &Place, to: Place) {
        assert_eq!(self.place(index), Some(from), "descriptor {index}");
        self.places[usize::from(index)] = to;
    }

    /// A chain has been written to the available ring.
    fn entered(&mut self, head: u16) {
        assert_eq!(self.ground.available(self.offered), head);
        self.offered = self.offered.wrapping_add(1);
    }
}

fn describe(buffer: &Buffer, next: Option<u16>) -> Descriptor {
    let write = if buffer.direction == Direction::FromDevice { DESC_WRITE } else { 0 };
    let chained = if next.is_some() { DESC_NEXT } else { 0 };
    Descriptor { addr: buffer.addr.0, len: buffer.len, flags: write | chained, next: next.unwrap_or(0) }
}
