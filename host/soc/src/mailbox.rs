//! The mailbox: an STM32 IPCC whose registers are memory that both sides write.
//!
//! Source: the STM32MP1's reference manual (RM0436, chapter 11) and Linux' `drivers/mailbox/stm32-ipcc.c`. Linux is
//! processor 1. Its driver reads, changes and writes the set-and-clear register, so that it has to read as 0: what Linux
//! wrote there is taken out of it. The coprocessor is processor 2. One that executes something has the same registers, and
//! sets bits of its set-and-clear register that are taken out of it in the same way.

use sidecore_os::Registers;

use crate::control::Lost;
use crate::coprocessor::Turn;

/// Registers, by offset.
const CONTROL: usize = 0x0;
const MASK: usize = 0x4;
const SET_CLEAR: usize = 0x8;
const TO_REMOTE: usize = 0xc;
const FROM_REMOTE: usize = 0x18;
const TO_LINUX: usize = 0x1c;
const HARDWARE: usize = 0x3f0;
const VERSION: usize = 0x3f4;

/// The channels that there are: two rings, shutdown, detach, and two that nobody uses.
const CHANNELS: u32 = 6;
/// The interrupt of a received message, and of one that the other side took.
const RECEIVED: u32 = 200;
const TAKEN: u32 = 201;

#[derive(Debug)]
pub(crate) struct Mailbox {
    registers: Registers,
    /// Interrupts that were raised for these channels, and whose reason still holds.
    received: u32,
    taken: u32,
    /// Kicks for Linux whose channel is still full.
    waiting: u32,
}

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// The channels that Linux filled, one bit each.
    pub(crate) asked: u32,
    /// The channels that the coprocessor filled for Linux in its registers, one bit each.
    pub(crate) filled: u32,
    /// Anybody wanted anything.
    pub(crate) is_busy: bool,
}

impl Mailbox {
    pub(crate) fn new(registers: Registers) -> Self {
        registers.store(HARDWARE, CHANNELS);
        registers.store(VERSION, 0x10);
        Self { registers, received: 0, taken: 0, waiting: 0 }
    }

    /// Does what Linux and the coprocessor asked for, in the registers or, one bit for each channel, by `turn`; `raise`
    /// raises an interrupt of Linux'.
    pub(crate) fn step(
        &mut self,
        turn: Turn,
        raise: &mut dyn FnMut(u32) -> Result<(), Lost>,
    ) -> Result<Step, Lost> {
        // Before the register below: Linux writes that one, then opens the mask.
        let (enabled, mask) = (self.registers.load(CONTROL), self.registers.load(MASK));
        let (linux, remote) = (self.take(SET_CLEAR), self.take(FROM_REMOTE));
        let (cleared, set) = (linux & 0xffff, linux >> 16);

        let mut to_linux = self.registers.load(TO_LINUX) & !cleared;
        self.received &= !cleared;
        self.waiting |= turn.kicks | turn.again | remote >> 16;
        let free = self.waiting & !to_linux;
        to_linux |= free;
        self.waiting &= !free;
        self.registers.store(TO_LINUX, to_linux);

        // Emptied before it is filled: who empties a channel means what he saw there.
        let to_remote = self.registers.load(TO_REMOTE) & !(turn.taken | remote & 0xffff) | set;
        self.registers.store(TO_REMOTE, to_remote);

        let channels = (1 << CHANNELS) - 1;
        let received = if enabled & 1 == 0 { 0 } else { to_linux & !mask & channels };
        let taken = if enabled & (1 << 16) == 0 { 0 } else { !to_remote & !(mask >> 16) & channels };
        if received & !self.received != 0 {
            raise(RECEIVED)?;
        }
        if taken & !self.taken != 0 {
            raise(TAKEN)?;
        }
        (self.received, self.taken) = (received, taken);
        let is_busy = linux != 0 || remote != 0 || turn.kicks != 0;
        Ok(Step { asked: set & channels, filled: remote >> 16 & channels, is_busy })
    }

    /// What was written to a set-and-clear register.
    fn take(&self, register: usize) -> u32 {
        match self.registers.load(register) {
            0 => 0,
            _ => self.registers.swap(register, 0),
        }
    }

