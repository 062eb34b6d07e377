//! One end, and what it must answer.

mod receiving;
mod sending;

use sidecore_rpmsg::{
    ADDR_ANY, Batch, Directory, Endpoint, Entry, FIRST_DYNAMIC_ADDR, Held, Link, LinkError, Message,
    NAME_SERVICE_ADDR, OpenError, Outgoing, Rpmsg, Service, Slot,
};

use super::books::{Books, Frame};
use super::{Bell, SERVICES, SLOTS, Step};
use crate::tape::Tape;

/// One end of the link, with everything that it has on loan.
pub(super) struct Side<'r, L: Link> {
    rpmsg: &'r Rpmsg<L, Vec<Slot>>,
    /// 0 is the host. It sends on the lane of its own number.
    me: usize,
    /// Open endpoints and their peers.
    open: Vec<(Endpoint, u32)>,
    closed: Vec<Endpoint>,
    reserved: Vec<(Outgoing<'r, L, Vec<Slot>>, Frame)>,
    kept: Vec<Message<'r, L, Vec<Slot>>>,
    held: Vec<Held<L>>,
    batches: Vec<Batch<'r, L, Vec<Slot>>>,
    directory: Directory<[Entry; SERVICES]>,
    services: Vec<Service>,
    refused: u32,
    /// Frames of no use: to nobody, malformed, bad announcements.
    drops: [u32; 3],
    broken: Option<LinkError>,
    bell: &'r Bell,
    /// No buffer was found, and it has not been told of one since.
    starved: bool,
    /// It sleeps, having found so many returns.
    asleep: Option<usize>,
}

impl<'r, L: Link> Side<'r, L> {
    pub(super) fn new(rpmsg: &'r Rpmsg<L, Vec<Slot>>, me: usize, bell: &'r Bell) -> Self {
        Self {
            rpmsg,
            me,
            open: vec![],
            closed: vec![],
            reserved: vec![],
            kept: vec![],
            held: vec![],
            batches: vec![],
            directory: Directory::new([None; SERVICES]),
            services: vec![],
            refused: 0,
            drops: [0; 3],
            broken: None,
            bell,
            starved: false,
            asleep: None,
        }
    }

    pub(super) fn step(&mut self, step: Step, tape: &mut Tape<'_>, books: &mut Books) {
        self.asleep = None;
        match step {
            Step::Open => self.open(tape),
            Step::Close => self.close(tape),
            Step::Bind => self.bind(tape),
            Step::Tell => self.tell(tape, books),
            Step::Send => self.send(tape, books),
            Step::SendTo => self.send_to(tape, books),
            Step::Reserve => self.reserve(tape, books),
            Step::Fill => self.fill(tape, books),
            Step::SendReserved => self.send_reserved(tape, books),
            Step::Cancel => self.cancel(tape, books),
            Step::Poll => self.poll(tape, books),
            Step::Drain => self.drain(tape, books),
            Step::Release => self.release(tape, books),
            Step::Hold => self.hold(tape),
            Step::Resume => self.resume(tape),
            Step::BatchBegins if self.batches.len() < 3 => self.batches.push(self.rpmsg.batch()),
            Step::BatchEnds => self.end_batch(books),
            Step::Arm => self.arm(books),
            Step::Disarm => self.rpmsg.link().disarm(),
            Step::RawFrame => self.raw_frame(tape, books),
            Step::BatchBegins | Step::Lie => {}
        }
        self.check(books);
    }

    /// What holds after every step.
    fn check(&self, books: &Books) {
        for (endpoint, peer) in &self.open {
            assert_eq!(self.rpmsg.peer(*endpoint), Some(*peer).filter(|peer| *peer != ADDR_ANY));
        }
        let drops = self.rpmsg.drops();
        let drops =
            [&drops.unknown_destination, &drops.malformed, &drops.bad_announcement].map(|count| count.get());
        let (ours, theirs) = (&books.lanes[self.me], &books.lanes[1 - self.me]);
        let kept = self.kept.len() + self.held.len();
        assert!(self.reserved.len() <= ours.count && kept <= theirs.count, "more loans than buffers");
        if !books.lied {
            assert_eq!(drops, self.drops);
            assert_eq!((ours.reserved, theirs.received), (self.reserved.len(), kept));
            assert_eq!(self.broken, None);
        }
    }

    /// What the peer has just done is heard of by who sleeps.
    pub(super) fn hears(&mut self, books: &Books) {
        let Some(returns) = self.asleep else { return };
        let came_back = self.starved && books.lanes[self.me].returns > returns;
        if !books.lied && (books.lanes[1 - self.me].shown() > 0 || came_back) {
            assert!(self.bell.get() > 0, "it sleeps beside something");
            self.asleep = None;
        }
    }

