//! What a device has still to catch up with after its remote was restarted silently.

use std::time::Instant;

use sidecore_rpmsg::{ADDR_ANY, Endpoint, Header, Name};

/// Messages that are sent again, and whom they and endpoints wait for.
#[derive(Debug)]
pub(crate) struct Gap {
    /// What the remote had not released when it crashed, in the order in which it was sent.
    pub(crate) frames: Vec<Frame>,
    /// Services that it had announced and has not announced again, with the addresses that they had.
    pub(crate) services: Vec<(Name, u32)>,
    /// Endpoints whose peer has to write first again, with the address that it had.
    pub(crate) learners: Vec<(Endpoint, u32)>,
    /// When nobody is waited for any more.
    until: Instant,
}

/// A message that the remote had not released.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) src: u32,
    pub(crate) dst: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) waits: Waits,
}

impl Frame {
    pub(crate) fn header(&self) -> Header {
        // It was in a buffer, so its length fits.
        Header { src: self.src, dst: self.dst, reserved: 0, len: self.payload.len() as u16, flags: 0 }
    }
}

/// What a message waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waits {
    /// Nothing.
    No,
    /// The service that was at its destination.
    ForService,
    /// Whoever writes to the endpoint that it is from.
    ForPeer,
}

/// Who did not come back in time.
pub(crate) struct GivenUp {
    /// Services, with the addresses that they had.
    pub(crate) services: Vec<(Name, u32)>,
    /// Addresses of ours, and how many messages of each are lost.
    pub(crate) lost: Vec<(u32, u32)>,
}

impl Gap {
    /// `frames` wait as they have to.
    pub(crate) fn new(
        mut frames: Vec<Frame>,
        services: Vec<(Name, u32)>,
        learners: Vec<(Endpoint, u32)>,
        until: Instant,
    ) -> Self {
        for frame in &mut frames {
            frame.waits = if services.iter().any(|(_, addr)| *addr == frame.dst) {
                Waits::ForService
            } else if learners.iter().any(|(own, peer)| (own.addr(), *peer) == (frame.src, frame.dst)) {
                Waits::ForPeer
            } else {
                Waits::No
            };
        }
        Self { frames, services, learners, until }
    }

    /// Puts messages before all others.
    pub(crate) fn first(&mut self, frames: Vec<Frame>) {
        self.frames.splice(0..0, frames);
    }

    /// Nobody waits for anything.
    pub(crate) fn is_over(&self) -> bool {
        self.frames.is_empty() && self.services.is_empty() && self.learners.is_empty()
    }

    /// When nobody is waited for any more, if somebody is.
    pub(crate) fn until(&self) -> Option<Instant> {
        let waits = |frame: &Frame| frame.waits != Waits::No;
        let is_waiting =
            !self.services.is_empty() || !self.learners.is_empty() || self.frames.iter().any(waits);
        is_waiting.then_some(self.until)
    }

    /// Whether a message from an endpoint to `dst` would overtake others, or find nobody there. `peer` is where the
    /// endpoint's messages go; `dst` may be `ADDR_ANY` for that.
    pub(crate) fn holds_back(&self, endpoint: Endpoint, peer: Option<u32>, dst: u32) -> bool {
        let learns =
            |learner: &(Endpoint, u32)| learner.0 == endpoint && [ADDR_ANY, learner.1].contains(&dst);
        let dst = if dst == ADDR_ANY { peer } else { Some(dst) };
        self.learners.iter().any(learns)
            || self.services.iter().any(|(_, addr)| Some(*addr) == dst)
            || self.frames.iter().any(|frame| frame.src == endpoint.addr())
    }

    /// A service was announced. Answers the address that it had, if it is one that is waited for.
    pub(crate) fn announced(&mut self, name: &Name, addr: u32) -> Option<u32> {
        let same = |known: &(Name, u32)| known == &(*name, addr);
        let alike = |known: &(Name, u32)| known.0 == *name;
        let at = self.services.iter().position(same).or_else(|| self.services.iter().position(alike))?;
        let (_, before) = self.services.remove(at);
        for frame in &mut self.frames {
            if frame.waits == Waits::ForService && frame.dst == before {
                (frame.dst, frame.waits) = (addr, Waits::No);
            }
        }
        Some(before)
    }

    /// Somebody wrote to an endpoint, which is bound to it now.
    pub(crate) fn bound(&mut self, endpoint: Endpoint, peer: u32) {
        self.learners.retain(|(learner, _)| *learner != endpoint);
        for frame in &mut self.frames {
            if frame.waits == Waits::ForPeer && frame.src == endpoint.addr() {
                (frame.dst, frame.waits) = (peer, Waits::No);
            }
        }
    }

    /// An endpoint was closed.
    pub(crate) fn closed(&mut self, endpoint: Endpoint) {
        self.learners.retain(|(learner, _)| *learner != endpoint);
    }

    /// Has `send` take, in order, the messages that wait for nothing; those of one that it does not take stay, with all
    /// behind.
    pub(crate) fn send<E>(&mut self, mut send: impl FnMut(&Frame) -> Result<bool, E>) -> Result<bool, E> {
        let mut end = Ok(true);
        let mut any = false;
        self.frames.retain(|frame| {
            if frame.waits != Waits::No || !matches!(end, Ok(true)) {
                return true;
            }
            end = send(frame);
            let sent = matches!(end, Ok(true));
            any |= sent;
            !sent
        });
        end.map(|_| any)
    }

    /// Waits for nobody any more. Answers whom it waited for in vain.
    pub(crate) fn give_up(&mut self) -> GivenUp {
        let mut lost: Vec<(u32, u32)> = Vec::new();
        self.frames.retain(|frame| {
            if frame.waits == Waits::No {
                return true;
            }
            match lost.iter_mut().find(|(addr, _)| *addr == frame.src) {
                Some((_, count)) => *count += 1,
                None => lost.push((frame.src, 1)),
            }
            false
        });
        self.learners.clear();
        GivenUp { services: std::mem::take(&mut self.services), lost }
    }
}
