//! The log of a remote's traces, which its warden keeps: nobody else stays as long as the remote.
//!
//! Firmware that can ring is not looked at while it writes nothing ([`Reader`]). Other firmware is looked at from time to
//! time while it is awake, and whenever something else wakes the warden.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use sidecore_os::signal_name;
use sidecore_remoteproc::trace::{self, Next, Reader};
use sidecore_remoteproc::{Boot, Event};
use sidecore_wire::sandbox as page;

use super::Estate;
use crate::log::{LIMIT, LogFile, Record, file_name};

/// How soon to look again at a trace that is being written.
const SOON: Duration = Duration::from_millis(10);
/// How often to look at one that nobody rings for.
const SOMETIMES: Duration = Duration::from_millis(20);
/// Bytes of a resource table, which is more than any has.
const TABLE_MAX: usize = 1 << 20;

/// The log, and how far the remote's traces are in it.
pub(super) struct Log {
    file: LogFile,
    /// What the first firmware is said to be.
    firmware: String,
    reader: Reader,
    next: Next,
    /// When to look again though nobody rings.
    due: Option<Instant>,
}

impl Log {
    /// The log of the remote of this name, whose firmware is said to be that.
    pub(super) fn new(directory: OwnedFd, name: &str, firmware: &str) -> Self {
        Self {
            file: LogFile::new(directory, file_name(name), LIMIT),
            firmware: firmware.to_owned(),
            reader: Reader::default(),
            next: Next::WhenRung,
            due: None,
        }
    }

    /// Looks which traces there are, before the firmware runs that could change the table.
    pub(super) fn begin(&mut self, estate: &Estate, boot: &Boot) {
        let table = boot.table.and_then(|(at, len)| {
            let len = usize::try_from(len).ok().filter(|len| *len <= TABLE_MAX)?;
            let mut bytes = vec![0; len];
            estate.memories.resolve(at, len).ok()?.read(0, &mut bytes).ok()?;
            Some(trace::find(&bytes, at))
        });
        self.reader = Reader::new(table.unwrap_or_default());
        // What a later main side puts there may be other firmware.
        let firmware = std::mem::take(&mut self.firmware);
        let firmware = if firmware.is_empty() { "its firmware" } else { &firmware };
        self.write(&Record::note(format_args!("started {firmware}")));
        self.look(estate);
    }

    /// Takes what is new, if there may be something: `rung` says that the remote rang.
    pub(super) fn look_if_due(&mut self, estate: &Estate, rung: bool) {
        let is_due = self.due.is_some_and(|due| due <= Instant::now());
        if rung || is_due || self.next == Next::Sometimes {
            self.look(estate);
        }
    }

    /// The remote is gone, and its memory stands still.
    pub(super) fn end(&mut self, estate: &Estate, how: &str) {
        let file = &mut self.file;
        // What cannot be written is counted there.
        self.reader.end(&estate.memories, |trace, line| _ = file.write(&Record::of(trace, &line)));
        (self.reader, self.next, self.due) = (Reader::default(), Next::WhenRung, None);
        self.write(&Record::note(how));
    }

    /// When to look though nobody rings.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// What of the log is missing, for whoever attaches.
    pub(super) fn trouble(&self) -> Option<String> {
        let (lines, why) = self.file.missed()?;
        Some(format!("{lines} lines of its log could not be written: {why}"))
    }

    fn look(&mut self, estate: &Estate) {
        let file = &mut self.file;
        self.next =
            self.reader.look(&estate.memories, |trace, line| _ = file.write(&Record::of(trace, &line)));
        let asleep = estate.page.load::<u32>(page::REMOTE_ASLEEP).unwrap_or(0) != 0;
        let span = match self.next {
            Next::WhenRung => None,
            Next::Soon => Some(SOON),
            Next::Sometimes => Some(SOMETIMES).filter(|_| !asleep),
        };
        self.due = span.map(|span| Instant::now() + span);
    }

    fn write(&mut self, record: &Record) {
        // What cannot be written is counted there.
        let _ = self.file.write(record);
    }
}

/// How a remote ended, in words.
pub(super) fn described(event: &Event) -> String {
    match event {
        Event::Exited { code } => format!("exited with code {code}"),
        Event::Crashed(crash) => {
            let signal = signal_name(crash.signal.into());
            let place = crash.pc.map(|pc| format!(" at {pc}")).unwrap_or_default();
            let words = crash.allegation.as_ref().map(|words| format!("; its own words: {words}"));
            format!("crashed with {signal}{place}{}", words.unwrap_or_default())
        }
        _ => "ended".to_owned(),
    }
}
