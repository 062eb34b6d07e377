//! Messages between endpoints, on a link.

use core::cell::Cell;
use core::fmt;

use sidecore_wire::name_service::{Announcement, CREATE, DESTROY, Name};
use sidecore_wire::rpmsg::{ADDR_ANY, Header, NAME_SERVICE_ADDR};

use crate::endpoint::Endpoints;
use crate::{Endpoint, Held, Link, LinkError, Message, OpenError, Outgoing, SendError, Slot};

/// Frames that one [`Rpmsg::poll`] takes in search of one that is of use, before it gives its caller a turn.
const FRAMES_A_TURN: usize = 64;

/// rpmsg on one link: endpoints, messages, and the name service on the wire.
///
/// ```text
/// send / reserve ──► header + payload ──► Link ──► peer
/// poll ◄── Message (a loan) ◄── endpoint of dst ◄── Link
///      ◄── Announcement ◄────── address 53
/// ```
///
/// `S` is storage for endpoints. See the crate's documentation for the threading rule.
#[derive(Debug)]
pub struct Rpmsg<L, S> {
    link: L,
    endpoints: Endpoints<S>,
    drops: Drops,
    /// Batches that are open: publication waits for the last one's end.
    batches: Cell<u32>,
    /// The peer broke the link's rules; everything answers with `broken` from then on.
    is_broken: Cell<bool>,
    broken: Cell<LinkError>,
}

/// Frames that were dropped because nothing else could be done with them, by reason.
#[derive(Clone, Debug, Default)]
pub struct Drops {
    /// No endpoint has the destination address.
    pub unknown_destination: Cell<u32>,
    /// The frame is shorter than its header claims.
    pub malformed: Cell<u32>,
    /// An announcement of the wrong length, or with a name that is none.
    pub bad_announcement: Cell<u32>,
}

/// Something that the peer sent.
#[must_use = "a message that is dropped unread is a message lost"]
pub enum Event<'r, L: Link, S: AsRef<[Slot]>> {
    /// A message for one of our endpoints.
    Message(Message<'r, L, S>),
    /// A service came ([`Announcement::is_destroy`]: or went) at the peer.
    Announcement(Announcement),
}

/// What [`Rpmsg::deliver`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an announcement is handed out here alone"]
pub enum Delivered {
    /// There was nothing, or only frames of no use, many of them.
    Nothing,
    /// The callback had a message.
    Message,
    /// A service came or went at the peer.
    Announcement(Announcement),
}

impl<L: Link, S: AsRef<[Slot]>> fmt::Debug for Event<'_, L, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(message) => message.fmt(f),
            Self::Announcement(announcement) => announcement.fmt(f),
        }
    }
}

impl<L: Link, S: AsRef<[Slot]>> Rpmsg<L, S> {
    /// rpmsg on a link that is up, with no endpoint.
    pub fn new(link: L, slots: S) -> Self {
        Self {
            link,
            endpoints: Endpoints::new(slots),
            drops: Drops::default(),
            batches: Cell::new(0),
            is_broken: Cell::new(false),
            broken: Cell::new(LinkError::Closed),
        }
    }

    /// The same endpoints, at the same addresses, on the link of `other`, which has none.
    pub fn moved_to(self, other: Self) -> Self {
        Self { endpoints: self.endpoints, drops: self.drops, ..other }
    }

    /// The link below.
    pub const fn link(&self) -> &L {
        &self.link
    }

    /// What was dropped so far; each count stays at its maximum.
    pub const fn drops(&self) -> &Drops {
        &self.drops
    }

    /// Opens an endpoint at `addr` (`ADDR_ANY`: a dynamic address from 1024 on), bound to `peer` (`ADDR_ANY`: to the
    /// first one that writes to it).
    ///
    /// # Errors
    /// The address is in use or reserved, or the storage is full.
    pub fn open(&self, addr: u32, peer: u32) -> Result<Endpoint, OpenError> {
        self.endpoints.open(addr, peer)
    }

    /// The dynamic address that the next [`open`](Self::open) tries first: with it, [`go_on_from`](Self::go_on_from) lets
    /// whoever comes after this side keep addresses from coming back too early.
    pub fn next_addr(&self) -> u32 {
        self.endpoints.next()
    }

    /// Has dynamic addresses go on from `next`; an address that is not dynamic changes nothing.
    pub fn go_on_from(&self, next: u32) {
        self.endpoints.go_on_from(next);
    }

    /// Closes an endpoint. Messages on their way to it are dropped and counted. `false` where it was closed already.
    pub fn close(&self, endpoint: Endpoint) -> bool {
        self.endpoints.close(endpoint)
    }

