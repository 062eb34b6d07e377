//! The doorbell of a remote on a board.

use std::sync::Arc;

use sidecore_remoteproc::Doorbell;

use super::stream::Stream;

/// Rings a remote on a board: one byte in its mailbox. Clones ring the same run of the remote, from any thread.
#[derive(Clone, Debug, Default)]
pub struct QemuDoorbell(pub(super) Option<Arc<Stream>>);

impl Doorbell for QemuDoorbell {
    /// Never sleeps. Where the mailbox is full the firmware has bytes to look at anyway.
    fn ring(&self, notify_id: u32) {
        if let Some(mailbox) = &self.0 {
            // Refused: the remote is gone, which somebody else tells.
            let _ = mailbox.offer(&[(notify_id & 0x7f) as u8]);
        }
    }
}
