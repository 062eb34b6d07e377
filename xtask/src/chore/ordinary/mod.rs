//! `cargo xtask ordinary`: the suites as an ordinary user, for as root a refusal proves nothing.
//!
//! What has been built is run as it is, by a user who owns nothing but a home of its own. Where the tree lies in a
//! folder that only root may enter, the user sees it through a mount namespace.

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use clap::ArgMatches;
use rustix::process::getuid;
use serde::Deserialize;

use super::{Chore, none, test::PROGRAMS};
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "ordinary",
    about: "Run the suites as an ordinary user, where we are root",
    arguments: none,
    run: |_: &ArgMatches, report| {
        steps(report);
        Ok(())
    },
};

/// `nobody` and `nogroup` where they have a name.
const USER: u32 = 65534;

/// Shows folders to whoever may not pass through those above them.
const SHOW: &str = include_str!("show.sh");

pub(super) fn steps(report: &mut Report) {
    if getuid().is_root() {
        report.step("tests as an ordinary user", run);
    } else {
        report.not_run("tests as an ordinary user", "we are one, so the other runs were that already");
    }
}

fn run(step: &mut Step) -> Result<()> {
    let programs = programs()?;
    let target = source::target_directory(source::MAIN)?;
    let home = Home::new(&target)?;
    let Some(last) = programs.last() else { bail!("there are no test programs") };

    let mut shown = false;
    if !home.reaches(&last.executable, shown)? {
        shown = true;
        if !home.reaches(&last.executable, shown)? {
            step.not_run(format!(
                "{} is closed to other users, and this machine lets us open it to none by a mount namespace",
                source::root().display()
            ));
            return Ok(());
        }
    }

    let mut failed = BTreeSet::new();
    for Program { executable, folder } in &programs {
        let name = executable.file_name().unwrap_or_default().display().to_string();
        println!("     Running {name}");
        let mut command = home.command(executable, shown);
        command.current_dir(folder).env("CARGO_MANIFEST_DIR", folder);
        if let Err(error) = step.test(&mut command) {
            println!("{error:#}");
            failed.insert(name);
        }
    }
    if !failed.is_empty() {
        bail!("{}", failed.into_iter().collect::<Vec<_>>().join(", "));
    }
    Ok(())
}

/// A test program.
struct Program {
    executable: PathBuf,
    /// Its package's, in which cargo runs it.
    folder: PathBuf,
}

/// All test programs, built if need be.
fn programs() -> Result<Vec<Program>> {
    /// What cargo says of something that it has built, or of something else.
    #[derive(Deserialize)]
    struct Message {
        executable: Option<PathBuf>,
        manifest_path: Option<PathBuf>,
        profile: Option<Profile>,
    }
    #[derive(Deserialize)]
    struct Profile {
        test: bool,
    }

    let mut cargo = source::cargo();
    cargo.arg("test").args(PROGRAMS).args([
        "--no-run",
        "--message-format=json-render-diagnostics",
        "--quiet",
    ]);
    let output = cargo.stderr(std::process::Stdio::inherit()).output().context("cargo cannot be run")?;
    if !output.status.success() {
        bail!("the tests do not build");
    }
    let mut programs = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Message = serde_json::from_str(line).context("cargo says what is no message")?;
        let Message { executable: Some(executable), manifest_path: Some(manifest), profile: Some(profile) } =
            message
        else {
            continue;
        };
        let folder = manifest.parent().unwrap_or(source::root()).to_owned();
        // The chores are nothing that a user has.
        if profile.test && folder != Path::new(env!("CARGO_MANIFEST_DIR")) {
            programs.push(Program { executable, folder });
        }
    }
    Ok(programs)
}

/// A home for the user, gone when we are done.
struct Home {
    folder: PathBuf,
    target: PathBuf,
}

