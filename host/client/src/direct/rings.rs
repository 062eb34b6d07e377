//! An endpoint in the rings of a remote whose main side is this program.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use sidecore_backends::sandbox::Sandbox;
use sidecore_processor::{Lost, Message, OpenError, SendError};

use super::helm::{Deck, Helm, Port};
use crate::codes;
use crate::error::{Error, Result};
use crate::options::OpenOptions;

/// One endpoint. Dropping it closes it.
pub(crate) struct Rings {
    helm: Arc<Helm>,
    port: Arc<Port>,
    max: usize,
    /// A message that was longer than the buffer for it.
    kept: Mutex<Option<Vec<u8>>>,
    has_kept: AtomicBool,
}

impl Rings {
    pub(crate) fn open(helm: &Arc<Helm>, service: &str, asked: OpenOptions) -> Result<Self> {
        // Others go on while this waits: it has no endpoint yet, so it looks again and again by a place of its own.
        let deadline = Instant::now().checked_add(asked.timeout);
        loop {
            let opened = helm.with(|deck| {
                deck.processor.poll();
                if let Some(ended) = deck.processor.ended() {
                    return Err(Error::WrongState { why: ended.to_string() });
                }
                match deck.processor.open(service, std::time::Duration::ZERO) {
                    Ok(endpoint) => Self::at(helm, deck, endpoint, asked).map(Some),
                    Err(OpenError::NotAnnounced { announced, .. }) => {
                        let is_over = deadline.is_some_and(|deadline| deadline <= Instant::now());
                        if !is_over {
                            return Ok(None);
                        }
                        Err(of_open(&OpenError::NotAnnounced {
                            service: service.to_owned(),
                            waited: asked.timeout,
                            announced,
                        }))
                    }
                    Err(error) => Err(of_open(&error)),
                }
            })?;
            match opened {
                Some(opened) => return Ok(opened),
                None => helm.wait_for_news(deadline)?,
            }
        }
    }

    pub(crate) fn open_at(
        helm: &Arc<Helm>,
        device: u32,
        local: Option<u32>,
        peer: Option<u32>,
        asked: OpenOptions,
    ) -> Result<Self> {
        helm.with(|deck| match deck.processor.open_at(device, local, peer) {
            Ok(endpoint) => Self::at(helm, deck, endpoint, asked),
            Err(error) => Err(of_open(&error)),
        })
    }

    fn at(
        helm: &Arc<Helm>,
        deck: &mut Deck,
        endpoint: sidecore_processor::Endpoint,
        asked: OpenOptions,
    ) -> Result<Self> {
        let made = helm.port(deck, endpoint).and_then(|port| {
            Ok((port, deck.processor.max_payload(endpoint).map_err(|lost| of_lost(&lost))?))
        });
        let (port, max) = made.inspect_err(|_| deck.processor.close(endpoint))?;
        deck.processor.limit(endpoint, asked.queue.max(1));
        Ok(Self {
            helm: Arc::clone(helm),
            port,
            max,
            kept: Mutex::default(),
            has_kept: AtomicBool::new(false),
        })
    }

    pub(crate) fn address(&self) -> u32 {
        self.port.endpoint().addr()
    }

    pub(crate) fn max_payload(&self) -> usize {
        self.max
    }

    pub(crate) fn try_send(&self, message: &[u8]) -> Result<()> {
        let sent = self.helm.with(|deck| deck.processor.try_send(self.port.endpoint(), message));
        sent.map_err(|error| of_send(&error))
    }

    pub(crate) fn send(&self, message: &[u8], deadline: Option<Instant>) -> Result<()> {
        let sent = self.helm.until(&self.port, deadline, true, |deck| {
            match deck.processor.try_send(self.port.endpoint(), message) {
                Ok(()) => Ok(Some(())),
                // Nobody restarts a remote in here.
                Err(SendError::Full) if deck.processor.ended().is_none() => Ok(None),
                Err(error) => Err(of_send(&error)),
            }
        });
        sent?.ok_or(Error::Full)
    }

    pub(crate) fn try_receive(&self) -> Result<Option<Vec<u8>>> {
        // In the past.
        self.receive(Some(Instant::now()))
    }

