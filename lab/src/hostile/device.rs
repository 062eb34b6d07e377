//! Our device's end of a ring, with a hostile driver.

use std::sync::Arc;

use sidecore_mem::{AddressMap, DeviceAddr};
use sidecore_virtio::split::Device;
use sidecore_virtio::{Buffer, DeviceQueue, Direction, QueueError};
use sidecore_wire::split::{DESC_INDIRECT, DESC_NEXT, DESC_WRITE, Descriptor, UsedElement};

use super::ground::Ground;
use crate::rigs::Heap;
use crate::tape::Tape;

/// Plays a hostile driver against our device, as the bytes have it: the first is the ring's size and features, and
/// what the device puts up with, the next two the used index that the device finds, the rest are calls and writes. Answers how many chains went there
/// and back.
///
/// # Panics
/// The device does what it must not.
pub fn play_device(bytes: &[u8]) -> usize {
    let mut tape = Tape::new(bytes);
    let mut play = Play::new(&mut tape);
    while !tape.is_at_end() {
        play.step(&mut tape);
    }
    play.round_trips
}

/// What happens next: a call of our side's, or what the driver does to the memory.
#[derive(Clone, Copy)]
pub(super) enum Step {
    PopAvailable,
    Single,
    Walk,
    AddUsed,
    Publish,
    UndoPop,
    Wish,
    WalkWhileItChanges,
    Offer,
    Lie,
    WriteAnyWord,
    PopSingle,
}

/// In the order of their numbers on the tape. The corpora know these: a new step takes the place of a double.
const STEPS: [Step; 16] = [
    Step::PopAvailable,
    Step::Single,
    Step::Walk,
    Step::AddUsed,
    Step::Publish,
    Step::UndoPop,
    Step::Wish,
    Step::WalkWhileItChanges,
    Step::Offer,
    Step::Lie,
    Step::WriteAnyWord,
    Step::PopSingle,
    Step::PopAvailable,
    Step::AddUsed,
    Step::Offer,
    Step::Offer,
];

const _: () = {
    let mut number = 0;
    while number <= Step::PopSingle as usize {
        assert!(STEPS[number] as usize == number);
        number += 1;
    }
};

/// What the driver has written by the time that the device looks, and how many entries can be there.
struct Now {
    claim: u16,
    entry: u16,
    limit: u16,
}

struct Play {
    ground: Ground,
    device: Device<Arc<Heap>>,
    map: AddressMap<Arc<Heap>>,
    /// Chains that were taken and not given back: at which index, and which head.
    out: Vec<(u16, u16)>,
    taken: u16,
    /// Entries that an index which kept the rules has told of.
    told: u16,
    returned: u16,
    published: u16,
    round_trips: usize,
    /// Whether it takes buffers to be read that are marked as writable.
    lenient: bool,
    /// Whether it notifies the driver of everything.
    always: bool,
}

impl Play {
    fn new(tape: &mut Tape<'_>) -> Self {
        let choice = tape.u8();
        let (lenient, always) = (choice & 0x40 != 0, choice & 0x80 != 0);
        let ground = Ground::new(choice);
        let found = tape.u16();
        ground.set_word(ground.rig.layout.used_index(), found);
        let (mut device, map) = (ground.rig.device(), ground.rig.map());
        if lenient {
            device = device.reading_writable();
        }
        if always {
            device = device.notifying_always();
        }
        Self {
            ground,
            device,
            map,
            out: vec![],
            taken: 0,
            told: 0,
            returned: found,
            published: found,
            round_trips: 0,
            lenient,
            always,
        }
    }

    fn step(&mut self, tape: &mut Tape<'_>) {
        let before = self.ground.picture();
        match STEPS[tape.below(STEPS.len())] {
            Step::PopAvailable => self.pop_available(),
            Step::PopSingle => self.pop_single(tape),
            Step::Single => self.single(tape),
            Step::Walk => self.walk(tape),
            Step::AddUsed => self.add_used(tape),
            Step::Publish => self.publish(),
            Step::UndoPop => self.undo_pop(),
            Step::Wish => self.wish(tape.flag()),
            Step::WalkWhileItChanges => return self.walk_while_it_changes(tape),
            Step::Offer => return self.offer(tape),
            Step::Lie => return self.ground.lie(tape),
            Step::WriteAnyWord => return self.ground.write_any_word(tape),
        }
        // It writes no byte that is the driver's.
        let after = self.ground.picture();
        assert!(after.driver == before.driver && after.data == before.data);
        assert_eq!(usize::from(self.device.outstanding()), self.out.len());
        assert!(self.out.len() <= self.ground.num().into());
    }

