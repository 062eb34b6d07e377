//! What a remote holds of others' resources, and how it is taken back when the remote is no more.
//!
//! A remote that dies in a critical section leaves the lock taken, for all others and for ever. So whoever knows of such
//! resources registers them ([`Remote::register`](crate::Remote::register)), and on the way out of every state in which the
//! remote runs they are freed once ([`Action::Reclaim`](crate::lifecycle::Action::Reclaim)): after it stopped executing, before
//! anybody is told of its end, and so before it is started again. What was freed is in the remote's log.
//!
//! Hardware spinlocks are the first kind: [`Spinlocks`].

use alloc::format;
use alloc::string::{String, ToString as _};
use alloc::vec::Vec;
use core::fmt;

use sidecore_mem::DeviceAddr;

use crate::{Memory, MemoryMap};

/// Resources that a remote can hold, of one kind at one place.
pub trait Held<O>: fmt::Debug + Send {
    /// Frees what the remote holds, which does not execute any more. Answers in words what that was, one for each.
    ///
    /// # Errors
    /// It cannot be found out what the remote holds, and nothing was freed; says why.
    fn reclaim(&mut self, memories: &[Memory], map: &MemoryMap<O>) -> Result<Vec<String>, String>;
}

/// A bank of spinlocks: words of 32 bits, of which each says who holds it.
///
/// 0 is a lock that is free, and anything else the number of its holder: so a semaphore unit says it that tells who took a lock
/// (the core id of STM32's HSEM, the gate's processor number of NXP's SEMA4), and so does a bank in memory that firmware takes
/// by compare-and-exchange from 0 to its number. Bits that say something else are masked out.
#[derive(Clone, Debug)]
pub struct Spinlocks {
    place: Place,
    holder: u32,
    mask: u32,
}

#[derive(Clone, Debug)]
enum Place {
    Memory(String),
    At(DeviceAddr, u32),
}

impl Spinlocks {
    /// Locks of a bank at most: what a page of 4096 bytes holds.
    pub const MOST: u32 = 1024;
    /// What a carveout is called that is a bank for a remote and its main side.
    pub const MEMORY: &str = "hwspinlock";
    /// The number of the main side in such a bank, and that of the remote.
    pub const MAIN: u32 = 1;
    /// See [`MAIN`](Self::MAIN).
    pub const REMOTE: u32 = 2;

    /// A bank that fills the memory (a carveout, for example) of this name. `holder` is the remote's number.
    #[must_use]
    pub fn in_memory(name: &str, holder: u32) -> Self {
        Self { place: Place::Memory(name.to_string()), holder, mask: u32::MAX }
    }

    /// A bank of so many locks at a device address.
    #[must_use]
    pub fn at(at: DeviceAddr, count: u32, holder: u32) -> Self {
        Self { place: Place::At(at, count), holder, mask: u32::MAX }
    }

    /// The holder's number is in these bits of the words alone.
    #[must_use]
    pub fn with_mask(self, mask: u32) -> Self {
        Self { mask, ..self }
    }

    /// Where the bank lies, and how many locks it has.
    fn find(&self, memories: &[Memory]) -> Result<(DeviceAddr, u32), String> {
        let (at, count) = match &self.place {
            Place::At(at, count) => (*at, u64::from(*count)),
            Place::Memory(name) => {
                let found = memories.iter().find(|memory| memory.name == *name);
                let found = found.and_then(|memory| Some((memory.at?, memory.len / 4)));
                found.ok_or_else(|| format!("there is no memory {name:?}"))?
            }
        };
        Ok((at, count.min(u64::from(Self::MOST)) as u32))
    }
}

impl<O: Clone> Held<O> for Spinlocks {
    fn reclaim(&mut self, memories: &[Memory], map: &MemoryMap<O>) -> Result<Vec<String>, String> {
        let (at, count) = self.find(memories)?;
        let bank = map.resolve(at, 4 * count as usize).map_err(|error| error.to_string())?;
        let mut freed = Vec::new();
        for lock in 0..count {
            let word = bank.word::<u32>(4 * lock as usize).map_err(|error| error.to_string())?;
            let value = word.load();
            // Nobody but its holder writes to a lock that is taken, and this holder executes nothing any more.
            if value != 0 && value & self.mask == self.holder & self.mask {
                word.store(0);
                freed.push(format!("spinlock {lock} of the bank at {at}, held by {}", self.holder));
            }
        }
        Ok(freed)
    }
}

impl fmt::Display for Spinlocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Memory(name) => write!(f, "spinlocks in memory {name:?}"),
            Place::At(at, count) => write!(f, "{count} spinlocks at {at}"),
        }
    }
}
