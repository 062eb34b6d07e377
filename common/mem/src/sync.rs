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
#[inline(always)]
pub fn full_fence() {
    fence(Ordering::SeqCst);
}
