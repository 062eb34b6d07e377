//! Whole messages off a stream, and answers onto it. Never waits.

use std::io::IoSliceMut;
use std::mem::{MaybeUninit, take};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags};

use crate::Fault;
use crate::message::{HEADER, Header, emit, name};

/// Most descriptors of a message: one for each memory of a table (`VHOST_MEMORY_BASELINE_NREGIONS`).
const FDS_MAX: usize = 8;

/// Bytes of answers that may wait for the front end to read.
const WAITING_MAX: usize = 16 << 10;

/// The socket to a front end.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    /// The header of the message that is coming in, and how many bytes of it and its payload are there.
    header: [u8; HEADER],
    payload: Vec<u8>,
    filled: usize,
    fds: Vec<OwnedFd>,
    /// Answers that the socket did not take yet.
    waiting: Vec<u8>,
}

/// A message that came in whole.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// What [`Connection::receive`] found.
#[derive(Debug)]
pub(crate) enum Input {
    Message(Message),
    /// No whole message is there yet.
    Nothing,
    /// The front end closed the connection, between two messages.
    End,
}

impl Connection {
    pub(crate) fn new(socket: OwnedFd) -> Self {
        let (payload, fds, waiting) = (Vec::new(), Vec::new(), Vec::new());
        Self { socket, header: [0; HEADER], payload, filled: 0, fds, waiting }
    }

    /// Takes the next message.
    ///
    /// # Errors
    /// What came is no message, or the connection ended within one. Nothing sensible can follow.
    pub(crate) fn receive(&mut self) -> Result<Input, Fault> {
        loop {
            if self.filled >= HEADER {
                let header = Header::parse(&self.header)?;
                // At most `PAYLOAD_MAX`, as has been checked.
                let len = header.len as usize;
                self.payload.resize(len, 0);
                if self.filled == HEADER + len {
                    self.filled = 0;
                    let (payload, fds) = (take(&mut self.payload), take(&mut self.fds));
                    return Ok(Input::Message(Message { header, payload, fds }));
                }
            }
            // Never past the end of a message: descriptors of the next one would be taken for this one's.
            let (within, rest) = match self.filled.checked_sub(HEADER) {
                None => (self.filled > 0, &mut self.header[self.filled..]),
                Some(at) => (true, &mut self.payload[at..]),
            };
            let missing = rest.len();
            match receive(&self.socket, rest, &mut self.fds) {
                Ok(0) if within => return Err(Fault::Partial { missing }),
                Ok(0) => return Ok(Input::End),
                Ok(len) => self.filled += len,
                Err(Errno::AGAIN) => return Ok(Input::Nothing),
                // It went with answers of ours unread.
                Err(Errno::CONNRESET) if within => return Err(Fault::Partial { missing }),
                Err(Errno::CONNRESET) => return Ok(Input::End),
                Err(errno) => return Err(Fault::Descriptor { what: "receive from the front end", errno }),
            }
            if self.fds.len() > FDS_MAX {
                let request = Header::parse(&self.header).map_or("a message", |header| name(header.request));
                return Err(Fault::Descriptors { request, count: self.fds.len(), wanted: FDS_MAX });
            }
        }
    }

    /// Answers a request.
    ///
    /// # Errors
    /// The front end reads no answers.
    pub(crate) fn reply(&mut self, request: u32, payload: &[u8]) -> Result<(), Fault> {
        self.waiting.extend_from_slice(&emit(request, true, payload));
        self.flush()?;
        match self.waiting.len() {
            waiting if waiting > WAITING_MAX => Err(Fault::Unread { waiting }),
            _ => Ok(()),
        }
    }

    /// Sends what waits, as far as the socket takes it. For a front end that is gone nothing waits: what it sent before
    /// is still to be received, and its end then.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn flush(&mut self) -> Result<(), Fault> {
        while !self.waiting.is_empty() {
            match send(&self.socket, &self.waiting) {
                Ok(len) => drop(self.waiting.drain(..len)),
                Err(Errno::AGAIN) => break,
                Err(Errno::PIPE | Errno::CONNRESET) => self.waiting.clear(),
                Err(errno) => return Err(Fault::Descriptor { what: "answer the front end", errno }),
            }
        }
        Ok(())
    }

    /// Whether answers wait for room in the socket.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends bytes to a socket that may be full, or gone.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8]) -> Result<usize, Errno> {
    loop {
        match rustix::net::send(&socket, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Bytes and descriptors that are there; one descriptor more than a message may have is enough to know that they are too
/// many.
fn receive(socket: &OwnedFd, to: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize, Errno> {
    let mut room = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX + 1))];
    let mut control = RecvAncillaryBuffer::new(&mut room);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(to)], &mut control, flags) {
            Err(Errno::INTR) => {}
            other => break other?,
        }
    };
    for part in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = part {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::TOOMANYREFS);
    }
    Ok(received.bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{IoSlice, Write as _};
    use std::os::unix::net::UnixStream;

    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage};

    use super::*;
    use crate::message::pair;

    fn connected() -> (UnixStream, Connection) {
        let (there, here) = UnixStream::pair().unwrap();
        (there, Connection::new(here.into()))
    }

    fn message(request: u32, payload: &[u8]) -> Vec<u8> {
        emit(request, false, payload)
    }

    #[test]
    fn messages_come_whole_however_their_bytes_arrive() {
        let (mut there, mut here) = connected();
        let bytes = [message(3, &[]), message(35, &pair(1, 0)), message(1, &[])].concat();
        let mut requests = Vec::new();
        for byte in bytes {
            there.write_all(&[byte]).unwrap();
            while let Input::Message(message) = here.receive().unwrap() {
                requests.push((message.header.request, message.payload));
            }
        }
        assert_eq!(requests, [(3, vec![]), (35, pair(1, 0).to_vec()), (1, vec![])]);
        drop(there);
        assert!(matches!(here.receive(), Ok(Input::End)));
    }

    #[test]
    fn an_end_within_a_message_is_told_from_one_between() {
        for (sent, missing) in [(5, 7), (12, 8), (19, 1)] {
            let (mut there, mut here) = connected();
            there.write_all(&message(35, &pair(1, 0))[..sent]).unwrap();
            assert!(matches!(here.receive(), Ok(Input::Nothing)));
            drop(there);
            assert_eq!(here.receive().unwrap_err(), Fault::Partial { missing });
        }
    }

    #[test]
    fn answers_that_nobody_reads_end_the_connection_and_nothing_waits_for_them() {
        let (_there, mut here) = connected();
        let fault = (0..1_000_000).find_map(|_| here.reply(1, &[0; 8]).err());
        assert!(matches!(fault, Some(Fault::Unread { waiting }) if waiting > WAITING_MAX));
    }

    #[test]
    fn more_descriptors_than_any_message_has_are_refused() {
        for (count, taken) in [(8, true), (9, false), (200, false)] {
            let (there, mut here) = connected();
            let mut room = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(250))];
            let mut control = SendAncillaryBuffer::new(&mut room);
            let fds = vec![there.as_fd(); count];
            assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
            let bytes = message(3, &[]);
            rustix::net::sendmsg(&there, &[IoSlice::new(&bytes)], &mut control, SendFlags::empty()).unwrap();
            match here.receive() {
                Ok(Input::Message(message)) => assert!(taken && message.fds.len() == count),
                Err(_) => assert!(!taken, "{count}"),
                other => panic!("{other:?}"),
            }
        }
    }
}
