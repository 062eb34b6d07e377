//! A remote processor with everything that runs over it.

use std::cell::{Cell, Ref, RefCell};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::recovery::Remedy;
use sidecore_remoteproc::recovery::course::{Happening, Phase};
use sidecore_remoteproc::resource::{self, Vdev};
use sidecore_remoteproc::{self as remoteproc, Backend, BackendError, Firmware, Found, Remote, RemoteError};
use sidecore_rpmsg::{ADDR_ANY, Announcement};
use sidecore_virtio::split;

use crate::capture::{Capture, Tap};
use crate::clients::Clients;
use crate::device::{Device, Room};
use crate::event::{Ended, Event, Events, ServeError};
use crate::ground::Ground;
use crate::service::Offer;
use crate::waker::Waker;

/// How a processor is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// What the remote is called, in recordings.
    pub name: String,
    /// Limits and buffers for its firmware.
    pub firmware: resource::Options,
    /// Room for endpoints, services and waiting messages of each device.
    pub room: Room,
    /// Where its frames are recorded.
    pub capture: Option<Capture>,
    /// How long a wait looks at the rings before it sleeps, at most: where there is one CPU only it does not, and where
    /// looking has been in vain (the remote is slow, or has to share our CPU) it does so shortly.
    pub spin: Duration,
    /// How long a remote that is attached to is given at most to let go of the rings of the main side before this one. It
    /// must be longer than the remote's looks at the device status are apart (RESET-3 and RESET-13 of the protocol). One
    /// that tells when it has let go (RESET-19) is waited for no longer than that takes.
    pub quiesce: Duration,
    /// Whether a journal is kept where the backend has memory for it, and [`attach`](Processor::attach) goes on where a
    /// main side died that kept one. Otherwise, and where that cannot be, the remote sees its devices reset, and what was
    /// under way is lost.
    ///
    /// The price: messages wait in the buffers that they came in and nowhere else, so that an endpoint that nobody reads
    /// can take all of them, and then the remote waits, whatever it has to say to others.
    pub resume: bool,
}

impl Options {
    /// Defaults for a remote of this name: nothing recorded, 50 microseconds of looking, and 250 milliseconds for a
    /// remote to let go, which looks every 100 where it is ours.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            firmware: resource::Options::DEFAULT,
            room: Room::DEFAULT,
            capture: None,
            spin: Duration::from_micros(50),
            quiesce: Duration::from_millis(250),
            resume: true,
        }
    }
}

/// A remote processor as an application sees it: firmware goes in, services and endpoints come out.
///
/// It belongs to one thread at a time, and does everything inside of the application's own calls: there are no threads.
/// Whoever waits for a message ([`receive`](Self::receive)) keeps everything else going, too; an application with
/// nothing to do calls [`wait`](Self::wait). Endpoints are plain values, good for one run of the remote.
///
/// All devices of the firmware are independent: a link that the remote broke costs that link alone.
pub struct Processor<B: Backend> {
    pub(crate) remote: RefCell<Remote<B>>,
    pub(crate) devices: Vec<Device<B>>,
    pub(crate) events: Events,
    offers: RefCell<Vec<Offer>>,
    pub(crate) ended: RefCell<Option<Ended>>,
    /// How often the remote was started.
    pub(crate) run: u64,
    pub(crate) options: Options,
    /// How long the next wait looks before it sleeps.
    patience: Cell<Duration>,
    /// Counts the waits.
    waits: Cell<u32>,
    woken: Arc<AtomicBool>,
    /// Something was taken for one endpoint, and may have been for others: the next wait is over.
    pub(crate) unseen: Cell<bool>,
    waker: Option<remoteproc::Waker>,
    capture_failed: Cell<bool>,
    pub(crate) clients: Clients,
    /// Where the recovery from a crash stands, and what was decided on last.
    pub(crate) phase: Cell<Phase>,
    pub(crate) remedy: Cell<Option<Remedy>>,
}

impl<B: Backend> Processor<B> {
    /// A processor with no firmware.
    pub fn new(backend: B, options: Options) -> Self {
        Self::of(Remote::new, backend, options)
    }

    fn of(remote: fn(B) -> Remote<B>, backend: B, options: Options) -> Self {
        Self {
            waker: backend.waker(),
            remote: RefCell::new(remote(backend)),
            devices: Vec::new(),
            events: Events::default(),
            offers: RefCell::default(),
            ended: RefCell::default(),
            run: 0,
            patience: Cell::new(if sidecore_os::cpu_count() > 1 { options.spin } else { Duration::ZERO }),
            waits: Cell::new(0),
            options,
            woken: Arc::default(),
            unseen: Cell::new(false),
            capture_failed: Cell::default(),
            clients: Clients::default(),
            phase: Cell::default(),
            remedy: Cell::new(None),
        }
    }

