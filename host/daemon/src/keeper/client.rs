//! One client's endpoint: a socket at one end, the rings at the other.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;
use sidecore_backends::Any;
use sidecore_os::{Channel, Errno};
use sidecore_processor::{Endpoint, Processor, SendError};

use super::protocol::Opened;
use super::watched::Watched;

/// An endpoint, and the socket that its client has the other end of.
pub(super) struct Client {
    socket: Channel,
    pub(super) endpoint: Endpoint,
    pub(super) facts: Opened,
    pub(super) counts: Counts,
    /// A message of the client's that no buffer was free for.
    to_remote: Option<Vec<u8>>,
    /// Messages of the remote's that the client had no room for.
    to_client: VecDeque<Vec<u8>>,
    /// How many of those there may be.
    quota: usize,
    room: Vec<u8>,
    watched: Watched,
}

/// Messages that were moved.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) sent: u64,
    pub(super) received: u64,
    /// From the remote, and taken by nobody.
    pub(super) lost: u64,
    /// How many of those were told of.
    told: u64,
}

/// The client closed its end, or the endpoint is of no use any more.
pub(super) struct Left;

/// Messages that one client sends in one turn.
const TURN: u32 = 4;

/// Messages that the remote sends one client in one turn: one that never ends keeps nobody else waiting.
const RECEIVE_TURN: u32 = 64;

impl Client {
    /// With `quota` messages that may wait for the client, besides what its socket holds.
    pub(super) fn new(
        socket: Channel,
        endpoint: Endpoint,
        facts: Opened,
        quota: u32,
        poll: &OwnedFd,
    ) -> Result<Self, Errno> {
        let watched = Watched::new(poll, &socket)?;
        // One byte more, so that one that is too long is told from the longest.
        let room = vec![0; facts.max_payload as usize + 1];
        let (to_remote, to_client) = (None, VecDeque::new());
        let (quota, counts) = (quota.max(1) as usize, Counts::default());
        Ok(Self { socket, endpoint, facts, counts, to_remote, to_client, quota, room, watched })
    }

    /// Moves a few messages; whether there were any.
    pub(super) fn turn(&mut self, processor: &Processor<Any>) -> Result<bool, Left> {
        let sent = self.send(processor)?;
        Ok(self.receive(processor)? | sent)
    }

    /// How many messages were lost that nobody was told of yet.
    pub(super) fn take_lost(&mut self) -> u64 {
        let news = self.counts.lost - self.counts.told;
        self.counts.told = self.counts.lost;
        news
    }

    fn send(&mut self, processor: &Processor<Any>) -> Result<bool, Left> {
        let mut any = false;
        for _ in 0..TURN {
            let message = match self.to_remote.take() {
                Some(message) => message,
                None => match self.socket.receive(&mut self.room) {
                    Ok(Some(received)) => self.room[..received.len].to_vec(),
                    Err(Errno::AGAIN) => break,
                    Ok(None) | Err(_) => return Err(Left),
                },
            };
            match processor.try_send(self.endpoint, &message) {
                Ok(()) => {
                    self.counts.sent += 1;
                    any = true;
                }
                // No buffer is free, or the remote, who is to write first, has not.
                Err(SendError::Full | SendError::NoPeer) => {
                    self.to_remote = Some(message);
                    break;
                }
                // It can never be sent: the client is told by the end.
                Err(_) => return Err(Left),
            }
        }
        Ok(any)
    }

    /// Takes everything out of the rings, whose buffers are everybody's, and gives it to the client as far as that reads.
    fn receive(&mut self, processor: &Processor<Any>) -> Result<bool, Left> {
        let mut any = self.deliver()?;
        for _ in 0..RECEIVE_TURN {
            let Some(message) = processor.try_receive(self.endpoint).map_err(|_| Left)? else { break };
            any = true;
            // An empty packet is what the end looks like to the client; there is nothing in it to be missed.
            if message.len() == 0 {
                continue;
            }
            if self.to_client.len() >= self.quota {
                self.counts.lost += 1;
                continue;
            }
            self.to_client.push_back(message.to_vec().map_err(|_| Left)?);
            self.deliver()?;
        }
        Ok(any)
    }

    fn deliver(&mut self) -> Result<bool, Left> {
        let mut any = false;
        while let Some(message) = self.to_client.front() {
            match self.socket.send(message, &[]) {
                Ok(()) => {
                    self.to_client.pop_front();
                    self.counts.received += 1;
                    any = true;
                }
                Err(Errno::AGAIN) => break,
                Err(_) => return Err(Left),
            }
        }
        Ok(any)
    }

    /// Has waits end when there is something to do for this one.
    pub(super) fn watch(&mut self, poll: &OwnedFd) {
        let wanted = match (self.to_remote.is_some(), self.to_client.is_empty()) {
            (false, true) => Some(EventFlags::IN),
            (false, false) => Some(EventFlags::IN | EventFlags::OUT),
            (true, false) => Some(EventFlags::OUT),
            // Not at all: the end would be told again and again, and cannot be acted on before the message is away.
            (true, true) => None,
        };
        self.watched.set(poll, &self.socket, wanted);
    }
}
