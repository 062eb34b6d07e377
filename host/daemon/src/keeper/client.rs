//! One client's endpoint: a socket at one end, the rings at the other.

use std::os::fd::OwnedFd;

use rustix::event::epoll::{self, EventData, EventFlags};
use sidecore_backends::Any;
use sidecore_os::{Channel, Errno};
use sidecore_processor::{Endpoint, Processor, SendError};

/// An endpoint, and the socket that its client has the other end of.
pub(super) struct Client {
    socket: Channel,
    pub(super) endpoint: Endpoint,
    /// A message of the client's that no buffer was free for.
    to_remote: Option<Vec<u8>>,
    /// A message of the remote's that the client had no room for.
    to_client: Option<Vec<u8>>,
    room: Vec<u8>,
    /// What is waited for; `None` while the socket's end would not be heard.
    watched: Option<EventFlags>,
}

/// The client closed its end, or the endpoint is of no use any more.
pub(super) struct Left;

/// Which one it was is of no interest: all of them have a turn.
const CLIENT: EventData = EventData::new_u64(0);

/// Messages that one client sends in one turn.
const TURN: u32 = 4;

impl Client {
    /// For messages of `max` bytes at most.
    pub(super) fn new(
        socket: Channel,
        endpoint: Endpoint,
        max: usize,
        poll: &OwnedFd,
    ) -> Result<Self, Errno> {
        let watched = Some(EventFlags::IN);
        epoll::add(poll, &socket, CLIENT, EventFlags::IN)?;
        // One byte more, so that one that is too long is told from the longest.
        let room = vec![0; max + 1];
        Ok(Self { socket, endpoint, to_remote: None, to_client: None, room, watched })
    }

    /// Moves a few messages; whether there were any.
    pub(super) fn turn(&mut self, processor: &Processor<Any>) -> Result<bool, Left> {
        let sent = self.send(processor)?;
        Ok(self.receive(processor)? | sent)
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
                Ok(()) => any = true,
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

    fn receive(&mut self, processor: &Processor<Any>) -> Result<bool, Left> {
        let mut any = false;
        loop {
            let message = match self.to_client.take() {
                Some(message) => message,
                None => match processor.try_receive(self.endpoint) {
                    Ok(Some(message)) => message.to_vec().map_err(|_| Left)?,
                    Ok(None) => return Ok(any),
                    Err(_) => return Err(Left),
                },
            };
            match self.socket.send(&message, &[]) {
                // An empty packet is what the end looks like to the client; there is nothing in it to be missed.
                _ if message.is_empty() => any = true,
                Ok(()) => any = true,
                Err(Errno::AGAIN) => {
                    self.to_client = Some(message);
                    return Ok(any);
                }
                Err(_) => return Err(Left),
            }
        }
    }

    /// Has waits end when there is something to do for this one.
    pub(super) fn watch(&mut self, poll: &OwnedFd) {
        let wanted = match (&self.to_remote, &self.to_client) {
            (None, None) => Some(EventFlags::IN),
            (None, Some(_)) => Some(EventFlags::IN | EventFlags::OUT),
            (Some(_), Some(_)) => Some(EventFlags::OUT),
            // Not at all: the end would be told again and again, and cannot be acted on before the message is away.
            (Some(_), None) => None,
        };
        let changed = match (self.watched, wanted) {
            (before, now) if before == now => return,
            (None, Some(now)) => epoll::add(poll, &self.socket, CLIENT, now),
            (Some(_), Some(now)) => epoll::modify(poll, &self.socket, CLIENT, now),
            (_, None) => epoll::delete(poll, &self.socket),
        };
        if changed.is_ok() {
            self.watched = wanted;
        }
    }
}
