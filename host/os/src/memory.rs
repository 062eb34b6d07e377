//! Shared memory that nobody can shrink, and its mappings.

#![allow(unsafe_code)]

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags, SeekFrom};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags};
use sidecore_mem::Region;

use crate::Refused;

/// The page size of the running kernel in bytes.
pub fn page_size() -> usize {
    rustix::param::page_size()
}

/// Bytes from which on the system is asked whether it has them.
const CHECKED: u64 = 16 << 20;

/// Memory that processes share: a sealed memfd, all of it allocated.
///
/// Its length never changes, so that no access through a mapping can fault, whoever else holds the descriptor.
#[derive(Debug)]
pub struct SharedMemory {
    fd: Arc<OwnedFd>,
    len: usize,
}

impl SharedMemory {
    /// Allocates `len` bytes (rounded up to pages by the system where mapped), zeroed. `name` is what
    /// `/proc/<pid>/maps` shows.
    ///
    /// # Errors
    /// The system has not so much memory, or no memfds at all.
    pub fn create(name: &str, len: usize) -> Result<Self, Refused> {
        let size = len as u64;
        if size > CHECKED && available().is_some_and(|available| size > available) {
            // The system would rather kill processes than refuse.
            return Err(Refused { operation: "allocate shared memory (MemAvailable)", errno: Errno::NOMEM });
        }
        let fd = Self::create_fd(name)?;
        rustix::fs::ftruncate(&fd, size).map_err(Refused::to("size shared memory (ftruncate)"))?;
        // Allocated now, so that running out of memory is an error here and no SIGBUS later.
        rustix::fs::fallocate(&fd, FallocateFlags::empty(), 0, size)
            .map_err(Refused::to("allocate shared memory (fallocate)"))?;
        rustix::fs::fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)
            .map_err(Refused::to("seal shared memory (F_ADD_SEALS)"))?;
        Ok(Self { fd: Arc::new(fd), len })
    }

    /// Takes a descriptor that another process sent.
    ///
    /// # Errors
    /// It is no memory whose length is sealed: its sender could make our accesses fault.
    pub fn adopt(fd: OwnedFd) -> Result<Self, Refused> {
        let operation = "take over shared memory (F_GET_SEALS)";
        let seals = rustix::fs::fcntl_get_seals(&fd).map_err(Refused::to(operation))?;
        if !seals.contains(SealFlags::SHRINK) {
            return Err(Refused { operation, errno: Errno::PERM });
        }
        let stat = rustix::fs::fstat(&fd).map_err(Refused::to("look at shared memory (fstat)"))?;
        let len = usize::try_from(stat.st_size)
            .map_err(|_| Refused { operation: "look at shared memory (fstat)", errno: Errno::FBIG })?;
        Ok(Self { fd: Arc::new(fd), len })
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Maps all of it, readable and writable, where the system likes.
    ///
    /// # Errors
    /// No room in the address space, or the memory is empty.
    pub fn map(&self) -> Result<Arc<Mapping>, Refused> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a fresh mapping at an address that the system picks touches no other memory.
        let base =
            unsafe { rustix::mm::mmap(ptr::null_mut(), self.len, protection, MapFlags::SHARED, &self.fd, 0) };
        let base = base.map_err(Refused::to("map shared memory (mmap)"))?;
        let base = NonNull::new(base.cast::<u8>())
            .ok_or(Refused { operation: "map shared memory (mmap)", errno: Errno::NOMEM })?;
        Ok(Arc::new(Mapping { base, len: self.len, fd: Arc::clone(&self.fd) }))
    }

    /// A copy of the bytes at `at` without mapping them; fewer than asked for at the end.
    ///
    /// # Errors
    /// The system's, on a descriptor that is no memory.
    pub fn peek(&self, at: u64, to: &mut [u8]) -> Result<usize, Refused> {
        rustix::io::pread(&self.fd, to, at).map_err(Refused::to("read shared memory (pread)"))
    }

    fn create_fd(name: &str) -> Result<OwnedFd, Refused> {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        // A file that cannot be executed satisfies every `vm.memfd_noexec` policy. It says nothing about mapping.
        // Kernels before 6.3 do not know the flag.
        let fd = match rustix::fs::memfd_create(name, flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => rustix::fs::memfd_create(name, flags),
            other => other,
        };
        fd.map_err(Refused::to("create shared memory (memfd_create)"))
    }
}

/// Bytes that the system could give without taking them from somebody (proc(5), `/proc/meminfo`).
fn available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

impl AsFd for SharedMemory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Shared memory mapped into this process, unmapped when the last owner goes.
pub struct Mapping {
    base: NonNull<u8>,
    len: usize,
    fd: Arc<OwnedFd>,
}

/// What is found in shared memory from some place on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// So many bytes that nobody has ever touched: they are zero.
    Untouched(usize),
    /// So many bytes that may be anything.
    Used(usize),
}

