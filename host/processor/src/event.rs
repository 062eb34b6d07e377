//! What happens to a remote, as the application sees it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;

use sidecore_remoteproc::codes::Code;
use sidecore_remoteproc::{BackendError, Crash};
use sidecore_rpmsg::{DirectoryError, LinkError, Name};
use sidecore_services::PeerError;
use sidecore_wire::features;

use crate::codes;
use crate::device::Dropped;
use crate::ground::{DeviceError, NotResumed};
use crate::service::ServiceEvent;

/// Something that happened to a remote. Nothing else happens: what is dropped, refused or cut is here, too.
///
/// What a hostile remote can make happen without end is one event with a count until the application takes it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// An rpmsg device is up: its rings can be used.
    DeviceUp {
        /// Number of the device.
        device: u32,
        /// The features in use.
        features: u64,
    },
    /// An rpmsg device goes on where a main side died.
    DeviceResumed {
        /// Number of the device.
        device: u32,
        /// The features in use.
        features: u64,
        /// Frames that come again, because that main side had received and not released them.
        again: u32,
    },
    /// A main side left an rpmsg device in use, and it cannot be gone on in: it is brought up anew, and what was under
    /// way is lost.
    DeviceNotResumed {
        /// Number of the device.
        device: u32,
        /// Why.
        error: NotResumed,
    },
    /// An rpmsg device goes on with its endpoints after the remote crashed and was restarted silently.
    DeviceRestarted {
        /// Number of the device.
        device: u32,
        /// The features in use.
        features: u64,
        /// Messages that the remote had not released when it crashed: they are sent again, in order, and it may have seen
        /// some of them.
        again: u32,
    },
    /// A service was not announced again in time after a silent restart. Endpoints bound to it have nobody to talk to.
    ServiceNotBack {
        /// Number of the device.
        device: u32,
        /// The service's name.
        name: Name,
        /// Address that its endpoint had.
        addr: u32,
    },
    /// Messages were not sent again after a silent restart: whom they are for did not come back.
    NotSentAgain {
        /// Number of the device.
        device: u32,
        /// Address of the endpoint that they are from.
        addr: u32,
        /// How many.
        count: u32,
    },
    /// A virtio device that the firmware offers did not come up. The remote goes on without it.
    DeviceFailed {
        /// Number of the device.
        device: u32,
        /// Why.
        error: DeviceError,
    },
    /// The remote announced a service.
    ServiceAnnounced {
        /// Number of the device.
        device: u32,
        /// The service's name.
        name: Name,
        /// Address of its endpoint at the remote.
        addr: u32,
    },
    /// The remote withdrew a service. Endpoints bound to it have nobody to talk to.
    ServiceWithdrawn {
        /// Number of the device.
        device: u32,
        /// The service's name.
        name: Name,
        /// Address that its endpoint had.
        addr: u32,
    },
    /// An announcement changed nothing.
    AnnouncementRefused {
        /// Number of the device.
        device: u32,
        /// Why; of the last one, if there were several.
        error: DirectoryError,
        /// How many there were.
        count: u32,
    },
    /// The remote wants a service that is offered here, and does not get it.
    ServiceNotOpened {
        /// Number of the device.
        device: u32,
        /// The channel's name.
        name: Name,
        /// Why.
        error: ServeError,
    },
    /// A service that runs here has something to tell.
    Service {
        /// Number of the device.
        device: u32,
        /// The service.
        service: &'static str,
        /// What happened.
        event: ServiceEvent,
    },
    /// The remote broke the rules of a service that runs here. The message was ignored.
    ServiceMisused {
        /// Number of the device.
        device: u32,
        /// The service.
        service: &'static str,
        /// What was wrong with the message; with the last one, if there were several.
        error: PeerError,
        /// How many there were.
        count: u32,
    },
    /// Messages came for an endpoint that had too many waiting already, and are lost.
    MessagesLost {
        /// Number of the device.
        device: u32,
        /// Address of the endpoint.
        addr: u32,
        /// How many.
        count: u32,
    },
    /// Frames came that nothing could be done with.
    Dropped {
        /// Number of the device.
        device: u32,
        /// How many, by reason.
        frames: Dropped,
    },
    /// The remote broke the rules of its rings. The device's link is closed and its status FAILED; other devices and
    /// the remote go on.
    LinkBroken {
        /// Number of the device.
        device: u32,
        /// What the remote did, with field and value.
        error: LinkError,
    },
    /// The remote says that the device works again only after a reset.
    NeedsReset {
        /// Number of the device.
        device: u32,
    },
    /// Somebody else reset the device: the remote was started anew under us, by its owner or by itself. The device's link
    /// is closed.
    DeviceReset {
        /// Number of the device.
        device: u32,
    },
    /// The remote tells when it has let go of a device that was reset, and has not told in time. It was brought up all the
    /// same: what the remote still does for the main side before us may cost the link.
    ResetNotAcknowledged {
        /// Number of the device.
        device: u32,
        /// How long was waited.
        waited: std::time::Duration,
    },
    /// Frames are no longer recorded: the file takes no more.
    CaptureEnded {
        /// What the system said.
        error: std::io::ErrorKind,
    },
    /// The remote is no longer running.
    Ended(Ended),
    /// Events were lost, because the application did not take them.
    EventsLost {
        /// How many.
        count: u32,
    },
}

