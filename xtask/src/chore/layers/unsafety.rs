//! Unsafe code has addresses: every other crate forbids it, and no other file can lift that.

use std::path::Path;

use toml::Table;

/// Where unsafe code may stand.
const ADDRESSES: &[&str] = &["common/mem", "host/os", "remote/firmware/src/platform", "capi", "lab"];

/// The lint, and what sets it too weak for a file outside of the addresses.
const LINT: &str = concat!("unsafe", "_code");
const WEAK: &[&str] = &["allow", "expect", "warn"];

/// Whether the workspace forbids unsafe code in all crates that take its lints.
///
/// # Errors
/// It does not.
pub(super) fn check_workspace(manifest: &Table) -> Result<(), String> {
    match level(at(manifest, &["workspace", "lints", "rust", LINT])) {
        Some("forbid") => Ok(()),
        level => Err(format!("Cargo.toml: the workspace's lint {LINT} is {level:?}, not \"forbid\"")),
    }
}

/// Whether a crate forbids unsafe code, unless there is an address in it.
///
/// # Errors
/// It does not.
pub(super) fn check_crate(folder: &Path, manifest: &Table) -> Result<(), String> {
    if ADDRESSES.iter().any(|address| Path::new(address).starts_with(folder) || folder.starts_with(address)) {
        return Ok(());
    }
    let inherited = at(manifest, &["lints", "workspace"]).and_then(toml::Value::as_bool) == Some(true);
    if inherited || level(at(manifest, &["lints", "rust", LINT])) == Some("forbid") {
        return Ok(());
    }
    Err(format!(
        "{}/Cargo.toml: neither takes the workspace's lints nor forbids {LINT} by itself",
        folder.display()
    ))
}

/// Whether a file leaves the lint alone, unless it is at an address.
///
/// # Errors
/// It weakens it.
pub(super) fn check_file(path: &Path, text: &str) -> Result<(), String> {
    if ADDRESSES.iter().any(|address| path.starts_with(address)) {
        return Ok(());
    }
    for (offset, _) in text.match_indices(LINT) {
        if let Some(attribute) = enclosing(&text[..offset]).filter(|attribute| WEAK.contains(attribute)) {
            let line = text[..offset].lines().count();
            return Err(format!(
                "{}:{line}: {attribute}({LINT}) outside of the addresses of unsafe code",
                path.display()
            ));
        }
    }
    Ok(())
}

/// The word before the last parenthesis that is still open.
fn enclosing(before: &str) -> Option<&str> {
    let mut closed = 0;
    for (offset, character) in before.char_indices().rev() {
        match character {
            ')' => closed += 1,
            '(' if closed > 0 => closed -= 1,
            '(' => {
                let word = before[..offset].trim_end();
                return word.rsplit(|character: char| !character.is_ascii_alphanumeric()).next();
            }
            _ => {}
        }
    }
    None
}

/// A value within tables.
fn at<'a>(table: &'a Table, path: &[&str]) -> Option<&'a toml::Value> {
    let (last, tables) = path.split_last()?;
    tables.iter().try_fold(table, |table, name| table.get(*name)?.as_table())?.get(*last)
}

/// The level of a lint, which is a word or a table with one.
fn level(lint: Option<&toml::Value>) -> Option<&str> {
    let lint = lint?;
    lint.as_str().or_else(|| lint.get("level")?.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(text: &str) -> Table {
        text.parse().expect("a manifest")
    }

    fn file(path: &str, attribute: &str) -> Result<(), String> {
        check_file(
            Path::new(path),
            &format!("//! A file.\n\n{}\nfn f() {{}}\n", attribute.replace("LINT", LINT)),
        )
    }

    #[test]
    fn crates_inherit_or_forbid() {
        let folder = Path::new("common/wire");
        assert_eq!(check_crate(folder, &manifest("[lints]\nworkspace = true")), Ok(()));
        assert_eq!(check_crate(folder, &manifest(&format!("[lints.rust]\n{LINT} = \"forbid\""))), Ok(()));
        assert_eq!(
            check_crate(folder, &manifest(&format!("[lints.rust]\n{LINT} = {{ level = \"forbid\" }}"))),
            Ok(())
        );
        for weak in ["", "[lints]\nworkspace = false", &format!("[lints.rust]\n{LINT} = \"deny\"")] {
            let message = check_crate(folder, &manifest(weak)).expect_err(weak);
            assert!(message.contains("common/wire/Cargo.toml"), "{message}");
        }
    }

    #[test]
    fn crates_with_an_address_may_deny() {
        let deny = manifest(&format!("[lints.rust]\n{LINT} = \"deny\""));
        for folder in ["common/mem", "host/os", "remote/firmware", "lab", "lab/fuzz"] {
            assert_eq!(check_crate(Path::new(folder), &deny), Ok(()));
        }
    }

    #[test]
    fn the_workspace_forbids() {
        assert_eq!(
            check_workspace(&manifest(&format!("[workspace.lints.rust]\n{LINT} = \"forbid\""))),
            Ok(())
        );
        assert!(check_workspace(&manifest(&format!("[workspace.lints.rust]\n{LINT} = \"deny\""))).is_err());
        assert!(check_workspace(&manifest("[workspace]")).is_err());
    }

    #[test]
    fn files_outside_of_the_addresses_leave_the_lint_alone() {
        for weak in [
            "#![allow(LINT)]",
            "#[allow(LINT, reason = \"it is fast\")]",
            "#[expect(dead_code, LINT)]",
            "#![cfg_attr(not(test), allow(dead_code, LINT))]",
            "#![warn (LINT)]",
            "#[allow(\n    LINT,\n)]",
        ] {
            let message = file("common/wire/src/lib.rs", weak).expect_err(weak);
            assert!(message.starts_with("common/wire/src/lib.rs:"), "{message}");
            assert_eq!(file("common/mem/src/lib.rs", weak), Ok(()));
            assert_eq!(file("remote/firmware/src/platform/sandbox/mod.rs", weak), Ok(()));
            assert!(file("remote/firmware/src/lib.rs", weak).is_err());
        }
        for strong in
            ["#![forbid(LINT)]", "#![cfg_attr(test, deny(LINT))]", "// LINT is forbidden (allow it nowhere)"]
        {
            assert_eq!(file("common/wire/src/lib.rs", strong), Ok(()));
        }
    }

    #[test]
    fn the_line_is_named() {
        let message = file("common/wire/src/lib.rs", "#![allow(LINT)]").expect_err("too weak");
        assert!(message.starts_with("common/wire/src/lib.rs:3: allow("), "{message}");
    }
}
