//! The doorbell of a remote on a board.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sidecore_remoteproc::Doorbell;

use super::stream::Stream;

/// Rings a remote on a board: one byte in its mailbox. Clones ring the same run of the remote, from any thread.
#[derive(Clone, Debug, Default)]
pub struct QemuDoorbell(Option<Arc<Mailbox>>);

#[derive(Debug)]
struct Mailbox {
    line: Stream,
    /// It was rung since the remote rang last.
    is_waiting: AtomicBool,
}

impl QemuDoorbell {
    /// Rings over this line.
    pub(super) fn new(line: Stream) -> Self {
        Self(Some(Arc::new(Mailbox { line, is_waiting: AtomicBool::new(false) })))
    }

    /// The remote rang: it is awake.
    pub(super) fn answered(&self) {
        if let Some(mailbox) = &self.0 {
            mailbox.is_waiting.store(false, Ordering::Relaxed);
        }
    }

    /// Whether it was rung since the remote rang last.
    pub(super) fn is_waiting(&self) -> bool {
        self.0.as_ref().is_some_and(|mailbox| mailbox.is_waiting.load(Ordering::Relaxed))
    }
}

impl Doorbell for QemuDoorbell {
    /// Never sleeps. Where the mailbox is full the firmware has bytes to look at anyway.
    fn ring(&self, notify_id: u32) {
        if let Some(mailbox) = &self.0 {
            // Refused: the remote is gone, which somebody else tells.
            let _ = mailbox.line.offer(&[(notify_id & 0x7f) as u8]);
            mailbox.is_waiting.store(true, Ordering::Relaxed);
        }
    }
}
