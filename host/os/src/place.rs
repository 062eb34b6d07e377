//! Memory at chosen addresses: a boot stub lays out its remote's address space.

#![allow(unsafe_code)]

use std::ptr;
use std::slice;

use rustix::io::Errno;
use rustix::mm::{MapFlags, MprotectFlags, ProtFlags};

use crate::{Refused, SharedMemory};

/// What the code at the other end may do with placed memory. There is no writable and executable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Read only.
    Read,
    /// Read and write.
    ReadWrite,
    /// Read and execute.
    ReadExecute,
}

/// How memory came to be where it was wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The shared bytes themselves.
    Shared,
    /// A private copy, because the system lets no shared memory be executed. Later writes by others are not seen.
    Copied,
}

/// Maps `len` bytes of `memory` from `offset` on at address `at`, for as long as the process lives, and never over
/// something that is mapped there already. All three are multiples of the page size.
///
/// # Errors
/// `EEXIST`: something is mapped there. Else the system's refusal.
pub fn place(
    memory: &SharedMemory,
    offset: u64,
    len: usize,
    at: usize,
    protection: Protection,
) -> Result<Placed, Refused> {
    let operation = "map memory at its device address (mmap)";
    let flags = MapFlags::SHARED | MapFlags::FIXED_NOREPLACE;
    let bits = match protection {
        Protection::Read => ProtFlags::READ,
        Protection::ReadWrite => ProtFlags::READ | ProtFlags::WRITE,
        Protection::ReadExecute => ProtFlags::READ | ProtFlags::EXEC,
    };
    // SAFETY: NOREPLACE: the range was not mapped, so nothing of this program lies in it.
    let base = unsafe { rustix::mm::mmap(ptr::without_provenance_mut(at), len, bits, flags, memory, offset) };
    match base {
        Ok(base) => check_address(base, len, at, operation).map(|()| Placed::Shared),
        // Mandatory access control forbids executable mappings of shared memory, not of one's own.
        Err(Errno::ACCESS | Errno::PERM) if protection == Protection::ReadExecute => {
            place_copy(memory, offset, len, at).map(|()| Placed::Copied)
        }
        Err(errno) => Err(Refused { operation, errno }),
    }
}

/// Keeps `len` bytes at address `at` free of everything for as long as the process lives: an access faults.
///
/// # Errors
/// As for [`place`].
pub fn guard(at: usize, len: usize) -> Result<(), Refused> {
    anonymous(at, len, ProtFlags::empty()).map(drop)
}

fn place_copy(memory: &SharedMemory, offset: u64, len: usize, at: usize) -> Result<(), Refused> {
    let base = anonymous(at, len, ProtFlags::READ | ProtFlags::WRITE)?;
    // SAFETY: mapped just now, zeroed, readable and writable, and nobody else knows the address.
    let mut rest = unsafe { slice::from_raw_parts_mut(base, len) };
    let mut from = offset;
    while !rest.is_empty() {
        let step = memory.peek(from, rest)?;
        if step == 0 {
            break; // Past the end of the memory: zeros.
        }
        from += step as u64;
        rest = &mut rest[step..];
    }
    let bits = MprotectFlags::READ | MprotectFlags::EXEC;
    // SAFETY: the range is the mapping made above, and the slice into it is not used any more.
    let protected = unsafe { rustix::mm::mprotect(base.cast(), len, bits) };
    protected.map_err(Refused::to("make memory executable (mprotect)"))
}

fn anonymous(at: usize, len: usize, bits: ProtFlags) -> Result<*mut u8, Refused> {
    let operation = "reserve memory at its device address (mmap)";
    let flags = MapFlags::PRIVATE | MapFlags::FIXED_NOREPLACE;
    // SAFETY: NOREPLACE, as in `place`.
    let base = unsafe { rustix::mm::mmap_anonymous(ptr::without_provenance_mut(at), len, bits, flags) };
    let base = base.map_err(Refused::to(operation))?;
    check_address(base, len, at, operation)?;
    Ok(base.cast())
}

/// Kernels before 4.17 take the address for a hint where they do not know the flag.
fn check_address(
    base: *mut std::ffi::c_void,
    len: usize,
    at: usize,
    operation: &'static str,
) -> Result<(), Refused> {
    if base.addr() == at {
        return Ok(());
    }
    // SAFETY: mapped just now, and known to nobody.
    let unmapped = unsafe { rustix::mm::munmap(base, len) };
    Err(Refused { operation, errno: unmapped.err().unwrap_or(Errno::EXIST) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page_size;

    /// An address that is free: where the system just had room.
    fn free(len: usize) -> usize {
        let memory = SharedMemory::create("free", len).unwrap();
        memory.map().unwrap().region().pointer().addr().get()
    }

    #[test]
    fn memory_is_never_placed_over_other_memory() {
        let page = page_size();
        let memory = SharedMemory::create("test", page).unwrap();
        let taken = memory.map().unwrap();
        let at = taken.region().pointer().addr().get();
        let refused = place(&memory, 0, page, at, Protection::Read).unwrap_err();
        assert_eq!(refused.errno, Errno::EXIST);
        assert_eq!(guard(at, page).unwrap_err().errno, Errno::EXIST);
        taken.region().store(0, 1_u8).unwrap();
    }

    #[test]
    fn placed_memory_can_be_executed_or_written_but_not_both() {
        let page = page_size();
        let memory = SharedMemory::create("sidecore-test", 3 * page).unwrap();
        let protections = [Protection::Read, Protection::ReadWrite, Protection::ReadExecute];
        for (number, protection) in protections.into_iter().enumerate() {
            let at = free(page);
            // Another thread of this test may have taken the address meanwhile: then the call says so.
            let placed = place(&memory, (number * page) as u64, page, at, protection);
            assert!(
                matches!(placed, Ok(Placed::Shared) | Err(Refused { errno: Errno::EXIST, .. })),
                "{placed:?}"
            );
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        let ours: Vec<_> = maps.lines().filter(|line| line.contains("sidecore-test")).collect();
        assert!(ours.iter().all(|line| !line.contains("rwx")), "{ours:?}");
    }
}
