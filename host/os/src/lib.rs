//! What Linux makes unsafe, made safe once.
//!
//! Everything that the main side needs from the kernel and that no safe crate offers: shared memory that cannot
//! shrink under us, memory at chosen addresses, descriptors handed over sockets, children under a debugger's eye,
//! and the one-way door through which a process becomes a confined remote. Callers forbid unsafe code.
//!
//! | file | what it makes safe |
//! | --- | --- |
//! | `memory` | sealed shared memory and its mappings, as [`sidecore_mem::Region`]s |
//! | `lent` | memory that other processes lend us, whatever they do to its files |
//! | `bus` | the guard against SIGBUS, for such memory |
//! | `place` | mapping at a device address, never over another mapping |
//! | `event` | doorbells: one eventfd each, and several descriptors polled as one |
//! | `socket` | messages with descriptors, and the credentials of who sent them |
//! | `child` | children: spawned, traced, looked at, killed, reaped |
//! | `inherited` | descriptors that this process was started with |
//! | `signals` | signals as a descriptor |
//! | `tied` | programs that die with this process |
//! | `confine` | Landlock, seccomp, resource limits |
//! | `enter` | the last step of a boot stub: close, confine, clear, jump |
//! | `registers` | device registers in shared memory, exchanged in one access |
//! | `rpmsg` | endpoints that the kernel makes on demand |
//! | `machine` | CPUs allowed, frequency of the time-stamp counter |

#[cfg(not(target_os = "linux"))]
compile_error!("sidecore-os is about Linux; other systems have no counterpart to what it wraps");

mod bus;
mod child;
mod confine;
mod enter;
mod event;
mod inherited;
mod lent;
mod machine;
mod memory;
mod place;
mod refused;
mod registers;
mod rpmsg;
mod signals;
mod socket;
mod tied;

pub use bus::guard_bus_errors;
pub use child::{Change, Child, End, Origin, Stop, close_inherited, die_with_parent, new_session};
pub use enter::{Entry, enter};
pub use event::{EventFd, Joined, poll_until};
pub use inherited::inherited;
pub use lent::Lent;
pub use machine::{Ticks, cpu_count};
pub use memory::{Extent, Mapping, SharedMemory, page_size};
pub use place::{Placed, Protection, guard, place};
pub use refused::Refused;
pub use registers::Registers;
pub use rpmsg::{RPMSG_ADDRESS_ANY, RpmsgEndpoint, destroy_rpmsg_endpoint};
pub use signals::{Caught, Signals, signal_name};
pub use socket::{Channel, Listener, Peer, Received};
pub use tied::{Ending, Tied};

/// The system's error numbers, for telling refusals apart.
pub use rustix::io::Errno;
