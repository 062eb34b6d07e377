//! What an end sends.

use sidecore_rpmsg::{
    ADDR_ANY, Announcement, Endpoint, Header, Link, LinkError, NAME_SERVICE_ADDR, Name, SendError,
};

use super::{Side, address, pick};
use crate::hostile::rpmsg::books::{Books, Frame};
use crate::tape::Tape;

impl<L: Link> Side<'_, L> {
    pub(super) fn tell(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        let Some((endpoint, peer)) = self.endpoint(tape) else { return };
        let name = Name::new(["a", "b-1", "c", "a name of the very longest kind"][tape.below(4)]).unwrap();
        let gone = tape.flag();
        let told =
            if gone { self.rpmsg.withdraw(endpoint, &name) } else { self.rpmsg.announce(endpoint, &name) };
        let announcement = Announcement { name, addr: endpoint.addr(), flags: gone.into() };
        let payload = announcement.emit().to_vec();
        self.sent(told, endpoint, peer.map(|_| NAME_SERVICE_ADDR), payload, books);
    }

    pub(super) fn send(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        let Some((endpoint, peer)) = self.endpoint(tape) else { return };
        let payload = books.payload(tape.below(books.lanes[self.me].room + 3));
        let sent = self.rpmsg.send(endpoint, &payload);
        if peer == Some(ADDR_ANY) {
            return assert_eq!(sent, Err(SendError::NoPeer));
        }
        self.sent(sent, endpoint, peer, payload, books);
    }

    pub(super) fn send_to(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        let Some((endpoint, peer)) = self.endpoint(tape) else { return };
        let dst = address(tape);
        let payload = books.payload(tape.below(books.lanes[self.me].room + 3));
        let sent = self.rpmsg.send_to(endpoint, dst, &payload);
        self.sent(sent, endpoint, peer.map(|_| dst), payload, books);
    }

    /// Judges what became of a message. `dst` is none where the endpoint is closed.
    pub(super) fn sent(
        &mut self,
        sent: Result<(), SendError>,
        endpoint: Endpoint,
        dst: Option<u32>,
        payload: Vec<u8>,
        books: &mut Books,
    ) {
        let Some(dst) = dst else { return assert_eq!(sent, Err(SendError::EndpointClosed)) };
        let (len, lane) = (payload.len(), &mut books.lanes[self.me]);
        let max = lane.room;
        match sent {
            Ok(()) => {
                assert_eq!(self.broken, None, "a broken link sends");
                assert!(len <= max || books.lied);
                if !books.lied {
                    assert!(lane.free() > 0, "a buffer that is elsewhere");
                    lane.push(Frame { src: endpoint.addr(), dst, len: len as u16, payload });
                    self.flush(books);
                }
            }
            Err(error) => self.refused(error, len, books),
        }
    }

    /// Judges why nothing could be sent.
    fn refused(&mut self, error: SendError, len: usize, books: &Books) {
        let lane = &books.lanes[self.me];
        match error {
            SendError::Full => {
                assert!(books.lied || lane.free() == 0, "a buffer is lost");
                self.starved = true;
            }
            SendError::TooLong { len: named, .. } if books.lied => assert_eq!(named, len),
            SendError::TooLong { .. } => {
                assert!(len > lane.room);
                assert_eq!(error, SendError::TooLong { len, max: lane.room });
            }
            SendError::Link(error) => self.broke(error, books),
            error => panic!("{error}"),
        }
    }

    /// A link that is broken is broken by the peer, and for good. (Where rings were cleared it looks as if the driver had
    /// started anew, which breaks no rule.)
    pub(super) fn broke(&mut self, error: LinkError, books: &Books) {
        assert!(books.lied && (error.is_peer() || error == LinkError::Closed), "{error}");
        assert_eq!(*self.broken.get_or_insert(error), error);
    }

    pub(super) fn reserve(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        let Some((endpoint, peer)) = self.endpoint(tape) else { return };
        let peer = match peer {
            None => return assert_eq!(self.rpmsg.reserve(endpoint).err(), Some(SendError::EndpointClosed)),
            Some(ADDR_ANY) => return assert_eq!(self.rpmsg.reserve(endpoint).err(), Some(SendError::NoPeer)),
            Some(peer) => peer,
        };
        match self.rpmsg.reserve(endpoint) {
            Ok(outgoing) => {
                assert_eq!(self.broken, None, "a broken link has buffers");
                let frame = Frame { src: endpoint.addr(), dst: peer, len: 0, payload: vec![] };
                assert!(books.lied || outgoing.capacity() == books.lanes[self.me].room);
                assert!(books.lied || books.lanes[self.me].free() > 0, "a buffer that is elsewhere");
                if !books.lied {
                    books.lanes[self.me].reserved += 1;
                }
                self.reserved.push((outgoing, frame));
            }
            Err(error) => self.refused(error, 0, books),
        }
    }

    pub(super) fn fill(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        let Some(at) = pick(&self.reserved, tape) else { return };
        let bytes = books.payload(tape.below(20));
        let (outgoing, frame) = &mut self.reserved[at];
        let (len, max) = (frame.payload.len() + bytes.len(), outgoing.capacity());
        match outgoing.append(&bytes) {
            Ok(()) => frame.payload.extend(bytes),
            Err(error) => assert_eq!((error, len > max), (SendError::TooLong { len, max }, true)),
        }
        assert_eq!(outgoing.len(), frame.payload.len());
    }

    pub(super) fn send_reserved(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        let Some(at) = pick(&self.reserved, tape) else { return };
        let (outgoing, mut frame) = self.reserved.swap_remove(at);
        assert_eq!(outgoing.send(), Ok(()), "a buffer of ours takes what was written to it");
        if !books.lied {
            frame.len = frame.payload.len() as u16;
            books.lanes[self.me].reserved -= 1;
            books.lanes[self.me].push(frame);
            self.flush(books);
        }
    }

    pub(super) fn cancel(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        let Some(at) = pick(&self.reserved, tape) else { return };
        drop(self.reserved.swap_remove(at));
        self.cancelled(books);
    }

    pub(super) fn cancelled(&self, books: &mut Books) {
        if !books.lied {
            books.lanes[self.me].reserved -= 1;
        }
    }

    /// Sends a frame past rpmsg, with any header, as a peer with a link of its own may.
    pub(super) fn raw_frame(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        if self.broken.is_some() {
            return;
        }
        let link = self.rpmsg.link();
        let Ok(tx) = link.reserve() else { return };
        let lane = &books.lanes[self.me];
        assert!(books.lied || lane.free() > 0, "a buffer that is elsewhere");
        let payload =
            if tape.flag() { announcement(tape) } else { vec![tape.u8(); tape.below(lane.room + 1)] };
        let (src, dst, reserved) = (address(tape), address(tape), books.mark());
        let header = Header { src, dst, reserved, len: payload.len() as u16, flags: tape.u8().into() };
        // Where it was lied to before, the buffer may be too short: it goes back then.
        let written = link.write(&tx, 0, &payload).is_ok();
        let sent = if written { link.commit(tx, &header).is_ok() } else { false };
        assert!(sent || books.lied);
        let claimed = match tape.u8() {
            255 => tape.u16(),
            byte @ 200..255 => header.len.wrapping_add_signed(i16::from(byte) - 227),
            _ => header.len,
        };
        books.claim(self.me, reserved, claimed);
        link.flush();
        if !books.lied {
            books.lanes[self.me].push(Frame { src, dst, len: claimed, payload });
            books.flush(self.me);
        }
    }
}

/// An announcement, most of them with something wrong.
fn announcement(tape: &mut Tape<'_>) -> Vec<u8> {
    let mut bytes = [0; Announcement::SIZE];
    let name: &[u8] = match tape.below(8) {
        0 => b"a",
        1 => b"b-1",
        2 => b"unterminated unterminated untermi",
        3 => b"\x1b[2Jcontrol",
        4 => b"\xff\xfe",
        5 => b"",
        6 => b"tail\0behind the end\n",
        _ => &tape.take::<32>(),
    };
    let name = &name[..name.len().min(Name::SIZE)];
    bytes[..name.len()].copy_from_slice(name);
    bytes[32..36].copy_from_slice(&address(tape).to_le_bytes());
    bytes[36..].copy_from_slice(&u32::from(tape.u8()).to_le_bytes());
    let len = if tape.u8() > 240 { tape.below(bytes.len()) } else { bytes.len() };
    bytes[..len].to_vec()
}
