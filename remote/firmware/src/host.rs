//! The host's part on a coprocessor: a link to the other core of the board, with no main side between.

use core::array;
use core::cell::Cell;
use core::fmt;
use core::task::Poll;
use core::time::Duration;

use sidecore_mem::{DeviceAddr, Region};
use sidecore_rpmsg::host::{HostLink, UNDERSTOOD, bring_up};
use sidecore_rpmsg::link::vring::Buffers;
use sidecore_rpmsg::{Endpoint, Event, Link as _, LinkError, OpenError, Rpmsg, SendError, Slot};
use sidecore_virtio::Notify;
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::transport::{DriverTransport as _, table};
use sidecore_wire::features::F_BUFSZ;
use sidecore_wire::resource_table::{Entry, Header, Table, Vring, vdev, vring};
use sidecore_wire::split::Layout;
use sidecore_wire::status::Status;

use crate::operation::{Operation, operation};
use crate::platform::{self, Native, Platform, Sibling};
use crate::resources::TABLE_MAX;
use crate::{Error, Machine};

/// How often a sibling that is not there yet is looked for.
const LOOK_PERIOD: Duration = Duration::from_millis(10);
/// How often an idle host looks at the sibling's status, which it may change without a bell.
const STATUS_PERIOD: Duration = Duration::from_millis(100);
/// How often a look is taken whether a sibling has seen that its link was reset.
const ACKNOWLEDGE_PERIOD: Duration = Duration::from_millis(1);
/// How long a sibling is given to see that its link was reset: more than its own looks at the status are apart.
const QUIESCE: Duration = Duration::from_millis(250);

/// Bytes of each buffer, header included: what both sides assume.
const BUFFER: u32 = 512;
/// Endpoints that a host can have open at once.
const ENDPOINTS: usize = 8;
/// How much of what concerns nobody is done before the caller's siblings get a turn.
const STEPS: usize = 64;

/// The link below a [`Host`].
pub type SiblingLink<'m, const RING: usize, P = Native> =
    HostLink<[split::Slot; RING], SiblingBell<'m, P>, ()>;

/// What a [`Host`] receives: a message on loan, or the name of a service.
pub type SiblingEvent<'h, 'm, const RING: usize, P = Native> =
    Event<'h, SiblingLink<'m, RING, P>, [Slot; ENDPOINTS]>;

/// An endpoint of a [`Host`]: its address, and that of its peer at the sibling.
pub type SiblingEndpoint = Endpoint;

/// A message being written in the buffer in which it will travel to the sibling: dropping it sends nothing.
pub type SiblingOutgoing<'h, 'm, const RING: usize, P = Native> =
    sidecore_rpmsg::Outgoing<'h, SiblingLink<'m, RING, P>, [Slot; ENDPOINTS]>;

/// rpmsg's host, and virtio's driver, of the firmware on the other core of the same board.
///
/// That firmware is an ordinary image ([`image!`](crate::image)): it cannot tell this host from a main side. Rings and
/// buffers lie in the memory between the two; nothing is copied but by those who send and receive, and nothing is
/// allocated. `RING` is the most entries that either ring may have.
///
/// A sibling that breaks the rules costs its link: the error tells, the sibling's device has FAILED, and every operation
/// answers with the same error from then on. A sibling that was started again, or gave its connection up, asks for a
/// reset: [`LinkError::Closed`]. After either, [`connect`](Self::connect) makes a new one.
pub struct Host<'m, const RING: usize, P: Platform = Native> {
    machine: &'m Machine<P>,
    driver: table::Driver,
    rpmsg: Rpmsg<SiblingLink<'m, RING, P>, [Slot; ENDPOINTS]>,
    /// The sibling was asked to ring.
    armed: Cell<bool>,
}

