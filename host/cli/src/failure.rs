//! Errors as people meet them: what, why, what to do next, and a code that `sidecore explain` knows.

use std::fmt::{self, Display};
use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use serde::Serialize;
use sidecore_remoteproc::codes::Code;

use crate::codes;

pub(crate) type Outcome = Result<ExitCode, Failure>;

/// A command that did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// For people to read.
    Told(Box<Told>),
    /// Nobody reads our output any more. Nothing is said, as if SIGPIPE had done its work.
    Unread,
}

#[derive(Debug)]
pub(crate) struct Told {
    code: Code,
    what: String,
    why: Option<String>,
    status: u8,
}

/// What a shell makes of SIGPIPE.
const UNREAD: u8 = 128 + 13;

impl Failure {
    /// `what` was to be done; the code's explanation says what to do next.
    pub(crate) fn new(code: Code, what: impl Into<String>) -> Self {
        Self::Told(Box::new(Told { code, what: what.into(), why: None, status: 1 }))
    }

    /// Adds the reason.
    pub(crate) fn because(self, why: impl Display) -> Self {
        self.with(|told| told.why = Some(without_number(why.to_string())))
    }

    /// Sets the exit status; 1 otherwise.
    pub(crate) fn status(self, status: u8) -> Self {
        self.with(|told| told.status = status)
    }

    /// For `map_err` of whatever writes to the standard output.
    pub(crate) fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::Unread;
        }
        Self::new(codes::OUTPUT, "cannot write to the standard output").because(error)
    }

    /// Tells the user, and answers the exit code.
    pub(crate) fn report(&self, json: bool) -> ExitCode {
        let told = match self {
            Self::Unread => return ExitCode::from(UNREAD),
            Self::Told(told) => told,
        };
        // There is nobody left to tell if this fails.
        let _ = if json { told.print_json() } else { told.print() };
        ExitCode::from(told.status)
    }

    fn with(mut self, change: impl FnOnce(&mut Told)) -> Self {
        if let Self::Told(told) = &mut self {
            change(told);
        }
        self
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread => f.write_str("nobody reads the output"),
            Self::Told(told) => {
                f.write_str(&told.what)?;
                told.why.as_ref().map_or(Ok(()), |why| write!(f, ": {why}"))
            }
        }
    }
}

impl Told {
    fn print(&self) -> io::Result<()> {
        let (red, bold) = (Style::new().bold().fg_color(Some(AnsiColor::Red.into())), Style::new().bold());
        let mut err = anstream::stderr().lock();
        writeln!(err, "{red}error[{}]{red:#}{bold}: {}{bold:#}", self.code, printable(&self.what))?;
        if let Some(why) = &self.why {
            writeln!(err, "  why: {}", printable(why))?;
        }
        if let Some(next) = self.advice() {
            writeln!(err, "  next: {next}")?;
        }
        writeln!(err, "  more: sidecore explain {}", self.code)
    }

    fn print_json(&self) -> io::Result<()> {
        #[derive(Serialize)]
        struct Error<'a> {
            schema: &'static str,
            code: String,
            name: Option<&'static str>,
            what: &'a str,
            why: Option<&'a str>,
            next: Option<&'a str>,
        }
        let error = Error {
            schema: "sidecore.error/1",
            code: self.code.to_string(),
            name: codes::explanation(self.code).map(|row| row.name),
            what: &self.what,
            why: self.why.as_deref(),
            next: self.advice(),
        };
        let mut err = io::stderr().lock();
        serde_json::to_writer(&mut err, &error)?;
        writeln!(err)
    }

    fn advice(&self) -> Option<&'static str> {
        codes::explanation(self.code).map(|row| row.advice)
    }
}

/// The system's words for an error, without the number that the standard library puts behind them.
fn without_number(mut why: String) -> String {
    if let Some((words, number)) = why.rsplit_once(" (os error ")
        && number.strip_suffix(')').is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
    {
        why.truncate(words.len());
    }
    why
}

/// Text without characters that would do something to a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}