    /// Where its messages go; `None` where it has no peer yet or was closed.
    pub fn peer(&self, endpoint: Endpoint) -> Option<u32> {
        self.endpoints.peer(endpoint).filter(|peer| *peer != ADDR_ANY)
    }

    /// Binds an endpoint to a peer's address; `false` where it was closed.
    pub fn bind(&self, endpoint: Endpoint, peer: u32) -> bool {
        self.endpoints.bind(endpoint, peer)
    }

    /// Tells the peer that a service is at this endpoint: it makes a channel of it.
    ///
    /// # Errors
    /// As for [`Rpmsg::send`].
    pub fn announce(&self, endpoint: Endpoint, name: &Name) -> Result<(), SendError> {
        self.tell(endpoint, name, CREATE)
    }

    /// Tells the peer that the service is no longer at this endpoint. To be called before [`Rpmsg::close`].
    ///
    /// # Errors
    /// As for [`Rpmsg::send`].
    pub fn withdraw(&self, endpoint: Endpoint, name: &Name) -> Result<(), SendError> {
        self.tell(endpoint, name, DESTROY)
    }

    /// Sends a message from an endpoint to its peer, copying it.
    ///
    /// # Errors
    /// Nothing was sent: see [`SendError`].
    #[inline(always)]
    pub fn send(&self, endpoint: Endpoint, payload: &[u8]) -> Result<(), SendError> {
        let peer = self.endpoints.peer(endpoint).ok_or(SendError::EndpointClosed)?;
        if peer == ADDR_ANY {
            return Err(SendError::NoPeer);
        }
        self.send_frame(endpoint.addr(), peer, payload)
    }

    /// Sends a message from an endpoint to any address, copying it.
    ///
    /// # Errors
    /// Nothing was sent: see [`SendError`].
    pub fn send_to(&self, endpoint: Endpoint, dst: u32, payload: &[u8]) -> Result<(), SendError> {
        self.endpoints.peer(endpoint).ok_or(SendError::EndpointClosed)?;
        self.send_frame(endpoint.addr(), dst, payload)
    }

