//! Memory that another process lends us: files that it made, and that it may be able to shrink.

#![allow(unsafe_code)]

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::fs::SealFlags;
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use sidecore_mem::Region;

use crate::bus::{Guarded, is_guarded};
use crate::{Refused, page_size};

/// Part of a file that another process sent, mapped readable and writable, unmapped when the last owner goes.
pub struct Lent {
    base: NonNull<u8>,
    /// Bytes that were mapped, whole pages.
    mapped: usize,
    /// Where the part begins in them.
    skip: usize,
    len: usize,
    /// Nothing where the file can never shrink.
    guarded: Option<Guarded>,
}

// SAFETY: addresses and lengths; the bytes are reached through regions alone.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Lent {
    /// Maps `len` bytes of the file from byte `offset` on. A file that can be sealed against shrinking is.
    ///
    /// # Errors
    /// `EMEDIUMTYPE`: the file is no memory (a memfd, tmpfs or hugetlbfs). `ENXIO`: it does not have the bytes.
    /// `EPERM`: it can shrink, and this process is not [guarded](crate::guard_bus_errors) against that.
    pub fn map(file: BorrowedFd<'_>, offset: u64, len: u64) -> Result<Arc<Self>, Refused> {
        // Only files that are nothing but memory know of seals. Any other may be one (FUSE) of which even the length, and
        // then each byte, is asked of a process that may never answer.
        let is_memory = rustix::fs::fcntl_get_seals(file).is_ok();
        if !is_memory {
            return Err(Refused {
                operation: "use a file as memory (F_GET_SEALS)",
                errno: Errno::MEDIUMTYPE,
            });
        }
        let stat = rustix::fs::fstat(file).map_err(Refused::to("look at lent memory (fstat)"))?;
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let end = offset.checked_add(len).filter(|end| *end <= size && len > 0);
        let outside = Refused { operation: "map lent memory (its file is shorter)", errno: Errno::NXIO };
        let end = end.ok_or(outside)?;
        let is_sealed = is_sealed(file);
        if !is_sealed && !is_guarded() {
            return Err(Refused { operation: "map memory that its owner can shrink", errno: Errno::PERM });
        }

        // Huge pages, if that is what the file is made of, want their own alignment.
        let page = u64::try_from(stat.st_blksize).unwrap_or(0).max(page_size() as u64).next_power_of_two();
        let start = offset & !(page - 1);
        let whole = end.checked_next_multiple_of(page).ok_or(outside)? - start;
        let mapped = usize::try_from(whole).map_err(|_| outside)?;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address that the system picks touches no other memory.
        let base =
            unsafe { rustix::mm::mmap(ptr::null_mut(), mapped, protection, MapFlags::SHARED, file, start) };
        let refused = Refused::to("map lent memory (mmap)");
        let base =
            base.and_then(|base| NonNull::new(base.cast::<u8>()).ok_or(Errno::NOMEM)).map_err(refused)?;
        // Both fit: they are parts of what was mapped.
        let (skip, len) = ((offset - start) as usize, len as usize);
        let mut lent = Self { base, mapped, skip, len, guarded: None };
        if !is_sealed {
            lent.guarded = Some(Guarded::enter(base.as_ptr() as usize, mapped)?);
        }
        Ok(Arc::new(lent))
    }

    /// All of it as a region, which keeps it mapped.
    pub fn region(self: &Arc<Self>) -> Region<Arc<Self>> {
        // SAFETY: `skip + len` is at most `mapped`.
        let first = unsafe { self.base.add(self.skip) };
        // SAFETY: mapped readable and writable until the `Arc` goes, and this file makes no reference to the bytes.
        unsafe { Region::from_raw(first, self.len, Arc::clone(self)) }
    }

    /// Whether the file shrank, which an access noticed: all bytes have been zeros since, and nobody shares them.
    pub fn is_lost(&self) -> bool {
        self.guarded.as_ref().is_some_and(Guarded::is_lost)
    }
}

