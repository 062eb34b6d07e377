//! The one-way door: a boot stub's process becomes a confined remote.

#![allow(unsafe_code)]

use std::convert::Infallible;
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::{process, ptr};

use rustix::io::Errno;
use seccompiler::sock_filter;

use crate::{Channel, Refused, child, confine, signals};

/// Where and with what firmware begins.
#[derive(Debug)]
pub struct Entry {
    /// Address of the first instruction.
    pub pc: u64,
    /// The address just above the stack, 16-byte aligned; 64 bytes below it are mapped and writable.
    pub stack: u64,
    /// What the first argument register holds.
    pub argument: u64,
    /// The doorbell that the remote reads, as [`Entry::DOORBELL_IN`].
    pub doorbell_in: OwnedFd,
    /// The doorbell that the remote writes, as [`Entry::DOORBELL_OUT`].
    pub doorbell_out: OwnedFd,
    /// What the remote writes to wake the reader of its traces, as [`Entry::TRACE_BELL`].
    pub trace_bell: OwnedFd,
    /// Where the stub reports; closed when firmware runs.
    pub report: Channel,
    /// Whether to fail where Landlock is not enforced.
    pub landlock_required: bool,
}

impl Entry {
    /// Number of the descriptor that the remote reads.
    pub const DOORBELL_IN: i32 = 3;
    /// Number of the descriptor that the remote writes.
    pub const DOORBELL_OUT: i32 = 4;
    /// Number of the other descriptor that the remote writes.
    pub const TRACE_BELL: i32 = 5;
    /// Whether this instruction set has a way in.
    pub const SUPPORTED: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));
}

/// Number of the report's descriptor during the last steps.
const REPORT: i32 = 6;

/// Gives up everything but the three doorbells and the memory that is mapped, and begins to execute at `entry.pc`:
/// signals as in a fresh process, no other descriptors, no new privileges, Landlock as far as it goes, resource limits,
/// `report(channel, Ok(findings))`, the filter of system calls, the channel closed, all registers zero but the first
/// argument's and the stack's.
///
/// On x86_64 the stack pointer is 8 below the stack's end, as after a call (System V ABI 3.2.2), and what lies there is
/// zero if the stack was. On aarch64 register 17 holds the entry too, for nothing else can be jumped by.
///
/// A failure is reported as `report(channel, Err(reason))`, and ends the process. So whoever is at the other end sees
/// the findings and then the end of the connection when firmware runs, and anything else when it does not.
///
/// Nothing of this program runs after that, so that it is no matter what becomes of its memory and descriptors: like
/// `exec`, and safe for the same reason.
pub fn enter(entry: Entry, report: fn(&Channel, Result<&[String], Refused>)) -> ! {
    let channel = match keep_four(&entry) {
        Ok(channel) => channel,
        Err(refused) => {
            report(&entry.report, Err(refused));
            process::exit(1)
        }
    };
    let Err(refused) = give_up_and_jump(&entry, &channel, report);
    report(&channel, Err(refused));
    process::exit(1)
}

fn give_up_and_jump(
    entry: &Entry,
    channel: &Channel,
    report: fn(&Channel, Result<&[String], Refused>),
) -> Result<Infallible, Refused> {
    let written = [Entry::DOORBELL_OUT as u64, Entry::TRACE_BELL as u64];
    let filter = confine::filter(Entry::DOORBELL_IN as u64, written, REPORT as u64)?;
    signals::reset();
    rustix::thread::set_no_new_privs(true)
        .map_err(Refused::to("give up new privileges (PR_SET_NO_NEW_PRIVS)"))?;
    let (enforced, finding) = confine::landlock();
    if entry.landlock_required && !enforced {
        return Err(Refused { operation: "enforce Landlock, which is asked for", errno: Errno::OPNOTSUPP });
    }
    let findings = [finding];
    confine::limit(REPORT as u64 + 1)?;
    report(channel, Ok(&findings));
    let errno = jump(entry, &filter);
    Err(Refused { operation: "filter system calls (seccomp)", errno })
}

