//! A remote of whatever kind, for programs that let their user choose.

use std::sync::Arc;
use std::time::Duration;

use sidecore_mem::{DeviceAddr, Region, Window};
use sidecore_os::Mapping;
use sidecore_remoteproc::{Backend, BackendError, Boot, Doorbell, Event, Memory, MemoryMap, Standing, Waker};

use crate::qemu::{Qemu, QemuDoorbell};
use crate::sandbox::{Sandbox, SandboxDoorbell};

/// A remote of one of the kinds that execute firmware for real.
#[non_exhaustive]
pub enum Any {
    /// A confined process.
    Sandbox(Box<Sandbox>),
    /// A board that QEMU emulates.
    Qemu(Box<Qemu>),
}

/// Rings one of those.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyDoorbell {
    /// A confined process.
    Sandbox(SandboxDoorbell),
    /// A board that QEMU emulates.
    Qemu(QemuDoorbell),
}

impl Any {
    /// The board, if it is one.
    pub fn qemu(&self) -> Option<&Qemu> {
        match self {
            Self::Sandbox(_) => None,
            Self::Qemu(qemu) => Some(qemu),
        }
    }

    /// The confined process, where it is one.
    pub fn sandbox(&self) -> Option<&Sandbox> {
        match self {
            Self::Sandbox(sandbox) => Some(sandbox),
            Self::Qemu(_) => None,
        }
    }
}

impl From<Sandbox> for Any {
    fn from(sandbox: Sandbox) -> Self {
        Self::Sandbox(Box::new(sandbox))
    }
}

impl From<Qemu> for Any {
    fn from(qemu: Qemu) -> Self {
        Self::Qemu(Box::new(qemu))
    }
}

/// The same call on whichever it is.
macro_rules! on {
    ($any:expr, $remote:ident => $call:expr) => {
        match $any {
            Any::Sandbox($remote) => $call,
            Any::Qemu($remote) => $call,
        }
    };
}

impl Backend for Any {
    type Owner = Arc<Mapping>;
    type Doorbell = AnyDoorbell;

    fn prepare(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        on!(self, remote => remote.prepare(memories))
    }

    fn memories(&self) -> &MemoryMap<Self::Owner> {
        on!(self, remote => remote.memories())
    }

    fn whole(&self) -> Vec<Window<Self::Owner>> {
        on!(self, remote => remote.whole())
    }

    fn journal(&self) -> Option<Region<Self::Owner>> {
        on!(self, remote => remote.journal())
    }

    fn load(&mut self, at: DeviceAddr, bytes: &[u8]) -> Result<(), BackendError> {
        on!(self, remote => remote.load(at, bytes))
    }

    fn start(&mut self, boot: &Boot) -> Result<(), BackendError> {
        on!(self, remote => remote.start(boot))
    }

    fn stop(&mut self) -> Result<(), BackendError> {
        on!(self, remote => remote.stop())
    }

    fn unprepare(&mut self) {
        on!(self, remote => remote.unprepare());
    }

    fn attach(&mut self) -> Result<(), BackendError> {
        on!(self, remote => remote.attach())
    }

    fn table(&self) -> Option<(DeviceAddr, u32)> {
        on!(self, remote => remote.table())
    }

    fn place(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        on!(self, remote => remote.place(memories))
    }

    fn detach(&mut self) -> Result<(), BackendError> {
        on!(self, remote => remote.detach())
    }

    fn halt(&mut self) -> Result<Standing, BackendError> {
        on!(self, remote => remote.halt())
    }

    fn resume(&mut self) -> Result<(), BackendError> {
        match self {
            Self::Sandbox(sandbox) => Backend::resume(&mut **sandbox),
            Self::Qemu(qemu) => Backend::resume(&mut **qemu),
        }
    }

    fn doorbell(&self) -> Self::Doorbell {
        match self {
            Self::Sandbox(sandbox) => AnyDoorbell::Sandbox(sandbox.doorbell()),
            Self::Qemu(qemu) => AnyDoorbell::Qemu(qemu.doorbell()),
        }
    }

    fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Event>, BackendError> {
        on!(self, remote => remote.wait(timeout, ready))
    }

    fn waker(&self) -> Option<Waker> {
        on!(self, remote => remote.waker())
    }

    fn findings(&self) -> Vec<String> {
        on!(self, remote => remote.findings())
    }
}

impl Doorbell for AnyDoorbell {
    fn ring(&self, notify_id: u32) {
        match self {
            Self::Sandbox(doorbell) => doorbell.ring(notify_id),
            Self::Qemu(doorbell) => doorbell.ring(notify_id),
        }
    }
}
