//! What the firmware writes to its traces: shown while it runs, and kept in a log.

use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::Duration;
use std::{fmt, io};

use sidecore_backends::Any;
use sidecore_backends::log::journal::{Journal, SOCKET};
use sidecore_backends::log::{self, LIMIT, LogFile, Record};
use sidecore_processor::{Ended, Processor, Summary};
use sidecore_remoteproc::Backend as _;
use sidecore_remoteproc::trace::{Line, Next, Reader};

use crate::codes;
use crate::defmt::Decoder;
use crate::failure::{Failure, printable};
use crate::image::Image;
use crate::output::{eprint, note};
use crate::remote::OURS;

/// How often a trace is looked at that is being written, or that nobody rings for.
const LOOK: Duration = Duration::from_millis(20);

/// The reader of a remote's traces, and who gets what it reads.
pub(super) struct Traces {
    shows: bool,
    log: Option<Log>,
    reader: Reader,
    next: Next,
    /// Of firmware that logs by `defmt`.
    decoder: Option<Decoder>,
}

impl Traces {
    /// Shows traces, if that is wanted, and keeps them, if a place is given: a file, or `journal`. Nobody reads them
    /// otherwise.
    pub(super) fn new(shows: bool, place: Option<&OsStr>, image: &Image) -> Result<Option<Self>, Failure> {
        if !shows && place.is_none() {
            return Ok(None);
        }
        let log = place.map(|place| Log::open(place, &image.name)).transpose()?;
        let decoder = Decoder::new(&image.bytes);
        Ok(Some(Self { shows, log, reader: Reader::default(), next: Next::Soon, decoder }))
    }

    /// The remote was started just now.
    pub(super) fn begin(&mut self, processor: &Processor<Any>, image: &str) {
        self.reader = Reader::new(processor.remote().traces().iter().cloned());
        self.next = Next::Soon;
        if let Some(log) = &mut self.log {
            log.write(&Record::note(format_args!("started {image}")));
        }
    }

    /// Takes what is new; all of it, where the remote has ended.
    pub(super) fn look(&mut self, processor: &Processor<Any>) {
        let Self { shows, log, reader, next, decoder } = self;
        let take = |trace: &str, line: Line| {
            let line = match (line, &mut *decoder) {
                (Line::Frame(frame), Some(decoder)) => Line::Text(printable(&decoder.decode(&frame))),
                (line, _) => line,
            };
            if *shows {
                eprint(&format!("{line}\n"));
            }
            if let Some(log) = log {
                log.write(&Record::of(trace, &line));
            }
        };
        let (ended, remote) = (processor.ended(), processor.remote());
        let map = remote.backend().memories();
        match ended {
            Some(_) => reader.end(map, take),
            None => *next = reader.look(map, take),
        }
    }

    /// Keeps how the remote ended.
    pub(super) fn end(&mut self, ended: &Ended) {
        let Some(log) = &mut self.log else { return };
        log.write(&match ended {
            Ended::Exited { code } => Record::note(format_args!("exited with code {code}")),
            Ended::Crashed(crash) => Record::note(format_args!("crashed: {}", Summary(crash))),
            Ended::Lost(why) => Record::note(format_args!("lost: {why}")),
            _ => Record::note("stopped"),
        });
    }

    /// How long to wait at most before the next look.
    pub(super) fn patience(&self) -> Option<Duration> {
        (self.next != Next::WhenRung).then_some(LOOK)
    }
}

/// A log that is kept.
struct Log {
    place: OsString,
    kind: Kind,
    /// Whether it was told that it cannot be written.
    is_told: bool,
}

enum Kind {
    File(LogFile),
    Journal(Journal),
}

impl Log {
    fn open(place: &OsStr, remote: &str) -> Result<Self, Failure> {
        let cannot = |why: &dyn fmt::Display| {
            let what = format!("cannot keep a log in {}", place.display());
            Failure::new(codes::LOGS, what).because(why).status(OURS)
        };
        let kind = if place == "journal" {
            Kind::Journal(Journal::open(Path::new(SOCKET), remote).map_err(|error| cannot(&error))?)
        } else {
            let path = Path::new(place);
            let name = path.file_name().and_then(OsStr::to_str);
            let name = name.ok_or_else(|| cannot(&"it is no name of a file, in UTF-8"))?;
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            let directory =
                log::directory(parent.unwrap_or(Path::new("."))).map_err(|error| cannot(&error))?;
            Kind::File(LogFile::new(directory, name.to_owned(), LIMIT))
        };
        let mut log = Self { place: place.to_owned(), kind, is_told: false };
        // What can be known now is told now, and not when the firmware has said something.
        log.try_write(&Record::note(format_args!("sidecore {}", env!("CARGO_PKG_VERSION"))))
            .map_err(|error| cannot(&error))?;
        Ok(log)
    }

    /// A log that cannot be written is no reason to stop the firmware; what is missing is counted in it.
    fn write(&mut self, record: &Record) {
        match self.try_write(record) {
            Ok(()) => self.is_told = false,
            Err(error) if !self.is_told => {
                self.is_told = true;
                note(&format_args!(
                    "warning[{}]: the log in {} cannot be written: {error}",
                    codes::LOGS,
                    self.place.display()
                ));
            }
            Err(_) => {}
        }
    }

    fn try_write(&mut self, record: &Record) -> io::Result<()> {
        match &mut self.kind {
            Kind::File(file) => file.write(record),
            Kind::Journal(journal) => journal.write(record),
        }
    }
}