    /// Forgets everything: the coprocessor was reset, and whoever waits for it need not.
    pub(crate) fn reset(&mut self) {
        for register in [TO_REMOTE, TO_LINUX, FROM_REMOTE] {
            self.registers.store(register, 0);
        }
        (self.received, self.taken, self.waiting) = (0, 0, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soc::tests::memory;

    /// A mailbox whose interrupts Linux has opened, and what Linux sees of it.
    fn mailbox() -> (Mailbox, Registers) {
        let linux = Registers::new(&memory(4096), 0, 0x400).unwrap();
        let mailbox = Mailbox::new(linux.clone());
        linux.store(CONTROL, 1 | 1 << 16);
        linux.store(MASK, 0xffff_0000);
        (mailbox, linux)
    }

    /// A step of a coprocessor that empties channels at once: what Linux kicked, and the interrupts.
    fn step(mailbox: &mut Mailbox, kicks: u32) -> (u32, Vec<u32>) {
        slow_step(mailbox, kicks, u32::MAX)
    }

    fn slow_step(mailbox: &mut Mailbox, kicks: u32, taken: u32) -> (u32, Vec<u32>) {
        let mut raised = Vec::new();
        let turn = Turn { kicks, taken, ..Turn::default() };
        let step = mailbox.step(turn, &mut |interrupt| {
            raised.push(interrupt);
            Ok(())
        });
        (step.unwrap().asked, raised)
    }

    #[test]
    fn a_message_of_linux_is_taken_and_said_to_be() {
        let (mut mailbox, linux) = mailbox();
        for _ in 0..2 {
            linux.store(SET_CLEAR, 1 << 17);
            linux.store(MASK, 0xfffd_0000);
            assert_eq!(slow_step(&mut mailbox, 0, 0), (2, vec![]));
            assert_eq!((linux.load(SET_CLEAR), linux.load(TO_REMOTE)), (0, 2));
            assert_eq!(slow_step(&mut mailbox, 0, 1), (0, vec![]));
            // The interrupt is an edge: it comes once for each message.
            assert_eq!(step(&mut mailbox, 0), (0, vec![TAKEN]));
            assert_eq!((step(&mut mailbox, 0), linux.load(TO_REMOTE)), ((0, vec![]), 0));
        }
    }

    #[test]
    fn the_coprocessor_empties_and_fills_by_its_own_registers() {
        let (mut mailbox, linux) = mailbox();
        linux.store(SET_CLEAR, 3 << 16);
        linux.store(MASK, 0xfffc_0000);
        assert_eq!(slow_step(&mut mailbox, 0, 0), (3, vec![]));
        linux.store(FROM_REMOTE, 1 << 16 | 2);
        assert_eq!(slow_step(&mut mailbox, 0, 0), (0, vec![RECEIVED, TAKEN]));
        assert_eq!((linux.load(FROM_REMOTE), linux.load(TO_REMOTE), linux.load(TO_LINUX)), (0, 1, 1));
        // It empties what it saw, not what comes at the same time.
        linux.store(FROM_REMOTE, 1);
        linux.store(SET_CLEAR, 1 << 16);
        assert_eq!((slow_step(&mut mailbox, 0, 0), linux.load(TO_REMOTE)), ((1, vec![]), 1));
    }

    #[test]
    fn kicks_of_a_full_channel_wait_until_linux_took_the_last() {
        let (mut mailbox, linux) = mailbox();
        assert_eq!(step(&mut mailbox, 1), (0, vec![RECEIVED]));
        assert_eq!(step(&mut mailbox, 1), (0, vec![]));
        assert_eq!(linux.load(TO_LINUX), 1);
        linux.store(SET_CLEAR, 1);
        assert_eq!(step(&mut mailbox, 0), (0, vec![RECEIVED]));
        linux.store(SET_CLEAR, 1);
        assert_eq!(step(&mut mailbox, 0), (0, vec![]));
        assert_eq!(linux.load(TO_LINUX), 0);
    }

    #[test]
    fn masked_and_disabled_interrupts_wait() {
        let (mut mailbox, linux) = mailbox();
        linux.store(MASK, 0xffff_0001);
        assert_eq!(step(&mut mailbox, 1), (0, vec![]));
        linux.store(MASK, 0xffff_0000);
        linux.store(CONTROL, 0);
        assert_eq!(step(&mut mailbox, 0), (0, vec![]));
        linux.store(CONTROL, 1);
        assert_eq!(step(&mut mailbox, 0), (0, vec![RECEIVED]));
    }

    #[test]
    fn a_kick_is_repeated_where_the_channel_was_emptied_and_nobody_looked() {
        let (mut mailbox, linux) = mailbox();
        assert_eq!(step(&mut mailbox, 1), (0, vec![RECEIVED]));
        linux.store(SET_CLEAR, 1);
        assert_eq!(step(&mut mailbox, 0), (0, vec![]));
        let mut raised = 0;
        let again = Turn { again: 1, ..Turn::default() };
        let done = mailbox.step(again, &mut |_| {
            raised += 1;
            Ok(())
        });
        // That is no work, or there would be no end of it.
        assert_eq!((done.unwrap(), raised), (Step { asked: 0, filled: 0, is_busy: false }, 1));
    }

    #[test]
    fn a_reset_empties_it_and_forgets_what_was_raised() {
        let (mut mailbox, linux) = mailbox();
        assert_eq!(step(&mut mailbox, 3), (0, vec![RECEIVED]));
        mailbox.reset();
        assert_eq!(linux.load(TO_LINUX), 0);
        assert_eq!(step(&mut mailbox, 1), (0, vec![RECEIVED]));
    }

    #[test]
    fn channels_that_are_not_there_are_nothing() {
        let (mut mailbox, linux) = mailbox();
        linux.store(SET_CLEAR, 0xffff_0000);
        linux.store(MASK, 0);
        assert_eq!(step(&mut mailbox, 0), (0x3f, vec![]));
        assert_eq!(step(&mut mailbox, 0), (0, vec![TAKEN]));
    }
}