    /// Takes a transmit buffer to be filled in place; it goes to the endpoint's peer.
    ///
    /// # Errors
    /// As for [`Rpmsg::send`].
    pub fn reserve(&self, endpoint: Endpoint) -> Result<Outgoing<'_, L, S>, SendError> {
        let peer = self.endpoints.peer(endpoint).ok_or(SendError::EndpointClosed)?;
        if peer == ADDR_ANY {
            return Err(SendError::NoPeer);
        }
        self.reserve_to(endpoint, peer)
    }

    /// Takes a transmit buffer to be filled in place; it goes to any address.
    ///
    /// # Errors
    /// As for [`Rpmsg::send`].
    pub fn reserve_to(&self, endpoint: Endpoint, dst: u32) -> Result<Outgoing<'_, L, S>, SendError> {
        self.endpoints.peer(endpoint).ok_or(SendError::EndpointClosed)?;
        let tx = self.take_buffer()?;
        Ok(Outgoing::new(self, tx, endpoint.addr(), dst))
    }

    /// Sends many messages to the endpoint's peer and shows them to it at once. Answers how many were sent: all of
    /// them, unless transmit buffers ran out.
    ///
    /// # Errors
    /// The first message that can never be sent: messages before it have been.
    pub fn send_all<'p>(
        &self,
        endpoint: Endpoint,
        payloads: impl IntoIterator<Item = &'p [u8]>,
    ) -> Result<usize, SendError> {
        let peer = self.endpoints.peer(endpoint).ok_or(SendError::EndpointClosed)?;
        if peer == ADDR_ANY {
            return Err(SendError::NoPeer);
        }
        if self.is_broken.get() {
            return Err(SendError::Link(self.error()));
        }
        let mut sent = 0;
        let mut refused = None;
        for payload in payloads {
            let header =
                Header { src: endpoint.addr(), dst: peer, reserved: 0, len: payload.len() as u16, flags: 0 };
            if let Err(error) = self.link.send(&header, payload) {
                refused = Some(self.refused(error));
                break;
            }
            sent += 1;
        }
        self.flush();
        match refused {
            None | Some(SendError::Full) => Ok(sent),
            Some(error) => Err(error),
        }
    }

    /// Takes the next thing that the peer sent, or `None` where there is nothing (or only frames of no use, many of
    /// them: [`Link::arm`] tells before one sleeps).
    ///
    /// # Errors
    /// The link is broken; only a new one helps.
    pub fn poll(&self) -> Result<Option<Event<'_, L, S>>, LinkError> {
        let mut next = None;
        match self.deliver(|message| next = Some(Event::Message(message)))? {
            Delivered::Announcement(announcement) => Ok(Some(Event::Announcement(announcement))),
            Delivered::Message | Delivered::Nothing => Ok(next),
        }
    }

    /// Hands the next message to `callback`, or answers with the announcement that came instead: [`Rpmsg::poll`] for
    /// those who count instructions.
    ///
    /// # Errors
    /// As for [`Rpmsg::poll`].
    #[inline(always)]
    pub fn deliver<'r>(&'r self, callback: impl FnOnce(Message<'r, L, S>)) -> Result<Delivered, LinkError> {
        if self.is_broken.get() {
            return Err(self.error());
        }
        let mut callback = Some(callback);
        let (_, end) = self.run(1, |message| {
            if let Some(callback) = callback.take() {
                callback(message);
            }
        });
        end
    }

    /// Takes frames until `limit` messages went to the callback or there is something else to tell. Answers how many
    /// messages there were, and what ended it.
    #[inline(always)]
    fn run<'r>(
        &'r self,
        limit: usize,
        mut callback: impl FnMut(Message<'r, L, S>),
    ) -> (usize, Result<Delivered, LinkError>) {
        let mut count = 0;
        let mut useless = 0;
        // Beside what `take` answers, so that the loop over messages carries no trace of it.
        let mut announcement = None;
        while count < limit {
            let take = |header: Header, rx: L::Rx<'r>| {
                let fits = usize::from(header.len) <= self.link.payload_room(&rx);
                if fits && let Some(endpoint) = self.endpoints.find_and_learn(header.dst, header.src) {
                    // The only place that makes and hands on a message: callback and drop are compiled into it.
                    callback(Message::new(self, rx, endpoint, header.src, header.len));
                    return true;
                }
                announcement = cold(move || self.sort_out(header.dst, header.len, rx));
                false
            };
            match self.link.receive(take) {
                Ok(Some(true)) => count += 1,
                Ok(Some(false)) => {
                    useless += 1;
                    if let Some(announcement) = announcement {
                        return (count, Ok(Delivered::Announcement(announcement)));
                    }
                    if useless == FRAMES_A_TURN {
                        return (count, Ok(Delivered::Nothing));
                    }
                }
                Ok(None) => return (count, Ok(Delivered::Nothing)),
                Err(error) => return (count, Err(self.break_link(error))),
            }
        }
        (count, Ok(Delivered::Message))
    }

    /// What a frame says that the link handed out outside of [`Link::receive`]: one that is delivered again.
    pub fn hand_in<'r>(&'r self, header: Header, rx: L::Rx<'r>) -> Option<Event<'r, L, S>> {
        let fits = usize::from(header.len) <= self.link.payload_room(&rx);
        if fits && let Some(endpoint) = self.endpoints.find_and_learn(header.dst, header.src) {
            return Some(Event::Message(Message::new(self, rx, endpoint, header.src, header.len)));
        }
        self.sort_out(header.dst, header.len, rx).map(Event::Announcement)
    }

    /// Deals with a frame that is no message for an endpoint.
    fn sort_out(&self, dst: u32, len: u16, rx: L::Rx<'_>) -> Option<Announcement> {
        let len = usize::from(len);
        if len > self.link.payload_room(&rx) {
            self.drop_frame(rx, &self.drops.malformed);
            return None;
        }
        if dst != NAME_SERVICE_ADDR {
            self.drop_frame(rx, &self.drops.unknown_destination);
            return None;
        }
        // Exactly 40 bytes, as Linux wants them.
        let mut bytes = [0; Announcement::SIZE];
        let whole = len == Announcement::SIZE && self.link.read(&rx, 0, &mut bytes).is_ok();
        let announcement = Announcement::parse(&bytes);
        if whole && announcement.name.is_valid() {
            self.release(rx);
            return Some(announcement);
        }
        self.drop_frame(rx, &self.drops.bad_announcement);
        None
    }

    /// Hands the messages that are there to `callback`, at most `limit` of them, until an announcement comes between,
    /// and shows the returned buffers to the peer at once. Answers how many messages there were and what ended it
    /// ([`Delivered::Message`]: the limit).
    ///
    /// # Errors
    /// The link is broken; what came before has been delivered.
    #[inline(always)]
    pub fn deliver_all<'r>(
        &'r self,
        limit: usize,
        callback: impl FnMut(Message<'r, L, S>),
    ) -> Result<(usize, Delivered), LinkError> {
        if self.is_broken.get() {
            return Err(self.error());
        }
        let _batch = self.batch();
        let (count, end) = self.run(limit, callback);
        Ok((count, end?))
    }

    /// Hands everything that is there to `callback`, at most `limit` events, and shows the returned buffers to the
    /// peer at once. Answers how many events there were.
    ///
    /// # Errors
    /// The link is broken; what came before has been delivered.
    pub fn drain<'r>(
        &'r self,
        limit: usize,
        mut callback: impl FnMut(Event<'r, L, S>),
    ) -> Result<usize, LinkError> {
        let _batch = self.batch();
        let mut events = 0;
        while events < limit {
            let (messages, end) =
                self.deliver_all(limit - events, |message| callback(Event::Message(message)))?;
            events += messages;
            match end {
                Delivered::Announcement(announcement) => {
                    callback(Event::Announcement(announcement));
                    events += 1;
                }
                Delivered::Message | Delivered::Nothing => break,
            }
        }
        Ok(events)
    }

    /// Until the returned value is dropped, sent messages and returned buffers are collected; then all of them are
    /// shown to the peer with one publication and at most one notification a direction.
    pub fn batch(&self) -> Batch<'_, L, S> {
        self.batches.set(self.batches.get() + 1);
        Batch { rpmsg: self }
    }

    /// Takes a message up again that was put aside by [`Message::hold`]; `None` where that was on another link.
    pub fn resume(&self, held: Held<L>) -> Option<Message<'_, L, S>> {
        let rx = self.link.resume(held.rx)?;
        Some(Message::new(self, rx, held.endpoint, held.src, held.len))
    }

    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    fn send_frame(&self, src: u32, dst: u32, payload: &[u8]) -> Result<(), SendError> {
        if self.is_broken.get() {
            return Err(SendError::Link(self.error()));
        }
        // A length that does not fit the header does not fit any buffer either, and is refused by the link.
        let header = Header { src, dst, reserved: 0, len: payload.len() as u16, flags: 0 };
        match self.link.send(&header, payload) {
            Ok(()) => {
                self.flush();
                Ok(())
            }
            Err(error) => Err(self.refused(error)),
        }
    }

    #[cold]
    fn refused(&self, error: LinkError) -> SendError {
        let is_over = error.is_peer() || error == LinkError::Closed;
        SendError::from(if is_over { self.break_link(error) } else { error })
    }

    #[inline(always)]
    fn take_buffer(&self) -> Result<L::Tx<'_>, SendError> {
        if self.is_broken.get() {
            return Err(SendError::Link(self.error()));
        }
        match self.link.reserve() {
            Ok(tx) => Ok(tx),
            Err(error) => Err(self.refused(error)),
        }
    }

    /// Sends a buffer with a payload of `len` bytes, which fits it and so 16 bits.
    #[inline(always)]
    pub(crate) fn finish(&self, tx: L::Tx<'_>, src: u32, dst: u32, len: usize) -> Result<(), SendError> {
        self.link.commit(tx, &Header { src, dst, reserved: 0, len: len as u16, flags: 0 })?;
        self.flush();
        Ok(())
    }

    #[inline(always)]
    pub(crate) fn release(&self, rx: L::Rx<'_>) {
        self.link.release(rx);
        self.flush();
    }

    #[inline(always)]
    fn flush(&self) {
        if self.batches.get() == 0 {
            self.link.flush();
        }
    }

    fn tell(&self, endpoint: Endpoint, name: &Name, flags: u32) -> Result<(), SendError> {
        self.endpoints.peer(endpoint).ok_or(SendError::EndpointClosed)?;
        let announcement = Announcement { name: *name, addr: endpoint.addr(), flags };
        self.send_frame(endpoint.addr(), NAME_SERVICE_ADDR, &announcement.emit())
    }

    #[cold]
    fn drop_frame(&self, rx: L::Rx<'_>, count: &Cell<u32>) {
        count.set(count.get().saturating_add(1));
        self.release(rx);
    }

    #[cold]
    fn break_link(&self, error: LinkError) -> LinkError {
        let error = if self.link.is_closed() { LinkError::Closed } else { error };
        self.is_broken.set(true);
        self.broken.set(error);
        error
    }

    #[cold]
    fn error(&self) -> LinkError {
        self.broken.get()
    }
}

/// While this is alive, publication is put off; see [`Rpmsg::batch`]. Batches may be nested.
#[derive(Debug)]
#[must_use = "a batch that is dropped at once collects nothing"]
pub struct Batch<'r, L: Link, S: AsRef<[Slot]>> {
    rpmsg: &'r Rpmsg<L, S>,
}

impl<L: Link, S: AsRef<[Slot]>> Drop for Batch<'_, L, S> {
    fn drop(&mut self) {
        self.rpmsg.batches.set(self.rpmsg.batches.get() - 1);
        self.rpmsg.flush();
    }
}

/// Runs what seldom happens out of the way: what it captures is copied for it there, and stays in registers elsewhere.
#[cold]
#[inline(never)]
fn cold<T>(seldom: impl FnOnce() -> T) -> T {
    seldom()
}
