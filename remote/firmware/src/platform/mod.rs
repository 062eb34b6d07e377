//! The seam between the SDK and the machine it runs on, and the one room of the SDK with unsafe code.
//!
//! A platform is one file (or folder) here, chosen by the target: it implements [`Platform`], sets `Native` to its
//! type, and defines the macro `__entry!`, which emits the symbols that an image needs there (its first instruction,
//! and what its tool chain leaves undefined).
//!
//! | target | platform |
//! | --- | --- |
//! | Linux on x86-64 and AArch64 | `sandbox`: a confined process that its main side observes |
//! | `thumbv7em-none-eabihf` | `mps2`: a Cortex-M4F on Arm's MPS2 board (AN386) |
//! | `riscv32imac-unknown-none-elf` | `riscv32`: QEMU's machine for RV32IMAC |
//! | `armv7r-none-eabihf` | `zcu102_r5`: a Cortex-R5F on Xilinx' ZCU102 |
//! | `aarch64-unknown-none` | `aarch64_virt`: QEMU's machine for a Cortex-A53 |
//! | `thumbv8m.main-none-eabihf` | `mps2`: a Cortex-M33 on Arm's MPS2 board (AN521) |
//!
//! What all boards have in common, which is much, is in `board`. Boards with two cores (or two boards on one memory) have
//! firmware for each: built with `SIDECORE_CORE=1` in the environment it is for the second. And where a target has several
//! boards, `SIDECORE_BOARD` names another than the first: `riscv32-soc` is the same core as the coprocessor of `sidecore
//! soc`.

use core::time::Duration;

use sidecore_mem::{AddressMap, DeviceAddr, MapError, Region};

#[cfg(all(feature = "defmt", sidecore_native))]
pub mod defmt;
mod published;
#[cfg(sidecore_native)]
mod stack;
mod table;
mod waker;

#[cfg(sidecore_platform = "sandbox")]
pub mod sandbox;

pub(crate) use published::Published;
#[cfg(sidecore_native)]
pub use stack::{PAINTED, stack_used};
pub use table::{FILLED, StaticTable};
pub(crate) use waker::{take_woken, waker};

#[cfg(sidecore_platform = "aarch64-virt")]
pub mod aarch64_virt;
#[cfg(sidecore_board)]
pub mod board;
#[cfg(any(sidecore_platform = "mps2-an386", sidecore_platform = "mps2-an521"))]
pub mod mps2;
#[cfg(sidecore_board)]
mod register;
#[cfg(any(sidecore_platform = "riscv32-virt", sidecore_platform = "riscv32-soc"))]
pub mod riscv32;
#[cfg(sidecore_platform = "zcu102-r5")]
pub mod zcu102_r5;

/// The platform of the target that is compiled for.
#[cfg(sidecore_platform = "sandbox")]
pub type Native = sandbox::Sandbox;
/// The platform of the target that is compiled for.
#[cfg(sidecore_board)]
pub type Native = board::Board<Machine>;

#[cfg(sidecore_platform = "aarch64-virt")]
use aarch64_virt::Virt as Machine;
#[cfg(any(sidecore_platform = "mps2-an386", sidecore_platform = "mps2-an521"))]
use mps2::Mps2 as Machine;
#[cfg(any(sidecore_platform = "riscv32-virt", sidecore_platform = "riscv32-soc"))]
use riscv32::Virt as Machine;
#[cfg(sidecore_platform = "zcu102-r5")]
use zcu102_r5::RealTime as Machine;

/// The memories that firmware and main side share, by device address.
pub type SharedMap = AddressMap<(), SHARED_MAX>;

/// How many of them there can be.
pub const SHARED_MAX: usize = 32;

/// A machine that firmware runs on, as far as the SDK needs it. Used by one thread of execution.
pub trait Platform {
    /// Tells the main side to look at the ring (or vdev) with this notify id.
    ///
    /// The caller has published what the main side shall see, with a full fence between. Cheap while the main side is
    /// awake.
    fn ring(&self, notify_id: u32);

    /// Sleeps until the main side rings or the time `until` (`None`: never) has come; may return earlier, for no
    /// reason at all.
    ///
    /// `ready` is asked after the doorbell has been armed and before sleeping, which closes the race between the
    /// caller's last look at the rings and the sleep; with `true` the call returns at once. It may itself wait. An
    /// armed watchdog is fed meanwhile: waiting is not hanging.
    fn wait(&self, until: Option<u64>, ready: &mut dyn FnMut() -> bool);