    fn pop_available(&mut self) {
        let now = self.now();
        let popped = self.device.pop_available();
        self.popped(&now, popped);
    }

    fn pop_single(&mut self, tape: &mut Tape<'_>) {
        let direction = direction(tape);
        let now = self.now();
        match self.device.pop_single(direction) {
            Ok(Some((head, buffer))) => {
                self.popped(&now, Ok(Some(head)));
                assert_eq!(Ok(buffer), self.one_buffer(head, direction));
            }
            Ok(None) => self.popped(&now, Ok(None)),
            Err(error @ QueueError::PeerBadDescriptor { index, .. }) => {
                self.hear(now.claim, now.limit);
                assert_eq!((index, Err(error)), (now.entry, self.one_buffer(index, direction)));
            }
            Err(error) => self.popped(&now, Err(error)),
        }
    }

    fn now(&self) -> Now {
        Now {
            claim: self.ground.available_index(),
            entry: self.ground.available(self.taken),
            limit: self.ground.num() - self.out.len() as u16,
        }
    }

    /// Judges what the device took from the available ring as it was.
    fn popped(&mut self, now: &Now, popped: Result<Option<u16>, QueueError>) {
        let Now { claim, entry, limit } = *now;
        match popped {
            Ok(None) => assert_eq!(claim, self.taken),
            Ok(Some(head)) => {
                self.hear(claim, limit);
                assert!(head == entry && head < self.ground.num());
                self.out.push((self.taken, head));
                self.taken = self.taken.wrapping_add(1);
            }
            Err(QueueError::PeerIndexJump { ours, theirs, limit: most }) => {
                assert_eq!((ours, theirs, most), (self.taken, claim, limit));
                assert!(claim.wrapping_sub(self.taken) > limit);
            }
            Err(QueueError::PeerBadId { id, num }) => {
                self.hear(claim, limit);
                assert_eq!((id, num), (u32::from(entry), self.ground.num()));
                assert!(entry >= num);
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Whoever looks at an entry has been told of it by an index that keeps the rules.
    fn hear(&mut self, claim: u16, limit: u16) {
        if self.told == self.taken {
            assert!((1..=limit).contains(&claim.wrapping_sub(self.taken)), "jump to {claim} is believed");
            self.told = claim;
        }
    }

    fn single(&self, tape: &mut Tape<'_>) {
        let Some(head) = self.any_out(tape) else { return };
        let direction = direction(tape);
        assert_eq!(self.device.single(head, direction), self.one_buffer(head, direction));
    }

    /// The buffer of a chain of one as it lies there.
    fn one_buffer(&self, head: u16, direction: Direction) -> Result<Buffer, QueueError> {
        let there = self.ground.descriptor(head);
        let wanted = if direction == Direction::FromDevice { DESC_WRITE } else { 0 };
        let ignored = if self.lenient && direction == Direction::ToDevice { DESC_WRITE } else { 0 };
        if there.flags & (DESC_NEXT | DESC_WRITE | DESC_INDIRECT) & !ignored == wanted {
            return Ok(Buffer { addr: DeviceAddr(there.addr), len: there.len, direction });
        }
        Err(QueueError::PeerBadDescriptor { index: head, field: "flags", value: there.flags.into() })
    }

    fn walk(&self, tape: &mut Tape<'_>) {
        let Some(head) = self.any_out(tape) else { return };
        let walked: Result<Vec<Buffer>, QueueError> = self.device.walk(head, &self.map).collect();
        assert!(walked.as_ref().err().is_none_or(QueueError::is_peer), "{walked:?}");
        assert_eq!(walked.ok(), self.chain(head));
    }

    /// The chain as it lies there, if it keeps the rules (2.7.4.2, 2.7.5, 2.7.5.3).
    fn chain(&self, head: u16) -> Option<Vec<Buffer>> {
        let num = self.ground.num();
        let mut chain = Vec::new();
        let mut table = None;
        let mut index = head;
        while chain.len() < num.into() {
            let Descriptor { addr, len, flags, next } = match table {
                None => self.ground.descriptor(index),
                Some((table, _)) => self.ground.indirect(table, index)?,
            };
            if flags & DESC_INDIRECT != 0 {
                let lies_in_memory = self.map.locate(DeviceAddr(addr), len as usize).is_ok();
                let well_formed = len.is_multiple_of(16) && (1..=u32::from(num)).contains(&(len / 16));
                let allowed = self.ground.features.indirect && table.is_none() && flags & DESC_NEXT == 0;
                if !(lies_in_memory && well_formed && allowed) {
                    return None;
                }
                table = Some((addr, len / 16));
                index = 0;
                continue;
            }
            let direction = if flags & DESC_WRITE != 0 { Direction::FromDevice } else { Direction::ToDevice };
            let last = chain.last().map(|buffer: &Buffer| buffer.direction);
            if (last, direction) == (Some(Direction::FromDevice), Direction::ToDevice) {
                return None;
            }
            chain.push(Buffer { addr: DeviceAddr(addr), len, direction });
            if flags & DESC_NEXT == 0 {
                return Some(chain);
            }
            index = next;
            if u32::from(index) >= table.map_or(num.into(), |(_, count)| count) {
                return None;
            }
        }
        None
    }

    /// The driver writes between any two steps of ours.
    fn walk_while_it_changes(&self, tape: &mut Tape<'_>) {
        let Some(head) = self.any_out(tape) else { return };
        let mut walk = self.device.walk(head, &self.map);
        let mut writable = false;
        for count in 0.. {
            assert!(count <= self.ground.num(), "a walk without an end");
            match walk.next() {
                None => break,
                Some(Ok(buffer)) => {
                    assert!(buffer.direction == Direction::FromDevice || !writable);
                    writable = buffer.direction == Direction::FromDevice;
                }
                Some(Err(error)) => {
                    assert!(error.is_peer(), "{error}");
                    break;
                }
            }
            if tape.flag() {
                self.ground.lie(tape);
            }
        }
        assert_eq!(walk.next(), None);
    }

    fn add_used(&mut self, tape: &mut Tape<'_>) {
        if self.out.is_empty() {
            return;
        }
        let (_, head) = self.out.remove(tape.below(self.out.len()));
        let (len, index) = (tape.u32(), self.ground.used_index());
        self.device.add_used(head, len);
        assert_eq!(self.ground.used(self.returned), UsedElement { id: head.into(), len });
        assert_eq!(self.ground.used_index(), index, "shown before it was published");
        self.returned = self.returned.wrapping_add(1);
        self.round_trips += 1;
    }

    fn publish(&mut self) {
        // An index that is not what it wrote last is a ring that the driver has cleared, and is left alone.
        let (before, cleared) = (self.ground.used_index(), self.ground.used_index() != self.published);
        let news = self.returned != self.published && !cleared;
        let wanted = news && (self.always || self.ground.driver_wishes(self.published, self.returned));
        assert_eq!(self.device.publish(), wanted);
        assert_eq!(self.ground.used_index(), if news { self.returned } else { before });
        if news {
            self.published = self.returned;
        }
    }

    fn undo_pop(&mut self) {
        let last = self.taken.wrapping_sub(1);
        if let Some(at) = self.out.iter().position(|(index, _)| *index == last) {
            let (_, head) = self.out.remove(at);
            assert_eq!(self.device.undo_pop(head), Ok(()));
            self.taken = last;
        } else if self.out.is_empty() {
            assert_eq!(self.device.undo_pop(0), Err(QueueError::NotHeld { head: 0 }));
        }
    }

    /// What an honest driver might do: it makes a chain available. So that play gets anywhere.
    fn offer(&self, tape: &mut Tape<'_>) {
        let num = self.ground.num();
        let head = if tape.flag() { self.ground.build(tape) } else { tape.u16() % num };
        self.ground.offer(self.taken, num - self.out.len() as u16, head);
    }

    fn wish(&self, enable: bool) {
        let layout = &self.ground.rig.layout;
        let (event, flags) = (layout.available_event(), layout.used_flags());
        let was = self.ground.word(flags);
        if enable {
            assert_eq!(self.device.enable_notifications(), self.ground.available_index() != self.taken);
        } else {
            self.device.disable_notifications();
        }
        match (self.ground.features.event_index, enable) {
            (true, true) => assert_eq!(self.ground.word(event), self.taken),
            (true, false) => assert_eq!(self.ground.word(flags), was),
            (false, _) => assert_eq!(self.ground.word(flags), u16::from(!enable)),
        }
    }

    fn any_out(&self, tape: &mut Tape<'_>) -> Option<u16> {
        let choice = usize::from(tape.u8());
        let len = self.out.len().max(1);
        self.out.get(choice % len).map(|(_, head)| *head)
    }
}

fn direction(tape: &mut Tape<'_>) -> Direction {
    if tape.flag() { Direction::FromDevice } else { Direction::ToDevice }
}
