//! Sudden death, for simulations (`--cfg mortal`): a thread's stores to shared memory stop at a chosen one.
//!
//! What a process leaves when it is killed is what it had stored until then. Here a panic takes the place of the kill,
//! and no store is made from the chosen one on, by destructors neither, until [`revive`].

extern crate std;

use std::cell::Cell;
use std::thread_local;

thread_local! {
    static STORES: Cell<u64> = const { Cell::new(0) };
    static LAST: Cell<u64> = const { Cell::new(u64::MAX) };
    static DEAD: Cell<bool> = const { Cell::new(false) };
}

/// What a panic carries that stands for a death.
#[derive(Clone, Copy, Debug)]
pub struct Death;

/// Stores of this thread so far.
pub fn stores() -> u64 {
    STORES.get()
}

/// This thread dies when it has made `stores` more.
pub fn die_after(stores: u64) {
    LAST.set(STORES.get().saturating_add(stores));
}

/// This thread is somebody else from now on, who lives for ever.
pub fn revive() {
    LAST.set(u64::MAX);
    DEAD.set(false);
}

/// Whether this thread has died, and has not been revived since.
pub fn is_dead() -> bool {
    DEAD.get()
}

/// Runs what somebody else does, who lives in the same thread: nobody dies in it, and its stores are not counted.
pub fn spared<R>(act: impl FnOnce() -> R) -> R {
    let (stores, last) = (STORES.get(), LAST.replace(u64::MAX));
    let result = act();
    STORES.set(stores);
    LAST.set(last);
    result
}

/// Whether the store that comes is made; dies where it is the first that is not.
pub(crate) fn is_alive() -> bool {
    let stores = STORES.get();
    if stores < LAST.get() {
        STORES.set(stores + 1);
        return true;
    }
    if !DEAD.replace(true) {
        std::panic::panic_any(Death);
    }
    false
}
