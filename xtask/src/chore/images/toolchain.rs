//! Which compiler and linker build firmware for a target.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::sysroot;
use crate::source;

/// A compiler with a `core` for the target, and a linker.
pub(crate) struct Toolchain {
    compiler: Compiler,
    /// Where `core` for the target is, where that is not with the compiler.
    sysroot: Option<PathBuf>,
    /// What links, where the compiler brings nothing.
    linker: Option<&'static str>,
}

/// A compiler and its cargo.
#[derive(Clone)]
pub(super) struct Compiler {
    pub(super) cargo: PathBuf,
    pub(super) rustc: PathBuf,
}

/// The one that rustup or the user's path chooses, and the distribution's.
const DISTRIBUTION: &str = "/usr/bin";

/// What a machine needs that has neither the target nor the sources to make it of.
const ADVICE: &str = "install it with `rustup target add`, or have it made of a distribution's sources: on Debian \
                      `apt-get install rustc-web cargo-web rust-web-src lld`";

/// The oldest compiler that builds the tree.
const OLDEST: (u32, u32) = (1, 95);

impl Toolchain {
    /// The chosen compiler where it has the target, else the first one that comes with the sources of `core`, of which
    /// the target is made, once for each compiler.
    ///
    /// # Errors
    /// There is neither; the message says what to install. Or `core` cannot be built.
    pub(crate) fn of(target: &str) -> Result<Self> {
        let chosen = Compiler::chosen();
        if chosen.sysroot()?.join("lib/rustlib").join(target).join("lib").exists() {
            return Ok(Self { compiler: chosen, sysroot: None, linker: None });
        }
        let candidates = [chosen, Compiler::of_distribution()];
        let Some(compiler) = candidates.into_iter().find(Compiler::has_sources) else {
            bail!("no compiler here has `core` for {target}: {ADVICE}");
        };
        let linker = "ld.lld";
        if Command::new(linker).arg("--version").output().is_err() {
            bail!("there is no {linker} to link firmware with: on Debian `apt-get install lld`");
        }
        let sysroot = sysroot::of(&compiler, target)?;
        Ok(Self { compiler, sysroot: Some(sysroot), linker: Some(linker) })
    }

    /// `cargo build` for the target with these flags for its compiler. What this build's caller chose for host
    /// programs has no effect on it.
    pub(crate) fn cargo_build(&self, target: &str, flags: &[String]) -> Command {
        let mut flags = flags.to_vec();
        let mut cargo = self.compiler.cargo();
        if let Some(sysroot) = &self.sysroot {
            flags.push(format!("--sysroot={}", sysroot.display()));
        }
        if let Some(linker) = self.linker {
            let name = target.to_uppercase().replace(['-', '.'], "_");
            cargo.env(format!("CARGO_TARGET_{name}_LINKER"), linker);
        }
        cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).args(["build", "--target", target]);
        cargo
    }
}

impl Compiler {
    fn chosen() -> Self {
        let named = |variable, name: &str| env::var_os(variable).unwrap_or_else(|| name.into()).into();
        Self { cargo: named("CARGO", "cargo"), rustc: named("RUSTC", "rustc") }
    }

    fn of_distribution() -> Self {
        let folder = Path::new(DISTRIBUTION);
        Self { cargo: folder.join("cargo"), rustc: folder.join("rustc") }
    }

    /// Its cargo, without what would have it use another compiler or other flags.
    pub(super) fn cargo(&self) -> Command {
        let mut cargo = Command::new(&self.cargo);
        for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_BUILD_TARGET"] {
            cargo.env_remove(name);
        }
        cargo.env("RUSTC", &self.rustc).current_dir(source::root());
        cargo
    }

    /// What it says when asked for something about itself.
    pub(super) fn says(&self, argument: &[&str]) -> Result<String> {
        let output = Command::new(&self.rustc).args(argument).current_dir(source::root()).output();
        let output = output.with_context(|| format!("{} cannot be run", self.rustc.display()))?;
        if !output.status.success() {
            bail!("{} {}: {}", self.rustc.display(), argument.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn sysroot(&self) -> Result<PathBuf> {
        Ok(self.says(&["--print", "sysroot"])?.into())
    }

    /// Whether it is new enough, and `core` can be built with it.
    fn has_sources(&self) -> bool {
        let sources = |sysroot: PathBuf| sysroot.join("lib/rustlib/src/rust/library/core").exists();
        let is_new = |version: String| release(&version).is_some_and(|release| release >= OLDEST);
        self.sysroot().is_ok_and(sources) && self.says(&["-vV"]).is_ok_and(is_new)
    }
}

/// The first two numbers of the release in what `rustc -vV` says.
fn release(version: &str) -> Option<(u32, u32)> {
    let release = version.lines().find_map(|line| line.strip_prefix("release: "))?;
    let mut numbers = release.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_is_read_from_what_a_compiler_says_of_itself() {
        let said = "rustc 1.96.0 (abc 2026-05-01)\nhost: x86_64-unknown-linux-gnu\nrelease: 1.96.0-nightly\n";
        assert_eq!(release(said), Some((1, 96)));
        assert!(release(said) >= Some(OLDEST));
        assert_eq!(release("rustc 1.96.0"), None);
    }
}
