//! What an end receives.

use sidecore_rpmsg::{
    ADDR_ANY, Announcement, DirectoryError, Event, Link, Message, NAME_SERVICE_ADDR, ReadError, Service, Slot,
};

use super::{Side, pick};
use crate::hostile::rpmsg::SERVICES;
use crate::hostile::rpmsg::books::{Books, Expected};
use crate::tape::Tape;

impl<'r, L: Link> Side<'r, L> {
    pub(super) fn poll(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        match self.rpmsg.poll() {
            Ok(event) => {
                assert_eq!(self.broken, None, "a broken link receives");
                let expected = self.expected(books);
                self.flush(books);
                self.event(event, expected, tape, books);
            }
            Err(error) => self.broke(error, books),
        }
    }

    pub(super) fn drain(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        let limit = 1 + tape.below(6);
        let mut events = Vec::new();
        let drained = self.rpmsg.drain(limit, |event| events.push(event));
        let judged: Vec<_> = events.iter().map(|_| self.expected(books)).collect();
        match drained {
            Ok(count) => {
                assert_eq!((count, self.broken), (events.len(), None));
                assert!(count <= limit);
                let more = if count < limit { self.expected(books) } else { None };
                assert!(more.is_none(), "it stopped too early");
            }
            Err(error) => self.broke(error, books),
        }
        self.flush(books);
        for (event, expected) in events.into_iter().zip(judged) {
            self.event(Some(event), expected, tape, books);
        }
    }

    /// The next thing of use that was shown to this end. What is of no use goes back.
    fn expected(&mut self, books: &mut Books) -> Option<Expected> {
        if books.lied {
            return None;
        }
        let lane = &mut books.lanes[1 - self.me];
        while let Some(frame) = lane.pop() {
            let is_ours = self.open.iter().any(|(endpoint, _)| endpoint.addr() == frame.dst);
            if usize::from(frame.len) > frame.payload.len() {
                self.drops[1] += 1;
            } else if is_ours {
                return Some(Expected::Message(frame));
            } else if frame.dst != NAME_SERVICE_ADDR {
                self.drops[0] += 1;
            } else if let Some(announcement) = frame.announcement() {
                lane.give_back();
                return Some(Expected::Announcement(announcement));
            } else {
                self.drops[2] += 1;
            }
            lane.give_back();
        }
        None
    }

    /// Judges what was received, and does something with it.
    fn event(
        &mut self,
        event: Option<Event<'r, L, Vec<Slot>>>,
        expected: Option<Expected>,
        tape: &mut Tape<'_>,
        books: &mut Books,
    ) {
        match (event, expected) {
            (None, None) => {}
            (Some(Event::Message(message)), Some(Expected::Message(frame))) => {
                let (src, dst) = (message.src(), message.endpoint().addr());
                assert_eq!((src, dst, message.len()), (frame.src, frame.dst, frame.len.into()));
                assert_eq!(self.read(&message), frame.claimed());
                self.message(message, tape, books);
            }
            (Some(Event::Announcement(announcement)), Some(Expected::Announcement(expected))) => {
                assert_eq!(announcement, expected);
                self.announcement(&announcement);
            }
            (Some(Event::Message(message)), None) if books.lied => self.message(message, tape, books),
            (Some(Event::Announcement(announcement)), None) if books.lied => self.announcement(&announcement),
            (event, _) => panic!("{event:?} is not what was sent"),
        }
    }

    fn read(&self, message: &Message<'_, L, Vec<Slot>>) -> Vec<u8> {
        let len = message.len();
        let mut bytes = vec![0; len];
        message.read(0, &mut bytes).unwrap();
        assert_eq!(message.read(len, &mut [0]), Err(ReadError::Length { at: len, len: 1, payload: len }));
        assert!(len == 0 || message.copy_to(&mut bytes[1..]).is_err());
        bytes
    }

    fn message(&mut self, message: Message<'r, L, Vec<Slot>>, tape: &mut Tape<'_>, books: &mut Books) {
        books.arrived += 1;
        let bytes = self.read(&message);
        let (endpoint, src) = (message.endpoint(), message.src());
        let mut receivers = self.open.iter_mut().filter(|(open, _)| *open == endpoint);
        let (_, peer) = receivers.next().expect("it is for an open endpoint");
        if *peer == ADDR_ANY {
            *peer = src;
        }
        let choice = tape.below(8);
        if choice % 4 == 3 {
            let replied = message.reply(&bytes);
            self.sent(replied, endpoint, Some(src), bytes, books);
        }
        match choice {
            0..4 => {
                drop(message);
                self.released(books);
            }
            4 | 5 => self.kept.push(message),
            _ => self.held.push(message.hold().unwrap()),
        }
    }

    fn announcement(&mut self, announcement: &Announcement) {
        assert!(announcement.name.is_valid());
        let service = Service { name: announcement.name, addr: announcement.addr };
        let known = self.services.iter().position(|known| *known == service);
        let applied = self.directory.apply(announcement);
        let expected = match (announcement.flags & 1, known) {
            (1, Some(at)) => {
                self.services.swap_remove(at);
                Ok(())
            }
            (1, None) => Err(DirectoryError::Unknown { service }),
            (_, Some(_)) => Err(DirectoryError::Known { service }),
            (_, None) if self.services.len() == SERVICES => {
                self.refused += 1;
                Err(DirectoryError::Full { capacity: SERVICES })
            }
            (_, None) => {
                self.services.push(service);
                Ok(())
            }
        };
        assert_eq!((applied, self.directory.refused()), (expected, self.refused));
        assert_eq!(self.directory.services().count(), self.services.len());
        assert!(self.services.iter().all(|known| self.directory.services().any(|found| found == *known)));
    }

    pub(super) fn release(&mut self, tape: &mut Tape<'_>, books: &mut Books) {
        let Some(at) = pick(&self.kept, tape) else { return };
        drop(self.kept.swap_remove(at));
        self.released(books);
    }

    pub(super) fn released(&mut self, books: &mut Books) {
        if !books.lied {
            books.lanes[1 - self.me].give_back();
            self.flush(books);
        }
    }

    pub(super) fn hold(&mut self, tape: &mut Tape<'_>) {
        let Some(at) = pick(&self.kept, tape) else { return };
        self.held.push(self.kept.swap_remove(at).hold().unwrap());
    }

    pub(super) fn resume(&mut self, tape: &mut Tape<'_>) {
        let Some(at) = pick(&self.held, tape) else { return };
        self.kept.push(self.rpmsg.resume(self.held.swap_remove(at)).unwrap());
    }
}
