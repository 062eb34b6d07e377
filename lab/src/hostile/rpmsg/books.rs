//! What is known of the frames between two ends, for as long as nobody else writes to their memory.

use std::collections::VecDeque;

use sidecore_rpmsg::{Announcement, Header};

use crate::rigs::Vdev;
use crate::tape::Tape;

/// Both directions, by the number of the end that sends: 0 is the host.
pub(super) struct Books {
    pub(super) vdev: Vdev,
    pub(super) lanes: [Lane; 2],
    /// Someone else has written to the memory: the lanes tell nothing any more.
    pub(super) lied: bool,
    /// Messages that arrived.
    pub(super) arrived: usize,
    /// Frames that were sent past rpmsg.
    marks: u32,
}

/// One direction, and where each of its buffers is.
pub(super) struct Lane {
    pub(super) count: usize,
    /// Bytes of the longest payload.
    pub(super) room: usize,
    /// Frames that were sent and not received, oldest first.
    frames: VecDeque<Frame>,
    /// How many of them the receiver was shown.
    shown: usize,
    /// Buffers that the sender has reserved.
    pub(super) reserved: usize,
    /// Buffers that the receiver has.
    pub(super) received: usize,
    /// Buffers that the receiver has given back and not shown.
    returned: usize,
    /// How many times the receiver has shown returned buffers.
    pub(super) returns: usize,
}

/// A frame on its way.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) src: u32,
    pub(super) dst: u32,
    /// What its header claims.
    pub(super) len: u16,
    pub(super) payload: Vec<u8>,
}

impl Lane {
    pub(super) fn new(count: usize, size: usize) -> Self {
        Self {
            count,
            room: size - Header::SIZE,
            frames: VecDeque::new(),
            shown: 0,
            reserved: 0,
            received: 0,
            returned: 0,
            returns: 0,
        }
    }

    /// Buffers that the sender can reserve.
    pub(super) fn free(&self) -> usize {
        self.count - self.reserved - self.frames.len() - self.received - self.returned
    }

    /// Frames that the receiver finds.
    pub(super) const fn shown(&self) -> usize {
        self.shown
    }

    pub(super) fn push(&mut self, frame: Frame) {
        self.frames.push_back(frame);
    }

    /// The next frame that the receiver finds; it has its buffer then.
    pub(super) fn pop(&mut self) -> Option<Frame> {
        self.shown = self.shown.checked_sub(1)?;
        self.received += 1;
        self.frames.pop_front()
    }

    pub(super) fn give_back(&mut self) {
        self.received -= 1;
        self.returned += 1;
    }
}

impl Books {
    pub(super) fn new(vdev: Vdev, lanes: [Lane; 2]) -> Self {
        Self { vdev, lanes, lied: false, arrived: 0, marks: 0 }
    }

    /// What this end sent and gave back is shown to the other one.
    pub(super) fn flush(&mut self, end: usize) {
        let sent = &mut self.lanes[end];
        sent.shown = sent.frames.len();
        let received = &mut self.lanes[1 - end];
        if received.returned > 0 {
            received.returned = 0;
            received.returns += 1;
        }
    }

    /// A payload that no other has.
    pub(super) fn payload(&mut self, len: usize) -> Vec<u8> {
        self.marks += 1;
        (0..len as u32).map(|i| (self.marks.wrapping_mul(31) + i) as u8).collect()
    }

    /// A number for the reserved word of a frame that is sent past rpmsg, by which [`Self::claim`] finds it.
    pub(super) fn mark(&mut self) -> u32 {
        self.marks += 1;
        0xa500_0000 | self.marks
    }

    /// Has the frame with this mark claim another length, behind its sender's back.
    pub(super) fn claim(&self, end: usize, mark: u32, len: u16) {
        let queue = 1 - end;
        let (lane, memory) = (&self.lanes[end], &self.vdev.memory);
        for at in (0..lane.count).map(|i| self.vdev.pools[queue] + i * (lane.room + Header::SIZE)) {
            if memory.load::<u32>(at + 8).expect("inside the pool") == mark {
                memory.store(at + 12, len).expect("inside the pool");
            }
        }
    }

    /// Writes a lie somewhere in the memory: mostly where it hurts.
    pub(super) fn lie(&mut self, tape: &mut Tape<'_>) {
        self.lied = true;
        for lane in &mut self.lanes {
            *lane = Lane::new(lane.count, lane.room + Header::SIZE);
        }
        let queue = tape.below(2);
        let (ring, layout, pool) = (self.vdev.rings[queue], self.vdev.layouts[queue], self.vdev.pools[queue]);
        let num = usize::from(layout.num());
        let memory = &self.vdev.memory;
        let inside = "inside the memory";
        let near = |at: u32, tape: &mut Tape<'_>| {
            let at = ring + at as usize;
            let word = memory.load::<u16>(at).expect(inside);
            let step = tape.u8() as i8;
            memory
                .store(at, if step == 0 { tape.u16() } else { word.wrapping_add_signed(step.into()) })
                .expect(inside);
        };
        match tape.below(10) {
            0 => near(layout.available_index(), tape),
            1 => near(layout.used_index(), tape),
            2 => near(layout.available_ring() + 2 * tape.below(num) as u32, tape),
            3 => near(layout.used_ring() + 8 * tape.below(num) as u32, tape),
            4 => near(layout.used_ring() + 8 * tape.below(num) as u32 + 4, tape),
            // A field of a descriptor: address, length, flags, next.
            5 => near(16 * tape.below(num) as u32 + 2 * tape.below(8) as u32, tape),
            6 => {
                let at = [
                    layout.available_flags(),
                    layout.used_flags(),
                    layout.available_event(),
                    layout.used_event(),
                ];
                near(at[tape.below(4)], tape);
            }
            7 => {
                // A field of a header, or the payload behind it.
                let at =
                    pool + (self.lanes[1 - queue].room + Header::SIZE) * tape.below(num) + 4 * tape.below(8);
                memory.store(at, tape.u32()).expect(inside);
            }
            8 => {
                let at = ring + 8 * tape.below(layout.size() as usize / 8);
                memory.store(at, tape.u64()).expect(inside);
            }
            _ => {
                let at = 4 * (usize::from(tape.u16()) % (memory.len() / 4));
                memory.store(at, tape.u32()).expect(inside);
            }
        }
    }
}

/// What a receiver makes of a frame.
pub(super) enum Expected {
    Message(Frame),
    Announcement(Announcement),
}

impl Frame {
    /// The payload as far as the header claims.
    pub(super) fn claimed(&self) -> &[u8] {
        &self.payload[..self.len.into()]
    }

    /// The announcement that this is, if it is one as it should be.
    pub(super) fn announcement(&self) -> Option<Announcement> {
        let announcement = Announcement::parse(self.claimed().try_into().ok()?);
        announcement.name.is_valid().then_some(announcement)
    }
}
