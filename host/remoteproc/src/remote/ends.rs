//! What there is to do and to note when a remote ends, or is given up.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::time::Duration;

use super::{Found, Remote, RemoteError};
use crate::held::Held;
use crate::lifecycle::State;
use crate::log::What;
use crate::recovery::{Decision, Recovery};
use crate::{Backend, BackendError};

impl<B: Backend> Remote<B> {
    /// Has something taken back, from now on, whenever the remote ends: see [`held`](crate::held).
    pub fn register(&mut self, held: Box<dyn Held<B::Owner>>) {
        self.held.push(held);
    }

    /// How it was taken over last.
    #[must_use]
    pub fn found(&self) -> &Found {
        &self.found
    }

    /// Asks a policy what becomes of the crash, and keeps the answer with its reason in the [log](Self::log). Nothing is
    /// done: whoever asks starts the remote again when its users are ready. `now` is as for [`Recovery::crashed`].
    pub fn decide(&mut self, recovery: &mut Recovery, now: Duration) -> Decision {
        let decision = recovery.crashed(now);
        self.log.push(What::Decided(decision));
        decision
    }

    /// Keeps in the [log](Self::log) that some had not acknowledged the crash when the remote was restarted.
    pub fn not_acknowledged(&mut self, clients: Vec<String>) {
        self.log.push(What::NotAcknowledged { clients });
    }

    pub(super) fn reclaim(&mut self) {
        let memories = self.loaded.as_ref().map_or(&[][..], |loaded| &loaded.memories);
        for held in &mut self.held {
            match held.reclaim(memories, self.backend.memories()) {
                Ok(freed) => freed.into_iter().for_each(|what| self.log.push(What::Reclaimed { what })),
                Err(why) => self.log.push(What::NotReclaimed { why }),
            }
        }
    }

    pub(super) fn let_go(&mut self) -> Result<(), RemoteError> {
        match self.backend.detach() {
            Ok(()) => {}
            // Whatever is gone needs no letting go.
            Err(error @ BackendError::ExecutorLost { .. }) if self.state == State::Crashed => {
                self.log.push(What::ExecutorLost { why: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        }
        self.loaded = None;
        Ok(())
    }
}