    /// A processor that someone else started; [`attach`](Self::attach) takes it over.
    pub fn detached(backend: B, options: Options) -> Self {
        Self::of(Remote::detached, backend, options)
    }

    /// Loads firmware, in place of any that is there.
    ///
    /// # Errors
    /// As for [`Remote::load`].
    pub fn load(&mut self, firmware: &Firmware<'_>) -> Result<(), RemoteError> {
        self.remote.get_mut().load(firmware, &self.options.firmware)
    }

    /// Offers a service to the remote, for every channel of its name that the remote announces from now on.
    pub fn offer(&mut self, offer: Offer) {
        self.offers.get_mut().push(offer);
    }

    /// Starts the loaded firmware from the beginning and brings its devices up. A device that does not come up is an
    /// event ([`Event::DeviceFailed`]), and the remote goes on without it.
    ///
    /// # Errors
    /// As for [`Remote::start`].
    pub fn start(&mut self) -> Result<(), RemoteError> {
        self.start_anew()?;
        self.happen(Happening::Started);
        Ok(())
    }

    /// Takes over a remote that someone else started. `table` tells where its resource table lies where the backend does
    /// not know.
    ///
    /// Where a main side died that left a journal ([`Backend::journal`]), this one goes on where it stood, and the remote
    /// notices nothing ([`Event::DeviceResumed`]): what was sent arrives once; what that one had received and not given
    /// back comes again, and [says so](crate::Message::may_be_repeated); its endpoints are [`orphans`](Self::orphans).
    /// Services that ran there begin anew.
    ///
    /// Otherwise the devices are brought up anew: the remote sees them reset, and announces again; what was under way is
    /// lost. That takes until the remote says that it has let go of the rings before, or [`Options::quiesce`].
    ///
    /// # Errors
    /// As for [`Remote::attach`].
    pub fn attach(&mut self, table: Option<(DeviceAddr, u32)>) -> Result<(), RemoteError> {
        self.remote.get_mut().attach(&Found { table, options: self.options.firmware })?;
        self.begin(self.options.resume);
        self.happen(Happening::Started);
        Ok(())
    }

    /// Takes the devices back and leaves the remote running, for another main side to attach to.
    ///
    /// # Errors
    /// It does not run, or this kind of remote ends with its main side.
    pub fn detach(&mut self) -> Result<(), RemoteError> {
        self.devices.iter().for_each(Device::reset);
        self.remote.get_mut().detach()?;
        self.end(Ended::Detached);
        Ok(())
    }

    /// Brings the devices of a remote up that runs as of now, or goes on in those that another main side left.
    pub(crate) fn begin(&mut self, resume: bool) {
        self.devices.clear();
        self.events.clear();
        *self.ended.get_mut() = None;
        self.run += 1;
        let mut anew = Vec::new();
        for (vdev, ground) in self.grounds() {
            match ground {
                Ok(ground) if resume && ground.is_left_in_use() => {
                    match Device::resume(ground, self.tap(vdev)) {
                        Ok((device, left)) => self.resumed(device, left),
                        Err(error) => {
                            self.events.push(Event::DeviceNotResumed { device: vdev, error });
                            anew.push(vdev);
                        }
                    }
                }
                Ok(_) => anew.push(vdev),
                Err(error) => self.events.push(Event::DeviceFailed { device: vdev, error }),
            }
        }
        let mut grounds = self.grounds();
        grounds.retain(|(vdev, _)| anew.contains(vdev));
        if self.remote.get_mut().state() == remoteproc::State::Attached {
            self.quiesce(&grounds);
        }
        for (vdev, ground) in grounds {
            match ground.and_then(|ground| Device::bring_up(ground, self.tap(vdev), self.options.resume)) {
                Ok(device) => {
                    self.events.push(Event::DeviceUp { device: vdev, features: device.features });
                    self.devices.push(device);
                }
                Err(error) => self.events.push(Event::DeviceFailed { device: vdev, error }),
            }
        }
    }

    fn resumed(&mut self, device: Device<B>, left: Vec<split::Left>) {
        let (index, again) = (device.index, left.len() as u32);
        self.events.push(Event::DeviceResumed { device: index, features: device.features, again });
        device
            .deliver_again(left, &self.events, &mut |device, announcement| self.serve(device, announcement));
        self.devices.push(device);
    }

    /// What the link of each device is made of.
    pub(crate) fn grounds(&self) -> Vec<(u32, Result<Ground<B>, crate::DeviceError>)> {
        let remote = self.remote.borrow();
        let (backend, table) = (remote.backend(), remote.table_region());
        let mut journal = backend.journal();
        let mut ground = |vdev: &Vdev| {
            let (table, bell) = (table.as_ref(), backend.doorbell());
            Ground::find(vdev, backend.memories(), table, &mut journal, bell, self.options.room)
        };
        remote.vdevs().iter().map(|vdev| (vdev.index, ground(vdev))).collect()
    }

