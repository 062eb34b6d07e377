//! The link to the main side while it is up.

use core::cell::Cell;
use core::fmt;
use core::task::Poll;
use core::time::Duration;

use sidecore_rpmsg::{
    Directory, Entry, Event, Link as _, LinkError, Name, OpenError, Rpmsg, SendError, Slot,
    remote as attachment,
};
use sidecore_virtio::Notify;
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::{DeviceTransport, table};

use crate::endpoint::Endpoint;
use crate::mailbox::{MailSlot, Mailbox};
use crate::operation::{Operation, operation};
use crate::platform::{self, Native, Platform, SharedMap};
use crate::remote::{Base, Remote};
use crate::trace::trace_line;
use crate::{Error, Machine};

/// How often an idle remote looks at the device status: Linux' driver resets in silence.
const STATUS_PERIOD: Duration = Duration::from_millis(100);

/// The same while it waits for the driver: OpenAMP's rings once, and that may be too early for us.
const START_PERIOD: Duration = Duration::from_millis(10);

/// Services of the main side that are kept in mind.
const SERVICES: usize = 8;

/// How much of what concerns others is done before the caller's siblings get a turn.
const STEPS: usize = 64;

/// The link below a connection.
pub type Wire<'s, P = Native> =
    attachment::RemoteLink<Doorbell<'s, P>, &'s [Cell<u16>], (), { platform::SHARED_MAX }>;

/// A received message on loan: dropping it gives its buffer back to the main side.
pub type Message<'c, 's, P = Native> = sidecore_rpmsg::Message<'c, Wire<'s, P>, &'s [Slot]>;

/// A message being written in the buffer that it will travel in: dropping it sends nothing.
pub type Outgoing<'c, 's, P = Native> = sidecore_rpmsg::Outgoing<'c, Wire<'s, P>, &'s [Slot]>;

/// A connection to the main side: from its driver's DRIVER_OK until it resets the device or breaks the rules.
///
/// Everything that is made of it borrows it. Once the link is down every operation answers so, for good:
/// [`LinkError::Closed`], or what the main side did. [`Connection::disconnect`] then gives the [`Remote`] back, for the
/// next connection.
pub struct Connection<'s, P: Platform = Native> {
    base: Base<'s, P>,
    vdev: &'s table::Device,
    rpmsg: Rpmsg<Wire<'s, P>, &'s [Slot]>,
    mailbox: Mailbox<'s, Wire<'s, P>>,
    /// What the main side announced; taken out only while it is changed.
    services: Cell<Option<Directory<[Entry; SERVICES]>>>,
    features: u64,
    /// The main side was asked to notify.
    armed: Cell<bool>,
    /// The main side took the link down.
    down: Cell<bool>,
}

impl<'s, P: Platform> Connection<'s, P> {
    /// Waits for the main side's driver, and attaches to its rings. A driver with which that fails is asked to reset.
    pub(crate) fn establish(base: Base<'s, P>) -> Result<Self, Error> {
        let vdev = base.vdev.as_ref().map_err(|error| *error)?;
        let machine = base.machine;
        let connected = operation(machine, || {
            // There is no link, and nobody has borrowed anything of the one before.
            vdev.acknowledge();
            if vdev.poll() == Change::Started {
                match Self::attach(base, vdev) {
                    Ok(connection) => return Poll::Ready(connection),
                    Err(error) => {
                        trace_line(format_args!("link: {error}"));
                        vdev.set_needs_reset();
                    }
                }
            }
            machine.look_again(machine.ticks_after(START_PERIOD));
            Poll::Pending
        });
        Ok(connected.wait())
    }

    fn attach(base: Base<'s, P>, vdev: &'s table::Device) -> Result<Self, AttachError> {
        let mut map = SharedMap::new();
        base.machine.platform().shared(&mut map).map_err(AttachError::Memory)?;
        let doorbell = |ids| Doorbell { machine: base.machine, ids };
        let (link, features) =
            attachment::attach(vdev, map, base.cancelled, doorbell).map_err(AttachError::Rings)?;
        // Nobody sleeps yet; whoever does arms first.
        link.disarm();
        let buffers = vdev.vring(sidecore_rpmsg::link::vring::TO_DEVICE as u8);
        let buffers = buffers.map_err(|error| AttachError::Rings(error.into()))?.num as usize;
        if buffers > base.mail.len() {
            return Err(AttachError::PeerBuffers { count: buffers, room: base.mail.len() });
        }
        Ok(Self {
            base,
            vdev,
            rpmsg: Rpmsg::new(link, base.slots),
            mailbox: Mailbox::new(base.mail),
            services: Cell::new(Some(Directory::new([None; SERVICES]))),
            features,
            armed: Cell::new(false),
            down: Cell::new(false),
        })
    }

