//! Who the coprocessor is: this process, or a processor of another QEMU on the same memory.

mod process;
pub(crate) mod riscv32;

use std::fmt;

use crate::soc::Event;

pub(crate) use process::Process;
pub use process::{Crasher, channels};
pub(crate) use riscv32::Riscv32;

/// A coprocessor, as the machine around it has it work.
pub(crate) trait Core: fmt::Debug {
    /// Begins at the firmware's entry, for the how-many-eth time.
    fn start(&mut self, count: u32, tell: &mut dyn FnMut(Event));

    /// Whether it is to be started while Linux is held.
    fn starts_slowly(&self) -> bool {
        false
    }

    /// Stops at once; whether it ran.
    fn stop(&mut self, tell: &mut dyn FnMut(Event)) -> bool;

    /// Goes on for a while; `asked` are the channels that Linux has filled since the last time, one bit each.
    fn turn(&mut self, asked: u32, tell: &mut dyn FnMut(Event)) -> Turn;

    /// Does what can wait until there is nothing else to do.
    fn idle(&mut self, tell: &mut dyn FnMut(Event));
}

/// What a turn came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// The channels that it fills for Linux, one bit each.
    pub(crate) kicks: u32,
    /// Those that are filled once more though nothing new is there.
    pub(crate) again: u32,
    /// The channels of Linux' that it empties.
    pub(crate) taken: u32,
    /// There is more to do.
    pub(crate) more: bool,
    /// It crashed: its watchdog is to tell Linux.
    pub(crate) crashed: bool,
}