    /// Resets devices of a remote that runs, and waits until it says that it has seen that, or can be taken to: what it is
    /// doing for the main side before us must not end in our rings (RESET-13 and RESET-19 of the protocol).
    fn quiesce(&self, grounds: &[(u32, Result<Ground<B>, crate::DeviceError>)]) {
        let devices = grounds.iter().filter_map(|(_, ground)| ground.as_ref().ok());
        let mut waiting: Vec<_> = devices.map(|ground| (ground, ground.withdraw())).collect();
        let begin = Instant::now();
        let mut pause = Duration::from_micros(20);
        loop {
            waiting.retain(|(ground, reset)| !ground.has_let_go(*reset));
            let rest = self.options.quiesce.saturating_sub(begin.elapsed());
            if waiting.is_empty() || rest.is_zero() {
                break;
            }
            std::thread::sleep(pause.min(rest));
            pause = (2 * pause).min(Duration::from_millis(1));
        }
        for (ground, _) in waiting.iter().filter(|(_, reset)| reset.is_some()) {
            let waited = self.options.quiesce;
            self.events.push(Event::ResetNotAcknowledged { device: ground.index, waited });
        }
    }

    pub(crate) fn tap(&self, vdev: u32) -> Tap {
        match &self.options.capture {
            Some(capture) => capture.tap(&format!("{}/vdev{vdev}", self.options.name)),
            None => Tap::OFF,
        }
    }

    /// Takes the devices back and stops the remote at once. Its memories stay as they are until it is started again.
    ///
    /// # Errors
    /// It does not run, or cannot be stopped.
    pub fn stop(&mut self) -> Result<(), RemoteError> {
        self.devices.iter().for_each(Device::reset);
        self.remote.get_mut().stop()?;
        self.end(Ended::Stopped);
        Ok(())
    }

