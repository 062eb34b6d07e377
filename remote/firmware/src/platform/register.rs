//! Registers of devices.

#![allow(unsafe_code)]

use core::marker::PhantomData;
use core::ptr;

/// A register that is always there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register<T = u32>(usize, PhantomData<T>);

impl<T> Register<T> {
    /// The register at this address.
    ///
    /// # Safety
    /// There is one of this width, and nothing that reading or writing it does breaks a promise of the language.
    pub(super) const unsafe fn at(address: usize) -> Self {
        Self(address, PhantomData)
    }

    pub(super) fn read(self) -> T {
        let register = ptr::with_exposed_provenance::<T>(self.0);
        // SAFETY: the promise made to `at`.
        unsafe { register.read_volatile() }
    }

    pub(super) fn write(self, word: T) {
        let register = ptr::with_exposed_provenance_mut::<T>(self.0);
        // SAFETY: the promise made to `at`.
        unsafe { register.write_volatile(word) }
    }
}