    /// The machine that the firmware runs on.
    pub const fn machine(&self) -> &'s Machine<P> {
        self.base.machine
    }

    /// rpmsg itself, for what is not here: batches, counts of what was dropped. Messages that are taken from it are
    /// missing from the endpoints here.
    pub const fn rpmsg(&self) -> &Rpmsg<Wire<'s, P>, &'s [Slot]> {
        &self.rpmsg
    }

    /// The features in use.
    pub const fn features(&self) -> u64 {
        self.features
    }

    /// The memories that both sides share, as of now.
    ///
    /// # Errors
    /// They overlap, wrap around, or are too many.
    pub fn shared(&self) -> Result<SharedMap, sidecore_mem::MapError> {
        let mut map = SharedMap::new();
        self.machine().platform().shared(&mut map)?;
        Ok(map)
    }

    /// Opens an endpoint at a dynamic address and announces it under a name, of which the main side makes a channel.
    /// It has no peer until the main side's first message comes.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::NoNameService`], [`Error::Open`], [`Error::Link`].
    pub fn open<'c>(
        &'c self,
        name: &'c str,
    ) -> Operation<'s, impl Future<Output = Result<Endpoint<'c, 's, P>, Error>> + use<'c, 's, P>, P> {
        Operation::of(self.machine(), async move {
            let mut endpoint = self.open_at(sidecore_rpmsg::ADDR_ANY, sidecore_rpmsg::ADDR_ANY)?;
            endpoint.announce(name).await?;
            Ok(endpoint)
        })
    }

    /// Opens an endpoint at an address (`ADDR_ANY`: a dynamic one) for a peer (`ADDR_ANY`: the first one that writes to
    /// it), of which the main side must know already.
    ///
    /// # Errors
    /// The address is in use or reserved, or there is no room for more endpoints.
    pub fn open_at(&self, addr: u32, peer: u32) -> Result<Endpoint<'_, 's, P>, OpenError> {
        Ok(Endpoint::new(self, self.rpmsg.open(addr, peer)?))
    }

    /// The next message for any endpoint; [`Message::endpoint`](sidecore_rpmsg::Message::endpoint) tells which.
    ///
    /// # Errors
    /// The link is down.
    pub fn receive<'c>(
        &'c self,
    ) -> Operation<'s, impl Future<Output = Result<Message<'c, 's, P>, LinkError>> + use<'c, 's, P>, P> {
        self.attempt(|| self.next(None))
    }

    /// The address of a service of the main side's with this name, with or without an instance suffix, as soon as it
    /// announces one.
    ///
    /// # Errors
    /// The link is down.
    pub fn service<'c>(
        &'c self,
        name: &'c str,
    ) -> Operation<'s, impl Future<Output = Result<u32, LinkError>> + use<'c, 's, P>, P> {
        self.attempt(move || {
            self.sort_mail()?;
            let services = self.services.take();
            let found = services.as_ref().and_then(|services| services.matching(name).next());
            self.services.set(services);
            Ok(found.map(|service| service.addr))
        })
    }

    /// Ends the connection. Where the link is still up the main side is asked to reset it, for nobody else knows what
    /// belongs to whom.
    pub fn disconnect(self) -> Remote<'s, P> {
        if self.is_up() {
            self.vdev.set_needs_reset();
        }
        Remote::new(self.base)
    }

    /// Tries something until it answers, or the link is down. Where it has nothing to answer, everything that came was
    /// looked at.
    pub(crate) fn attempt<'c, T, E: From<LinkError>>(
        &'c self,
        mut attempt: impl FnMut() -> Result<Option<T>, E>,
    ) -> Operation<'s, impl Future<Output = Result<T, E>>, P> {
        operation(self.machine(), move || {
            for _ in 0..STEPS {
                if self.down.get() {
                    // Rings and buffers are not ours any more.
                    return Poll::Ready(Err(LinkError::Closed.into()));
                }
                match attempt() {
                    Ok(None) => {}
                    Ok(Some(output)) => {
                        if self.armed.replace(false) {
                            self.rpmsg.link().disarm();
                        }
                        return Poll::Ready(Ok(output));
                    }
                    Err(error) => return Poll::Ready(Err(error)),
                }
                if !self.is_up() {
                    continue;
                }
                let arming = self.machine().is_arming();
                if arming {
                    self.armed.set(true);
                }
                if !arming || !self.rpmsg.link().arm() {
                    self.machine().look_again(self.machine().ticks_after(STATUS_PERIOD));
                    return Poll::Pending;
                }
            }
            // The main side keeps us busy with things that concern nobody; our siblings may have better ones.
            platform::waker().wake();
            Poll::Pending
        })
    }

    /// The oldest message for an endpoint (`None`: for any).
    pub(crate) fn next(
        &self,
        endpoint: Option<sidecore_rpmsg::Endpoint>,
    ) -> Result<Option<Message<'_, 's, P>>, LinkError> {
        if let Some(message) = self.mailbox.take(endpoint).and_then(|held| self.rpmsg.resume(held)) {
            return Ok(Some(message));
        }
        self.sort(|message| endpoint.is_none_or(|endpoint| message.endpoint() == endpoint))
    }

    /// Puts everything that came where it belongs.
    pub(crate) fn sort_mail(&self) -> Result<(), LinkError> {
        self.sort(|_| false).map(|_| ())
    }

    /// Takes what came and puts it where it belongs, up to the first message that is wanted.
    #[inline]
    fn sort(
        &self,
        wanted: impl Fn(&Message<'_, 's, P>) -> bool,
    ) -> Result<Option<Message<'_, 's, P>>, LinkError> {
        for _ in 0..STEPS {
            match self.rpmsg.poll() {
                Ok(Some(Event::Message(message))) if wanted(&message) => return Ok(Some(message)),
                Ok(Some(Event::Message(message))) => {
                    if let Some(Err(held)) = message.hold().map(|held| self.mailbox.put(held)) {
                        // There are as many slots as buffers: a main side that made more of them loses a message.
                        drop(self.rpmsg.resume(held));
                    }
                }
                Ok(Some(Event::Announcement(announcement))) => {
                    let mut services = self.services.take();
                    // What says nothing new, or is one too many, changes nothing.
                    let _ = services.as_mut().map(|services| services.apply(&announcement));
                    self.services.set(services);
                }
                Ok(None) => break,
                Err(error) => return Err(self.broken(error)),
            }
        }
        Ok(None)
    }

    /// What to answer after an error of the link below.
    pub(crate) fn broken(&self, error: LinkError) -> LinkError {
        if error == LinkError::Closed && self.is_up() {
            // The driver reset the device and was ready again before we looked: only the cleared rings tell.
            self.vdev.start_over();
            self.down.set(true);
        }
        if !self.is_up() {
            // Rings that are being taken apart look like broken ones.
            return LinkError::Closed;
        }
        if !self.vdev.status().contains(sidecore_wire::status::Status::NEEDS_RESET) {
            trace_line(format_args!("link: {error}"));
            self.vdev.set_needs_reset();
        }
        error
    }

    /// What to answer where a message was not sent; `None` where there may be a buffer for it later.
    pub(crate) fn unsent(&self, error: SendError) -> Result<(), SendError> {
        match error {
            SendError::Full => Ok(self.sort_mail()?),
            SendError::Link(error) => Err(SendError::Link(self.broken(error))),
            error => Err(error),
        }
    }

    /// Closes an endpoint and throws away what is here for it.
    pub(crate) fn close(&self, endpoint: sidecore_rpmsg::Endpoint, name: Option<Name>) {
        let is_up = self.is_up();
        if let Some(name) = name.filter(|_| is_up) {
            // Not said where no buffer is free: the main side finds out when it writes to nobody.
            let _ = self.rpmsg.withdraw(endpoint, &name);
        }
        self.rpmsg.close(endpoint);
        while let Some(held) = self.mailbox.take(Some(endpoint)) {
            if is_up {
                drop(self.rpmsg.resume(held));
            }
        }
    }

    fn is_up(&self) -> bool {
        if !self.down.get() && matches!(self.vdev.poll(), Change::Reset | Change::Failed) {
            self.down.set(true);
        }
        !self.down.get()
    }
}

