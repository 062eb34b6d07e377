//! The seam between the life cycle and whatever executes the firmware.
//!
//! The operations carry the names of Linux' `struct rproc_ops`; what each kind of remote makes of them lives
//! in `sidecore-backends`, one file a kind.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use sidecore_mem::{AddressMap, DeviceAddr, Region, Window};

mod report;

pub use report::{BackendError, Crash, CrashKind, Event, Registers, Standing};

/// The memories of a remote that the main side can reach, by device address.
pub type MemoryMap<O> = AddressMap<O, { crate::MAX_MEMORIES }>;

/// One kind of remote processor: gives it memory, starts and stops it, and rings its doorbell.
///
/// The order of calls is `prepare`, loading through [`Backend::memories`] (or [`Backend::load`]), `start`, any
/// number of `wait` and doorbell rings, `stop`, `unprepare`. A backend refuses any other order with
/// [`BackendError::WrongState`]; it never panics. Dropping a backend ends what it started unless the remote was
/// detached.
pub trait Backend {
    /// Keeps the remote's memory mapped; a clone lives in every region of it.
    type Owner: Clone + Send + Sync + 'static;
    /// A handle that rings the remote's doorbell, for the links to keep.
    type Doorbell: Doorbell + Clone + 'static;

    /// Gives the remote its memories, zeroed. Memories with no address of their own are placed, and `at` filled
    /// in. Lengths are rounded up to what the kind can map; the bytes between are the remote's too.
    ///
    /// # Errors
    /// A memory overlaps another, cannot be had at its address, or is both writable and executable where the
    /// kind does not allow that. Nothing is left behind then.
    fn prepare(&mut self, memories: &mut [Memory]) -> Result<(), BackendError>;

    /// What [`Backend::prepare`] gave, readable and writable from the main side whatever the remote may do.
    fn memories(&self) -> &MemoryMap<Self::Owner>;

    /// All of the remote's memory that the main side can read, for dumps: more than [`Backend::memories`] where the
    /// remote has memory that its firmware need not ask for.
    fn whole(&self) -> Vec<Window<Self::Owner>> {
        self.memories().windows().cloned().collect()
    }

    /// Memory that the remote does not see and that outlives this main side, zeroed when the remote is prepared: the
    /// next main side, which attaches, goes on in the rings with what this one notes there. `None` where the kind has
    /// none, or the remote ends with its main side.
    fn journal(&self) -> Option<Region<Self::Owner>> {
        None
    }

    /// Puts bytes where the remote will see them, in a memory that may not be mapped on the main side.
    ///
    /// # Errors
    /// The bytes do not lie in one memory of the remote.
    fn load(&mut self, at: DeviceAddr, bytes: &[u8]) -> Result<(), BackendError> {
        let located = self.memories().locate(at, bytes.len());
        let located = located.map_err(|error| BackendError::Memory { name: String::new(), error })?;
        let region = self.memories().region(located.window);
        region
            .and_then(|region| region.write(located.offset, bytes).ok())
            .ok_or(BackendError::Unreachable { at, len: bytes.len() })
    }

    /// Lets the remote run from `boot.entry`.
    ///
    /// # Errors
    /// The remote could not be started; it is as after [`Backend::prepare`].
    fn start(&mut self, boot: &Boot) -> Result<(), BackendError>;

    /// Stops the remote at once, whatever it is doing, and keeps its memories. Stopping a remote that has ended
    /// already is no error.
    ///
    /// # Errors
    /// The remote could not be stopped, or its executor is gone.
    fn stop(&mut self) -> Result<(), BackendError>;

    /// Takes back everything that `prepare` gave.
    fn unprepare(&mut self);

    /// Takes over a remote that someone else started. Its memories are in [`Backend::memories`] then.
    ///
    /// # Errors
    /// The kind knows no remotes but its own, or there is none.
    fn attach(&mut self) -> Result<(), BackendError> {
        Err(BackendError::Unsupported { operation: "attach" })
    }

    /// Where the resource table of a remote lies that was attached to, and how many bytes it has at most; `None` where
    /// the kind does not know.
    fn table(&self) -> Option<(DeviceAddr, u32)> {
        None
    }

    /// Says where things go that an attached remote's resource table needs and gives no address: buffers above all. As
    /// [`Backend::prepare`], but all memory is there already.
    ///
    /// # Errors
    /// There is no room for one of them.
    fn place(&mut self, memories: &mut [Memory]) -> Result<(), BackendError> {
        match memories.iter().find(|memory| memory.at.is_none()) {
            None => Ok(()),
            Some(Memory { name, len, .. }) => Err(BackendError::MemoryRefused {
                name: name.clone(),
                at: None,
                len: *len,
                reason: "whoever started the remote has said of no room for it".into(),
            }),
        }
    }