/// Moves the four descriptors to their numbers and closes all others.
fn keep_four(entry: &Entry) -> Result<ManuallyDrop<Channel>, Refused> {
    if !Entry::SUPPORTED {
        return Err(Refused { operation: "enter firmware of this instruction set", errno: Errno::NOSYS });
    }
    if !child::is_single_threaded() {
        return Err(Refused { operation: "enter firmware beside other threads", errno: Errno::BUSY });
    }
    let operation = "move descriptors (dup2)";
    let descriptors = [
        (entry.doorbell_in.as_raw_fd(), Entry::DOORBELL_IN),
        (entry.doorbell_out.as_raw_fd(), Entry::DOORBELL_OUT),
        (entry.trace_bell.as_raw_fd(), Entry::TRACE_BELL),
        (entry.report.as_fd().as_raw_fd(), REPORT),
    ];
    // First out of each other's way.
    let mut moved = [0; 4];
    for (to, (from, _)) in moved.iter_mut().zip(descriptors) {
        // SAFETY: makes a new descriptor and touches no other.
        *to = unsafe { libc::fcntl(from, libc::F_DUPFD_CLOEXEC, 16) };
        if *to < 0 {
            return Err(Refused::last(operation));
        }
    }
    for (from, (_, to)) in moved.into_iter().zip(descriptors) {
        // SAFETY: whoever owned `to` does not run any more, for the caller does not return into it.
        if unsafe { libc::dup2(from, to) } < 0 {
            return Err(Refused::last(operation));
        }
    }
    close_range(0, Entry::DOORBELL_IN - 1)?;
    close_range(REPORT + 1, RawFd::MAX)?;
    // SAFETY: open, and never closed by this handle.
    Ok(ManuallyDrop::new(Channel::from(unsafe { OwnedFd::from_raw_fd(REPORT) })))
}

fn close_range(first: RawFd, last: RawFd) -> Result<(), Refused> {
    // SAFETY: as for `dup2` above.
    if unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) } == 0 {
        return Ok(());
    }
    // Kernels before 5.9, and container policies that are older.
    let open = child::open_descriptors().map_err(|error| Refused {
        operation: "list open descriptors (/proc/self/fd)",
        errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
    })?;
    for fd in open.into_iter().filter(|fd| (first..=last).contains(fd)) {
        // SAFETY: as above. The descriptor of the listing itself is closed already, which is refused and no matter.
        unsafe { libc::close(fd) };
    }
    Ok(())
}

/// What `seccomp(SECCOMP_SET_MODE_FILTER)` takes (linux/filter.h, `struct sock_fprog`).
#[repr(C)]
struct FilterProgram {
    len: u16,
    instructions: *const sock_filter,
}

impl FilterProgram {
    fn new(filter: &[sock_filter]) -> Self {
        Self { len: filter.len() as u16, instructions: filter.as_ptr() }
    }
}

/// The image of fresh floating-point and vector registers (Intel SDM 13.4): nothing but the two control words.
#[cfg(target_arch = "x86_64")]
#[repr(C, align(64))]
struct FreshState([u8; 576]);

#[cfg(target_arch = "x86_64")]
impl FreshState {
    fn new() -> Self {
        let mut bytes = [0; 576];
        bytes[0..2].copy_from_slice(&0x037f_u16.to_le_bytes()); // x87 control word
        bytes[24..28].copy_from_slice(&0x1f80_u32.to_le_bytes()); // MXCSR
        Self(bytes)
    }
}