    fn open(&mut self, tape: &mut Tape<'_>) {
        let addr = if tape.flag() { ADDR_ANY } else { address(tape) };
        let peer = if tape.flag() { ADDR_ANY } else { address(tape) };
        let in_use = |addr| self.open.iter().any(|(endpoint, _)| endpoint.addr() == addr);
        let endpoint = match self.rpmsg.open(addr, peer) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                let expected = match addr {
                    NAME_SERVICE_ADDR => OpenError::AddressReserved { addr },
                    addr if addr != ADDR_ANY && in_use(addr) => OpenError::AddressInUse { addr },
                    _ => OpenError::NoSlot { capacity: SLOTS },
                };
                assert_eq!(error, expected);
                let full = self.open.len() == SLOTS;
                return assert!(full || !matches!(error, OpenError::NoSlot { .. }));
            }
        };
        let given = endpoint.addr();
        assert!(!in_use(given), "{given} is in use");
        assert!(if addr == ADDR_ANY {
            given >= FIRST_DYNAMIC_ADDR && given != ADDR_ANY
        } else {
            given == addr
        });
        assert!(self.open.len() < SLOTS && given != NAME_SERVICE_ADDR);
        // An address that one chooses may be chosen again.
        self.closed.retain(|closed| closed.addr() != given);
        self.open.push((endpoint, peer));
    }

    fn close(&mut self, tape: &mut Tape<'_>) {
        let Some(at) = pick(&self.open, tape) else { return };
        let (endpoint, _) = self.open.swap_remove(at);
        assert!(self.rpmsg.close(endpoint) && !self.rpmsg.close(endpoint));
        assert_eq!((self.rpmsg.peer(endpoint), self.rpmsg.bind(endpoint, 1)), (None, false));
        self.closed.push(endpoint);
    }

    fn bind(&mut self, tape: &mut Tape<'_>) {
        let Some(at) = pick(&self.open, tape) else { return };
        self.open[at].1 = address(tape);
        assert!(self.rpmsg.bind(self.open[at].0, self.open[at].1));
    }

    /// An endpoint, at times one that is closed, and its peer.
    fn endpoint(&self, tape: &mut Tape<'_>) -> Option<(Endpoint, Option<u32>)> {
        if let Some(closed) = self.closed.last()
            && tape.u8() > 250
        {
            return Some((*closed, None));
        }
        let at = pick(&self.open, tape)?;
        Some((self.open[at].0, Some(self.open[at].1)))
    }

    fn end_batch(&mut self, books: &mut Books) {
        if self.batches.pop().is_some() {
            self.flush(books);
        }
    }

    /// What rpmsg does wherever no batch is open.
    fn flush(&self, books: &mut Books) {
        if self.batches.is_empty() && !books.lied {
            books.flush(self.me);
        }
    }

    fn arm(&mut self, books: &Books) {
        self.bell.set(0);
        let there = self.rpmsg.link().arm();
        let returns = books.lanes[self.me].returns;
        let (buffers, frames) = (books.lanes[self.me].free(), books.lanes[1 - self.me].shown());
        if !there {
            let missed = frames > 0 || self.starved && buffers > 0;
            assert!(books.lied || !missed, "it is not told of {buffers} buffers and {frames} frames");
            self.asleep = Some(returns);
        } else if buffers > 0 {
            self.starved = false;
        }
    }

    /// Gives back all that is on loan.
    pub(super) fn put_down(&mut self, books: &mut Books) {
        while !self.batches.is_empty() {
            self.end_batch(books);
        }
        while self.reserved.pop().is_some() {
            self.cancelled(books);
        }
        while let Some(held) = self.held.pop() {
            self.kept.push(self.rpmsg.resume(held).unwrap());
        }
        while self.kept.pop().is_some() {
            self.released(books);
        }
        self.check(books);
    }

    /// Receives all that there is.
    pub(super) fn empty(&mut self, books: &mut Books) {
        let nothing_left = &mut Tape::new(&[]);
        // A peer that lies can go on for as long as it likes, which is as long as we let it.
        for _ in 0..2 * books.lanes[1 - self.me].count {
            self.poll(nothing_left, books);
        }
        assert!(books.lied || books.lanes[1 - self.me].shown() == 0);
    }

    /// Every buffer to send in is there, and there once.
    pub(super) fn balance(&self, books: &Books) {
        if books.lied {
            return;
        }
        let (link, lane) = (self.rpmsg.link(), &books.lanes[self.me]);
        assert_eq!(lane.free(), lane.count, "all of them came home");
        let buffers: Vec<_> = (0..lane.count).map(|_| link.reserve().unwrap()).collect();
        assert_eq!(link.reserve().err(), Some(LinkError::Full));
        for (number, tx) in buffers.iter().enumerate() {
            link.write(tx, 0, &[number as u8; 8]).unwrap();
        }
        for (number, tx) in buffers.into_iter().enumerate() {
            let mut mark = [0; 8];
            link.read_back(&tx, 0, &mut mark).unwrap();
            assert_eq!(mark, [number as u8; 8], "one buffer was given out twice");
            link.cancel(tx);
        }
    }
}

/// One of these, if there is one.
fn pick<T>(from: &[T], tape: &mut Tape<'_>) -> Option<usize> {
    let choice = usize::from(tape.u8());
    choice.checked_rem(from.len())
}

/// An address: one that is likely to be somebody's, or any.
fn address(tape: &mut Tape<'_>) -> u32 {
    match tape.u8() {
        byte @ 0..200 => FIRST_DYNAMIC_ADDR + u32::from(byte) % 6,
        byte @ 200..220 => u32::from(byte) % 4,
        220..235 => NAME_SERVICE_ADDR,
        235..245 => ADDR_ANY,
        245..250 => ADDR_ANY - 1,
        _ => tape.u32(),
    }
}
