//! The protocol suite that anyone runs against any peer.
//!
//! ```text
//! Peer ──► Met: memory, doorbells ──► AsHost or AsRemote: rings as plain bytes ──► a clause's test ──► Finding
//!                                        └ Watch: what shows itself along the way, and the trace
//! ```
//!
//! The suite plays the role that the peer does not, on rings of its own, so that it can break every rule and look at
//! every byte. Each clause of the book is a row with a test, or it is in [`HIDDEN`] with the reason why none can show it.
//! Whatever a peer does costs its own clause: each has a deadline, and nothing that it writes is believed.
//!
//! | module | what it holds |
//! | --- | --- |
//! | `peer` | the seam: who is met, and the memory that is shared with it |
//! | `peers` | remotes that a backend reaches, and both roles in another process |
//! | `ring` | a ring, each field of it |
//! | `as_host`, `as_remote` | a session in one role |
//! | `watch` | what shows itself along the way |
//! | `clause`, `clauses` | the rows, a file for each chapter |
//! | `known` | deviations of implementations in use |
//! | `suite`, `report` | all of them, and what came of it |

mod as_host;
mod as_remote;
mod clause;
mod clauses;
mod known;
mod peer;
pub mod peers;
pub mod report;
mod ring;
mod suite;
mod verdict;
mod watch;

pub use as_host::{AsHost, Frame, Liveness, Start};
pub use as_remote::{AsRemote, AtStart, HostGoes};
pub use clause::{Profile, Row, Table, Test};
pub use clauses::{HIDDEN, rows};
pub use known::{KNOWN, Known};
pub use peer::{Ground, Met, Peer, Role, Scene, Woken};
pub use ring::Ring;
pub use suite::{Finding, NAMES, Options, Report, run};
pub use verdict::{Outcome, Stop, Verdict};
pub use watch::{Seen, Watch};

#[cfg(test)]
mod tests {
    use super::*;

    /// All clauses of the chapters.
    fn book() -> Vec<String> {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../book/src/protocol");
        let texts =
            std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()));
        let texts: Vec<String> = texts.map(Result::unwrap).collect();
        texts
            .iter()
            .flat_map(|text| text.lines())
            .filter_map(|line| Some(line.strip_prefix("### ")?.into()))
            .collect()
    }

    #[test]
    fn every_clause_of_the_book_is_tested_or_says_why_it_cannot_be() {
        let ours = |clause: &str| {
            rows().any(|row| row.clause == clause) || HIDDEN.iter().any(|(hidden, _)| *hidden == clause)
        };
        let missing: Vec<String> = book().into_iter().filter(|clause| !ours(clause)).collect();
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn every_clause_that_is_tested_is_in_the_book() {
        let book = book();
        let all = rows().map(|row| row.clause).chain(HIDDEN.iter().map(|(clause, _)| *clause));
        let unknown: Vec<&str> = all.filter(|clause| !book.iter().any(|known| known == clause)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
    }
}
