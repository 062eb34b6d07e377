//! What is told, kept and done when firmware crashes.

use std::borrow::Cow;
use std::fmt::Display;
use std::io::Write as _;
use std::path::{Path, absolute};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use sidecore_os::Mapping;
use sidecore_processor::dumps::Store;
use sidecore_remoteproc::coredump::CoreDump;
use sidecore_remoteproc::recovery::Decision;
use sidecore_remoteproc::{Crash, CrashKind};

use super::Session;
use crate::codes;
use crate::failure::Failure;
use crate::interrupts::Interrupts;
use crate::output::note;
use crate::remote;
use crate::report::CrashReport;
use crate::symbols;

/// Bytes of a trace that a dump has.
const TRACE_KEPT: usize = 4096;
/// How often a look is taken whether somebody wants an end of it.
const INTERRUPT_LOOK: Duration = Duration::from_millis(10);

impl Session<'_> {
    /// Tells of a crash, and keeps a dump where that is wanted.
    pub(super) fn report(&mut self, crash: &Crash) {
        let trace = self.processor.remote().read_trace(0).ok();
        let report = CrashReport {
            image: &self.image.name,
            crash,
            place: crash.pc.and_then(|pc| symbols::place(&self.image.bytes, pc.0)),
            // Whoever follows it has read it already.
            trace: trace.as_deref().filter(|_| !self.args.trace),
        };
        let mut explain = format!("next: sidecore explain {}", sidecore_processor::codes::REMOTE_CRASHED);
        if crash.kind == CrashKind::SemihostingCall && !self.args.semihosting {
            explain.insert_str(0, "next: --semihosting answers such calls, for firmware that you trust\n  ");
        }
        let dump = self.args.dump.as_ref();
        let dump = dump.map(|_| self.dump(report.place.as_deref(), trace.as_deref()));
        let next = match dump {
            None => explain,
            Some(Err(failure)) => format!("no dump[{}]: {failure}\n  {explain}", codes::DUMP),
            // The remote is started again meanwhile, with other memories.
            Some(Ok((store, dump))) if self.args.restart.is_some() => {
                let name = self.image.name.clone();
                self.dumps.push(thread::spawn(move || match save(&store, &name, &dump) {
                    Ok(id) => note(&format_args!("kept a dump: sidecore dump gdb {id}")),
                    Err(failure) => note(&format_args!("warning[{}]: {failure}", codes::DUMP)),
                }));
                explain
            }
            Some(Ok((store, dump))) => match save(&store, &self.image.name, &dump) {
                Ok(id) => format!("next: sidecore dump gdb {id}"),
                Err(failure) => format!("no dump[{}]: {failure}\n  {explain}", codes::DUMP),
            },
        };
        // Nobody is left to tell if this fails; the exit code says the same.
        let _ = writeln!(anstream::stderr().lock(), "sidecore: {report}  {next}");
    }

    /// Starts a remote that crashed again, if it is to be; whether it runs.
    pub(super) fn restart(&mut self, interrupts: &Interrupts) -> Result<bool, Failure> {
        let decision = self.processor.decide(&mut self.recovery, self.since.elapsed());
        if decision != Decision::Leave {
            note(&format_args!("{} is {decision}", self.image.name));
        }
        if self.args.verbose {
            self.described = remote::describe_since(&self.processor, self.described);
        }
        let Decision::Restart { after, .. } = decision else { return Ok(false) };
        let due = Instant::now() + after;
        while interrupts.exit_code().is_none() {
            let rest = due.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                let restarted = self.processor.restart(Duration::ZERO);
                restarted.map_err(|error| remote::remote(&self.image, &error))?;
                self.begin();
                return Ok(true);
            }
            thread::sleep(rest.min(INTERRUPT_LOOK));
        }
        Ok(false)
    }

    /// Keeps a dump of the remote as it runs, and lets it run on.
    pub(super) fn dump_running(&self) {
        let trace = self.processor.remote().read_trace(0).ok();
        let mut facts = self.facts(None, trace.as_deref());
        facts.push(("state", "running".to_owned()));
        let write = |dump: &CoreDump<Arc<Mapping>>| save(&self.store()?, &self.image.name, dump);
        let dumped = self.processor.dump_running(self.args.dump_memory.into(), &borrowed(&facts), write);
        match dumped.unwrap_or_else(|error| Err(cannot(&error))) {
            Ok(id) => note(&format_args!("kept a dump: sidecore dump gdb {id}")),
            Err(failure) => note(&format_args!("warning[{}]: {failure}", codes::DUMP)),
        }
    }

    /// A core dump, and where it is to be kept.
    fn dump(
        &self,
        function: Option<&str>,
        trace: Option<&str>,
    ) -> Result<(Store, CoreDump<Arc<Mapping>>), Failure> {
        let facts = self.facts(function, trace);
        let dump = self.processor.remote().core_dump(self.args.dump_memory.into(), &borrowed(&facts));
        Ok((self.store()?, dump.map_err(|error| cannot(&error))?))
    }

    fn store(&self) -> Result<Store, Failure> {
        let place = self.args.dump.as_deref().map(Path::new);
        super::super::dump::store(place.filter(|place| !place.as_os_str().is_empty()))
    }

    /// What a dump tells of the remote besides its crash.
    fn facts(&self, function: Option<&str>, trace: Option<&str>) -> Vec<(&'static str, String)> {
        let file = match self.image.bytes {
            Cow::Borrowed(_) => self.image.name.clone(),
            Cow::Owned(_) => absolute(&self.args.image).unwrap_or_default().to_string_lossy().into_owned(),
        };
        let mut facts =
            vec![("image", self.image.name.clone()), ("file", file), ("on", self.args.on.to_string())];
        facts.extend(function.map(|function| ("place", function.to_owned())));
        // The end of it tells most.
        let trace = trace.unwrap_or_default();
        let trace = &trace[trace.ceil_char_boundary(trace.len().saturating_sub(TRACE_KEPT))..];
        facts.extend(Some(("trace", trace.to_owned())).filter(|_| !trace.is_empty()));
        facts
    }
}

fn borrowed<'f>(facts: &'f [(&'static str, String)]) -> Vec<(&'f str, &'f str)> {
    facts.iter().map(|(key, value)| (*key, &**value)).collect()
}

/// What the dump is called.
fn save(store: &Store, name: &str, dump: &CoreDump<Arc<Mapping>>) -> Result<String, Failure> {
    Ok(store.save(name, dump).map_err(|error| cannot(&error))?.stored.id)
}

fn cannot(why: &dyn Display) -> Failure {
    Failure::new(codes::DUMP, "cannot keep a dump").because(why)
}
