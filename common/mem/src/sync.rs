//! Atomics and fences: the one module that they come from, so that loom can replace them.

#[cfg(not(loom))]
pub use core::sync::atomic::{Ordering, fence};
#[cfg(loom)]
pub use loom::sync::atomic::{Ordering, fence};

/// A full barrier: no access before it is seen after one that follows it, by any peer.
///
/// The one place where a weaker fence does not do is "publish, then look whether the peer wants to be woken"
/// against the peer's "ask to be woken, then look whether something was published" (store buffering): each
/// side must see the other's store or its own question answered.
///
/// On a Cortex-M a register of the processor is read too. QEMU before version 8 leaves fences out on machines that can
/// have but one core, though the main side is another (75 of a million such exchanges went wrong); it does not let
/// anything past an access to a device.
#[inline(always)]
pub fn full_fence() {
    fence(Ordering::SeqCst);
    // The 32-bit Arm cores without an operating system that have no atomics of 64 bits.
    #[cfg(all(target_arch = "arm", target_os = "none", not(target_has_atomic = "64")))]
    crate::raw::touch_device();
}
