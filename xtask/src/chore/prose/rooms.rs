//! `ARCHITECTURE.md` names every room and no other, and a library says one thing of itself.

use std::path::Path;

use anyhow::{Result, bail};

use crate::source::{self, Package};

const PAGE: &str = "ARCHITECTURE.md";

pub(super) fn check() -> Result<()> {
    let page = source::read(Path::new(PAGE))?;
    let rooms: Vec<&str> = rooms(&page).collect();
    let mut wrong: Vec<String> = Vec::new();
    for room in &rooms {
        if !source::root().join(room).is_dir() {
            wrong.push(format!("{PAGE} has a room {room}, which is not there"));
        }
    }
    for manifest in source::workspaces() {
        for package in source::metadata(manifest)?.packages {
            let folder = package.folder().to_string_lossy().into_owned();
            if !rooms.contains(&&*folder) {
                wrong.push(format!("{PAGE} has no row for {folder}"));
            }
            // Elsewhere a library is what programs share, and the description is theirs.
            if manifest == source::MAIN {
                wrong.extend(description(&package, &folder)?);
            }
        }
    }
    wrong.iter().for_each(|what| println!("error: {what}"));
    match wrong.len() {
        0 => Ok(()),
        count => bail!("{count} sentences are not true"),
    }
}

/// The first cells of the table of rooms, which are paths.
fn rooms(page: &str) -> impl Iterator<Item = &str> {
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` |"));
    rows.map(|(room, _)| room.trim_end_matches('/')).filter(|room| !room.contains("::"))
}

/// What is wrong with the description of a library, which is the first sentence of its documentation.
fn description(package: &Package, folder: &str) -> Result<Option<String>> {
    let description = package.description.as_deref().unwrap_or_default();
    let Some(path) = package.library() else { return Ok(None) };
    let text = source::read(path)?;
    let first = text.lines().next().unwrap_or_default();
    let said = first.strip_prefix("//! ").and_then(|first| first.strip_suffix('.'));
    Ok((said != Some(description)).then(|| {
        let path = path.display();
        format!("{folder}/Cargo.toml describes `{description}`, and {path} begins with `{first}`")
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_are_the_rows_that_begin_with_a_path() {
        let page =
            "| room | what |\n| --- | --- |\n| `common/` | both |\n| `xtask` | chores |\n| link | `a::b` |\n";
        assert_eq!(rooms(page).collect::<Vec<_>>(), ["common", "xtask"]);
    }
}
