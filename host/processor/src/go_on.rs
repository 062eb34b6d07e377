//! A device that goes on with its endpoints when its remote is restarted silently.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use sidecore_remoteproc::Backend;
use sidecore_rpmsg::link::vring::Unreleased;
use sidecore_rpmsg::{Announcement, Endpoint, Link as _, LinkError, Name};
use sidecore_wire::name_service::CREATE;
use sidecore_wire::rpmsg::NAME_SERVICE_ADDR;

use crate::capture::Tap;
use crate::device::{Device, Dropped, Messages};
use crate::event::{Event, Events};
use crate::gap::{Frame, Gap, GivenUp, Waits};
use crate::ground::{DeviceError, Ground};
use crate::port::Ports;

/// What of a device goes on on another link.
pub(crate) struct Carried<B: Backend> {
    messages: Messages<B>,
    ports: Ports<B>,
    reported: Dropped,
    gap: Gap,
    again: u32,
}

impl<B: Backend> Device<B> {
    /// Has no message wait in the remote's memory any more: that is about to be given back.
    pub(crate) fn set_aside(&self) {
        let _batch = self.messages.batch();
        self.ports.borrow_mut().set_aside(|held| {
            let message = self.messages.resume(held)?;
            let mut payload = vec![0; message.len()];
            message.copy_to(&mut payload).ok()?;
            Some((message.src(), payload.into()))
        });
    }

    /// Takes the device apart. What the remote has not released is to be sent again; its services may take `within` to
    /// come back. Services of ours end: they begin anew when the remote asks for them.
    pub(crate) fn carry(self, within: Duration, events: &Events) -> Carried<B> {
        let served = self.ports.borrow().served();
        let mut frames = self.unreleased(&served);
        served.into_iter().for_each(|endpoint| self.close(endpoint, events));
        let directory = self.directory.borrow();
        let mut services: Vec<_> = directory.services().map(|service| (service.name, service.addr)).collect();
        let mut ports = self.ports.into_inner();
        let unlearnt = ports.unlearn().into_iter();
        let mut learners: Vec<_> =
            unlearnt.filter_map(|endpoint| Some((endpoint, self.messages.peer(endpoint)?))).collect();
        if let Some(gap) = self.gap.into_inner() {
            // What has not been sent again is younger than what has been.
            frames.extend(gap.frames.into_iter().filter(|frame| frame.dst != NAME_SERVICE_ADDR));
            services.extend(gap.services);
            learners.extend(gap.learners);
        }
        let again = frames.len() as u32;
        for (learner, _) in &learners {
            self.messages.bind(*learner, sidecore_rpmsg::ADDR_ANY);
        }
        let mut gap = Gap::new(frames, services, learners, Instant::now() + within);
        gap.first(ports.announced().map(|(name, addr)| announcement(name, addr)).collect());
        Carried { messages: self.messages, ports, reported: self.reported.get(), gap, again }
    }

    /// Brings the device of the new run up with what was carried.
    pub(crate) fn bring_up_again(
        ground: Ground<B>,
        tap: Tap,
        keep: bool,
        carried: Carried<B>,
        events: &Events,
    ) -> Result<Self, DeviceError> {
        let Carried { messages, ports, reported, gap, again } = carried;
        let mut device = Self::bring_up(ground, tap, keep)?;
        let Self { index, features, .. } = device;
        device.messages = messages.moved_to(device.messages);
        device.ports = RefCell::new(ports);
        device.reported.set(reported);
        device.gap = RefCell::new(Some(gap));
        let open: Vec<_> = device.ports.borrow().all().collect();
        open.into_iter().for_each(|endpoint| device.note_port(endpoint));
        events.push(Event::DeviceRestarted { device: index, features, again });
        Ok(device)
    }

    /// The messages of endpoints that are open and not `served` which the remote has not released, oldest first.
    fn unreleased(&self, served: &[Endpoint]) -> Vec<Frame> {
        let link = self.messages.link().inner();
        let mut all: Vec<_> = link.unreleased().collect();
        all.sort_by_key(|frame| std::cmp::Reverse(frame.age));
        let ours: Vec<_> = self.ports.borrow().all().filter(|endpoint| !served.contains(endpoint)).collect();
        let is_ours = |frame: &Unreleased| {
            // Who is where is told anew in any case.
            let is_message = frame.header.dst != NAME_SERVICE_ADDR;
            is_message && ours.iter().any(|endpoint| endpoint.addr() == frame.header.src)
        };
        let read = |frame: Unreleased| {
            let mut payload = vec![0; frame.len];
            link.read_unreleased(&frame, &mut payload).then_some(Frame {
                src: frame.header.src,
                dst: frame.header.dst,
                payload,
                waits: Waits::No,
            })
        };
        all.into_iter().filter(is_ours).filter_map(read).collect()
    }

    /// Whether a message would overtake others that are sent again, or find nobody there yet. `dst` is as for
    /// [`Gap::holds_back`].
    #[inline]
    pub(crate) fn holds_back(&self, endpoint: Endpoint, dst: u32) -> bool {
        let gap = self.gap.borrow();
        gap.as_ref().is_some_and(|gap| gap.holds_back(endpoint, self.messages.peer(endpoint), dst))
    }

    /// When those are given up that have not come back.
    pub(crate) fn gives_up_at(&self) -> Option<Instant> {
        self.gap.borrow().as_ref()?.until()
    }

    /// A service was announced. Whether it is one that was there before: endpoints that were bound to it are again.
    pub(crate) fn is_back(&self, name: &Name, addr: u32) -> bool {
        let mut gap = self.gap.borrow_mut();
        let Some(before) = gap.as_mut().and_then(|gap| gap.announced(name, addr)) else { return false };
        for endpoint in self.ports.borrow_mut().rebind(name, before, addr) {
            self.messages.bind(endpoint, addr);
        }
        true
    }

    /// An endpoint's peer made itself known.
    pub(crate) fn bound_again(&self, endpoint: Endpoint) {
        let peer = self.messages.peer(endpoint);
        if let (Some(gap), Some(peer)) = (&mut *self.gap.borrow_mut(), peer) {
            gap.bound(endpoint, peer);
        }
    }

    /// Sends what can be sent again. Whether anything was.
    pub(crate) fn catch_up(&self) -> Result<bool, LinkError> {
        let mut slot = self.gap.borrow_mut();
        let Some(gap) = &mut *slot else { return Ok(false) };
        let link = self.messages.link();
        let any = gap.send(|frame| match link.send(&frame.header(), &frame.payload) {
            Ok(()) => Ok(true),
            Err(LinkError::Full) => Ok(false),
            Err(error) => Err(error),
        })?;
        if gap.is_over() {
            *slot = None;
        }
        Ok(any)
    }
}

impl<B: Backend> Device<B> {
    /// Waits for nobody any more after a silent restart.
    pub(crate) fn give_up_waiting(&self, events: &Events) {
        let given_up = self.gap.borrow_mut().as_mut().map(Gap::give_up);
        let Some(GivenUp { services, lost }) = given_up else { return };
        for (name, addr) in services {
            self.ports.borrow_mut().withdraw(&name, addr);
            events.push(Event::ServiceNotBack { device: self.index, name, addr });
        }
        for (addr, count) in lost {
            events.push(Event::NotSentAgain { device: self.index, addr, count });
        }
    }
}

/// An announcement of ours.
fn announcement(name: Name, addr: u32) -> Frame {
    let payload = Announcement { name, addr, flags: CREATE }.emit().to_vec();
    Frame { src: addr, dst: NAME_SERVICE_ADDR, payload, waits: Waits::No }
}
