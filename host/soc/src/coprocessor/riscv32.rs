//! A processor of another QEMU, which executes what Linux loads: 32-bit RISC-V, on the first part of the same memory.
//!
//! It has the memory [`SHIFT`] above Linux' addresses, begins at [`ENTRY`], and has the same mailbox. What tells it of a
//! message is input [`MESSAGE`] of its PLIC, raised once for each that comes and over when it is claimed.
//!
//! In a page behind its memory, which Linux does not have, our own firmware says how it ended; the watchdog that looks
//! there is ours. Firmware of others leaves it empty.

use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use sidecore_mem::Region;
use sidecore_os::Lent;
use sidecore_wire::sandbox as page;

use super::{Core, Turn};
use crate::control::{Control, Lost};
use crate::qemu::{Machine, Qemu};
use crate::soc::{Event, OWN, RAM, SocError, offset};

/// What its addresses are above Linux'.
pub(crate) const SHIFT: u32 = 0x4000_0000;
/// Where it begins, by its own address.
const ENTRY: u32 = 0x9000_0000;
/// Bytes of memory that it has. QEMU puts its device tree into the last 2 MiB, at each reset.
const LEN: u64 = 0x1100_0000;
/// Bytes of a page.
const PAGE_LEN: usize = 4096;
/// Where its page lies, by Linux' address.
const PAGE: u32 = 0x500f_f000;
/// The input of its interrupt controller for the mailbox.
const MESSAGE: u32 = 50;

pub(crate) struct Riscv32 {
    program: PathBuf,
    file: OwnedFd,
    memory: Region<Arc<Lent>>,
    /// None where it ended by itself, until it is started the next time.
    qemu: Option<Qemu>,
    runs: bool,
    /// The pages of its own memory that had something in them at the last start.
    filled: Vec<bool>,
    /// Its end was told.
    ended: bool,
}

impl fmt::Debug for Riscv32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Riscv32").field("qemu", &self.qemu).field("runs", &self.runs).finish_non_exhaustive()
    }
}

impl Riscv32 {
    /// Has one made that is held.
    pub(crate) fn new(program: PathBuf, file: OwnedFd, memory: &Arc<Lent>) -> Result<Self, SocError> {
        let memory = memory.region();
        let mut core =
            Self { program, file, memory, qemu: None, runs: false, filled: Vec::new(), ended: false };
        core.qemu = Some(core.spawn()?);
        Ok(core)
    }

    fn spawn(&self) -> Result<Qemu, SocError> {
        let machine = Machine {
            program: &self.program,
            kind: "virt",
            controller: "riscv.sifive.plic",
            memory: &self.file,
            len: LEN,
            is_here: false,
        };
        // More than one core could be there, or QEMU's atomics and fences would not reach beyond the machine.
        let words = ["-bios", "none", "-serial", "none", "-smp", "1,maxcpus=2", "-device"];
        let loader = format!("loader,addr={ENTRY:#x},cpu-num=0");
        Qemu::spawn(&machine, |_| Ok(words.into_iter().chain([&*loader]).map(Into::into).collect()))
    }

    fn begin(&mut self) -> Result<(), String> {
        // It is in the memory, whose size is ours.
        let _ = self.memory.clear(offset(PAGE), page::SIZE);
        if self.memory.load::<u32>(offset(ENTRY - SHIFT)).unwrap_or(0) == 0 {
            return Err(format!("there is no code at {ENTRY:#x}, where it begins, in what Linux loaded"));
        }
        if self.qemu.is_none() {
            self.qemu = Some(self.spawn().map_err(|error| error.to_string())?);
        }
        let Some(qemu) = &mut self.qemu else { unreachable!("it is there since the line above") };
        let written = renew(&mut qemu.control, &self.memory, &mut self.filled);
        let begun = written.and_then(|()| qemu.control.reset()).and_then(|()| qemu.control.run());
        begun.map_err(|lost| self.lose(&lost))
    }

    /// QEMU is of no use any more; why.
    fn lose(&mut self, lost: &Lost) -> String {
        self.qemu = None;
        format!("the coprocessor's {lost}")
    }