/// Why a remote does not get a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// There is no room for more endpoints.
    #[error(transparent)]
    Endpoint(#[from] sidecore_rpmsg::OpenError),
    /// There is one of it, and another channel has it.
    #[error("another channel has it already")]
    InUse,
}

/// How a remote came to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By itself.
    Exited {
        /// Its exit code, 0 for success.
        code: i32,
    },
    /// By a crash or a hang.
    Crashed(Crash),
    /// It was stopped from here.
    Stopped,
    /// It was given up from here, and runs on.
    Detached,
    /// Whatever executed it is gone.
    Lost(BackendError),
}

impl Event {
    /// Whether it is of a kind that a remote can make happen without end, and so one with a count.
    #[must_use]
    pub const fn is_repeatable(&self) -> bool {
        matches!(
            self,
            Self::AnnouncementRefused { .. }
                | Self::ServiceMisused { .. }
                | Self::MessagesLost { .. }
                | Self::Dropped { .. }
        )
    }

    /// The code that explains it, where there is something to explain.
    #[must_use]
    pub fn code(&self) -> Option<Code> {
        Some(match self {
            Self::DeviceFailed { error, .. } => error.code(),
            Self::LinkBroken { .. } | Self::NeedsReset { .. } | Self::DeviceReset { .. } => {
                codes::LINK_BROKEN
            }
            Self::AnnouncementRefused { .. } | Self::ServiceNotOpened { .. } => codes::SERVICE_REFUSED,
            Self::ServiceNotBack { .. } => codes::SERVICE_WITHDRAWN,
            Self::NotSentAgain { .. } => codes::NOT_SENT_AGAIN,
            Self::ServiceMisused { .. } | Self::Dropped { .. } => codes::NONSENSE_DROPPED,
            Self::MessagesLost { .. } | Self::EventsLost { .. } => codes::NOT_TAKEN,
            Self::Ended(Ended::Crashed(_)) => codes::REMOTE_CRASHED,
            Self::Ended(Ended::Lost(error)) => error.code(),
            _ => return None,
        })
    }

