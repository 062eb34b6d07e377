//! A whole system-on-chip: a Linux kernel under QEMU, and a coprocessor that its own remoteproc drives.
//!
//! An unmodified QEMU is the Arm machine `virt`, and its memory a file that this process maps too. In a part that the
//! device tree keeps from Linux lie the registers of an STM32MP1's mailbox (IPCC), reset and system controller: memory
//! that this process watches and answers. The interrupts go through QEMU's qtest socket. So a distribution's kernel
//! probes its stock `stm32-ipcc` and `stm32_rproc`, loads our ELF file, and finds a coprocessor. Either that is a 32-bit
//! RISC-V core of a second QEMU on the same memory, which executes what Linux loaded, or this process, whose channels are
//! [`sidecore_vhost_user::Channel`]s.
//!
//! ```text
//! QEMU      Linux ─ stm32_rproc ─ virtio_rpmsg_bus ═══ memory ═══╗
//!             │  stm32-ipcc ═══════════════════════════ memory ══╣
//! here      control (QMP, qtest) ── mailbox ── coprocessor ── Serving ── channels
//!                                                    or    ── control ── QEMU: riscv32
//! ```
//!
//! The guest may write anything anywhere in its memory at any time. Nothing of it is believed: an access is in bounds or
//! nothing, and a link that breaks the rules is given up until the coprocessor is started again.

mod control;
mod coprocessor;
mod image;
mod initrd;
mod mailbox;
mod orders;
mod qemu;
mod soc;
mod tree;

pub use coprocessor::{Crasher, channels};
pub use image::image;
pub use soc::{Config, Coprocessor, Event, Soc, SocError};
pub use tree::tree;