impl<'m, const RING: usize, P: Platform> Host<'m, RING, P> {
    /// Lets the other core begin where that is this one's to do, waits for its firmware's resource table, and brings its
    /// rpmsg device up. Any link that there was before is reset, and what the sibling does for that one must not end in the
    /// rings of this one: where it may still be in the middle of it, this waits until it says that it has let go, or a
    /// quarter of a second where it does not say so.
    ///
    /// # Errors
    /// [`Error::NoSibling`]: this board has one core. Or the sibling's table makes no sense, asks for longer rings than
    /// `RING`, or for more memory than there is between the two.
    pub fn connect(
        machine: &'m Machine<P>,
    ) -> Operation<'m, impl Future<Output = Result<Self, Error>> + use<'m, RING, P>, P> {
        Operation::of(machine, async move {
            let sibling = machine.platform().sibling().ok_or(Error::NoSibling)?;
            let is_there = operation(machine, || match sibling.table.load::<u32>(0) {
                Ok(Header::VERSION) => Poll::Ready(()),
                _ => {
                    machine.look_again(machine.ticks_after(LOOK_PERIOD));
                    Poll::Pending
                }
            });
            is_there.await;
            let at = find_device(&sibling.table)?;
            let driver = table::Driver::new(&sibling.table, at).map_err(Error::Device)?;
            let before = driver.status();
            let reset = driver.reset();
            // Who asked for it has let go already.
            if before != Status::RESET && !before.contains(Status::NEEDS_RESET) {
                if reset.is_some() {
                    machine.platform().ring_sibling();
                }
                let end = machine.ticks_after(QUIESCE);
                let has_let_go = operation(machine, || {
                    if reset.is_some_and(|reset| driver.is_acknowledged(reset)) || machine.is_over(end) {
                        return Poll::Ready(());
                    }
                    machine.look_again(machine.ticks_after(ACKNOWLEDGE_PERIOD));
                    Poll::Pending
                });
                has_let_go.await;
            }
            let host = Self::bring_up(machine, &sibling, driver, at)?;
            machine.platform().release_sibling();
            Ok(host)
        })
    }

    fn bring_up(
        machine: &'m Machine<P>,
        sibling: &Sibling,
        driver: table::Driver,
        at: usize,
    ) -> Result<Self, Error> {
        let mut rest = Room { memory: &sibling.memory, at: sibling.at, used: 0 };
        let [to_host, to_remote] =
            [driver.vring(0).map_err(Error::Device)?, driver.vring(1).map_err(Error::Device)?];
        let mut place = |index: usize, ring: &Vring| {
            let layout = u16::try_from(ring.num).ok().filter(|num| usize::from(*num) <= RING);
            let layout = layout.and_then(|num| Layout::new(num, ring.align).ok());
            let layout = layout.ok_or(Error::SiblingRing { num: ring.num, align: ring.align })?;
            let (region, addr) = rest.take(layout.size() as usize, ring.align as usize)?;
            let da = at + vdev::offset::VRINGS + vring::SIZE * index + vring::offset::DA;
            // The table's memory holds the whole entry, or there were no registers; below 4 GiB everything is.
            let _ = sibling.table.write(da, &(addr.0 as u32).to_le_bytes());
            let parts = Parts::contiguous(&region, &layout)
                .map_err(|_| Error::SiblingRing { num: ring.num, align: ring.align })?;
            let (region, addr) = rest.take(ring.num as usize * BUFFER as usize, BUFFER as usize)?;
            Ok::<_, Error>((parts, Buffers { region, addr, size: BUFFER }))
        };
        let (rx, rx_buffers) = place(0, &to_host)?;
        let (tx, tx_buffers) = place(1, &to_remote)?;
        let slots = || array::from_fn(|_| split::Slot::default());
        let bell = SiblingBell { machine };
        let brought_up = bring_up(
            &driver,
            UNDERSTOOD & !F_BUFSZ,
            [rx, tx],
            [slots(), slots()],
            [rx_buffers, tx_buffers],
            bell,
        );
        let (link, _) = brought_up.map_err(Error::BringUp)?;
        let rpmsg = Rpmsg::new(link, [const { Slot::new() }; ENDPOINTS]);
        Ok(Self { machine, driver, rpmsg, armed: Cell::new(false) })
    }

