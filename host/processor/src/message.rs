//! A message as the application receives it.

use std::fmt;

use sidecore_remoteproc::Backend;
use sidecore_rpmsg::{self as rpmsg, ReadError, Slot};

use crate::SendError;
use crate::device::{Device, Link};
use crate::port::Parcel;

/// A received message. It stays in the buffer that it came in until it is dropped, which gives the buffer back to the
/// remote; only where too many wait is it a copy.
///
/// The payload lies where the remote may write, so it is copied out and only then looked at.
#[must_use = "a message that is dropped unread is a message lost"]
pub struct Message<'p, B: Backend> {
    device: &'p Device<B>,
    endpoint: rpmsg::Endpoint,
    place: Place<'p, B>,
    again: bool,
}

enum Place<'p, B: Backend> {
    InPlace(rpmsg::Message<'p, Link<B>, Box<[Slot]>>),
    Copied { src: u32, payload: Box<[u8]> },
}

impl<'p, B: Backend> Message<'p, B> {
    /// Takes a message up that waited at a port of the same device.
    pub(crate) fn new(device: &'p Device<B>, endpoint: rpmsg::Endpoint, parcel: Parcel<B>) -> Option<Self> {
        let (place, again) = match parcel {
            Parcel::InPlace { held, again } => (Place::InPlace(device.messages.resume(held)?), again),
            Parcel::Copied { src, payload, again } => (Place::Copied { src, payload }, again),
        };
        Some(Self { device, endpoint, place, again })
    }

    /// Whether it may have come before: a main side before this one had taken it when it died, and nobody knows what it
    /// had done with it.
    pub fn may_be_repeated(&self) -> bool {
        self.again
    }

    /// The address that it came from.
    pub fn src(&self) -> u32 {
        match &self.place {
            Place::InPlace(message) => message.src(),
            Place::Copied { src, .. } => *src,
        }
    }

    /// Length of the payload in bytes.
    #[expect(clippy::len_without_is_empty, reason = "an empty message is a message")]
    pub fn len(&self) -> usize {
        match &self.place {
            Place::InPlace(message) => message.len(),
            Place::Copied { payload, .. } => payload.len(),
        }
    }

    /// Copies `to.len()` bytes of the payload out, from byte `at` on.
    ///
    /// # Errors
    /// They are not all in the payload.
    pub fn read(&self, at: usize, to: &mut [u8]) -> Result<(), ReadError> {
        match &self.place {
            Place::InPlace(message) => message.read(at, to),
            Place::Copied { payload, .. } => {
                let (len, payload_len) = (to.len(), payload.len());
                let end = at.checked_add(len).filter(|end| *end <= payload_len);
                let part = end.and_then(|end| payload.get(at..end));
                to.copy_from_slice(part.ok_or(ReadError::Length { at, len, payload: payload_len })?);
                Ok(())
            }
        }
    }

    /// The payload, copied.
    ///
    /// # Errors
    /// The link is of no use any more.
    pub fn to_vec(&self) -> Result<Vec<u8>, ReadError> {
        let mut payload = vec![0; self.len()];
        self.read(0, &mut payload)?;
        Ok(payload)
    }

    /// Sends an answer to where the message came from, from the endpoint that it was for.
    ///
    /// # Errors
    /// As for [`Processor::try_send`](crate::Processor::try_send).
    pub fn reply(&self, payload: &[u8]) -> Result<(), SendError> {
        if self.device.holds_back(self.endpoint, self.src()) {
            return Err(SendError::Full);
        }
        let sent = self.device.messages.send_to(self.endpoint, self.src(), payload);
        sent.map_err(|error| SendError::of(self.device.index, error))
    }
}

impl<B: Backend> fmt::Debug for Message<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({} bytes {:#x} -> {:#x})", self.len(), self.src(), self.endpoint.addr())
    }
}
