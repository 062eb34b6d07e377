//! Ends the waits of a processor that waits for its remote alone, when anybody else has something to say.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use rustix::event::epoll;
use sidecore_processor::Waker;

/// A thread that waits for everybody else.
pub(super) struct Bell(SyncSender<()>);

impl Bell {
    pub(super) fn new(poll: OwnedFd, waker: Waker) -> io::Result<Self> {
        let (arm, armed) = sync_channel(1);
        let wait = move || {
            // Until there is no keeper.
            while armed.recv().is_ok() {
                let mut events = [std::mem::MaybeUninit::uninit(); 1];
                // Interruptions are as good as anything else that happened.
                let _ = epoll::wait(&poll, &mut events, None);
                waker.wake();
            }
        };
        thread::Builder::new().name("bell".to_owned()).stack_size(64 << 10).spawn(wait)?;
        Ok(Self(arm))
    }

    /// The next wait is to be ended. It is no harm if the one before has not begun.
    pub(super) fn arm(&self) {
        // Full: it is armed already.
        let _ = self.0.try_send(());
    }
}