impl Home {
    fn new(target: &Path) -> Result<Self> {
        let folder = env::temp_dir().join(format!("sidecore-ordinary-{}", std::process::id()));
        // Something of this name that exists already may be a trap, so it is an error.
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        let home = Home { folder, target: target.to_owned() };
        fs::create_dir(home.folder.join("run"))?;
        for folder in [home.folder.clone(), home.folder.join("run")] {
            chown(&folder, Some(USER), Some(USER)).context("the user's home cannot be given to it")?;
            fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
        }
        // Where cargo tells integration tests to put what they write.
        let scratch = target.join("tmp");
        if scratch.exists() {
            fs::set_permissions(&scratch, fs::Permissions::from_mode(0o1777))?;
        }
        Ok(home)
    }

    /// A program as the user would start it: with little more than its home in the environment.
    fn command(&self, program: &Path, shown: bool) -> Command {
        let mut words: Vec<&Path> = Vec::new();
        if shown {
            words.extend(
                ["unshare", "--mount", "--propagation=private", "sh", "-eu", "-c", SHOW, "show"]
                    .map(Path::new),
            );
            words.push(source::root());
            if !self.target.starts_with(source::root()) {
                words.push(&self.target);
            }
            words.push(Path::new("--"));
        }
        let user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
        words.extend(user.map(Path::new));
        words.push(program);

        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env_clear();
        for name in ["PATH", "CI", "LANG", "RUST_BACKTRACE"] {
            command.envs(env::var_os(name).map(|value| (name, value)));
        }
        command.env("USER", "nobody").env("HOME", &self.folder).env("TMPDIR", &self.folder);
        command.env("XDG_RUNTIME_DIR", self.folder.join("run"));
        command
    }

    /// Whether the user can read the tree and execute a program.
    fn reaches(&self, program: &Path, shown: bool) -> Result<bool> {
        let mut command = self.command(Path::new("sh"), shown);
        command
            .args(["-c", r#"test -x "$0" && test -r "$1""#])
            .arg(program)
            .arg(source::root().join("Cargo.toml"));
        let output = command.output().context("setpriv and unshare (of util-linux) cannot be run")?;
        Ok(output.status.success())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            println!("{} stays: {error}", self.folder.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};

    use super::*;

    /// Whether the user can read what lies behind a folder that only root may enter.
    fn reads_behind_a_closed_folder(shown: bool) -> bool {
        let outer = env::temp_dir().join(format!("sidecore-closed-{shown}-{}", std::process::id()));
        let (inner, held) = (outer.join("closed/a/b"), outer.join("held"));
        fs::create_dir_all(&held).expect("a folder");
        fs::create_dir_all(inner.join("folder")).expect("a folder");
        for file in ["folder/file", "file"] {
            fs::write(inner.join(file), "text").expect("a file");
        }
        for folder in [&outer.join("closed"), &inner] {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("a closed folder");
        }

        let mut command = Command::new(if shown { "unshare" } else { "env" });
        command.env("TMPDIR", &held);
        if shown {
            command
                .args(["--mount", "--propagation=private", "sh", "-eu", "-c", SHOW, "show"])
                .arg(&inner)
                .arg("--");
        }
        command.args(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat"]);
        let output = command.arg(inner.join("folder/file")).arg(inner.join("file")).output();
        for file in ["folder/file", "file"] {
            assert_eq!(fs::read(inner.join(file)).expect("the file"), b"text", "the files stay as they are");
        }
        fs::remove_dir_all(&outer).expect("no mount of ours is left");
        output.expect("util-linux is there").status.success()
    }

    /// Whether we can become someone else and mount for ourselves; says so if not.
    fn able(test: &str) -> bool {
        let able = Command::new("unshare").args(["--mount", "setpriv", "--reuid=65534", "true"]).output();
        let able = able.is_ok_and(|output| output.status.success());
        if !able {
            let said =
                writeln!(io::stderr(), "not run: {test}: it wants root, and to be allowed a mount namespace");
            said.expect("standard error is open");
        }
        able
    }

    #[test]
    fn a_closed_folder_is_closed() {
        assert!(!able("a_closed_folder_is_closed") || !reads_behind_a_closed_folder(false));
    }

    #[test]
    fn a_closed_folder_can_be_shown() {
        assert!(!able("a_closed_folder_can_be_shown") || reads_behind_a_closed_folder(true));
    }
}
