//! What the daemon is told to do: files in TOML, each of which says some of it.
//!
//! A directory has `sidecored.toml`, and more files in `sidecored.toml.d`. Of files with the same name the one in the later
//! directory counts alone, so that an empty one takes another's effect away; then the main file is read, and the others in
//! the order of their names, as systemd does it. A later value takes the place of an earlier one; remotes with the same name
//! do, too; rules add up.

mod file;
mod show;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use show::{Section, Setting};
pub use value::{Glob, On, RemoteName, Restart, Start, Unit};

/// The name of the main file.
pub const FILE: &str = "sidecored.toml";

/// The name of the directory with more of them, whose names end in `.toml`.
pub const DROP_INS: &str = "sidecored.toml.d";

/// Bytes that a file has at most.
const MAX_FILE: u64 = 1 << 20;

/// Files that a directory has at most.
const MAX_FILES: usize = 1024;

/// The directories in which files are looked for; a later one's count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places(Vec<PathBuf>);

impl Places {
    /// The machine's: the vendor's, those until the next start, the administrator's.
    #[must_use]
    pub fn system() -> Self {
        Self::of(["/usr/lib/sidecore", "/run/sidecore", "/etc/sidecore"])
    }

    /// One user's: `$XDG_CONFIG_HOME/sidecore`, or `~/.config/sidecore`; none where neither variable says where that is.
    #[must_use]
    pub fn session() -> Self {
        let path = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config = path("XDG_CONFIG_HOME").or_else(|| path("HOME").map(|home| home.join(".config")));
        Self::of(config.map(|config| config.join("sidecore")))
    }

    /// These directories.
    pub fn of<P: Into<PathBuf>>(directories: impl IntoIterator<Item = P>) -> Self {
        Self(directories.into_iter().map(Into::into).collect())
    }

    /// The directories, the later ones' files count.
    #[must_use]
    pub fn directories(&self) -> &[PathBuf] {
        &self.0
    }

    /// The files that count, in the order in which they are read.
    ///
    /// # Errors
    /// A directory cannot be listed, or has too many files.
    pub fn files(&self) -> Result<Vec<PathBuf>, ConfigError> {
        let main = self.0.iter().rev().map(|directory| directory.join(FILE));
        let mut files: Vec<PathBuf> = main.filter(|file| is_there(file)).take(1).collect();
        let mut drop_ins = BTreeMap::new();
        for directory in self.0.iter().map(|directory| directory.join(DROP_INS)) {
            for name in names(&directory)? {
                drop_ins.insert(name.clone(), directory.join(name));
            }
        }
        files.extend(drop_ins.into_values());
        Ok(files)
    }
}

/// Whether there is something of that name, whatever it is: what cannot be read is no reason to read another's.
fn is_there(file: &Path) -> bool {
    !matches!(fs::symlink_metadata(file), Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()))
}

/// The names of the files in a directory; none where there is no directory.
fn names(directory: &Path) -> Result<Vec<std::ffi::OsString>, ConfigError> {
    let cannot = |why| ConfigError::Unreadable { file: directory.to_owned(), why };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(cannot(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry.map_err(cannot)?.file_name();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        if is_hidden || Path::new(&name).extension() != Some(OsStr::new("toml")) {
            continue;
        }
        if names.len() == MAX_FILES {
            return Err(cannot(io::Error::other(format!("it has more than {MAX_FILES} files"))));
        }
        names.push(name);
    }
    Ok(names)
}

/// Where a value was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The file.
    pub file: Arc<Path>,
    /// The line, the first is 1.
    pub line: usize,
}

/// Where the values of a part were said, by key. What is not in it is as it is where nothing is said.
pub type Origins = BTreeMap<&'static str, Origin>;

/// Why the configuration is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A file or directory cannot be read.
    #[error("{}: {why}", file.display())]
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// The system's reason.
        why: io::Error,
    },
    /// A line is wrong.
    #[error("{}:{}: {what}", origin.file.display(), origin.line)]
    Wrong {
        /// Which one.
        origin: Origin,
        /// What is wrong, with the key or the value.
        what: String,
    },
}

/// All that the daemon is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// How much there may be of everything.
    pub limits: Limits,
    /// What remotes say.
    pub logs: Logs,
    /// How a remote is run of which nothing else is said.
    pub defaults: Defaults,
    /// Remotes that the daemon knows from its start on.
    pub remotes: Vec<Remote>,
    /// What is done when something happens.
    pub rules: Vec<Rule>,
}

