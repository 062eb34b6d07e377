//! The other end: being the remote of a main side in another process.
//!
//! A [`Responder`] sits at a place where main sides come ([`Seat`]), is the device behind the resource table that lies
//! there, announces channels, and serves them. Main sides come one after the other, and each finds the table as it was
//! at first. One that breaks the rules is asked for a reset; one that goes costs nothing but its own link.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sidecore_backends::shm::{Guest, Seat, ShmDoorbell};
use sidecore_mem::{AddressMap, Region};
use sidecore_os::Lent;
use sidecore_remoteproc::{BackendError, Doorbell as _, Waker};
use sidecore_rpmsg::remote::{AttachError, RemoteLink, attach, attach_bare};
use sidecore_rpmsg::{LinkError, link::vring::TO_DEVICE};
use sidecore_vhost_user::{Channel, Serving, Talk};
use sidecore_virtio::status::Change;
use sidecore_virtio::transport::{DeviceTransport as _, DriverTransport as _, table};
use sidecore_wire::features::{self, F_NS};
use sidecore_wire::resource_table::{Entry, Table, vdev};
use sidecore_wire::status::Status;

/// How often the status is looked at while nobody kicks: main sides start and reset without a word.
const LOOK: Duration = Duration::from_millis(10);

/// How long a main side that did wrong keeps the next one waiting: it may be itself, at once and for ever.
const PAUSE: Duration = Duration::from_millis(10);

/// Resets asked for in a row, without a link having been up between, after which a main side is shown out.
const REQUESTS_MAX: u32 = 64;

/// The memory as a remote sees it: one file.
const WINDOWS: usize = 1;

type Link = RemoteLink<Box<dyn Fn(u16)>, Box<[Cell<u16>]>, Arc<Lent>, WINDOWS>;
type Registers = table::Device<Arc<Lent>>;

/// A remote made of channels and what serves them.
#[derive(Debug)]
pub struct Responder {
    seat: Seat,
    table: Vec<u8>,
    /// Where in the table the vdev entry lies.
    vdev: usize,
    channels: Vec<Channel>,
    stop: Arc<AtomicBool>,
}

/// Something that happened at a [`Responder`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Visit {
    /// The place is made, and main sides may come.
    Ready,
    /// A main side came.
    Came,
    /// Its driver is ready, and the link at work.
    Up {
        /// The features in use.
        features: u64,
    },
    /// It reset the device.
    Reset,
    /// It gave the device up (FAILED).
    GaveUp,
    /// The link did not come up; it was asked for a reset.
    Refused {
        /// Why.
        error: AttachError,
    },
    /// It broke a rule; it was asked for a reset.
    Broken {
        /// Which.
        error: LinkError,
    },
    /// Answers were dropped that are longer than its buffers.
    Dropped {
        /// How many since this was told last.
        count: u64,
    },
    /// It went, or was shown out.
    Gone {
        /// How that was noticed.
        why: BackendError,
    },
}

impl fmt::Display for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready for a main side"),
            Self::Came => f.write_str("a main side came"),
            Self::Up { features } => write!(f, "the link is up ({})", features::names(*features)),
            Self::Reset => f.write_str("the main side reset the device"),
            Self::GaveUp => f.write_str("the main side gave the device up (FAILED)"),
            Self::Refused { error } => write!(f, "the link did not come up, only a reset helps: {error}"),
            Self::Broken { error } => write!(f, "the main side broke a rule, only a reset helps: {error}"),
            Self::Dropped { count } => {
                write!(f, "dropped {count} answers longer than the main side's buffers")
            }
            Self::Gone { why } => write!(f, "{why}"),
        }
    }
}

/// Why a table is none that a [`Responder`] can stand behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TableRefused {
    /// It is no resource table.
    #[error("resource table: {0}")]
    Table(#[from] sidecore_wire::resource_table::TableError),
    /// It has no rpmsg device.
    #[error("resource table: no vdev entry with id 7 and two rings")]
    NoDevice,
}

impl Responder {
    /// A remote at `seat` with this resource table and these channels.
    ///
    /// # Errors
    /// The table has no rpmsg device.
    pub fn new(seat: Seat, table: Vec<u8>, channels: Vec<Channel>) -> Result<Self, TableRefused> {
        let offset = Table::parse(&table)?.entries().flatten().find_map(|located| match located.entry {
            Entry::Vdev(entry) if entry.id == vdev::ID_RPMSG && entry.vrings().count() >= 2 => {
                Some(located.offset)
            }
            _ => None,
        });
        let vdev = offset.ok_or(TableRefused::NoDevice)? as usize;
        Ok(Self { seat, table, vdev, channels, stop: Arc::default() })
    }

    /// Has [`Responder::serve`] tell its main side that the channels go, and return. For good.
    #[must_use]
    pub fn stopper(&self) -> Waker {
        let (stop, wake) = (Arc::clone(&self.stop), self.seat.waker());
        Arc::new(move || {
            stop.store(true, Ordering::Release);
            wake();
        })
    }

