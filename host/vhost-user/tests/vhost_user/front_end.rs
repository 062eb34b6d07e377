//! A front end that says exactly what it is told to say.

use std::io::{IoSlice, Read as _};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

pub(crate) const GET_FEATURES: u32 = 1;
pub(crate) const SET_FEATURES: u32 = 2;
pub(crate) const SET_OWNER: u32 = 3;
pub(crate) const SET_MEM_TABLE: u32 = 5;
pub(crate) const SET_VRING_NUM: u32 = 8;
pub(crate) const SET_VRING_ADDR: u32 = 9;
pub(crate) const SET_VRING_BASE: u32 = 10;
pub(crate) const GET_VRING_BASE: u32 = 11;
pub(crate) const SET_VRING_KICK: u32 = 12;
pub(crate) const SET_VRING_CALL: u32 = 13;
pub(crate) const SET_VRING_ERR: u32 = 14;
pub(crate) const GET_PROTOCOL_FEATURES: u32 = 15;
pub(crate) const SET_PROTOCOL_FEATURES: u32 = 16;
pub(crate) const GET_QUEUE_NUM: u32 = 17;
pub(crate) const SET_VRING_ENABLE: u32 = 18;
pub(crate) const SET_BACKEND_REQ_FD: u32 = 21;
pub(crate) const GET_CONFIG: u32 = 24;
pub(crate) const VRING_KICK: u32 = 35;
pub(crate) const GET_MAX_MEM_SLOTS: u32 = 36;
pub(crate) const ADD_MEM_REG: u32 = 37;
pub(crate) const REM_MEM_REG: u32 = 38;
pub(crate) const SET_STATUS: u32 = 39;
pub(crate) const GET_STATUS: u32 = 40;

pub(crate) const MQ: u64 = 1 << 0;
pub(crate) const REPLY_ACK: u64 = 1 << 3;
pub(crate) const BACKEND_REQ: u64 = 1 << 5;
pub(crate) const CONFIG: u64 = 1 << 9;
pub(crate) const INBAND: u64 = 1 << 14;
pub(crate) const MEM_SLOTS: u64 = 1 << 15;
pub(crate) const STATUS: u64 = 1 << 16;

#[derive(Debug)]
pub(crate) struct FrontEnd(pub(crate) UnixStream);

impl FrontEnd {
    pub(crate) fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        Self(stream)
    }

    /// Agrees on these protocol features, and on all that the device offers.
    pub(crate) fn agree(&self, protocol: u64) {
        let offered = self.number(GET_FEATURES);
        assert_eq!(offered & 1 << 30, 1 << 30);
        let possible = self.number(GET_PROTOCOL_FEATURES);
        assert_eq!(possible & protocol, protocol, "{possible:#x}");
        self.send(SET_PROTOCOL_FEATURES, &words(&[protocol]), &[]);
        self.send(SET_OWNER, &[], &[]);
        self.send(SET_FEATURES, &words(&[offered]), &[]);
    }

    /// Asks for nothing in return.
    pub(crate) fn send(&self, request: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) {
        self.put(&message(request, 1, payload), fds).unwrap();
    }

    /// Asks whether it worked.
    pub(crate) fn is_done(&self, request: u32, payload: &[u8], fds: &[BorrowedFd<'_>]) -> bool {
        self.put(&message(request, 9, payload), fds).unwrap();
        self.answer(request) == words(&[0])
    }

    /// Asks for an answer.
    pub(crate) fn ask(&self, request: u32, payload: &[u8]) -> Vec<u8> {
        self.send(request, payload, &[]);
        self.answer(request)
    }

    /// Asks for a number.
    pub(crate) fn number(&self, request: u32) -> u64 {
        u64::from_ne_bytes(self.ask(request, &[]).try_into().unwrap())
    }

    /// Bytes and descriptors as they are; an error where the connection is over.
    pub(crate) fn put(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, rustix::io::Errno> {
        let mut room = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
        let mut control = SendAncillaryBuffer::new(&mut room);
        if !fds.is_empty() {
            assert!(control.push(SendAncillaryMessage::ScmRights(fds)));
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL)
    }

    fn answer(&self, request: u32) -> Vec<u8> {
        let (answered, flags, payload) = receive(&self.0);
        assert_eq!((answered, flags), (request, 5));
        payload
    }

    /// Whether the device closed the connection.
    pub(crate) fn is_over(&self) -> bool {
        matches!((&self.0).read(&mut [0; 64]), Ok(0) | Err(_))
    }
}

/// A whole message: request, flags, payload.
pub(crate) fn receive(mut stream: &UnixStream) -> (u32, u32, Vec<u8>) {
    let mut header = [0; 12];
    stream.read_exact(&mut header).unwrap();
    let field = |at: usize| u32::from_ne_bytes(header[at..at + 4].try_into().unwrap());
    let mut payload = vec![0; field(8) as usize];
    stream.read_exact(&mut payload).unwrap();
    (field(0), field(4), payload)
}

pub(crate) fn message(request: u32, flags: u32, payload: &[u8]) -> Vec<u8> {
    let header = [request, flags, payload.len() as u32].map(u32::to_ne_bytes).concat();
    [header, payload.to_vec()].concat()
}

pub(crate) fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// Two numbers of 32 bits.
pub(crate) fn pair(first: u32, second: u32) -> Vec<u8> {
    [first.to_ne_bytes(), second.to_ne_bytes()].concat()
}

/// A memory table with these rows: guest's address, length, front end's address, offset in the file.
pub(crate) fn table(rows: &[[u64; 4]]) -> Vec<u8> {
    [pair(rows.len() as u32, 0), words(rows.as_flattened())].concat()
}
