//! Registers of devices.

#![allow(unsafe_code)]

use core::ptr;

/// A register of 32 bits that is always there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Register(usize);

impl Register {
    /// The register at this address.
    ///
    /// # Safety
    /// There is one of 32 bits, and nothing that reading or writing it does breaks a promise of the language.
    pub(super) const unsafe fn at(address: usize) -> Self {
        Self(address)
    }

    pub(super) fn read(self) -> u32 {
        let register = ptr::with_exposed_provenance::<u32>(self.0);
        // SAFETY: the promise made to `at`.
        unsafe { register.read_volatile() }
    }

    pub(super) fn write(self, word: u32) {
        let register = ptr::with_exposed_provenance_mut::<u32>(self.0);
        // SAFETY: the promise made to `at`.
        unsafe { register.write_volatile(word) }
    }
}
