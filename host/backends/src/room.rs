//! Room in a remote's address space for memories that have no address of their own.

use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{BackendError, Memory};

/// Where rooms are looked for: resource tables have 32-bit addresses, and images are linked below.
const FROM: u64 = 0x2000_0000;
const TO: u64 = 1 << 32;

/// The lowest room for `len` bytes, a multiple of `align` (a power of two) with `guard` free bytes on both sides,
/// beside what is `taken` (start and length in bytes). `None` if there is none below 4 GiB.
pub(crate) fn find_room(taken: &[(u64, u64)], len: u64, align: u64, guard: u64) -> Option<u64> {
    find_room_within(FROM, TO, taken, len, align, guard)
}

/// The same between two addresses.
pub(crate) fn find_room_within(
    from: u64,
    to: u64,
    taken: &[(u64, u64)],
    len: u64,
    align: u64,
    guard: u64,
) -> Option<u64> {
    let align_up = |at: u64| Some(at.checked_add(align - 1)? & !(align - 1));
    let mut at = align_up(from.checked_add(guard)?)?;
    loop {
        let (start, end) = (at - guard, at.checked_add(len)?.checked_add(guard)?);
        if end > to {
            return None;
        }
        match taken.iter().find(|(other, len)| *other < end && start < other.saturating_add(*len)) {
            None => return Some(at),
            // Each turn passes one of them, so there are no more turns than that.
            Some((other, len)) => at = align_up(other.checked_add(*len)?.checked_add(guard)?)?,
        }
    }
}

/// Says of memories without an address where they were put when the remote was started: `spans` has the names, addresses
/// and lengths in bytes of all that it was given.
///
/// # Errors
/// It was given none of such a name, or one that is too short.
pub(crate) fn place_again(
    spans: &[(String, DeviceAddr, u64)],
    memories: &mut [Memory],
) -> Result<(), BackendError> {
    for memory in memories.iter_mut().filter(|memory| memory.at.is_none()) {
        let refuse = |reason| BackendError::MemoryRefused {
            name: memory.name.clone(),
            at: None,
            len: memory.len,
            reason,
        };
        match spans.iter().find(|(name, ..)| *name == memory.name) {
            None => return Err(refuse("the remote was started without".to_owned())),
            Some((.., len)) if *len < memory.len => {
                return Err(refuse(format!("the remote was started with {len:#x} bytes of it")));
            }
            Some((_, at, _)) => memory.at = Some(*at),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_room_that_fits_is_taken() {
        assert_eq!(find_room(&[], 1, 1, 0), Some(FROM));
        assert_eq!(find_room(&[(FROM, 0x1000)], 0x1000, 0x1000, 0), Some(FROM + 0x1000));
        assert_eq!(find_room(&[(FROM + 0x800, 8)], 0x1000, 0x1000, 0), Some(FROM + 0x1000));
        assert_eq!(find_room(&[(FROM + 0x800, 8)], 0x700, 0x100, 0), Some(FROM));
        assert_eq!(find_room(&[(FROM, 0x1000)], 0x1000, 0x1000, 0x1000), Some(FROM + 0x2000));
        assert_eq!(find_room(&[(FROM + 0x3000, 8)], 0x1000, 0x1000, 0x1000), Some(FROM + 0x1000));
    }

    #[test]
    fn no_room_is_no_overflow() {
        assert_eq!(find_room(&[], u64::MAX, 1, 0), None);
        assert_eq!(find_room(&[], 1, 1 << 63, 0), None);
        assert_eq!(find_room(&[(0, u64::MAX)], 1, 4096, 0), None);
        assert_eq!(find_room(&[(FROM, u64::MAX)], 1, 4096, u64::MAX), None);
        assert_eq!(find_room(&[], TO - FROM, 1, 0), Some(FROM));
        assert_eq!(find_room(&[], TO - FROM, 1, 1), None);
    }
}