// SAFETY: an address and a length; the bytes are reached through regions alone.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// All of it as a region, which keeps it mapped.
    pub fn region(self: &Arc<Self>) -> Region<Arc<Self>> {
        // SAFETY: mapped readable and writable until the `Arc` goes, and this file makes no reference to the bytes.
        unsafe { Region::from_raw(self.base, self.len, Arc::clone(self)) }
    }

    /// What a region has from `at` on, to its end at most. Looking touches nothing.
    pub fn extent(region: &Region<Arc<Self>>, at: usize) -> Extent {
        let rest = region.len().saturating_sub(at);
        let mapping = region.owner();
        let from = mapping.offset(region, at);
        // The offsets of the descriptor, which these change, mean nothing to anybody.
        match rustix::fs::seek(&mapping.fd, SeekFrom::Data(from)) {
            Ok(data) if data > from => Extent::Untouched(bytes_until(data - from, rest)),
            Ok(_) => match rustix::fs::seek(&mapping.fd, SeekFrom::Hole(from)) {
                Ok(hole) if hole > from => Extent::Used(bytes_until(hole - from, rest)),
                _ => Extent::Used(rest),
            },
            Err(Errno::NXIO) => Extent::Untouched(rest),
            Err(_) => Extent::Used(rest),
        }
    }

    /// A copy of a region's bytes at `at` that takes no memory of this process but `to`; fewer than asked for at the
    /// region's end. Through the mapping each page that is looked at would become a part of this process.
    ///
    /// # Errors
    /// The system's; then they can be read through the region all the same.
    pub fn peek(region: &Region<Arc<Self>>, at: usize, to: &mut [u8]) -> Result<usize, Refused> {
        let len = to.len().min(region.len().saturating_sub(at));
        let mapping = region.owner();
        let read = rustix::io::pread(&mapping.fd, &mut to[..len], mapping.offset(region, at));
        read.map_err(Refused::to("read shared memory (pread)"))
    }

    /// Where a byte of a region lies in the shared memory.
    fn offset(&self, region: &Region<Arc<Self>>, at: usize) -> u64 {
        (region.pointer().addr().get() - self.base.addr().get() + at) as u64
    }
}

fn bytes_until(distance: u64, most: usize) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX).min(most)
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is the one that was mapped, and no region into it is left, for each holds an `Arc`.
        let unmapped = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.len) };
        // It only fails for arguments that are no mapping.
        debug_assert!(unmapped.is_ok(), "munmap: {unmapped:?}");
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Mapping({} bytes)", self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_mappings_of_one_memory_show_the_same_bytes() {
        let memory = SharedMemory::create("test", 8192).unwrap();
        let (here, there) = (memory.map().unwrap().region(), memory.map().unwrap().region());
        here.store(4096, 0x1234_5678_u32).unwrap();
        assert_eq!(there.load::<u32>(4096), Ok(0x1234_5678));
        assert_ne!(here.pointer(), there.pointer());
        let mut bytes = [0; 8];
        assert_eq!(memory.peek(4096, &mut bytes).unwrap(), 8);
        assert_eq!(bytes, [0x78, 0x56, 0x34, 0x12, 0, 0, 0, 0]);
        assert_eq!(memory.peek(8190, &mut bytes).unwrap(), 2);
    }

    #[test]
    fn nobody_can_shrink_or_grow_the_memory() {
        let memory = SharedMemory::create("test", 4096).unwrap();
        assert_eq!(rustix::fs::ftruncate(&memory, 0), Err(Errno::PERM));
        assert_eq!(rustix::fs::ftruncate(&memory, 8192), Err(Errno::PERM));
        let copy = memory.as_fd().try_clone_to_owned().unwrap();
        assert_eq!(SharedMemory::adopt(copy).unwrap().len(), 4096);
    }

    #[test]
    fn a_descriptor_that_could_shrink_is_not_taken() {
        let fd = rustix::fs::memfd_create("test", MemfdFlags::ALLOW_SEALING).unwrap();
        assert_eq!(SharedMemory::adopt(fd).unwrap_err().errno, Errno::PERM);
        let (pipe, _) = rustix::pipe::pipe().unwrap();
        assert_eq!(SharedMemory::adopt(pipe).unwrap_err().errno, Errno::INVAL);
    }

    #[test]
    fn more_memory_than_there_is_is_refused_before_it_hurts() {
        assert_eq!(SharedMemory::create("test", 1 << 60).unwrap_err().errno, Errno::NOMEM);
        assert!(available().unwrap() > 1 << 20);
        assert_eq!(SharedMemory::create("test", 2 * CHECKED as usize).unwrap().len(), 2 * CHECKED as usize);
    }

    #[test]
    fn what_nobody_touched_is_known_and_looking_changes_nothing() {
        let len = 64 * page_size();
        let region = SharedMemory::create("test", len).unwrap().map().unwrap().region();
        assert_eq!(Mapping::extent(&region, 0), Extent::Untouched(len));
        let part = region.slice(8 * page_size(), 32 * page_size()).unwrap();
        part.store(2 * page_size(), 0x0102_0304_u32).unwrap();
        assert_eq!(Mapping::extent(&part, 0), Extent::Untouched(2 * page_size()));
        assert_eq!(Mapping::extent(&part, 2 * page_size()), Extent::Used(page_size()));
        assert_eq!(Mapping::extent(&part, 3 * page_size()), Extent::Untouched(29 * page_size()));
        let mut bytes = [7; 6];
        assert_eq!(Mapping::peek(&part, 2 * page_size(), &mut bytes).unwrap(), 6);
        assert_eq!(bytes, [4, 3, 2, 1, 0, 0]);
        assert_eq!(
            Mapping::peek(&part, 32 * page_size() - 2, &mut bytes).unwrap(),
            2,
            "not beyond the region"
        );
        assert_eq!(Mapping::peek(&part, 5 * page_size(), &mut bytes).unwrap(), 6);
        assert_eq!(Mapping::extent(&part, 3 * page_size()), Extent::Untouched(29 * page_size()));
    }

    #[test]
    fn a_region_keeps_the_bytes_mapped() {
        let region = SharedMemory::create("test", 4096).unwrap().map().unwrap().region().slice(8, 8).unwrap();
        region.store(0, 7_u64).unwrap();
        assert_eq!(region.load::<u64>(0), Ok(7));
    }
}