/// How much there may be of everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Remotes, at most: 1 to 4096, 64 where nothing is said.
    pub remotes: u32,
    /// Endpoints that a client has open, at most: 1 to 4096, 64 where nothing is said.
    pub endpoints: u32,
    /// Messages of a remote's that wait for a client's endpoint, at most: 1 to 65536, 256 where nothing is said.
    pub queue: u32,
    /// Bytes of a firmware's file, at most: 4 KiB to 4 GiB, 256 MiB where nothing is said.
    pub firmware_bytes: u64,
    /// Where they were said.
    pub origins: Origins,
}

/// What remotes say in their traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logs {
    /// Whether it is kept, as where nothing is said.
    pub keep: bool,
    /// Where it is kept; the daemon's directory of state where nothing is said.
    pub directory: Option<PathBuf>,
    /// Where they were said.
    pub origins: Origins,
}

/// How a remote is run of which nothing else is said.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Defaults {
    /// What executes it; the sandbox where nothing is said.
    pub on: On,
    /// How long without a sign of life is a hang; for ever where nothing is said.
    pub watchdog: Option<Duration>,
    /// What becomes of it when it crashes; it stays as it is where nothing is said.
    pub restart: Restart,
    /// Where they were said.
    pub origins: Origins,
}

/// A remote that the daemon knows from its start on.
#[derive(Clone, Debug, PartialEq)]
pub struct Remote {
    /// What it is called.
    pub name: RemoteName,
    /// Its firmware, an absolute path.
    pub firmware: PathBuf,
    /// The firmware's arguments.
    pub arguments: Vec<String>,
    /// What executes it; by default as [`Defaults::on`].
    pub on: Option<On>,
    /// When it is started.
    pub start: Start,
    /// As [`Defaults::watchdog`], which stands where nothing is said.
    pub watchdog: Option<Duration>,
    /// As [`Defaults::restart`], which stands where nothing is said.
    pub restart: Option<Restart>,
    /// Where they were said.
    pub origins: Origins,
}

/// What is done when something happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which remotes' events.
    pub remote: Option<Glob>,
    /// Which kinds of events, see [`crate::rules::KINDS`].
    pub kind: Option<Glob>,
    /// Which services' events; events without a service are not meant then.
    pub service: Option<Glob>,
    /// Which states' events; events without a state are not meant then.
    pub state: Option<Glob>,
    /// What is done.
    pub action: Action,
    /// How long a command may take, 30 s where nothing is said; then it is killed.
    pub timeout: Duration,
    /// Where they were said.
    pub origins: Origins,
}

/// What a rule does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Runs a program with arguments: an absolute path, or a name that is looked for in `PATH`. No shell is between.
    Run(Vec<String>),
    /// Has systemd start a unit. A template (`x@.service`) is started with the remote's name, escaped.
    StartUnit(Unit),
}

impl Default for Limits {
    fn default() -> Self {
        Self { remotes: 64, endpoints: 64, queue: 256, firmware_bytes: 256 << 20, origins: Origins::new() }
    }
}

impl Default for Logs {
    fn default() -> Self {
        Self { keep: true, directory: None, origins: Origins::new() }
    }
}

impl Config {
    /// Reads all files that count.
    ///
    /// # Errors
    /// A file cannot be read, or says something that has no meaning.
    pub fn load(places: &Places) -> Result<Self, ConfigError> {
        let mut config = Self::default();
        for path in places.files()? {
            let text = read(&path).map_err(|why| ConfigError::Unreadable { file: path.clone(), why })?;
            config.add(&path, &text)?;
        }
        Ok(config)
    }

    /// Adds what one file says.
    ///
    /// # Errors
    /// It says something that has no meaning. The configuration is as it was.
    pub fn add(&mut self, path: &Path, text: &[u8]) -> Result<(), ConfigError> {
        file::add(self, path, text)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // A pipe of that name would keep us waiting.
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    let kind = file.metadata()?.file_type();
    // A link to /dev/null is a way to say that it says nothing.
    if !kind.is_file() && fs::canonicalize(path)? != Path::new("/dev/null") {
        return Err(io::Error::other("it is no file"));
    }
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("it has more than {MAX_FILE} bytes")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
