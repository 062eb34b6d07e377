//! What a clause's test comes to.

use std::fmt;

/// Why a test ended before its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The peer does otherwise than the clause says.
    Deviates(String),
    /// The peer did not do what has to be done before the clause shows.
    NotShown(String),
}

/// What a test answers.
pub type Outcome = Result<(), Stop>;

/// Says that the peer deviates.
pub(crate) fn deviates<T>(what: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::Deviates(what.into()))
}

/// Says that nothing was shown.
pub(crate) fn not_shown<T>(why: impl Into<String>) -> Result<T, Stop> {
    Err(Stop::NotShown(why.into()))
}

/// The peer has to; else it deviates.
///
/// # Errors
/// It does not.
pub(crate) fn must(is_so: bool, what: impl FnOnce() -> String) -> Outcome {
    if is_so { Ok(()) } else { Err(Stop::Deviates(what())) }
}

/// Turns what went wrong in a test's last step into a deviation: what was a condition before is the clause now.
pub(crate) trait Claim<T> {
    /// See the trait.
    ///
    /// # Errors
    /// The peer deviates, and `what` says in what.
    fn claim(self, what: &str) -> Result<T, Stop>;
}

impl<T> Claim<T> for Result<T, Stop> {
    fn claim(self, what: &str) -> Result<T, Stop> {
        self.map_err(|stop| match stop {
            Stop::NotShown(why) => Stop::Deviates(format!("{what}: {why}")),
            deviates => deviates,
        })
    }
}

/// What is said of a peer and a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The peer does what the clause says, as far as the test shows it.
    Follows,
    /// It does not.
    Deviates,
    /// It could not be shown.
    NotShown,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Follows => "follows",
            Self::Deviates => "deviates",
            Self::NotShown => "not shown",
        })
    }
}
