//! How a link is brought up, rightly or wrongly.

use sidecore_wire::resource_table::vdev::offset;
use sidecore_wire::split::UsedElement;

use super::{AsHost, FROM_REMOTE, STEPS, TO_REMOTE};

/// How a link is brought up.
#[derive(Clone, Debug)]
pub struct Start {
    /// The values of the status, one after the other.
    pub steps: &'static [u8],
    /// What is written into gfeatures; `None`: all that we know and the remote offers.
    pub features: Option<u32>,
    /// Bytes of the buffers that the remote gets to send in; `None`: as many as there are.
    pub room: Option<u32>,
    /// Whether the rings are cleared before.
    pub clears: bool,
    /// Whether ring 0 is kicked at the end.
    pub kicks: bool,
}

impl Default for Start {
    fn default() -> Self {
        Self { steps: STEPS, features: None, room: None, clears: true, kicks: true }
    }
}

impl AsHost<'_> {
    /// Brings the link up, in the place of any that is there.
    pub fn start(&mut self, start: &Start) {
        let (last, first) = start.steps.split_last().unwrap_or((&0, &[]));
        first.iter().for_each(|status| self.set_status(*status));
        // EVENT_IDX is for the tests that are about it.
        self.features = start.features.unwrap_or(self.offered() & 1);
        self.ground.write(self.vdev + offset::GFEATURES as u64, &self.features.to_le_bytes());
        (self.made, self.seen) = ([0; 2], [0; 2]);
        self.room = start.room.map_or(self.buffer, |room| room.min(self.buffer));
        self.services.clear();
        self.gone.clear();
        self.frames.clear();
        self.spoken.clear();
        self.kept.clear();
        self.out.iter_mut().for_each(|out| out.fill(None));
        if start.clears {
            for ring in &self.rings {
                ring.clear(&*self.ground);
            }
        }
        for head in 0..self.buffers(FROM_REMOTE) {
            self.fill(head);
        }
        self.publish(FROM_REMOTE);
        if self.is_bare && start.clears {
            self.hand_over();
        }
        self.set_status(*last);
        self.is_up = true;
        if start.kicks {
            self.kick(FROM_REMOTE);
        }
    }

    /// Shows the transmit buffers as used entries, as hosts without a status do.
    fn hand_over(&mut self) {
        let ring = self.rings[TO_REMOTE];
        for head in 0..ring.num() {
            let element = UsedElement { id: u32::from(head), len: self.buffer };
            ring.give(&*self.ground, head, &element);
        }
        self.ground.store(ring.used_index(), ring.num());
        self.seen[TO_REMOTE] = ring.num();
    }
}