impl<P: Platform> fmt::Debug for Connection<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (features, down) = (self.features, self.down.get());
        f.debug_struct("Connection").field("features", &features).field("down", &down).finish_non_exhaustive()
    }
}

/// Rings the main side for the queues of a connection.
pub struct Doorbell<'s, P = Native> {
    machine: &'s Machine<P>,
    ids: [u32; 2],
}

impl<P: Platform> Notify for Doorbell<'_, P> {
    fn notify(&self, queue: u16) {
        if let Some(id) = self.ids.get(usize::from(queue)) {
            self.machine.platform().ring(*id);
        }
    }
}

impl<P> fmt::Debug for Doorbell<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").field("ids", &self.ids).finish_non_exhaustive()
    }
}

/// Why rings were not attached to.
enum AttachError {
    Memory(sidecore_mem::MapError),
    Rings(attachment::AttachError),
    /// The main side has made a ring longer than the image asked for.
    PeerBuffers {
        count: usize,
        room: usize,
    },
}

impl fmt::Display for AttachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(error) => write!(f, "shared memory: {error}"),
            Self::Rings(error) => error.fmt(f),
            Self::PeerBuffers { count, room } => write!(f, "{count} buffers to receive in, room for {room}"),
        }
    }
}

/// Room for what a connection keeps: for each buffer in which the image sends, and each in which it receives.
pub(crate) struct Storage<'s, P: Platform, const TO_HOST: usize, const TO_REMOTE: usize> {
    pub(crate) cancelled: [Cell<u16>; TO_HOST],
    pub(crate) slots: [Slot; ENDPOINTS],
    pub(crate) mail: [MailSlot<Wire<'s, P>>; TO_REMOTE],
}

/// Endpoints that an image can have open at once.
const ENDPOINTS: usize = 16;

impl<P: Platform, const TO_HOST: usize, const TO_REMOTE: usize> Storage<'_, P, TO_HOST, TO_REMOTE> {
    pub(crate) const fn new() -> Self {
        Self {
            cancelled: [const { Cell::new(0) }; TO_HOST],
            slots: [const { Slot::new() }; ENDPOINTS],
            mail: [const { MailSlot::new() }; TO_REMOTE],
        }
    }
}

#[cfg(test)]
mod tests;