/// Whether the file can never shrink again, for it was sealed, or has been now.
fn is_sealed(file: BorrowedFd<'_>) -> bool {
    // Refused for files that cannot be sealed, and where somebody forbade further seals.
    let _ = rustix::fs::fcntl_add_seals(file, SealFlags::SHRINK);
    rustix::fs::fcntl_get_seals(file.as_fd()).is_ok_and(|seals| seals.contains(SealFlags::SHRINK))
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Before the address can be anybody else's.
        self.guarded = None;
        // SAFETY: the range is the one that was mapped, and no region into it is left, for each holds an `Arc`.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.mapped) };
        // It only fails for arguments that are no mapping.
        debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
    }
}

impl fmt::Debug for Lent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lent({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use rustix::fs::MemfdFlags;

    use super::*;
    use crate::guard_bus_errors;

    fn file(flags: MemfdFlags, len: u64) -> OwnedFd {
        let fd = rustix::fs::memfd_create("test", flags).unwrap();
        rustix::fs::ftruncate(&fd, len).unwrap();
        fd
    }

    fn refusal(fd: &OwnedFd, offset: u64, len: u64) -> Errno {
        Lent::map(fd.as_fd(), offset, len).expect_err("it is refused").errno
    }

    #[test]
    fn any_part_of_a_file_is_mapped_and_it_cannot_shrink_from_then_on() {
        let fd = file(MemfdFlags::ALLOW_SEALING, 16384);
        let (part, whole) =
            (Lent::map(fd.as_fd(), 5000, 5000).unwrap(), Lent::map(fd.as_fd(), 0, 16384).unwrap());
        whole.region().write(5000, b"here").unwrap();
        assert_eq!(part.region().read_array(0), Ok(*b"here"));
        assert_eq!(part.region().len(), 5000);
        assert_eq!(rustix::fs::ftruncate(&fd, 4096), Err(Errno::PERM));
        assert!(!part.is_lost());
    }

    #[test]
    fn what_is_no_memory_or_not_there_is_refused() {
        let fd = file(MemfdFlags::ALLOW_SEALING, 8192);
        for (offset, len) in [(0, 8193), (8192, 1), (u64::MAX, 2), (1, u64::MAX), (0, 0)] {
            assert_eq!(refusal(&fd, offset, len), Errno::NXIO, "{offset} {len}");
        }
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        assert_eq!(refusal(&pipe, 0, 1), Errno::MEDIUMTYPE);
        let proc = std::fs::File::open("/proc/self/status").unwrap();
        assert_eq!(refusal(&proc.into(), 0, 1), Errno::MEDIUMTYPE);
    }

    #[test]
    fn a_file_that_shrinks_costs_its_mapping_alone() {
        guard_bus_errors().unwrap();
        guard_bus_errors().unwrap();
        // Without sealing: nobody can keep it from shrinking.
        let (doomed, other) = (file(MemfdFlags::empty(), 8192), file(MemfdFlags::empty(), 4096));
        let (lost, kept) =
            (Lent::map(doomed.as_fd(), 0, 8192).unwrap(), Lent::map(other.as_fd(), 0, 4096).unwrap());
        lost.region().store(4096, 7_u32).unwrap();
        kept.region().store(0, 9_u32).unwrap();
        rustix::fs::ftruncate(&doomed, 4096).unwrap();
        assert!(!lost.is_lost());
        assert_eq!(lost.region().load::<u32>(4096), Ok(0));
        assert!(lost.is_lost());
        lost.region().store(4096, 1_u32).unwrap();
        assert_eq!(kept.region().load::<u32>(0), Ok(9));
        assert!(!kept.is_lost());
        drop(lost);
        // Its place in the table is free again, and says nothing of who was there.
        let next = Lent::map(other.as_fd(), 0, 4096).unwrap();
        assert!(!next.is_lost());
    }
}