    /// The machine that this firmware runs on.
    pub const fn machine(&self) -> &'m Machine<P> {
        self.machine
    }

    /// rpmsg itself, for what is not here.
    pub const fn rpmsg(&self) -> &Rpmsg<SiblingLink<'m, RING, P>, [Slot; ENDPOINTS]> {
        &self.rpmsg
    }

    /// Opens an endpoint at an address (`ADDR_ANY`: a dynamic one) for a peer's address, which an announcement tells.
    ///
    /// # Errors
    /// The address is in use or reserved, or there is no room for more endpoints.
    pub fn open(&self, addr: u32, peer: u32) -> Result<Endpoint, OpenError> {
        self.rpmsg.open(addr, peer)
    }

    /// The next thing that the sibling sent: a message for one of the endpoints, or an announcement.
    ///
    /// # Errors
    /// The link is down: [`LinkError::Closed`] where the sibling asked for a reset, for which there is
    /// [`connect`](Self::connect).
    pub fn next<'h>(
        &'h self,
    ) -> Operation<
        'm,
        impl Future<Output = Result<SiblingEvent<'h, 'm, RING, P>, LinkError>> + use<'h, 'm, RING, P>,
        P,
    > {
        self.attempt(|| self.rpmsg.poll().map_err(|error| self.broken(error)))
    }

    /// Takes a buffer in which a message to the endpoint's peer is written in place, as soon as there is one.
    ///
    /// # Errors
    /// There is no peer, or the link is down.
    pub fn reserve<'h>(
        &'h self,
        endpoint: Endpoint,
    ) -> Operation<
        'm,
        impl Future<Output = Result<SiblingOutgoing<'h, 'm, RING, P>, SendError>> + use<'h, 'm, RING, P>,
        P,
    > {
        self.attempt(move || match self.rpmsg.reserve(endpoint) {
            Ok(outgoing) => Ok(Some(outgoing)),
            Err(SendError::Full) => Ok(None),
            Err(SendError::Link(error)) => Err(SendError::Link(self.broken(error))),
            Err(error) => Err(error),
        })
    }

    /// Sends a copy of a message to the endpoint's peer, as soon as there is a buffer for it.
    ///
    /// # Errors
    /// The message is too long, there is no peer, or the link is down. Nothing was sent.
    pub fn send<'h, 'b>(
        &'h self,
        endpoint: Endpoint,
        payload: &'b [u8],
    ) -> Operation<'m, impl Future<Output = Result<(), SendError>> + use<'b, 'h, 'm, RING, P>, P> {
        self.attempt(move || match self.rpmsg.send(endpoint, payload) {
            Ok(()) => Ok(Some(())),
            Err(SendError::Full) => Ok(None),
            Err(SendError::Link(error)) => Err(SendError::Link(self.broken(error))),
            Err(error) => Err(error),
        })
    }

    /// Gives the link up with a sibling that broke the rules, and has it know.
    fn broken(&self, error: LinkError) -> LinkError {
        let status = self.driver.status();
        if error.is_peer() && !status.contains(Status::FAILED) {
            self.driver.set_status(status.with(Status::FAILED));
        }
        error
    }

    /// Tries something until it answers, or the link is down.
    fn attempt<'h, T, E: From<LinkError>>(
        &'h self,
        mut attempt: impl FnMut() -> Result<Option<T>, E>,
    ) -> Operation<'m, impl Future<Output = Result<T, E>>, P> {
        operation(self.machine, move || {
            for _ in 0..STEPS {
                if self.driver.status().contains(Status::NEEDS_RESET) {
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
                let arming = self.machine.is_arming();
                if arming {
                    self.armed.set(true);
                }
                if !arming || !self.rpmsg.link().arm() {
                    self.machine.look_again(self.machine.ticks_after(STATUS_PERIOD));
                    return Poll::Pending;
                }
            }
            platform::waker().wake();
            Poll::Pending
        })
    }
}

impl<const RING: usize, P: Platform> fmt::Debug for Host<'_, RING, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("status", &self.driver.status()).finish_non_exhaustive()
    }
}

/// Rings the other core of the board.
pub struct SiblingBell<'m, P = Native> {
    machine: &'m Machine<P>,
}

impl<P: Platform> Notify for SiblingBell<'_, P> {
    fn notify(&self, _: u16) {
        // It looks at both of its rings.
        self.machine.platform().ring_sibling();
    }
}

impl<P> fmt::Debug for SiblingBell<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SiblingBell").finish_non_exhaustive()
    }
}

/// Memory between the two cores, given away from its beginning on.
struct Room<'r> {
    memory: &'r Region,
    at: DeviceAddr,
    used: usize,
}

impl Room<'_> {
    fn take(&mut self, len: usize, align: usize) -> Result<(Region, DeviceAddr), Error> {
        let room = self.memory.len();
        let start = self.used.checked_next_multiple_of(align.max(64)).unwrap_or(room);
        let end = start.saturating_add(len);
        let region = self.memory.slice(start, len).map_err(|_| Error::NoRoom { needed: end, room })?;
        self.used = end;
        Ok((region, DeviceAddr(self.at.0 + start as u64)))
    }
}

/// Where in a resource table the rpmsg device is. The table is copied first: its owner may change it any time.
fn find_device(table: &Region) -> Result<usize, Error> {
    let mut bytes = [0; TABLE_MAX];
    let len = bytes.len().min(table.len());
    let bytes = bytes.get_mut(..len).unwrap_or_default();
    table.read(0, bytes).map_err(|_| Error::NoDevice)?;
    let table = Table::parse(bytes).map_err(Error::SiblingTable)?;
    let mut devices = table.entries().flatten().filter(|located| match located.entry {
        Entry::Vdev(vdev) => vdev.id == vdev::ID_RPMSG && vdev.num_of_vrings == 2,
        _ => false,
    });
    devices.next().map(|located| located.offset as usize).ok_or(Error::NoDevice)
}

#[cfg(test)]
mod tests;
