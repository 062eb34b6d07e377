//! The scalars that shared memory is made of.

mod sealed {
    pub trait Sealed {}
}

/// An unsigned integer that shared memory holds in little-endian order: `u8`, `u16`, `u32` or `u64`.
///
/// An access is one volatile access of that width where the processor has it. A `u64` on a 32-bit processor
/// is two accesses, so its halves may be of different ages.
pub trait Scalar: sealed::Sealed + Copy + PartialEq + 'static {
    /// Size and alignment in bytes.
    const SIZE: usize;

    #[doc(hidden)]
    fn to_little_endian(self) -> Self;

    #[doc(hidden)]
    fn to_u64(self) -> u64;

    #[doc(hidden)]
    fn from_u64(value: u64) -> Self;
}

macro_rules! scalar {
    ($($t:ty),*) => {$(
        impl sealed::Sealed for $t {}
        impl Scalar for $t {
            const SIZE: usize = size_of::<$t>();

            #[inline(always)]
            fn to_little_endian(self) -> Self {
                self.to_le()
            }

            #[inline(always)]
            fn to_u64(self) -> u64 {
                self as u64
            }

            #[inline(always)]
            fn from_u64(value: u64) -> Self {
                value as $t
            }
        }
    )*};
}

scalar!(u8, u16, u32, u64);
