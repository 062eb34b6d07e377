//! A clause of the book: its id, its statement, and what stands under it.
//!
//! ```text
//! ### RING-3
//!
//! The statement, in as many lines as it takes.
//!
//! - source: where the rule comes from
//! - code: the files that keep it
//! - tests: the functions that fail if it is not kept
//! - follows: peers
//! - deviates: peer: what it does; peer: what it does
//! ```

use std::fmt::Write as _;

/// The peers that a clause may name.
const PEERS: &[&str] = &["Linux", "OpenAMP", "rpmsg-lite"];

/// What makes a statement one that can be tested.
const NORMATIVE: &[&str] = &["MUST", "SHOULD", "MAY"];

/// A clause as it stands on its page.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Clause<'a> {
    pub(super) id: &'a str,
    /// Number of its heading's line, the first is 1.
    pub(super) line: usize,
    pub(super) statement: String,
    fields: Vec<(&'a str, String)>,
}

/// All clauses of a page.
pub(super) fn clauses(page: &str) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = Vec::new();
    let mut within = false;
    for (line, text) in (1..).zip(page.lines()) {
        if let Some(title) = text.strip_prefix("### ").filter(|title| is_id(title)) {
            clauses.push(Clause { id: title, line, ..Clause::default() });
            within = true;
        } else if text.starts_with('#') {
            within = false;
        } else if let Some(clause) = clauses.last_mut().filter(|_| within) {
            clause.take(text);
        }
    }
    clauses
}

/// Whether a word is the id of a clause: `RING-3`.
pub(super) fn is_id(word: &str) -> bool {
    word.split_once('-').is_some_and(|(name, number)| {
        name.len() > 1
            && name.bytes().all(|byte| byte.is_ascii_uppercase())
            && !number.starts_with('0')
            && number.parse::<u32>().is_ok()
    })
}

impl<'a> Clause<'a> {
    fn take(&mut self, text: &'a str) {
        if let Some((key, value)) = text.strip_prefix("- ").and_then(|field| field.split_once(": ")) {
            self.fields.push((key, value.to_owned()));
        } else if let Some((_, value)) = self.fields.last_mut().filter(|_| text.starts_with("  ")) {
            let _ = write!(value, " {}", text.trim());
        } else if !text.is_empty() {
            let blank = if self.statement.is_empty() { "" } else { " " };
            let _ = write!(self.statement, "{blank}{text}");
        }
    }

    fn field(&self, key: &str) -> &str {
        self.fields.iter().find(|(own, _)| *own == key).map_or("", |(_, value)| value)
    }

    /// The files of ours that keep it.
    pub(super) fn code(&self) -> impl Iterator<Item = &str> {
        list(self.field("code"), ", ")
    }

    /// The functions that test it.
    pub(super) fn tests(&self) -> impl Iterator<Item = &str> {
        list(self.field("tests"), ", ")
    }

    /// The peers that follow it.
    pub(super) fn follows(&self) -> impl Iterator<Item = &str> {
        list(self.field("follows"), ", ")
    }

    /// The peers that do not, each with what it does instead.
    pub(super) fn deviates(&self) -> impl Iterator<Item = (&str, &str)> {
        list(self.field("deviates"), "; ").map(|peer| peer.split_once(": ").unwrap_or((peer, "")))
    }

