//! The mailbox: an STM32 IPCC whose registers are memory that both sides write.
//!
//! Source: the STM32MP1's reference manual (RM0436, chapter 11) and Linux' `drivers/mailbox/stm32-ipcc.c`. Linux is
//! processor 1. Its driver reads, changes and writes the set-and-clear register, so that it has to read as 0: what Linux
//! wrote there is taken out of it.

use sidecore_os::Registers;

use crate::control::Lost;

/// Registers, by offset.
const CONTROL: usize = 0x0;
const MASK: usize = 0x4;
const SET_CLEAR: usize = 0x8;
const TO_REMOTE: usize = 0xc;
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

impl Mailbox {
    pub(crate) fn new(registers: Registers) -> Self {
        registers.store(HARDWARE, CHANNELS);
        registers.store(VERSION, 0x10);
        Self { registers, received: 0, taken: 0, waiting: 0 }
    }

    /// Does what Linux and the coprocessor asked for; `kicks` are the channels that the coprocessor kicks, one bit each,
    /// `raise` raises an interrupt. The channels that Linux kicked.
    pub(crate) fn step(
        &mut self,
        kicks: u32,
        raise: &mut dyn FnMut(u32) -> Result<(), Lost>,
    ) -> Result<u32, Lost> {
        // Before the register below: Linux writes that one, then opens the mask.
        let (enabled, mask) = (self.registers.load(CONTROL), self.registers.load(MASK));
        let asked = match self.registers.load(SET_CLEAR) {
            0 => 0,
            _ => self.registers.swap(SET_CLEAR, 0),
        };
        let (cleared, set) = (asked & 0xffff, asked >> 16);
        let mut to_linux = self.registers.load(TO_LINUX) & !cleared;
        self.received &= !cleared;
        self.taken &= !set;

        // What Linux sends is taken at once: the rings have it.
        self.registers.store(TO_REMOTE, 0);
        self.waiting |= kicks;
        let free = self.waiting & !to_linux;
        to_linux |= free;
        self.waiting &= !free;
        self.registers.store(TO_LINUX, to_linux);

        let channels = (1 << CHANNELS) - 1;
        let received = if enabled & 1 == 0 { 0 } else { to_linux & !mask & channels };
        let taken = if enabled & (1 << 16) == 0 { 0 } else { !(mask >> 16) & channels };
        if received & !self.received != 0 {
            raise(RECEIVED)?;
        }
        if taken & !self.taken != 0 {
            raise(TAKEN)?;
        }
        (self.received, self.taken) = (received, taken);
        Ok(set & channels)
    }

    /// Forgets everything: the coprocessor was reset, and whoever waits for it need not.
    pub(crate) fn reset(&mut self) {
        self.registers.store(TO_REMOTE, 0);
        self.registers.store(TO_LINUX, 0);
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

    /// A step: what Linux kicked, and the interrupts.
    fn step(mailbox: &mut Mailbox, kicks: u32) -> (u32, Vec<u32>) {
        let mut raised = Vec::new();
        let asked = mailbox.step(kicks, &mut |interrupt| {
            raised.push(interrupt);
            Ok(())
        });
        (asked.unwrap(), raised)
    }

    #[test]
    fn a_message_of_linux_is_taken_and_said_to_be() {
        let (mut mailbox, linux) = mailbox();
        linux.store(SET_CLEAR, 1 << 17);
        linux.store(MASK, 0xfffd_0000);
        assert_eq!(step(&mut mailbox, 0), (2, vec![TAKEN]));
        assert_eq!((linux.load(SET_CLEAR), linux.load(TO_REMOTE)), (0, 0));
        // The interrupt is an edge: it comes once for each message.
        assert_eq!(step(&mut mailbox, 0), (0, vec![]));
        linux.store(SET_CLEAR, 1 << 17);
        assert_eq!(step(&mut mailbox, 0), (2, vec![TAKEN]));
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
        assert_eq!(step(&mut mailbox, 0), (0x3f, vec![TAKEN]));
    }
}
