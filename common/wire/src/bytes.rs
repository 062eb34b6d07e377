//! Fields of fixed arrays. Offset, width and array length are constants, so the bounds are proved when the
//! caller is compiled and nothing is left to check, or to panic, at run time.

/// The `W` bytes at offset `AT`.
#[inline(always)]
pub(crate) const fn take<const AT: usize, const W: usize, const N: usize>(bytes: &[u8; N]) -> [u8; W] {
    const { assert!(AT + W <= N, "the field ends inside its layout") };
    let mut field = [0; W];
    let mut i = 0;
    while i < W {
        field[i] = bytes[AT + i];
        i += 1;
    }
    field
}

/// Writes `field` at offset `AT`.
#[inline(always)]
pub(crate) const fn put<const AT: usize, const W: usize, const N: usize>(
    bytes: &mut [u8; N],
    field: [u8; W],
) {
    const { assert!(AT + W <= N, "the field ends inside its layout") };
    let mut i = 0;
    while i < W {
        bytes[AT + i] = field[i];
        i += 1;
    }
}

/// The byte at offset `AT`.
#[inline(always)]
pub(crate) const fn u8_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u8 {
    u8::from_le_bytes(take::<AT, 1, N>(bytes))
}

/// The little endian 16-bit word at offset `AT`.
#[inline(always)]
pub(crate) const fn u16_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u16 {
    u16::from_le_bytes(take::<AT, 2, N>(bytes))
}

/// The little endian 32-bit word at offset `AT`.
#[inline(always)]
pub(crate) const fn u32_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u32 {
    u32::from_le_bytes(take::<AT, 4, N>(bytes))
}

/// The little endian 64-bit word at offset `AT`.
#[inline(always)]
pub(crate) const fn u64_at<const AT: usize, const N: usize>(bytes: &[u8; N]) -> u64 {
    u64::from_le_bytes(take::<AT, 8, N>(bytes))
}
