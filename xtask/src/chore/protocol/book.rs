//! The chapters: every clause has tests that are there, and what the chapters name is there too.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use anyhow::{Context, Result};
use sidecore_wire::features::{Owner, REGISTRY, Standing};

use super::{
    Made,
    clause::{Clause, clauses, is_id},
    judge, read,
};
use crate::{report::Step, source};

/// The folder of the chapters.
const BOOK: &str = "book/src/protocol";

/// What is made of the clauses.
const TABLE: &str = "book/src/protocol/clauses.md";

/// What is made of the registry of features.
const FEATURES: &str = "book/src/protocol/features.md";

pub(super) fn check(step: &mut Step, made: Made) -> Result<()> {
    let pages = pages()?;
    let tests = all_tests()?;
    let mut ids: BTreeMap<&str, &str> = BTreeMap::new();
    let mut table = String::from(TABLE_HEAD);
    for (page, text) in &pages {
        for clause in clauses(text) {
            let mut faults = clause.faults();
            faults.extend(missing(&clause, &tests));
            if let Some(other) = ids.insert(clause.id, page) {
                faults.push(format!("{other} has a clause of that id, too"));
            }
            table.push_str(&clause.row(page));
            match faults.is_empty() {
                true => step.passes(),
                false => faults.iter().for_each(|fault| {
                    step.fails(format_args!("{BOOK}/{page}:{}: {}: {fault}", clause.line, clause.id));
                }),
            }
        }
    }
    for (page, text) in &pages {
        for (line, word) in mentioned(text).filter(|(_, word)| !ids.contains_key(word)) {
            step.fails(format_args!("{BOOK}/{page}:{line}: there is no clause {word}"));
        }
    }
    made.file(step, TABLE, &table)?;
    made.file(step, FEATURES, &features())?;
    judge(step)
}

const TABLE_HEAD: &str = "# All clauses\n\n\
    Made of the chapters by `cargo xtask protocol --write`. Peers that are not named were not judged.\n\n\
    | clause | code | tests | peers |\n| --- | --- | --- | --- |\n";

/// The chapters in the order of the book, each with its text. What is made is none.
fn pages() -> Result<Vec<(String, String)>> {
    let summary = read("book/src/SUMMARY.md")?;
    let links = summary.split("](protocol/").skip(1).filter_map(|rest| rest.split_once(')'));
    let listed: Vec<String> = links.map(|(page, _)| page.to_owned()).collect();
    let in_summary: BTreeSet<_> = listed.iter().map(String::as_str).collect();
    // A chapter that the book does not show binds nobody.
    for entry in fs::read_dir(source::root().join(BOOK)).context(BOOK)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        let path = format!("{BOOK}/{name}");
        if !in_summary.contains(&*name) && !clauses(&read(&path)?).is_empty() {
            anyhow::bail!("{path} has clauses and is not in the summary");
        }
    }
    let pages = listed.into_iter().filter(|page| !TABLE.ends_with(&format!("/{page}")));
    pages.map(|page| Ok((page.clone(), read(&format!("{BOOK}/{page}"))?))).collect()
}

/// What a clause names and nobody has.
fn missing(clause: &Clause<'_>, tests: &BTreeSet<String>) -> Vec<String> {
    let tests = clause.tests().filter(|test| !tests.contains(*test));
    let tests = tests.map(|test| format!("there is no test {test}"));
    let code = clause.code().filter(|path| !source::root().join(path).is_file());
    let code = code.map(|path| format!("there is no file {path}"));
    tests.chain(code).collect()
}

/// Every test function of the tree.
fn all_tests() -> Result<BTreeSet<String>> {
    let mut tests = BTreeSet::new();
    for file in source::rust_files()? {
        tests.extend(tests_in(&source::read(&file)?).map(str::to_owned));
    }
    Ok(tests)
}

/// The functions that `#[test]` stands above.
fn tests_in(text: &str) -> impl Iterator<Item = &str> {
    let mut marked = false;
    text.lines().map(str::trim).filter_map(move |line| {
        let name = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn "));
        match name.and_then(|rest| rest.split(['(', '<']).next()) {
            Some(name) => std::mem::take(&mut marked).then_some(name),
            None => {
                let goes_on = line.starts_with("#[") || line.starts_with("//") || line.is_empty();
                marked = line == "#[test]" || marked && goes_on;
                None
            }
        }
    })
}

/// The ids of clauses in a text, each with the number of its line.
fn mentioned(text: &str) -> impl Iterator<Item = (usize, &str)> {
    (1..).zip(text.lines()).flat_map(|(line, text)| {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
        words.filter(|word| is_id(word) && !FOREIGN.contains(word)).map(move |word| (line, word))
    })
}

/// What looks like the id of a clause and is none.
const FOREIGN: &[&str] = &["UTF-8"];

/// The registry as a table.
fn features() -> String {
    let mut table = String::from(
        "| bit | name | whose | standing | meaning | source |\n| --- | --- | --- | --- | --- | --- |\n",
    );
    for row in REGISTRY {
        let owner = match row.owner {
            Owner::Rpmsg => "rpmsg",
            Owner::Transport => "rings, transport",
        };
        let standing = match row.status {
            Standing::Ours => "ours",
            Standing::Provisional => "provisional",
            Standing::Standard => "standard",
        };
        let (bit, name, text, source) = (row.bit, row.name, row.text, row.source);
        table += &format!("| {bit} | {name} | {owner} | {standing} | {text} | {source} |\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_are_functions_below_their_mark() {
        let text = "#[test]\nfn one() {}\nfn helper() {}\n#[test]\n#[cfg(unix)]\n// why\n    fn two() {}\n\
                    #[test]\nconst X: u8 = 1;\nfn three() {}\n    #[test]\n    fn four(bytes in any()) {\n";
        assert!(tests_in(text).eq(["one", "two", "four"]));
    }

    #[test]
    fn mentions_are_found_within_sentences() {
        let text = "See RING-3, (NS-1).\nUTF-8, x86-64, F_NS; START-10\n";
        assert!(mentioned(text).eq([(1, "RING-3"), (1, "NS-1"), (2, "START-10")]));
    }
}