    /// What of its form is wrong.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if !NORMATIVE.iter().any(|word| self.statement.contains(word)) {
            faults.push("it says neither MUST nor SHOULD nor MAY".to_owned());
        }
        for key in ["source", "code", "tests"] {
            if self.field(key).is_empty() {
                faults.push(format!("it has no {key}"));
            }
        }
        for (at, (key, _)) in self.fields.iter().enumerate() {
            if !["why", "source", "code", "tests", "follows", "deviates"].contains(key) {
                faults.push(format!("`{key}` is nothing that stands under a clause"));
            }
            if self.fields[..at].iter().any(|(earlier, _)| earlier == key) {
                faults.push(format!("`{key}` stands under it twice"));
            }
        }
        let mut judged: Vec<&str> = Vec::new();
        for peer in self.follows().chain(self.deviates().map(|(peer, _)| peer)) {
            if !PEERS.contains(&peer) {
                faults.push(format!("`{peer}` is no peer: {}", PEERS.join(", ")));
            }
            if judged.contains(&peer) {
                faults.push(format!("{peer} is judged twice"));
            }
            judged.push(peer);
        }
        faults.extend(
            self.deviates()
                .filter(|(_, what)| what.is_empty())
                .map(|(peer, _)| format!("what does {peer} do?")),
        );
        faults
    }

    /// Its row in the table of all clauses.
    pub(super) fn row(&self, page: &str) -> String {
        let id = self.id;
        let code: Vec<_> = self.code().map(|path| format!("`{path}`")).collect();
        let tests: Vec<_> = self.tests().map(|test| format!("`{test}`")).collect();
        let mut peers: Vec<String> = Vec::new();
        let follows: Vec<_> = self.follows().collect();
        if !follows.is_empty() {
            peers.push(format!("follow: {}", follows.join(", ")));
        }
        peers.extend(self.deviates().map(|(peer, what)| format!("**{peer}** {what}")));
        let [code, tests, peers] = [code.join("<br>"), tests.join("<br>"), peers.join("<br>")];
        format!("| [{id}]({page}#{}) | {code} | {tests} | {peers} |\n", id.to_lowercase())
    }
}

fn list<'a>(value: &'a str, separator: &'static str) -> impl Iterator<Item = &'a str> {
    value.split(separator).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "# Page\n\nText.\n\n### Notes\n\nRING-1 is no heading.\n\n### RING-3\n\nIt MUST be\nso.\n\n\
                        - why: because\n  of that.\n- source: virtio 2.7\n- code: a.rs, b.rs\n- tests: one, two\n\
                        - follows: Linux\n- deviates: OpenAMP: does this; rpmsg-lite: does that\n\n## More\n\nText.\n";

    #[test]
    fn a_clause_is_taken_apart() {
        let clauses = clauses(PAGE);
        let [clause] = &clauses[..] else { panic!("{clauses:?}") };
        assert_eq!((clause.id, clause.line, &*clause.statement), ("RING-3", 9, "It MUST be so."));
        assert_eq!(clause.field("why"), "because of that.");
        assert!(clause.code().eq(["a.rs", "b.rs"]));
        assert!(clause.tests().eq(["one", "two"]));
        assert!(clause.deviates().eq([("OpenAMP", "does this"), ("rpmsg-lite", "does that")]));
        assert_eq!(clause.faults(), Vec::<String>::new());
        let row = "| [RING-3](ring.md#ring-3) | `a.rs`<br>`b.rs` | `one`<br>`two` | \
                   follow: Linux<br>**OpenAMP** does this<br>**rpmsg-lite** does that |\n";
        assert_eq!(clause.row("ring.md"), row);
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        let page = "### RING-3\n\nIt is so.\n\n- tests: one\n- tests: two\n- odd: x\n- follows: Linux, Plan 9\n\
                    - deviates: Linux: too; OpenAMP\n";
        let clauses = clauses(page);
        let faults = clauses[0].faults();
        for expected in [
            "it says neither MUST nor SHOULD nor MAY",
            "it has no source",
            "it has no code",
            "`tests` stands under it twice",
            "`odd` is nothing that stands under a clause",
            "`Plan 9` is no peer: Linux, OpenAMP, rpmsg-lite",
            "Linux is judged twice",
            "what does OpenAMP do?",
        ] {
            assert!(faults.iter().any(|fault| fault == expected), "{expected}: {faults:?}");
        }
        assert_eq!(faults.len(), 8);
    }

    #[test]
    fn ids_are_words_and_numbers() {
        assert!(["NS-1", "RING-10"].into_iter().all(is_id));
        for word in ["RING", "RING-", "RING-0", "RING-01", "Ring-1", "R-1", "RING-1a", "-1"] {
            assert!(!is_id(word), "{word}");
        }
    }
}
