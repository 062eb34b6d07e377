//! Spinlocks in memory that is shared with the main side.

use core::fmt;

use sidecore_mem::sync::full_fence;
use sidecore_mem::{Region, Word};

use crate::Remote;
use crate::platform::Platform;

/// A bank of spinlocks: words of 32 bits, 0 where a lock is free, and the number of its holder where it is not. Where the remote
/// dies with one, the main side takes it back.
#[derive(Clone, Debug)]
pub struct Spinlocks {
    bank: Region,
}

/// A lock that is held; dropping it gives it back.
#[must_use = "a lock that is dropped is given back"]
pub struct SpinlockGuard {
    word: Word<u32>,
}

impl Spinlocks {
    /// What a carveout is called that is a bank for a remote and its main side.
    pub const CARVEOUT: &str = "hwspinlock";
    /// The number of the main side in it.
    pub const MAIN: u32 = 1;
    /// The remote's own.
    pub const REMOTE: u32 = 2;

    /// The bank that the image asked for (`Resources::new().carveout(Spinlocks::CARVEOUT, 64)`); `None` if it did not.
    #[must_use]
    pub fn of<P: Platform>(remote: &Remote<'_, P>) -> Option<Self> {
        remote.carveout(Self::CARVEOUT).map(|bank| Self { bank })
    }

    /// Takes a lock, if it is free and there is one of this number.
    pub fn try_lock(&self, number: usize) -> Option<SpinlockGuard> {
        let word = self.bank.word::<u32>(number.checked_mul(4)?).ok()?;
        word.exchange(0, Self::REMOTE).then_some(SpinlockGuard { word })
    }
}

impl Drop for SpinlockGuard {
    fn drop(&mut self) {
        // Whoever takes it next sees what was written under it.
        full_fence();
        self.word.store(0);
    }
}

impl fmt::Debug for SpinlockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SpinlockGuard")
    }
}
