//! Transcripts in Markdown: commands, and what they print.
//!
//! A transcript is a code block of language `console`. A line `$ COMMAND` is run, and the lines after it are its
//! output, of both kinds; `? N` as the last of them is an exit status other than 0. In the output `[..]` stands for
//! anything within a line, a line `...` for any number of lines, and every number for any other: what is measured
//! differs from run to run, and addresses from build to build. What else is written must be printed.

/// One command of a transcript.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Prompt<'a> {
    /// Number of its line, the first is 1.
    pub(super) line: usize,
    pub(super) command: &'a str,
    pub(super) status: i32,
    pub(super) output: Vec<&'a str>,
}

/// All commands of a page.
pub(super) fn prompts(page: &str) -> Vec<Prompt<'_>> {
    let mut prompts: Vec<Prompt<'_>> = Vec::new();
    let mut within = false;
    for (line, text) in (1..).zip(page.lines()) {
        if text.starts_with("```") {
            within = text == "```console";
        } else if let Some(command) = text.strip_prefix("$ ").filter(|_| within) {
            prompts.push(Prompt { line, command, status: 0, output: Vec::new() });
        } else if let Some(prompt) = prompts.last_mut().filter(|_| within) {
            match text.strip_prefix("? ").and_then(|status| status.parse().ok()) {
                Some(status) => prompt.status = status,
                None => prompt.output.push(text),
            }
        }
    }
    for prompt in &mut prompts {
        // Empty lines set prompts apart; trailing ones of the output are not compared either.
        while prompt.output.last().is_some_and(|line| line.is_empty()) {
            prompt.output.pop();
        }
    }
    prompts
}

/// The first line in which the output is not what is written.
pub(super) fn difference(written: &[&str], printed: &[String]) -> Option<String> {
    let end = printed.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
    let mut rest = &printed[..end];
    let mut written = written;
    while let Some((expected, following)) = written.split_first() {
        written = following;
        if *expected == "..." {
            let next = written.first()?;
            match rest.iter().position(|line| matches(next, line)) {
                Some(skipped) => rest = &rest[skipped..],
                None => return Some(format!("after `...` there is no line `{next}`")),
            }
        } else {
            match rest.split_first() {
                Some((line, following)) if matches(expected, line) => rest = following,
                Some((line, _)) => return Some(format!("written is `{expected}`, printed `{line}`")),
                None => return Some(format!("written is `{expected}`, and the output has ended")),
            }
        }
    }
    rest.first().map(|line| format!("printed is `{line}`, and nothing more is written"))
}

/// Whether a line is as it is written.
fn matches(written: &str, line: &str) -> bool {
    let (written, line) = (without_numbers(written), without_numbers(line));
    let mut parts = written.split("[..]");
    let Some(mut rest) = parts.next().and_then(|start| line.strip_prefix(start)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return false,
        }
    }
    true
}

/// Units that go with the size of a number.
const UNITS: &[&str] = &["ns", "us", "ms", "s", "B", "KiB", "MiB"];

/// A line in which every number, with its unit, is a `#`, and all blanks between words are one: columns are as wide as
/// what is in them.
fn without_numbers(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let after_number = words.last().is_some_and(|last| last.ends_with('#'));
        let unit = word.trim_end_matches([')', ',', ';', ':']);
        match words.last_mut() {
            // What follows the unit closes the number.
            Some(last) if after_number && UNITS.contains(&unit) => last.push_str(&word[unit.len()..]),
            _ => words.push(without_digits(word)),
        }
    }
    words.join(" ")
}

/// A word in which every number is a `#`. Digits within a name are none.
fn without_digits(word: &str) -> String {
    let mut text = String::new();
    let mut characters = word.chars().peekable();
    while let Some(character) = characters.next() {
        let begins = !text.ends_with(|last: char| last.is_alphanumeric() || last == '_');
        if !(begins && character.is_ascii_digit()) {
            text.push(character);
            continue;
        }
        text.push('#');
        let within = |next: &char| next.is_ascii_hexdigit() || ['x', '.'].contains(next);
        let mut last = character;
        while let Some(next) = characters.next_if(within) {
            last = next;
        }
        if last == '.' {
            text.push('.');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(written: &[&str], printed: &[&str]) -> Option<String> {
        difference(written, &printed.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_console_blocks_hold_prompts() {
        let page = "# Page\n\n```sh\n$ no\n```\n$ no\n\n```console\n$ one\n1\n\n2\n\n$ two\n? 3\n```\ntext\n";
        let expected = [
            Prompt { line: 9, command: "one", status: 0, output: vec!["1", "", "2"] },
            Prompt { line: 14, command: "two", status: 3, output: vec![] },
        ];
        assert_eq!(prompts(page), expected);
    }

    #[test]
    fn equal_output_is_equal() {
        assert_eq!(compared(&["a", "b"], &["a", "b", ""]), None);
        assert_eq!(compared(&[], &[]), None);
    }

    #[test]
    fn every_difference_is_seen() {
        for (written, printed) in [
            (&["a"][..], &["b"][..]),
            (&["a"], &[]),
            (&[], &["a"]),
            (&["a", "b"], &["a"]),
            (&["a"], &["a", "b"]),
            (&["a[..]b"], &["ab c"]),
            (&["[..]x[..]"], &["abc"]),
            (&["...", "z"], &["a", "b"]),
            (&["...", "a"], &["a", "b"]),
        ] {
            assert!(compared(written, printed).is_some(), "{written:?} is not {printed:?}");
        }
    }

    #[test]
    fn a_number_stands_for_any_other() {
        assert_eq!(compared(&["p50 1.25 us, 3 of 4"], &["p50   980 ns, 12 of 13"]), None);
        assert_eq!(compared(&["at 0x10a0 (85.8 KiB)"], &["at 0x2 (9 B)"]), None);
        assert_eq!(compared(&["It took 3."], &["It took 15.5."]), None);
    }

    #[test]
    fn a_name_with_digits_stands_for_itself() {
        for (written, printed) in [
            ("vdev0: up", "vdev1: up"),
            ("x86_64", "x86_32"),
            ("ELF64", "ELF32"),
            ("3 of", "three of"),
            ("3", ""),
        ] {
            assert!(compared(&[written], &[printed]).is_some(), "{written} is not {printed}");
        }
    }

    #[test]
    fn placeholders_stand_for_anything() {
        assert_eq!(compared(&["p50 [..] it took"], &["p50 is what it took"]), None);
        assert_eq!(compared(&["[..]a[..]b[..]"], &["xxaxxbxx"]), None);
        assert_eq!(compared(&["a", "...", "z"], &["a", "b", "c", "z"]), None);
        assert_eq!(compared(&["a", "...", "z"], &["a", "z"]), None);
        assert_eq!(compared(&["a", "..."], &["a", "b"]), None);
    }
}
