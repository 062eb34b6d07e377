//! Findings: what is odd about a firmware image but no obstacle.

use alloc::string::String;
use core::fmt;

use crate::codes::Code;

/// Something odd that was found in a firmware image. It keeps nothing from working by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which kind of finding it is.
    pub code: Code,
    /// How much it matters.
    pub severity: Severity,
    /// What exactly was found, with the field and its value.
    pub text: String,
}

impl Finding {
    pub(crate) fn note(code: Code, text: String) -> Finding {
        Finding { code, severity: Severity::Note, text }
    }

    pub(crate) fn warning(code: Code, text: String) -> Finding {
        Finding { code, severity: Severity::Warning, text }
    }

    pub(crate) fn error(code: Code, text: String) -> Finding {
        Finding { code, severity: Severity::Error, text }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]: {}", self.severity, self.code, self.text)
    }
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Note,
    /// Something may not work, here or with another loader.
    Warning,
    /// The firmware can be looked at, but will not be loaded.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        })
    }
}