    /// Adds the count of a later event to this one, where both are of the same repeatable kind and concern the same
    /// thing; whether they did.
    pub fn merge(&mut self, later: &Self) -> bool {
        let add = |count: &mut u32, more: u32| *count = count.saturating_add(more);
        match (self, later) {
            (
                Self::AnnouncementRefused { device, error, count },
                Self::AnnouncementRefused { device: same, error: latest, count: more },
            ) if device == same => {
                *error = *latest;
                add(count, *more);
            }
            (
                Self::ServiceMisused { device, service, error, count },
                Self::ServiceMisused { device: same, service: same_service, error: latest, count: more },
            ) if device == same && service == same_service => {
                *error = *latest;
                add(count, *more);
            }
            (
                Self::MessagesLost { device, addr, count },
                Self::MessagesLost { device: same, addr: same_addr, count: more },
            ) if device == same && addr == same_addr => add(count, *more),
            (Self::Dropped { device, frames }, Self::Dropped { device: same, frames: more })
                if device == same =>
            {
                add(&mut frames.unknown_destination, more.unknown_destination);
                add(&mut frames.malformed, more.malformed);
                add(&mut frames.bad_announcement, more.bad_announcement);
            }
            _ => return false,
        }
        true
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeviceUp { device, features } => {
                write!(f, "vdev{device}: up, features: {}", features::names(*features))
            }
            Self::DeviceResumed { device, features, again } => write!(
                f,
                "vdev{device}: goes on where its main side died, features: {}, {again} frames come again",
                features::names(*features)
            ),
            Self::DeviceNotResumed { device, error } => {
                write!(f, "vdev{device}: begins anew, and what was under way is lost: {error}")
            }
            Self::DeviceRestarted { device, features, again } => write!(
                f,
                "vdev{device}: goes on after the restart, features: {}, {again} messages are sent again",
                features::names(*features)
            ),
            Self::ServiceNotBack { device, name, addr } => {
                write!(f, "vdev{device}: {name}, which was at {addr:#x}, has not come back after the restart")
            }
            Self::NotSentAgain { device, addr, count } => {
                write!(
                    f,
                    "vdev{device}: {count} messages of {addr:#x} are lost: their peer has not come back"
                )
            }
            Self::DeviceFailed { device, error } => write!(f, "vdev{device}: did not come up: {error}"),
            Self::ServiceAnnounced { device, name, addr } => {
                write!(f, "vdev{device}: {name} announced at {addr:#x}")
            }
            Self::ServiceWithdrawn { device, name, addr } => {
                write!(f, "vdev{device}: {name} at {addr:#x} withdrawn")
            }
            Self::AnnouncementRefused { device, error, count } => {
                write!(f, "vdev{device}: announcement refused{}: {error}", Times(*count))
            }
            Self::ServiceNotOpened { device, name, error } => {
                write!(f, "vdev{device}: {name} cannot be served: {error}")
            }
            Self::Service { device, service, event } => write!(f, "vdev{device}: {service}: {event}"),
            Self::ServiceMisused { device, service, error, count } => {
                write!(
                    f,
                    "vdev{device}: {service}: the remote's message was ignored{}: {error}",
                    Times(*count)
                )
            }
            Self::MessagesLost { device, addr, count } => {
                write!(f, "vdev{device}: {count} messages for {addr:#x} lost: nobody reads them")
            }
            Self::Dropped { device, frames } => write!(
                f,
                "vdev{device}: frames dropped: {} to unknown addresses, {} malformed, {} bad announcements",
                frames.unknown_destination, frames.malformed, frames.bad_announcement
            ),
            Self::LinkBroken { device, error } => write!(f, "vdev{device}: link closed: {error}"),
            Self::NeedsReset { device } => write!(f, "vdev{device}: the remote asks for a reset"),
            Self::DeviceReset { device } => write!(f, "vdev{device}: somebody else reset it"),
            Self::ResetNotAcknowledged { device, waited } => {
                write!(
                    f,
                    "vdev{device}: the remote has not acknowledged a reset within {} ms",
                    waited.as_millis()
                )
            }
            Self::CaptureEnded { error } => write!(f, "recording ended: {error}"),
            Self::Ended(ended) => ended.fmt(f),
            Self::EventsLost { count } => write!(f, "{count} events lost: nobody took them"),
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "the remote ended with exit code {code}"),
            Self::Crashed(crash) => write!(f, "the remote crashed: {}", crate::crash::Summary(crash)),
            Self::Stopped => f.write_str("the remote was stopped"),
            Self::Detached => f.write_str("the remote was given up, and runs on"),
            Self::Lost(error) => error.fmt(f),
        }
    }
}

struct Times(u32);

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => Ok(()),
            count => write!(f, " ({count} times)"),
        }
    }
}

/// Events that wait for the application.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: RefCell<VecDeque<Event>>,
}

/// Events that wait at most; those above are counted.
const WAITING: usize = 1024;

impl Events {
    pub(crate) fn push(&self, event: Event) {
        let mut queue = self.queue.borrow_mut();
        if event.is_repeatable() && queue.iter_mut().rev().any(|waiting| waiting.merge(&event)) {
            return;
        }
        if queue.len() < WAITING || matches!(event, Event::Ended(_)) {
            queue.push_back(event);
        } else if let Some(Event::EventsLost { count }) = queue.back_mut() {
            *count = count.saturating_add(1);
        } else {
            queue.push_back(Event::EventsLost { count: 1 });
        }
    }

    pub(crate) fn pop(&self) -> Option<Event> {
        self.queue.borrow_mut().pop_front()
    }

    pub(crate) fn clear(&self) {
        self.queue.borrow_mut().clear();
    }
}