/// Installs the filter, closes the report and jumps. Returns if the filter is refused.
///
/// All in one go: the thread pointer must be cleared before the filter forbids it, and Rust runs no more after that.
#[cfg(target_arch = "x86_64")]
fn jump(entry: &Entry, filter: &[sock_filter]) -> Errno {
    const ARCH_SET_FS: usize = 0x1002;
    const ARCH_GET_FS: usize = 0x1003;
    let program = FilterProgram::new(filter);
    let fresh = FreshState::new();
    let mut thread_pointer = 0_usize;
    // SAFETY: writes one word to `thread_pointer`.
    let got = unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_GET_FS, &raw mut thread_pointer) };
    if got != 0 {
        return Errno::NOSYS;
    }
    let has_xsave = usize::from(std::arch::is_x86_feature_detected!("xsave"));
    let refused: isize;
    // SAFETY: if the filter is refused, everything is as before but for the registers that are named. If it is
    // installed, nothing of this program runs again: the firmware does, on memory that was mapped for it, with the
    // calls that the filter leaves it.
    unsafe {
        core::arch::asm!(
            "mov edi, {set_fs}",
            "xor esi, esi",
            "mov eax, {arch_prctl}",
            "syscall",
            "mov edi, 1", // SECCOMP_SET_MODE_FILTER
            "xor esi, esi",
            "mov rdx, r12",
            "mov eax, {seccomp}",
            "syscall",
            "test rax, rax",
            "jnz 3f",
            "mov edi, {report}",
            "mov eax, {close}",
            "syscall",
            // Floating point and vectors, all components but the protection keys (bit 9).
            "test r10, r10",
            "jz 2f",
            "mov eax, 0xfffffdff",
            "mov edx, 0xffffffff",
            "xrstor64 [r8]",
            "jmp 4f",
            "2:",
            "fxrstor64 [r8]",
            "4:",
            // By way of memory, for no register may be left. It lies below what the firmware calls its stack.
            "mov [r14 - 16], r13",
            "lea rsp, [r14 - 8]",
            "mov rdi, r15",
            "xor eax, eax",
            "xor ebx, ebx",
            "xor ecx, ecx",
            "xor edx, edx",
            "xor esi, esi",
            "xor ebp, ebp",
            "xor r8d, r8d",
            "xor r9d, r9d",
            "xor r10d, r10d",
            "xor r11d, r11d",
            "xor r12d, r12d",
            "xor r13d, r13d",
            "xor r14d, r14d",
            "xor r15d, r15d",
            "cld",
            "jmp qword ptr [rsp - 8]",
            "3:",
            "mov r10, rax",
            "mov edi, {set_fs}",
            "mov rsi, r9",
            "mov eax, {arch_prctl}",
            "syscall",
            set_fs = const ARCH_SET_FS,
            arch_prctl = const libc::SYS_arch_prctl,
            seccomp = const libc::SYS_seccomp,
            close = const libc::SYS_close,
            report = const REPORT,
            in("r8") ptr::from_ref(&fresh),
            in("r9") thread_pointer,
            inout("r10") has_xsave => refused,
            in("r12") ptr::from_ref(&program),
            in("r13") entry.pc,
            in("r14") entry.stack,
            in("r15") entry.argument,
            out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r11") _,
            out("xmm0") _, // The state is restored on the way that does not come back.
        );
    }
    Errno::from_raw_os_error(i32::try_from(-refused).unwrap_or(0))
}

/// As above; the thread pointer and the floating-point registers need no system call here.
#[cfg(target_arch = "aarch64")]
fn jump(entry: &Entry, filter: &[sock_filter]) -> Errno {
    let program = FilterProgram::new(filter);
    let refused: isize;
    // SAFETY: if the filter is refused, everything is as before but for the registers that are named. If it is
    // installed, nothing of this program runs again: the firmware does, on memory that was mapped for it, with the
    // calls that the filter leaves it.
    unsafe {
        core::arch::asm!(
            "mov x0, #1", // SECCOMP_SET_MODE_FILTER
            "mov x1, xzr",
            "mov x2, x20",
            "mov x8, #{seccomp}",
            "svc #0",
            "cbnz x0, 2f",
            "mov x0, #{report}",
            "mov x8, #{close}",
            "svc #0",
            "msr tpidr_el0, xzr",
            "msr fpcr, xzr",
            "msr fpsr, xzr",
            ".irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15",
            "movi v\\n\\().2d, #0",
            ".endr",
            ".irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31",
            "movi v\\n\\().2d, #0",
            ".endr",
            "mov x17, x21",
            "mov sp, x22",
            "mov x0, x23",
            ".irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16",
            "mov x\\n, xzr",
            ".endr",
            ".irp n, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30",
            "mov x\\n, xzr",
            ".endr",
            "br x17",
            "2:",
            seccomp = const libc::SYS_seccomp,
            close = const libc::SYS_close,
            report = const REPORT,
            in("x20") ptr::from_ref(&program),
            in("x21") entry.pc,
            in("x22") entry.stack,
            in("x23") entry.argument,
            out("x0") refused, out("x1") _, out("x2") _, out("x8") _,
        );
    }
    Errno::from_raw_os_error(i32::try_from(-refused).unwrap_or(0))
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn jump(_: &Entry, filter: &[sock_filter]) -> Errno {
    let program = FilterProgram::new(filter);
    debug_assert!(ptr::from_ref(&program).is_aligned());
    Errno::NOSYS
}
