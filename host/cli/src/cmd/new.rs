//! `sidecore new`: a firmware project of one's own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::ValueHint;
use sidecore_backends::qemu::Board;

use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::output::{note, print};

/// Make a firmware project for a board: it builds and runs with the two commands that this prints
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The project's directory, which must not be there yet; its last part is the project's name
    #[arg(value_name = "NAME", value_hint = ValueHint::DirPath)]
    path: PathBuf,
    /// The board, one of those that `sidecore boards` lists
    #[arg(long, value_name = "BOARD", default_value = "mps2-an386", value_parser = board)]
    board: Board,
    /// The tree that the SDK is in [default: the one that this program or directory is in, or else the project's
    /// repository]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    sdk: Option<PathBuf>,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let Args { path, board, sdk } = args;
    let name = path.file_name().and_then(OsStr::to_str).filter(|name| is_name(name)).ok_or_else(|| {
        cannot(path).because("a name is a letter, then letters, digits, `-` and `_`; at most 64 of them")
    })?;
    let sdk = sdk
        .as_deref()
        .map(|asked| tree(asked).ok_or_else(|| cannot(path).because(no_sdk(asked))))
        .transpose()?;
    let sdk = sdk.or_else(|| std::env::current_exe().ok()?.ancestors().find_map(tree));
    let sdk = sdk.or_else(|| std::env::current_dir().ok()?.ancestors().find_map(tree));
    let compiler = Compiler::find(&board.target, sdk.as_deref());

    let written = write(path, "Cargo.toml", &manifest(name, sdk.as_deref()))
        .and_then(|()| write(path, ".cargo/config.toml", &config(&board.target, &compiler)))
        .and_then(|()| write(path, ".gitignore", "/target\n"))
        .and_then(|()| write(path, "build.rs", BUILD))
        .and_then(|()| write(path, "src/main.rs", &MAIN.replace("NAME", name)));
    written.map_err(|error| cannot(path).because(error))?;

    if matches!(compiler, Compiler::None) {
        note(&format_args!(
            "there is no `core` for {target} here yet: rustup target add {target}",
            target = board.target
        ));
    }
    let image = path.join("target").join(&board.target).join("release").join(name);
    print(&format!(
        "(cd {} && cargo build --release --target-dir target)\nsidecore run --on qemu:{} {}\n",
        quoted(path),
        board.name,
        quoted(&image)
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn board(name: &str) -> Result<Board, String> {
    let name = name.strip_prefix("qemu:").unwrap_or(name);
    Board::find(name).ok_or_else(|| {
        let names: Vec<String> = Board::all().map(|board| board.name).collect();
        format!("there is no such board; there are {}", names.join(", "))
    })
}

fn cannot(path: &Path) -> Failure {
    Failure::new(codes::PROJECT, format!("cannot make {}", path.display()))
}

fn no_sdk(asked: &Path) -> String {
    format!("there is no {} in {}", SDK, asked.display())
}

/// What cargo takes for a package's name, and no keyword or crate of ours.
fn is_name(name: &str) -> bool {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    name.len() <= 64 && name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(part)
}

/// Where the SDK lies in its tree.
const SDK: &str = "remote/firmware";

/// The tree's path if the SDK is in it.
fn tree(path: &Path) -> Option<PathBuf> {
    let path = path.canonicalize().ok()?;
    path.join(SDK).join("Cargo.toml").exists().then_some(path)
}

/// What builds for the target.
#[derive(Debug, PartialEq, Eq)]
enum Compiler {
    /// The user's own: it has the target.
    Own,
    /// A distribution's, with the `core` that was made for it in the tree.
    Distribution { rustc: PathBuf, sysroot: PathBuf },
    /// Nothing yet.
    None,
}

impl Compiler {
    fn find(target: &str, sdk: Option<&Path>) -> Self {
        let folder = Path::new("lib/rustlib").join(target).join("lib");
        let own = says(OsStr::new("rustc"), &["--print", "sysroot"]);
        if own.is_some_and(|sysroot| Path::new(sysroot.trim()).join(&folder).exists()) {
            return Self::Own;
        }
        // `cargo xtask images` keeps them in the target directory, by the compiler's release.
        let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.ancestors().nth(2)?.to_owned()));
        let places = [beside, sdk.map(|sdk| sdk.join("target"))];
        let rustc = PathBuf::from("/usr/bin/rustc");
        let version = says(rustc.as_os_str(), &["-vV"]).unwrap_or_default();
        let release = version.lines().find_map(|line| line.strip_prefix("release: ")).unwrap_or("none");
        let sysroots =
            places.into_iter().flatten().filter_map(|place| fs::read_dir(place.join("sysroot")).ok());
        let mut sysroots = sysroots.flatten().flatten().filter(|entry| {
            entry.file_name().to_string_lossy().starts_with(&format!("{release}-"))
                && entry.path().join(&folder).exists()
        });
        match sysroots.next() {
            Some(entry) => Self::Distribution { rustc, sysroot: entry.path() },
            None => Self::None,
        }
    }
}

