//! The operations of a backend, on a board.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sidecore_mem::{DeviceAddr, Window};
use sidecore_os::Mapping;
use sidecore_remoteproc::{Backend, BackendError, Boot, Event, Memory, MemoryMap, Standing, Waker};

use super::doorbell::QemuDoorbell;
use super::emulator::Emulator;
use super::estate::Estate;
use super::stream::Stream;
use super::trouble::system;
use super::watchdog::Watchdog;
use super::{KICKS_WITHOUT_LOOK, Qemu, State, nobody};

impl Backend for Qemu {
    type Owner = Arc<Mapping>;
    type Doorbell = QemuDoorbell;

    fn prepare(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        self.expect_state("prepare", State::Offline)?;
        self.estate = Some(Estate::new(&self.config.board, memories, self.config.beside.as_ref())?);
        self.state = State::Prepared;
        Ok(())
    }

    fn memories(&self) -> &MemoryMap<Self::Owner> {
        self.estate.as_ref().map_or(&self.nothing, |estate| &estate.mapped)
    }

    /// The machine's RAM: a stack may be anywhere in it.
    fn whole(&self) -> Vec<Window<Self::Owner>> {
        let start = DeviceAddr(self.config.board.ram.at);
        self.estate.iter().map(|estate| Window { start, region: estate.whole.clone() }).collect()
    }

    /// Bytes for memories that the main side cannot map are kept, and put there by every start.
    fn load(&mut self, at: DeviceAddr, bytes: &[u8]) -> Result<(), BackendError> {
        let estate =
            self.estate.as_mut().ok_or(BackendError::WrongState { operation: "load", state: "offline" })?;
        if self.state == State::Running {
            return if self.attached {
                estate.patch(at, bytes)
            } else {
                self.expect_state("load", State::Prepared)
            };
        }
        self.expect_state("load", State::Prepared)?;
        self.estate.as_mut().ok_or_else(nobody)?.load(at, bytes)
    }

    /// Starts the emulator. The firmware needs a moment to come up; nothing waits for that.
    fn start(&mut self, boot: &Boot) -> Result<(), BackendError> {
        self.expect_state("start", State::Prepared)?;
        let Some(estate) = &self.estate else { return Err(nobody()) };
        let board = &self.config.board;
        estate.check_entry(board, boot)?;
        estate.fill_page(boot)?;
        let (beside, semihosting) = (self.config.beside.as_ref(), self.config.semihosting.as_deref());
        let mut emulator = Emulator::start(board, &self.program, &estate.ram, boot, beside, semihosting)?;
        for (at, bytes) in &estate.loads {
            emulator.load(at.0, bytes)?;
        }
        emulator.release(board, self.config.held)?;
        let mailbox = rustix::io::fcntl_dupfd_cloexec(&emulator.mailbox, 3);
        let mailbox = mailbox.map_err(|errno| system("keep the mailbox (F_DUPFD_CLOEXEC)", errno))?;
        self.doorbell = QemuDoorbell::new(Stream::from(mailbox));
        self.findings = vec![format!(
            "board {}: {} {}, process {}",
            board.name,
            self.program.display(),
            emulator.version,
            emulator.program.pid()
        )];
        if !emulator.confined {
            self.findings.push("QEMU has no filter of system calls here (built without seccomp)".to_owned());
        }
        if semihosting.is_some() {
            let may = "semihosting is on: the firmware may read, write and remove whatever its user may";
            self.findings.push(may.to_owned());
        }
        self.emulator = Some(emulator);
        self.watchdog = Watchdog::new(self.config.watchdog);
        self.nudged = Instant::now();
        self.end = None;
        self.left.take();
        (self.table, self.attached) = (boot.table, false);
        self.state = State::Running;
        Ok(())
    }

    /// Comes to a remote that [`start`](Self::start) has let run, as its main side. Memories that an earlier main side
    /// had in the window are given anew.
    fn attach(&mut self) -> Result<(), BackendError> {
        self.expect_state("attach", State::Running)?;
        self.attached = true;
        Ok(())
    }

    fn table(&self) -> Option<(DeviceAddr, u32)> {
        self.table
    }

    fn place(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        self.expect_state("place", State::Running)?;
        let beside = self.config.beside.as_ref();
        self.estate.as_mut().ok_or_else(nobody)?.give(&self.config.board, memories, beside)
    }

    /// Leaves the remote running for another main side in this process: it ends with that.
    fn detach(&mut self) -> Result<(), BackendError> {
        self.attached = false;
        self.expect_state("detach", State::Running)
    }

    fn stop(&mut self) -> Result<(), BackendError> {
        if !matches!(self.state, State::Paused | State::Halted) {
            self.expect_state("stop", State::Running)?;
        }
        self.halt();
        self.end = None;
        self.state = State::Prepared;
        Ok(())
    }

    fn unprepare(&mut self) {
        self.halt();
        self.estate = None;
        self.findings.clear();
        self.end = None;
        self.state = State::Offline;
    }

    fn halt(&mut self) -> Result<Standing, BackendError> {
        self.pause()?;
        let Self { emulator: Some(emulator), config, .. } = self else { return Err(super::nobody()) };
        Ok(emulator.standing(&config.board))
    }

    fn resume(&mut self) -> Result<(), BackendError> {
        Qemu::resume(self)
    }

    fn doorbell(&self) -> Self::Doorbell {
        self.doorbell.clone()
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Event>, BackendError> {
        if self.state != State::Paused {
            self.expect_state("wait", State::Running)?;
        }
        if let Some(end) = self.take_end() {
            return Ok(Some(end));
        }
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        if ready() {
            self.kicks = self.kicks.wrapping_add(1);
            if self.kicks.is_multiple_of(KICKS_WITHOUT_LOOK) {
                let listened = self.poll(Some(Instant::now())).and_then(|said| self.listen(said));
                self.keep(listened)?;
            }
            return Ok(Some(Event::Kick));
        }
        loop {
            let said = self.poll(deadline)?;
            let listened = self.listen(said);
            let rung = self.keep(listened)?;
            let woken = said.woken && self.waker.answer();
            // What the remote rang for before it ended comes first.
            if rung || woken {
                return Ok(Some(Event::Kick));
            }
            if let Some(end) = self.take_end() {
                return Ok(Some(end));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(None);
            }
        }
    }

    fn waker(&self) -> Option<Waker> {
        let waker = Arc::clone(&self.waker);
        Some(Arc::new(move || waker.ring()))
    }

    fn findings(&self) -> Vec<String> {
        self.findings.clone()
    }
}
