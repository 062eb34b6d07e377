//! Addresses, one type for each processor's view of memory.

use core::fmt;

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(pub u64);

        impl $name {
            /// The address `bytes` further on, or `None` where that leaves the 64-bit address space.
            #[inline]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// How many bytes this address lies beyond `start`, or `None` where it lies before it.
            #[inline]
            pub const fn offset_from(self, start: Self) -> Option<u64> {
                self.0.checked_sub(start.0)
            }

            /// Whether the address is a multiple of `align` (a power of two).
            #[inline]
            pub const fn is_aligned(self, align: u64) -> bool {
                self.0 & (align - 1) == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }
    };
}

address! {
    /// An address as the remote processor sees it (Linux remoteproc: `da`).
    DeviceAddr
}
address! {
    /// An address as the main processor's bus sees it (Linux remoteproc: `pa`).
    PhysAddr
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;

    #[test]
    fn an_address_that_leaves_the_address_space_is_none() {
        assert_eq!(DeviceAddr(u64::MAX).checked_add(1), None);
        assert_eq!(DeviceAddr(8).checked_add(8), Some(DeviceAddr(16)));
        assert_eq!(PhysAddr(8).offset_from(PhysAddr(9)), None);
    }

    #[test]
    fn addresses_print_in_hexadecimal() {
        assert_eq!(
            std::format!("{} {:?}", DeviceAddr(0x4000_0000), PhysAddr(16)),
            "0x40000000 PhysAddr(0x10)"
        );
    }
}
