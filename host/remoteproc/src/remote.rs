//! A remote processor: a backend, the state it is in, and the firmware that it has.

use alloc::boxed::Box;
use alloc::string::{String, ToString as _};
use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use sidecore_mem::{DeviceAddr, MapError, Region};
use sidecore_wire::resource_table::Table;

use crate::firmware::{Firmware, Machine};
use crate::held::Held;
use crate::lifecycle::{Action, Input, State, failed, step};
use crate::log::{Log, What};
use crate::resource::{Options, Plan, Resources, Vdev};
use crate::trace::{TraceBuffer, read_trace};
use crate::{Backend, BackendError, Boot, Crash, Event, Memory};

mod dump;
mod ends;
mod error;

pub use error::RemoteError;

/// A remote processor: loads firmware on it, starts and stops it, and hears how it fares.
///
/// Memories and their contents stay as they are from a stop, an exit or a crash until the next [`start`](Self::start) or
/// [`load`](Self::load), so that traces can be read and memory dumped. Every start is a fresh one: new memories, all
/// zero, with the firmware put there again; rings and buffers may lie elsewhere than before, and regions of the last run
/// keep their bytes but mean nothing to the new one.
///
/// Dropping a remote drops its backend, which ends what it started unless the remote was detached.
#[derive(Debug)]
pub struct Remote<B: Backend> {
    backend: B,
    state: State,
    image: Option<Image>,
    /// The backend has given memories, and the image was put there.
    loaded: Option<Resources>,
    /// The remote has not run since.
    fresh: bool,
    crash: Option<Crash>,
    exit_code: Option<i32>,
    found: Found,
    held: Vec<Box<dyn Held<B::Owner>>>,
    log: Log,
}

/// How a remote is taken over that someone else started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    /// Where its resource table lies, and how many bytes it has at most; `None` where the backend knows. A firmware
    /// file tells the same of the remote that runs it: [`Found::by_file`].
    pub table: Option<(DeviceAddr, u32)>,
    /// How what the table says is taken.
    pub options: Options,
}

impl Found {
    /// A remote that runs this firmware; `None` where the firmware has no resource table in its memory.
    #[must_use]
    pub fn by_file(firmware: &Firmware<'_>, options: Options) -> Option<Self> {
        let section = firmware.table_section()?;
        Some(Self { table: Some((section.at?, u32::try_from(section.bytes.len()).ok()?)), options })
    }
}

/// All that is kept of a firmware file.
#[derive(Clone, Debug)]
struct Image {
    segments: Vec<(DeviceAddr, Vec<u8>)>,
    entry: DeviceAddr,
    plan: Plan,
    machine: Machine,
    flags: u32,
    build_id: Option<Vec<u8>>,
}

impl<B: Backend> Remote<B> {
    /// A remote that does not run and has no firmware.
    #[must_use]
    pub fn new(backend: B) -> Remote<B> {
        Self::in_state(backend, State::Offline)
    }

    /// A remote that someone else started; [`attach`](Self::attach) takes it over.
    #[must_use]
    pub fn detached(backend: B) -> Remote<B> {
        Self::in_state(backend, State::Detached)
    }

    fn in_state(backend: B, state: State) -> Remote<B> {
        Remote {
            backend,
            state,
            image: None,
            loaded: None,
            fresh: false,
            crash: None,
            exit_code: None,
            found: Found::default(),
            held: Vec::new(),
            log: Log::default(),
        }
    }