    /// Wakes whoever reads the trace and asked for it, asleep or not; where nothing does, the reader looks by itself. May be
    /// called in any state.
    fn alert() {}

    /// For how many ticks it is worth looking at the rings before [`wait`](Self::wait): about what sleeping and waking
    /// cost, 0 where the main side cannot run meanwhile.
    fn patience(&self) -> u64;

    /// The time since some moment before the start, in ticks. Never goes back and never wraps.
    fn now(&self) -> u64;

    /// Ticks in a second; not 0.
    fn ticks_per_second(&self) -> u64;

    /// Promises to call [`feed_watchdog`](Self::feed_watchdog) or [`wait`](Self::wait) at least once in every
    /// `period` from now on; breaking the promise is a hang, upon which the main side acts. Rounded up to what the
    /// machine can count; a later call replaces the promise.
    fn arm_watchdog(&self, period: Duration);

    /// Keeps the promise of [`arm_watchdog`](Self::arm_watchdog). Cheap enough for the middle of a computation.
    fn feed_watchdog(&self);

    /// Adds the memories that both sides share, as of now; no part of the image lies in them.
    ///
    /// # Errors
    /// They overlap, wrap around, or are too many.
    fn shared<const N: usize>(&self, map: &mut AddressMap<(), N>) -> Result<(), MapError>;

    /// Whether there is a main side, and how many there have been. The doorbell rings when that changes.
    fn main_side(&self) -> MainSide {
        MainSide::UNKNOWN
    }

    /// What is shared with the other core of the same board, where there is one.
    fn sibling(&self) -> Option<Sibling> {
        None
    }

    /// Lets the other core begin, where that is this one's to do.
    fn release_sibling(&self) {}

    /// Tells the other core to look at its rings; as [`ring`](Self::ring) tells the main side.
    fn ring_sibling(&self) {}

    /// Ends the firmware with an exit code, as a program ends.
    fn exit(&self, code: i32) -> !;

    /// Breaks a rule of the machine on purpose, for tests of whoever watches over the firmware.
    fn misbehave(&self, how: Misbehaviour) -> !;

    /// Ends the firmware as crashed, leaving `record` (`file:line: message`) where the main side finds it. May be
    /// called in any state, before the platform is up too.
    fn halt(record: &str) -> !;
}

/// What a platform knows of the main side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MainSide {
    /// There is one, as far as anybody knows.
    pub is_there: bool,
    /// How many there have been, the present one included; 0 where nobody counts.
    pub count: u32,
}

impl MainSide {
    /// Where nobody tells the remote.
    pub const UNKNOWN: Self = Self { is_there: true, count: 0 };
}

/// What is shared with the other core of a board, its *sibling*: nobody's but these two's.
#[derive(Debug)]
pub struct Sibling {
    /// Where the link script of the sibling's firmware puts its resource table.
    pub table: Region,
    /// Memory for rings and buffers between the two.
    pub memory: Region,
    /// Its first byte's address, the same for both.
    pub at: DeviceAddr,
}

/// A rule of the machine that firmware can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misbehaviour {
    /// It reads from this address, where there is nothing.
    BadAccess(u64),
    /// It executes an instruction that does not exist.
    IllegalInstruction,
    /// It asks the system for something that is forbidden to it.
    ForbiddenCall,
}

/// `ticks` of a platform with this frequency as a duration, rounded down.
pub(crate) fn duration(ticks: u64, per_second: u64) -> Duration {
    let seconds = ticks / per_second.max(1);
    let rest = ticks % per_second.max(1);
    let nanoseconds = u128::from(rest) * 1_000_000_000 / u128::from(per_second.max(1));
    Duration::new(seconds, nanoseconds as u32)
}

/// A duration in ticks of a platform with this frequency, rounded up; the greatest number if it has no room.
pub(crate) fn ticks(duration: Duration, per_second: u64) -> u64 {
    let ticks = (duration.as_nanos().saturating_mul(u128::from(per_second))).div_ceil(1_000_000_000);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_and_durations_convert_without_overflow() {
        assert_eq!(duration(3_900_000_001, 2_600_000_000), Duration::from_nanos(1_500_000_000));
        assert_eq!(ticks(Duration::from_nanos(1), 1_000), 1);
        assert_eq!(ticks(Duration::from_millis(1500), 2_600_000_000), 3_900_000_000);
        assert_eq!(ticks(Duration::MAX, u64::MAX), u64::MAX);
        assert_eq!(duration(u64::MAX, u64::MAX), Duration::from_secs(1));
        assert_eq!(duration(5, 0), Duration::from_secs(5));
    }
}