    /// Gives the remote up and leaves it running.
    ///
    /// # Errors
    /// The kind cannot run a remote without its main side.
    fn detach(&mut self) -> Result<(), BackendError> {
        Err(BackendError::Unsupported { operation: "detach" })
    }

    /// Has a remote that runs stand still wherever it is, until [`resume`](Self::resume). Nothing is heard of it meanwhile.
    ///
    /// # Errors
    /// The kind cannot hold a remote, this one does not run, or its executor is gone. It runs on then.
    fn halt(&mut self) -> Result<Standing, BackendError> {
        Err(BackendError::Unsupported { operation: "halt" })
    }

    /// Lets a remote that was [halted](Self::halt) run on.
    ///
    /// # Errors
    /// It was not, or its executor is gone.
    fn resume(&mut self) -> Result<(), BackendError> {
        Err(BackendError::Unsupported { operation: "resume" })
    }

    /// A handle that rings the remote's doorbell.
    fn doorbell(&self) -> Self::Doorbell;

    /// Sleeps until the remote rings, something happened to it, or `timeout` is over (`None`: for ever).
    ///
    /// `ready` is asked once after the doorbell has been armed and before sleeping: an answer of `true` (the
    /// rings hold something already) returns [`Event::Kick`] at once. That closes the race between the last look
    /// at the rings and the sleep.
    ///
    /// Returns `None` when the time is over. A kick is a hint: it may be spurious, and one may stand for many.
    ///
    /// # Errors
    /// The executor is gone or broke its protocol.
    fn wait(
        &mut self,
        timeout: Option<Duration>,
        ready: &mut dyn FnMut() -> bool,
    ) -> Result<Option<Event>, BackendError>;

    /// A handle that ends a [`wait`](Self::wait) from any thread: as by a spurious kick, and once more if nobody waits.
    /// `None` where the kind has none; whoever needs one waits with a timeout then.
    fn waker(&self) -> Option<Waker> {
        None
    }

    /// What is true of this remote that an operator should know: confinement it got, limits, degraded features.
    fn findings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Ends a [`Backend::wait`] from any thread, for as long as a clone of it is alive.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Rings the remote's doorbell. Cheap when the remote is awake; callable from any thread that owns a clone.
pub trait Doorbell {
    /// Tells the remote to look at the ring (or vdev) with this notify id.
    ///
    /// The caller has published what the remote shall see, with a full fence between. Kicks to a remote that is
    /// not running are dropped.
    fn ring(&self, notify_id: u32);
}

/// A stretch of memory that a remote needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What it is for: a segment's or carveout's name, `vdev0vring0`, `vdev0buffer`.
    pub name: String,
    /// Device address; `None` lets the backend place it.
    pub at: Option<DeviceAddr>,
    /// Length in bytes.
    pub len: u64,
    /// Alignment of the device address in bytes, a power of two; looked at where the backend places it.
    pub align: u64,
    /// What the remote may do with it.
    pub access: Access,
}

/// What a remote may do with one of its memories. Reading is always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read only.
    Read,
    /// Read and write.
    ReadWrite,
    /// Read and execute.
    ReadExecute,
    /// Read, write and execute: for cores without memory protection.
    ReadWriteExecute,
}

impl Access {
    /// Whether the remote may write.
    #[must_use]
    pub const fn is_writable(self) -> bool {
        matches!(self, Self::ReadWrite | Self::ReadWriteExecute)
    }

    /// Whether the remote may execute.
    #[must_use]
    pub const fn is_executable(self) -> bool {
        matches!(self, Self::ReadExecute | Self::ReadWriteExecute)
    }

    /// What may be done with a memory in which both have a part.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        let write = self.is_writable() || other.is_writable();
        let execute = self.is_executable() || other.is_executable();
        match (write, execute) {
            (false, false) => Self::Read,
            (true, false) => Self::ReadWrite,
            (false, true) => Self::ReadExecute,
            (true, true) => Self::ReadWriteExecute,
        }
    }
}

impl fmt::Display for Access {
    /// As `ls` would show it: `r--`, `rw-`, `r-x`, `rwx`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "r--",
            Self::ReadWrite => "rw-",
            Self::ReadExecute => "r-x",
            Self::ReadWriteExecute => "rwx",
        })
    }
}

/// Where and how a remote starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boot {
    /// Address of the first instruction.
    pub entry: DeviceAddr,
    /// Device address and length in bytes of the loaded resource table, if the firmware has one.
    pub table: Option<(DeviceAddr, u32)>,
}