    /// Loads firmware, in place of any that is there: gives the remote its memories, copies the segments, and writes the
    /// resource table with the addresses of rings, carveouts and traces. What is needed of the file is copied.
    ///
    /// # Errors
    /// The remote runs, the firmware asks for what cannot be, or a crashed remote cannot be stopped: nothing has changed
    /// then. Or the backend cannot give the memories; the remote has no firmware then.
    pub fn load(&mut self, firmware: &Firmware<'_>, options: &Options) -> Result<(), RemoteError> {
        step(self.state, Input::Load)?;
        let plan = Plan::new(firmware, options)?;
        for finding in firmware.findings().iter().chain(plan.findings()) {
            self.log.push(What::Found(finding.clone()));
        }
        let segments = firmware.segments().iter().map(|segment| (segment.at, segment.bytes.to_vec()));
        let image = Image {
            segments: segments.collect(),
            entry: firmware.entry(),
            plan,
            machine: firmware.machine(),
            flags: firmware.flags(),
            build_id: firmware.build_id().map(<[u8]>::to_vec),
        };
        let before = self.image.replace(image);
        let fresh = core::mem::replace(&mut self.fresh, false);
        let loaded = self.drive(Input::Load);
        if loaded.is_err() {
            // The old memories are given back before new ones are asked for: if they are there still, so is the old
            // firmware.
            self.image = before.filter(|_| self.loaded.is_some());
            self.fresh = fresh;
        }
        loaded
    }

    /// Starts the loaded firmware from the beginning, also after a crash or an exit.
    ///
    /// # Errors
    /// There is no firmware, the remote runs already, or the backend cannot start it.
    pub fn start(&mut self) -> Result<(), RemoteError> {
        step(self.state, Input::Start)?;
        if self.image.is_none() {
            return Err(RemoteError::NoFirmware);
        }
        self.drive(Input::Start)
    }

    /// Stops the remote at once.
    ///
    /// # Errors
    /// It does not run, or the backend cannot stop it.
    pub fn stop(&mut self) -> Result<(), RemoteError> {
        self.drive(Input::Stop)
    }

    /// Takes over a remote that someone else started, and reads from its resource table what it has. Of the table, only
    /// addresses that it leaves open are written.
    ///
    /// # Errors
    /// It is not detached, the backend cannot attach, or there is no table, or one that asks for what cannot be. The
    /// remote is detached then, and as it was.
    pub fn attach(&mut self, found: &Found) -> Result<(), RemoteError> {
        self.found = *found;
        self.drive(Input::Attach)
    }

    /// Gives the remote up and leaves it running; one that crashed is its owner's to start.
    ///
    /// # Errors
    /// It does not run and did not crash, or the backend cannot run it without us.
    pub fn detach(&mut self) -> Result<(), RemoteError> {
        self.drive(Input::Detach)
    }

    /// Sleeps until the remote rings, ends or crashes, or `timeout` is over (`None`: for ever). An end or crash is in
    /// [`state`](Self::state) when this returns; `ready` is as for [`Backend::wait`].
    ///
    /// # Errors
    /// The remote does not run, or whatever executes it failed. If that is gone, the remote has crashed.
    pub fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Event>, RemoteError> {
        if !self.state.is_live() {
            return Err(RemoteError::NotRunning { state: self.state });
        }
        let event = match self.backend.wait(timeout, ready) {
            Ok(event) => event,
            Err(error) => {
                if let BackendError::ExecutorLost { .. } = error {
                    self.log.push(What::ExecutorLost { why: error.to_string() });
                    self.drive(Input::Crash)?;
                }
                return Err(error.into());
            }
        };
        match &event {
            Some(Event::Exited { code }) => {
                self.exit_code = Some(*code);
                self.log.push(What::Exited { code: *code });
                self.drive(Input::Exit)?;
            }
            Some(Event::Crashed(crash)) => {
                self.crash = Some(crash.clone());
                self.log.push(What::Crashed(crash.clone()));
                self.drive(Input::Crash)?;
            }
            Some(Event::Kick) | None => {}
        }
        Ok(event)
    }

    /// What the remote is doing, as of the last call.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// How the remote crashed, if it did since it was last started.
    #[must_use]
    pub fn crash(&self) -> Option<&Crash> {
        self.crash.as_ref()
    }

