//! What is told, kept and done when firmware crashes.

use std::borrow::Cow;
use std::ffi::OsStr;
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
        let dump = self.args.dump.as_deref();
        let dump = dump.map(|place| self.dump(place, report.place.as_deref(), trace.as_deref()));
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

    /// A core dump, and where it is to be kept.
    fn dump(
        &self,
        place: &OsStr,
        function: Option<&str>,
        trace: Option<&str>,
    ) -> Result<(Store, CoreDump<Arc<Mapping>>), Failure> {
        let place = Some(Path::new(place)).filter(|place| !place.as_os_str().is_empty());
        let store = super::super::dump::store(place)?;
        let file = match self.image.bytes {
            Cow::Borrowed(_) => self.image.name.clone(),
            Cow::Owned(_) => absolute(&self.args.image).unwrap_or_default().to_string_lossy().into_owned(),
        };
        let on = self.args.on.to_string();
        let mut facts = vec![("image", &*self.image.name), ("file", &file), ("on", &on)];
        facts.extend(function.map(|function| ("place", function)));
        // The end of it tells most.
        let trace = trace.unwrap_or_default();
        let trace = &trace[trace.ceil_char_boundary(trace.len().saturating_sub(TRACE_KEPT))..];
        facts.extend(Some(("trace", trace)).filter(|_| !trace.is_empty()));
        let dump = self.processor.remote().core_dump(self.args.dump_memory.into(), &facts);
        Ok((store, dump.map_err(|error| cannot(&error))?))
    }
}

/// What the dump is called.
fn save(store: &Store, name: &str, dump: &CoreDump<Arc<Mapping>>) -> Result<String, Failure> {
    Ok(store.save(name, dump).map_err(|error| cannot(&error))?.stored.id)
}

fn cannot(why: &dyn Display) -> Failure {
    Failure::new(codes::DUMP, "cannot keep a dump").because(why)
}