    /// The remote: its state, memories, traces and history. Not to be kept across calls that wait.
    pub fn remote(&self) -> Ref<'_, Remote<B>> {
        self.remote.borrow()
    }

    /// How the remote came to its end, if it is not running any more.
    pub fn ended(&self) -> Option<Ended> {
        self.ended.borrow().clone()
    }

    /// The next thing that happened, oldest first.
    pub fn event(&self) -> Option<Event> {
        self.events.pop()
    }

    /// Takes what the remote sent, hands it to endpoints and services, and lets these answer. Never sleeps, and takes
    /// no more frames than the rings hold. Whether anything was there.
    pub fn poll(&self) -> bool {
        let mut any = false;
        for device in &self.devices {
            any |= device.poll(&self.events, &mut |device, announcement| self.serve(device, announcement));
        }
        if self.phase.get() == Phase::Returning {
            any |= self.look_who_is_back();
        }
        any
    }

    /// Lets the remote do something: polls, and where there is nothing sleeps until the remote rings, ends or crashes,
    /// a [`Waker`] is used, or `timeout` is over (`None`: for ever). Returns after anything that happened, be it while somebody
    /// looked for a message of his own; `false` when the time is over or the remote does not run.
    pub fn wait(&self, timeout: Option<Duration>) -> bool {
        if self.poll() | self.unseen.take() || self.take_woken() {
            return true;
        }
        if self.ended.borrow().is_some() {
            return false;
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if self.spin(deadline) {
            return true;
        }
        if let Some(capture) = &self.options.capture {
            capture.flush();
        }
        loop {
            let rest = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let slice = match self.waker {
                Some(_) => rest,
                None => Some(rest.unwrap_or(WAKER_SLICE).min(WAKER_SLICE)),
            };
            // Somebody has to give up waiting for those who do not come back.
            let look = self.devices.iter().filter_map(Device::gives_up_at).min();
            let look = look.map(|look| look.saturating_duration_since(Instant::now()));
            let slice = slice.into_iter().chain(look).min();
            let happened = self.sleep(slice);
            if happened || self.ended.borrow().is_some() || self.take_woken() {
                return true;
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return false;
            }
        }
    }

    /// Has all devices ask the remote to ring, for callers who wait for the backend's own descriptor in place of
    /// [`wait`](Self::wait), and have armed the backend before. Whether something is there already that it does not ring
    /// for. [`disarm`](Self::disarm) takes it back.
    pub fn arm(&self) -> bool {
        // All of them are armed, whatever the first ones say.
        self.devices.iter().fold(false, |any, device| device.arm() | any)
    }

    /// Takes [`arm`](Self::arm) back: the remote need not ring for those who look by themselves.
    pub fn disarm(&self) {
        self.devices.iter().for_each(Device::disarm);
    }

    /// A handle that ends a [`wait`](Self::wait) from any thread.
    pub fn waker(&self) -> Waker {
        Waker { woken: Arc::clone(&self.woken), backend: self.waker.clone() }
    }

    /// Whether somebody used a waker since the last look.
    fn take_woken(&self) -> bool {
        // Almost always nobody did, and reading that is cheap.
        self.woken.load(Ordering::Acquire) && self.woken.swap(false, Ordering::Acquire)
    }

    /// Looks at the rings for a while. Whether anything happened.
    fn spin(&self, deadline: Option<Instant>) -> bool {
        let learnt = self.patience.get();
        if learnt.is_zero() {
            return false;
        }
        let waits = self.waits.get().wrapping_add(1);
        self.waits.set(waits);
        let patience = if waits.is_multiple_of(PROBE) { self.options.spin } else { learnt };
        let end = Instant::now() + patience;
        let end = deadline.map_or(end, |deadline| end.min(deadline));
        loop {
            for _ in 0..32 {
                if self.poll() || self.take_woken() {
                    self.patience.set(self.options.spin);
                    return true;
                }
                std::hint::spin_loop();
            }
            if Instant::now() >= end {
                self.patience.set((learnt / 2).max(LEAST_PATIENCE.min(self.options.spin)));
                return false;
            }
        }
    }

    /// Sleeps in the backend, at most for `timeout`. Whether anything happened.
    fn sleep(&self, timeout: Option<Duration>) -> bool {
        let mut ready = || {
            let waiting = self.arm();
            waiting || self.woken.load(Ordering::Acquire)
        };
        let waited = self.remote.borrow_mut().wait(timeout, &mut ready);
        self.disarm();
        self.devices.iter().for_each(|device| device.look_at_status(&self.events));
        let ended = match waited {
            Ok(Some(remoteproc::Event::Exited { code })) => Ended::Exited { code },
            Ok(Some(remoteproc::Event::Crashed(crash))) => Ended::Crashed(crash),
            Ok(Some(_)) => {
                self.poll();
                return true;
            }
            Ok(None) => return self.poll(),
            Err(RemoteError::Backend(error)) => Ended::Lost(error),
            Err(error) => {
                Ended::Lost(BackendError::ExecutorLost { executor: "the remote", reason: error.to_string() })
            }
        };
        // The last words are in the rings; nothing is added to them any more, or should be.
        for _ in 0..LAST_TURNS {
            if !self.poll() {
                break;
            }
        }
        self.end(ended);
        true
    }

    fn end(&self, ended: Ended) {
        if let Some(capture) = &self.options.capture {
            capture.flush();
            if let Some(error) = capture.error().filter(|_| !self.capture_failed.replace(true)) {
                self.events.push(Event::CaptureEnded { error });
            }
        }
        match ended {
            Ended::Crashed(_) | Ended::Lost(_) => self.happen(Happening::Crash),
            _ => self.happen(Happening::Stopped),
        }
        self.events.push(Event::Ended(ended.clone()));
        *self.ended.borrow_mut() = Some(ended);
    }

    /// Opens the service that was offered for a channel, if there is one.
    fn serve(&self, device: &Device<B>, announcement: &Announcement) {
        let &Announcement { name, addr, .. } = announcement;
        let mut offers = self.offers.borrow_mut();
        let Some(offer) = offers.iter_mut().find(|offer| name.matches(offer.channel)) else { return };
        let opened = match device.messages.open(ADDR_ANY, addr) {
            Ok(endpoint) => match (offer.open)() {
                Some(service) => {
                    device.ports.borrow_mut().add(endpoint, Some((name, addr)), Some(service), false, false);
                    device.note_port(endpoint);
                    Ok(())
                }
                None => {
                    device.messages.close(endpoint);
                    Err(ServeError::InUse)
                }
            },
            Err(error) => Err(error.into()),
        };
        if let Err(error) = opened {
            self.events.push(Event::ServiceNotOpened { device: device.index, name, error });
        }
    }
}

impl<B: Backend> fmt::Debug for Processor<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Processor")
            .field("name", &self.options.name)
            .field("devices", &self.devices)
            .finish_non_exhaustive()
    }
}

/// However often looking was in vain, a wait looks for so long: a remote on a CPU of its own answers within it.
const LEAST_PATIENCE: Duration = Duration::from_micros(3);

/// One wait in so many looks for as long as it may: sleeping makes both ends slow, so that nothing would ever come within
/// the time that looking has shrunk to.
const PROBE: u32 = 16;

/// Turns that a remote's last words may take: rings hold no more than two.
const LAST_TURNS: u32 = 16;

/// How often a wait looks whether it was woken, where the backend cannot be woken by us.
const WAKER_SLICE: Duration = Duration::from_millis(10);
