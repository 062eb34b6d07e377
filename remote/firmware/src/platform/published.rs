//! A static value that the entry fills in and everyone may read.

#![allow(unsafe_code)]

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// A place for a reference to a static, empty until it is published. Needs plain loads and stores only, which every
/// core has.
pub(crate) struct Published<T: 'static>(AtomicPtr<T>);

impl<T: Sync> Published<T> {
    pub(crate) const fn new() -> Self {
        Self(AtomicPtr::new(ptr::null_mut()))
    }

    pub(crate) fn publish(&self, value: &'static T) {
        // Release: who gets the reference sees the value that it refers to.
        self.0.store(ptr::from_ref(value).cast_mut(), Ordering::Release);
    }

    pub(crate) fn get(&self) -> Option<&'static T> {
        // SAFETY: null, or made from a `&'static T` in `publish`; `T: Sync`, so any thread may have it.
        unsafe { self.0.load(Ordering::Acquire).as_ref() }
    }
}