    /// Serves main sides until it is stopped, and says what happens.
    ///
    /// # Errors
    /// There can be no socket, no memory or descriptors are left, or the file was cut short: the place is of no use.
    pub fn serve(&mut self, tell: &mut dyn FnMut(&Visit)) -> Result<(), BackendError> {
        loop {
            self.seat.open(&self.table)?;
            tell(&Visit::Ready);
            let guest = loop {
                if self.stop.load(Ordering::Acquire) {
                    return Ok(());
                }
                if let Some(guest) = self.seat.accept(None)? {
                    break guest;
                }
            };
            tell(&Visit::Came);
            match self.converse(guest, tell) {
                Ok(()) => return Ok(()),
                Err(why) => tell(&Visit::Gone { why }),
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Serves one main side until it goes, which is an error; or until we do.
    fn converse(&mut self, mut guest: Guest, tell: &mut dyn FnMut(&Visit)) -> Result<(), BackendError> {
        let (table, _) = self.seat.table()?;
        let registers = Registers::new(&table, self.vdev).map_err(|error| gone(&error))?;
        let is_bare = self.seat.config().table.is_none();
        let (mut was_kicked, mut is_silent) = (false, false);
        let mut talk = Talk::new(&mut self.channels);
        let mut link: Option<Serving<Link>> = None;
        let mut requests = 0;
        loop {
            // What a main side without a status would say in it: ready with the first kick, and not before. One that broke a
            // rule cannot be asked for a reset, and is left alone until it goes.
            if is_bare && link.is_none() && !is_silent {
                say_for(&table, self.vdev, if was_kicked { Status::DRIVER_OK } else { Status::RESET })?;
            }
            match registers.poll() {
                Change::Started => match self.attach(&registers, &guest) {
                    Ok((serving, features)) => {
                        talk = Talk::new(&mut self.channels);
                        if features & F_NS == 0 {
                            talk.say_no_names();
                        }
                        tell(&Visit::Up { features });
                        (link, requests) = (Some(serving), 0);
                    }
                    Err(error) => {
                        registers.set_needs_reset();
                        tell(&Visit::Refused { error });
                        requests += 1;
                        is_silent = is_bare;
                    }
                },
                Change::Reset if link.take().is_some() => tell(&Visit::Reset),
                Change::Failed if link.take().is_some() => tell(&Visit::GaveUp),
                _ => {}
            }
            let mut more = false;
            if let Some(serving) = &link {
                match serving.turn(&mut talk) {
                    Ok(is_more) => more = is_more,
                    Err(error) => {
                        let is_closed = error == LinkError::Closed || serving.is_closed();
                        link = None;
                        if is_closed {
                            // Reset and ready again before we looked; or about to be.
                            registers.start_over();
                            tell(&Visit::Reset);
                            more = true;
                        } else if registers.status().contains(Status::DRIVER_OK) {
                            registers.set_needs_reset();
                            tell(&Visit::Broken { error });
                            requests += 1;
                            is_silent = is_bare;
                        }
                    }
                }
            }
            let dropped = talk.dropped();
            if dropped > 0 {
                tell(&Visit::Dropped { count: dropped });
            }
            if requests > REQUESTS_MAX {
                return Err(gone(&"it was asked for resets again and again, and shown out"));
            }
            let kicked = guest.wait(Some(if more { Duration::ZERO } else { LOOK }))?;
            // The kick that told of cleared rings is the one for the new start.
            was_kicked = kicked || (was_kicked && more && link.is_none());
            if self.stop.load(Ordering::Acquire) {
                if let Some(serving) = &link {
                    serving.withdraw(&mut talk);
                }
                return Ok(());
            }
        }
    }

    fn attach(&self, registers: &Registers, guest: &Guest) -> Result<(Serving<Link>, u64), AttachError> {
        let mut map = AddressMap::<_, WINDOWS>::new();
        let mapped = map.insert(sidecore_mem::DeviceAddr(0), self.seat.region());
        mapped.map_err(|error| AttachError::PeerRingAddress { queue: TO_DEVICE, error })?;
        let num = registers.vring(0)?.num.min(u32::from(u16::MAX)) as usize;
        let bell = guest.doorbell();
        let notify = |ids| Box::new(move |queue| ring(&bell, ids, queue)) as Box<dyn Fn(u16)>;
        let cancelled = vec![Cell::new(0); num].into_boxed_slice();
        let (link, features) = match self.seat.config().table {
            Some(_) => attach(registers, map, cancelled, notify)?,
            None => {
                let rings = [registers.vring(0)?, registers.vring(1)?];
                (attach_bare(rings, map, cancelled, notify(rings.map(|ring| ring.notifyid)))?, F_NS)
            }
        };
        Ok((Serving::new(link, self.channels.len())?, features))
    }
}

/// Writes the status in the place of a main side that knows none.
fn say_for(table: &Region<Arc<Lent>>, vdev: usize, status: Status) -> Result<(), BackendError> {
    let registers = table::Driver::new(table, vdev).map_err(|error| gone(&error))?;
    registers.set_status(status);
    Ok(())
}

fn ring(bell: &ShmDoorbell, ids: [u32; 2], queue: u16) {
    if let Some(id) = ids.get(usize::from(queue)) {
        bell.ring(*id);
    }
}

fn gone(why: &dyn fmt::Display) -> BackendError {
    BackendError::ExecutorLost { executor: "the main side", reason: why.to_string() }
}
