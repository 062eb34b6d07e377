//! What test programs print, read back as numbers.

/// What came of a step's tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// What did not run, each with its reason.
    pub(crate) not_run: Vec<String>,
}

/// What a line of a test program is to its reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Good news of a single test, and the frame around: for the verbose.
    Detail,
    /// All the rest.
    Worth,
}

/// What a test prints, to standard error past the harness's capture, when this machine lacks what it wants to try.
const NOT_RUN: &str = "not run: ";

impl Tally {
    /// Adds another's numbers and reasons.
    pub(crate) fn add(&mut self, other: Tally) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.not_run.extend(other.not_run);
    }

    /// Takes a line in.
    pub(crate) fn read(&mut self, line: &str) -> Line {
        if let Some(what) = line.strip_prefix(NOT_RUN) {
            self.not_run.push(what.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.passed += count(result, " passed");
            self.failed += count(result, " failed");
            if result.starts_with("ok") {
                return Line::Detail;
            }
        } else if let Some((name, outcome)) =
            line.strip_prefix("test ").and_then(|test| test.rsplit_once(" ... "))
        {
            match outcome.strip_prefix("ignored") {
                Some(reason) => {
                    let reason = reason.trim_start_matches(", ");
                    let reason = if reason.is_empty() { "ignored, no reason given" } else { reason };
                    self.not_run.push(format!("{name}: {reason}"));
                }
                None if outcome == "ok" => return Line::Detail,
                None => {}
            }
        } else if line.is_empty() || is_running(line) {
            return Line::Detail;
        }
        Line::Worth
    }
}

/// The number before a word in `ok. 3 passed; 0 failed; ...`.
fn count(result: &str, word: &str) -> u64 {
    let before = result.split(word).next().filter(|before| before.len() < result.len());
    before.and_then(|before| before.rsplit(' ').next()).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Whether a line is `running 12 tests`.
fn is_running(line: &str) -> bool {
    line.strip_prefix("running ").is_some_and(|rest| rest.ends_with(" tests") || rest == "1 test")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tally and the lines that are shown.
    fn read(text: &str) -> (Tally, Vec<&str>) {
        let mut tally = Tally::default();
        let shown = text.lines().filter(|line| tally.read(line) == Line::Worth).collect();
        (tally, shown)
    }

    #[test]
    fn results_of_several_programs_add_up() {
        let (tally, shown) = read(
            "running 2 tests\n\
             test a::b ... ok\n\
             test a::c ... FAILED\n\
             \n\
             test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n\
             running 1 test\n\
             test src/lib.rs - (line 3) ... ok\n\
             test result: ok. 11 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.12s\n",
        );
        assert_eq!(tally, Tally { passed: 12, failed: 1, not_run: Vec::new() });
        assert_eq!(shown.len(), 2, "the failed test and its result: {shown:?}");
    }

    #[test]
    fn what_does_not_run_has_its_reason() {
        let (tally, shown) = read(
            "test a ... ignored, takes an hour\n\
             test b ... ignored\n\
             not run: c: this kernel has no Landlock\n",
        );
        let expected = ["a: takes an hour", "b: ignored, no reason given", "c: this kernel has no Landlock"];
        assert_eq!(tally.not_run, expected);
        assert_eq!(shown.len(), 3);
    }

    #[test]
    fn a_line_that_only_looks_like_a_result_counts_nothing() {
        let (tally, _) = read("test result: ok. many passed; failed\ntest result: passed\n");
        assert_eq!(tally, Tally::default());
    }
}