fn says(program: &OsStr, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Writes a file that is not there yet.
fn write(project: &Path, name: &str, text: &str) -> io::Result<()> {
    let path = project.join(name);
    if name == FIRST {
        if let Some(parent) = project.parent() {
            fs::create_dir_all(parent)?;
        }
        // Nobody's files are touched.
        fs::create_dir(project)?;
    }
    fs::create_dir_all(path.parent().unwrap_or(project))?;
    fs::write(path, text)
}

/// The file that is written first.
const FIRST: &str = "Cargo.toml";

fn manifest(name: &str, sdk: Option<&Path>) -> String {
    let sdk = match sdk {
        Some(tree) => format!("path = {}", toml_text(tree.join(SDK))),
        None => format!("git = \"{}\"", env!("CARGO_PKG_REPOSITORY")),
    };
    format!(
        r#"[package]
name = "{name}"
version = "0.1.0"
edition = "2024"

[dependencies]
sidecore-firmware = {{ {sdk} }}

[[bin]]
name = "{name}"
path = "src/main.rs"
test = false
bench = false

# Nothing unwinds on a coprocessor.
[profile.dev]
panic = "abort"
opt-level = "s"

# Symbols are for the debugger, and not loaded.
[profile.release]
panic = "abort"
opt-level = "s"
lto = "fat"
codegen-units = 1
debug = true

[workspace]
"#
    )
}

fn config(target: &str, compiler: &Compiler) -> String {
    let build = format!("[build]\ntarget = \"{target}\"\n");
    match compiler {
        Compiler::Own | Compiler::None => build,
        Compiler::Distribution { rustc, sysroot } => format!(
            "{build}rustc = {}\n\n# `core` as `cargo xtask images` made it; with rustup's target this part can go.\n\
             [target.{target}]\nlinker = \"ld.lld\"\nrustflags = [{}]\n",
            toml_text(rustc),
            toml_text(OsString::from_iter([OsStr::new("--sysroot="), sysroot.as_os_str()]))
        ),
    }
}

/// A basic string (TOML 1.0, "String").
fn toml_text(text: impl AsRef<OsStr>) -> String {
    let text = text.as_ref().to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-' | '+' | ',');
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// Link arguments do not travel with a dependency.
const BUILD: &str = r#"//! Links as the SDK wants it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for argument in std::env::var("DEP_SIDECORE_FIRMWARE_LINK_ARGS").unwrap_or_default().split_whitespace() {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
"#;

const MAIN: &str = r#"//! Greets, and ends.
#![no_std]
#![no_main]

use sidecore_firmware::{Error, Remote, image};

image! { main: main }

fn main(remote: Remote) -> Result<i32, Error> {
    let connection = remote.connect()?;
    let mut console = connection.console().wait()?;
    console.print("Hello from NAME!\n").wait()?;
    console.exit(0).wait()?;
    Ok(0)
}
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_cargo_takes() {
        for good in ["blinky", "my-fw_2", "X"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "2fast", "-x", "a b", "a/b", "ü", "a.b", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn paths_survive_toml_and_the_shell() {
        assert_eq!(toml_text("/a \"b\"\\c"), r#""/a \"b\"\\c""#);
        assert_eq!(quoted(Path::new("/a/b-1.0")), "/a/b-1.0");
        assert_eq!(quoted(Path::new("it's")), r"'it'\''s'");
    }
}