    /// Does something with QEMU, of which nothing comes if that ended.
    fn with(&mut self, tell: &mut dyn FnMut(Event), act: impl FnOnce(&mut Qemu) -> Result<(), Lost>) -> bool {
        let Some(qemu) = &mut self.qemu else { return false };
        match act(qemu) {
            Ok(()) => true,
            Err(lost) => {
                let why = self.lose(&lost);
                tell(Event::Broken { why });
                false
            }
        }
    }

    /// How the firmware says that it ended, if it did; whether it crashed.
    fn end(&self) -> Option<(bool, Event)> {
        let word = |at| self.memory.load::<u32>(offset(PAGE) + at).unwrap_or(0);
        match word(page::STATE) {
            page::STATE_ENDED => Some((false, Event::Ended { code: word(page::EXIT_CODE).cast_signed() })),
            page::STATE_CRASHED => {
                let room = page::PANIC_TEXT_END - page::PANIC_TEXT;
                let mut text = vec![0; room.min(word(page::PANIC_LEN) as usize)];
                let _ = self.memory.read(offset(PAGE) + page::PANIC_TEXT, &mut text);
                let fault = || {
                    let [pc, cause, value] = [0, 3, 4].map(|place| word(page::FAULT + 8 * place));
                    format!("an exception of cause {cause} at {pc:#x}, value {value:#x}")
                };
                let why = if text.is_empty() { fault() } else { text.escape_ascii().to_string() };
                Some((true, Event::Crashed { why }))
            }
            _ => None,
        }
    }
}

/// Tells the machine of all code that Linux may have put into its memory, by having it write what is there. `filled` are the
/// pages that had something in them the last time, and have now: it knows nothing of the others. Nobody else writes there
/// meanwhile.
fn renew(control: &mut Control, memory: &Region<Arc<Lent>>, filled: &mut Vec<bool>) -> Result<(), Lost> {
    filled.resize(OWN.len() / PAGE_LEN, false);
    let mut bytes = [0; PAGE_LEN];
    for (at, was_filled) in OWN.step_by(PAGE_LEN).zip(filled) {
        // It is in the memory, whose size is ours.
        let _ = memory.read(offset(at), &mut bytes);
        let is_filled = bytes.iter().any(|byte| *byte != 0);
        if is_filled || *was_filled {
            control.write(at + SHIFT, &bytes)?;
        }
        *was_filled = is_filled;
    }
    control.settle()
}

impl Core for Riscv32 {
    fn start(&mut self, _: u32, tell: &mut dyn FnMut(Event)) {
        self.stop(tell);
        self.ended = false;
        match self.begin() {
            Ok(()) => self.runs = true,
            Err(why) => tell(Event::Broken { why }),
        }
    }

    fn starts_slowly(&self) -> bool {
        true
    }

    fn stop(&mut self, tell: &mut dyn FnMut(Event)) -> bool {
        let ran = std::mem::take(&mut self.runs);
        if ran {
            self.with(tell, |qemu| qemu.control.hold());
        }
        ran
    }

    fn turn(&mut self, asked: u32, tell: &mut dyn FnMut(Event)) -> Turn {
        if !self.runs {
            return Turn::default();
        }
        let is_there = asked == 0 || self.with(tell, |qemu| qemu.control.raise(MESSAGE));
        let mut crashed = !is_there;
        if let Some((has_crashed, event)) = self.end().filter(|_| !self.ended) {
            self.ended = true;
            tell(event);
            crashed |= has_crashed;
        }
        self.runs &= is_there;
        Turn { crashed, ..Turn::default() }
    }

    fn idle(&mut self, tell: &mut dyn FnMut(Event)) {
        self.with(tell, |qemu| qemu.control.drain().and_then(|()| qemu.control.listen()));
    }
}

const _: () = assert!(
    (RAM.start as u64) + LEN <= RAM.end as u64 && PAGE < ENTRY - SHIFT + 0x10_0000,
    "the coprocessor's memory is a part of Linux'"
);
