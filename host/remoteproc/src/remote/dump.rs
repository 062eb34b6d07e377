//! A remote as a core dump.

use alloc::string::ToString as _;
use alloc::vec::Vec;

use super::{Remote, RemoteError};
use crate::coredump::{CoreDump, CoreDumpError, Include, Subject};
use crate::{Backend, Standing};

impl<B: Backend> Remote<B> {
    /// The remote as a core dump, with `facts` added to what is known of its crash: keys and values, for whoever reads it.
    /// Meant for one that has crashed; the memories of one that runs change while they are written.
    ///
    /// # Errors
    /// It has no memories, or it is not known what kind of processor it is.
    pub fn core_dump(
        &self,
        include: Include,
        facts: &[(&str, &str)],
    ) -> Result<CoreDump<B::Owner>, CoreDumpError> {
        self.dump(&Standing::default(), include, facts)
    }

    /// A dump of a remote that runs: halts it, has `write` write the dump, and lets it run on, whatever came of that.
    /// Its main side's part of the memories changes only by this main side, which does nothing else meanwhile.
    ///
    /// # Errors
    /// It does not run, cannot be halted, or as for [`core_dump`](Self::core_dump): nothing was written, and it runs on. Or it
    /// does not run on, because its executor is gone; the next wait says so.
    pub fn dump_running<T>(
        &mut self,
        include: Include,
        facts: &[(&str, &str)],
        write: impl FnOnce(&CoreDump<B::Owner>) -> T,
    ) -> Result<T, RemoteError> {
        if !self.state.is_live() {
            return Err(RemoteError::NotHalted { state: self.state });
        }
        let standing = self.backend.halt()?;
        let pc = standing.pc.map(|pc| pc.to_string());
        let all: Vec<_> = facts.iter().copied().chain(pc.as_deref().map(|pc| ("pc", pc))).collect();
        let written = self.dump(&standing, include, &all).map(|dump| write(&dump));
        self.backend.resume()?;
        Ok(written?)
    }

    fn dump(
        &self,
        standing: &Standing,
        include: Include,
        facts: &[(&str, &str)],
    ) -> Result<CoreDump<B::Owner>, CoreDumpError> {
        let (crash, image) = (self.crash.as_ref(), self.image.as_ref());
        let registers = standing.registers.as_ref();
        let of_registers = || crash.and_then(|crash| crash.registers.as_ref()).or(registers)?.machine();
        let machine = image.map(|image| image.machine).or_else(of_registers);
        let subject = Subject {
            machine: machine.ok_or(CoreDumpError::NoMachine)?,
            flags: image.map_or(0, |image| image.flags),
            build_id: image.and_then(|image| image.build_id.as_deref()),
            crash,
            registers,
            facts,
        };
        CoreDump::new(&subject, &self.backend.whole(), self.memories(), include)
    }
}
