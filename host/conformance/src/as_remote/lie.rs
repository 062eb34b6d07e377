//! Rules that are broken on purpose.

use sidecore_wire::split::UsedElement;

use super::AsRemote;
use crate::verdict::{Outcome, Stop};

impl AsRemote<'_> {
    /// Gives back whatever entry, and shows an index that is `step` further: from now on we break rules.
    ///
    /// # Errors
    /// There are no rings yet.
    pub fn lie(&mut self, queue: usize, element: &UsedElement, step: u16) -> Outcome {
        let ring = self.ring(queue)?;
        self.watch.look_away();
        self.lies = true;
        self.watch.trace_line(format!("used index of ring {queue} + {step}, {element:?}"));
        ring.give(&*self.ground, self.given[queue], element);
        // Who believes it goes on from there.
        self.given[queue] = self.given[queue].wrapping_add(step);
        self.ground.store(ring.used_index(), self.given[queue]);
        self.ground.kick(ring.notifyid);
        Ok(())
    }

    /// Gives back every descriptor of a ring, each for itself nothing that could not be, and shows an index that is 7 beyond
    /// all of them. Answers how far that is.
    ///
    /// # Errors
    /// There are no rings yet.
    pub fn lie_beyond(&mut self, queue: usize) -> Result<u16, Stop> {
        let ring = self.ring(queue)?;
        let given = self.given[queue];
        for entry in 0..ring.num() {
            let element = UsedElement { id: u32::from(entry), len: 20 };
            ring.give(&*self.ground, given.wrapping_add(entry), &element);
        }
        let (first, ahead) = (UsedElement { id: 0, len: 20 }, ring.num() + 7);
        self.lie(queue, &first, ahead)?;
        Ok(ahead)
    }
}
