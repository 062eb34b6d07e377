//! What was sent to a device that is gone, and that it never gave back.

use sidecore_virtio::split::{Outstanding, Slot};
use sidecore_wire::rpmsg::Header;

use super::Resumable;

/// A frame that was sent and not released: the device may have taken it or not. Its buffer lay where the device could
/// write: what it says now is what the device left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreleased {
    /// How many frames were sent since then, itself included: the greater, the older.
    pub age: u16,
    /// The header.
    pub header: Header,
    /// Bytes of the payload, as they were sent.
    pub len: usize,
    head: u16,
}

impl<S: AsRef<[Slot]>, N, O: Clone> Resumable<S, N, O> {
    /// The frames that were sent and not released, in no particular order. To be called when the device is gone; nothing
    /// can be sent on this link afterwards.
    pub fn unreleased(&self) -> impl Iterator<Item = Unreleased> + '_ {
        self.tx.settle();
        self.tx.outstanding().filter_map(|Outstanding { age, head, len }| {
            let mut header = [0; Header::SIZE];
            self.tx_pool.block(head).read(0, &mut header)?;
            let len = (len as usize).checked_sub(Header::SIZE)?;
            Some(Unreleased { age, header: Header::parse(&header), len, head })
        })
    }

    /// Copies an unreleased frame's payload; `false` where `to` is longer than its buffer.
    pub fn read_unreleased(&self, frame: &Unreleased, to: &mut [u8]) -> bool {
        self.tx_pool.block(frame.head).read(Header::SIZE, to).is_some()
    }
}