    /// With which exit code the remote ended, if it did since it was last started.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        self.exit_code
    }

    /// What the firmware was given, and where everything lies; none while there is no firmware.
    #[must_use]
    pub fn resources(&self) -> Option<&Resources> {
        self.loaded.as_ref()
    }

    /// The memories that the remote has.
    #[must_use]
    pub fn memories(&self) -> &[Memory] {
        self.loaded.as_ref().map_or(&[], |loaded| &loaded.memories)
    }

    /// The virtio devices that the firmware offers.
    #[must_use]
    pub fn vdevs(&self) -> &[Vdev] {
        self.loaded.as_ref().map_or(&[], |loaded| &loaded.vdevs)
    }

    /// The firmware's trace buffers.
    #[must_use]
    pub fn traces(&self) -> &[TraceBuffer] {
        self.loaded.as_ref().map_or(&[], |loaded| &loaded.traces)
    }

    /// What the trace buffer with this number says, escaped.
    ///
    /// # Errors
    /// There is no such buffer, or it is not in a memory that can be read.
    pub fn read_trace(&self, number: usize) -> Result<String, RemoteError> {
        let trace = self.traces().get(number).ok_or(RemoteError::NoTrace { number })?;
        let text = read_trace(self.backend.memories(), trace);
        text.map_err(|error| RemoteError::TraceUnreadable { name: trace.name.clone(), error })
    }

    /// The resource table as it was loaded, with all addresses. The remote may have changed its own copy since.
    #[must_use]
    pub fn table(&self) -> Option<Table<'_>> {
        let table = self.loaded.as_ref()?.table.as_ref()?;
        Table::parse(&table.bytes).ok()
    }

    /// The loaded resource table in the remote's memory: the registers of its virtio devices. None if there is no
    /// table, or no segment holds it, or its memory cannot be reached from here.
    #[must_use]
    pub fn table_region(&self) -> Option<Region<B::Owner>> {
        let table = self.loaded.as_ref()?.table.as_ref()?;
        self.backend.memories().resolve(table.at?, table.bytes.len()).ok()
    }

    /// What happened so far.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// What executes the remote.
    #[must_use]
    pub fn backend(&self) -> &B {
        &self.backend
    }

    /// Runs the life-cycle machine: does what an input asks for, and enters the next state.
    fn drive(&mut self, input: Input) -> Result<(), RemoteError> {
        let from = self.state;
        let (next, actions) = step(from, input)?;
        if actions.is_empty() && next == from {
            self.log.push(What::Late { state: from, report: input });
            return Ok(());
        }
        for &action in actions {
            if let Err(error) = self.perform(action) {
                let (code, why) = (error.code(), error.to_string());
                self.log.push(What::Failed { action, code, why });
                let to = failed(from, input, action);
                if to != from {
                    self.state = to;
                    self.log.push(What::Changed { from, to, why: input });
                }
                return Err(error);
            }
        }
        self.state = next;
        self.log.push(What::Changed { from, to: next, why: input });
        Ok(())
    }

    fn perform(&mut self, action: Action) -> Result<(), RemoteError> {
        match action {
            Action::Load if self.fresh => Ok(()),
            Action::Load => self.put_firmware(),
            Action::Start => self.launch(),
            Action::Stop => self.halt(),
            Action::Attach => self.take_over(),
            Action::Reclaim => {
                self.reclaim();
                Ok(())
            }
            Action::Detach => self.let_go(),
        }
    }

    fn take_over(&mut self) -> Result<(), RemoteError> {
        self.backend.attach()?;
        self.crash = None;
        self.exit_code = None;
        let looked = self.look_around();
        match looked {
            Ok(resources) => {
                let bytes = resources.memories.iter().map(|memory| memory.len).sum();
                self.log.push(What::TookOver { devices: resources.vdevs.len(), bytes });
                self.loaded = Some(resources);
                Ok(())
            }
            Err(error) => {
                // Why it does not do is the better answer, whatever comes of this.
                let _left_alone = self.backend.detach();
                Err(error)
            }
        }
    }

    /// Reads the resource table of a remote that runs, and finds a place for what has none.
    fn look_around(&mut self) -> Result<Resources, RemoteError> {
        let known = self.found.table.or_else(|| self.backend.table());
        let (at, most) = known.ok_or(RemoteError::NoTable)?;
        let bytes = self.copy_table(at, most)?;
        let plan = Plan::of_running(&bytes, at, &self.found.options)?;
        for finding in plan.findings() {
            self.log.push(What::Found(finding.clone()));
        }
        let mut memories = plan.memories().to_vec();
        self.backend.place(&mut memories)?;
        let resources = plan.place(&memories)?;
        let placed = resources.table.as_ref().map_or(&[][..], |table| &table.bytes);
        for (word, (old, new)) in (0..).zip(bytes.chunks(4).zip(placed.chunks(4))) {
            // Nothing else: the remote's side of it changes while we look.
            if old != new {
                self.backend.load(DeviceAddr(at.0 + 4 * word), new)?;
            }
        }
        Ok(resources)
    }

    /// A private copy of the resource table at this address, of as many bytes as there are in its memory.
    fn copy_table(&self, at: DeviceAddr, most: u32) -> Result<Vec<u8>, RemoteError> {
        let memories = self.backend.memories();
        let unreachable = |error| RemoteError::TableUnreadable { at, error };
        let located = memories.locate(at, 1).map_err(unreachable)?;
        let Some(region) = memories.region(located.window) else { return Err(RemoteError::NoTable) };
        let mut bytes = vec![0; (region.len() - located.offset).min(most as usize)];
        match region.read(located.offset, &mut bytes) {
            Ok(()) => Ok(bytes),
            Err(_) => Err(unreachable(MapError::Unmapped { address: at, len: bytes.len() })),
        }
    }

    fn put_firmware(&mut self) -> Result<(), RemoteError> {
        if self.loaded.take().is_some() {
            self.backend.unprepare();
        }
        let image = self.image.as_ref().ok_or(RemoteError::NoFirmware)?;
        let mut memories = image.plan.memories().to_vec();
        self.backend.prepare(&mut memories)?;
        match fill(&mut self.backend, image, &memories) {
            Ok(resources) => {
                let bytes = memories.iter().map(|memory| memory.len).sum();
                self.log.push(What::Loaded { memories: memories.len(), bytes });
                self.loaded = Some(resources);
                self.fresh = true;
                Ok(())
            }
            Err(error) => {
                self.backend.unprepare();
                Err(error)
            }
        }
    }

    fn launch(&mut self) -> Result<(), RemoteError> {
        let (Some(image), Some(loaded)) = (&self.image, &self.loaded) else {
            return Err(RemoteError::NoFirmware);
        };
        let table = loaded.table.as_ref().and_then(|table| Some((table.at?, table.bytes.len() as u32)));
        // Even a start that fails may have let the remote run.
        self.fresh = false;
        self.crash = None;
        self.exit_code = None;
        self.backend.start(&Boot { entry: image.entry, table })?;
        Ok(())
    }

    fn halt(&mut self) -> Result<(), RemoteError> {
        match self.backend.stop() {
            Ok(()) => {}
            // Whatever is gone executes nothing.
            Err(error @ BackendError::ExecutorLost { .. }) => {
                self.log.push(What::ExecutorLost { why: error.to_string() });
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Puts the firmware into memories that are all zero, and the table over its place in them.
fn fill<B: Backend>(backend: &mut B, image: &Image, memories: &[Memory]) -> Result<Resources, RemoteError> {
    let resources = image.plan.place(memories)?;
    for (at, bytes) in &image.segments {
        if !bytes.is_empty() {
            backend.load(*at, bytes)?;
        }
    }
    if let Some(table) = &resources.table
        && let Some(at) = table.at
    {
        backend.load(at, &table.bytes)?;
    }
    Ok(resources)
}

#[cfg(test)]
mod tests;