    pub(crate) fn receive(&self, deadline: Option<Instant>) -> Result<Option<Vec<u8>>> {
        if let Some(kept) = self.take_kept() {
            return Ok(Some(kept));
        }
        self.take(deadline, |message| message.to_vec().map_err(|error| broken(&error)))
    }

    pub(crate) fn try_receive_into(&self, to: &mut [u8]) -> Result<Option<usize>> {
        self.receive_into(to, Some(Instant::now()))
    }

    pub(crate) fn receive_into(&self, to: &mut [u8], deadline: Option<Instant>) -> Result<Option<usize>> {
        if let Some(kept) = self.take_kept() {
            return match to.get_mut(..kept.len()) {
                Some(place) => {
                    place.copy_from_slice(&kept);
                    Ok(Some(kept.len()))
                }
                None => Err(self.keep(kept, to.len())),
            };
        }
        self.take(deadline, |message| {
            let (len, room) = (message.len(), to.len());
            match to.get_mut(..len) {
                Some(place) => message.read(0, place).map(|()| len).map_err(|error| broken(&error)),
                None => Err(self.keep(message.to_vec().map_err(|error| broken(&error))?, room)),
            }
        })
    }

    /// Waits until something can be received, the end included.
    pub(crate) fn poll(&self, deadline: Option<Instant>) -> Result<bool> {
        if self.has_kept.load(Ordering::Acquire) {
            return Ok(true);
        }
        let ready = self.helm.until(&self.port, deadline, false, |deck| {
            deck.processor.poll();
            Ok(deck.processor.is_ready(self.port.endpoint()).then_some(()))
        });
        Ok(ready?.is_some())
    }

    fn take<T>(
        &self,
        deadline: Option<Instant>,
        mut take: impl FnMut(&Message<'_, Sandbox>) -> Result<T>,
    ) -> Result<Option<T>> {
        self.helm.until(&self.port, deadline, false, |deck| {
            match deck.processor.try_receive(self.port.endpoint()) {
                Ok(Some(message)) => take(&message).map(Some),
                Ok(None) => Ok(None),
                Err(lost) => Err(of_lost(&lost)),
            }
        })
    }

    fn take_kept(&self) -> Option<Vec<u8>> {
        if !self.has_kept.load(Ordering::Acquire) {
            return None;
        }
        let kept = self.kept().take();
        self.has_kept.store(false, Ordering::Release);
        kept
    }

    fn keep(&self, message: Vec<u8>, room: usize) -> Error {
        let len = message.len();
        *self.kept() = Some(message);
        self.has_kept.store(true, Ordering::Release);
        Error::BufferTooSmall { len, room }
    }

    fn kept(&self) -> MutexGuard<'_, Option<Vec<u8>>> {
        // Nothing in there is ever half done.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// From the first call on the descriptor is kept up to date, which costs the remote a ring for whatever it sends.
impl AsFd for Rings {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.helm.watch();
        self.port.joined().as_fd()
    }
}

impl Drop for Rings {
    fn drop(&mut self) {
        self.helm.with(|deck| deck.close(&self.port));
    }
}

pub(crate) fn of_lost(lost: &Lost) -> Error {
    Error::Ended { code: lost.code(), why: lost.to_string() }
}

fn of_send(error: &SendError) -> Error {
    match error {
        SendError::TooLong { len, max } => Error::TooLong { len: *len, max: *max },
        SendError::Full => Error::Full,
        SendError::NoPeer => Error::NoPeer,
        SendError::Lost(lost) => of_lost(lost),
        other => Error::Failed { code: other.code(), why: other.to_string() },
    }
}

fn of_open(error: &OpenError) -> Error {
    let why = error.to_string();
    match error {
        OpenError::NotAnnounced { .. } => Error::NotAnnounced { why },
        OpenError::Endpoint(_) => Error::NoRoom { why },
        OpenError::Lost(Lost::Ended(_)) => Error::WrongState { why },
        other => Error::Failed { code: other.code(), why },
    }
}

fn broken(error: &dyn std::fmt::Display) -> Error {
    Error::Ended { code: codes::ENDPOINT_ENDED, why: error.to_string() }
}
