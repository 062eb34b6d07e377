//! One remote processor of the kernel's.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::{Roots, SysfsError};

/// Bytes that are read of an attribute: a page, as the kernel makes them.
const ATTRIBUTE: u64 = 4096;
/// Bytes that are read of a trace. Buffers of that size are not made.
const TRACE: u64 = 16 << 20;

/// What an ordinary user does about firmware.
const FIRMWARE_IS_ROOTS: &str =
    "firmware is the kernel's to load, and for root to put there; then name it in place of the file's path";

/// A remote processor that the kernel drives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remoteproc {
    pub(super) roots: Roots,
    id: String,
}

/// What the kernel says that a remote processor is doing: `state` in its folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum State {
    /// Not running.
    Offline,
    /// Powered, and asleep.
    Suspended,
    /// Running.
    Running,
    /// Crashed, and not yet recovered.
    Crashed,
    /// Being taken away.
    Deleted,
    /// Running, started by somebody else.
    Attached,
    /// Running, and nobody of ours.
    Detached,
}

const STATES: &[(State, &str)] = &[
    (State::Offline, "offline"),
    (State::Suspended, "suspended"),
    (State::Running, "running"),
    (State::Crashed, "crashed"),
    (State::Deleted, "deleted"),
    (State::Attached, "attached"),
    (State::Detached, "detached"),
];

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STATES.iter().find(|(state, _)| state == self).map_or("unknown", |(_, word)| word))
    }
}

impl FromStr for State {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        STATES.iter().find(|(_, word)| *word == text).map(|(state, _)| *state).ok_or(())
    }
}

impl Remoteproc {
    /// All that there are, by number.
    ///
    /// # Errors
    /// The kernel drives none, or does not say which.
    pub fn all(roots: &Roots) -> Result<Vec<Self>, SysfsError> {
        let class = roots.sys.join("class/remoteproc");
        let entries = match fs::read_dir(&class) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(SysfsError::NoClass(class));
            }
            Err(error) => return Err(SysfsError::of(&class, false, &error)),
        };
        let ids = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut ids: Vec<(u32, String)> = ids.filter_map(|id| Some((number(&id)?, id))).collect();
        ids.sort();
        Ok(ids.into_iter().map(|(_, id)| Self { roots: roots.clone(), id }).collect())
    }

    /// The one of this name: the kernel's (`remoteproc0`), or the one in its `name` (`m4`) where only one has it.
    ///
    /// # Errors
    /// There is none, or several have the name.
    pub fn find(roots: &Roots, name: &str) -> Result<Self, SysfsError> {
        let all = Self::all(roots)?;
        if let Some(found) = all.iter().find(|remote| remote.id == name) {
            return Ok(found.clone());
        }
        let named: Vec<&Self> =
            all.iter().filter(|remote| remote.name().is_ok_and(|own| own == name)).collect();
        match named[..] {
            [found] => Ok(found.clone()),
            _ => Err(SysfsError::NoSuch {
                name: name.to_owned(),
                known: all.into_iter().map(|remote| remote.id).collect(),
            }),
        }
    }

    /// The kernel's name for it: `remoteproc0`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The name that its driver or the device tree gave it.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn name(&self) -> Result<String, SysfsError> {
        self.attribute("name")
    }

    /// What it is doing.
    ///
    /// # Errors
    /// The kernel does not say, or says what is no state.
    pub fn state(&self) -> Result<State, SysfsError> {
        let value = self.attribute("state")?;
        value.parse().map_err(|()| SysfsError::Strange { path: self.path("state"), value: shortened(&value) })
    }

    /// The name of its firmware below `/lib/firmware`. Empty, or `unknown`, where somebody else loaded it.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn firmware(&self) -> Result<String, SysfsError> {
        self.attribute("firmware")
    }

    /// Names the firmware that the next [`start`](Self::start) loads.
    ///
    /// # Errors
    /// It is running (`EBUSY`), or not for this user.
    pub fn set_firmware(&self, name: &str) -> Result<(), SysfsError> {
        write(&self.path("firmware"), name.as_bytes())
    }

    /// Puts a firmware file to where the kernel finds it; its name there, for [`set_firmware`](Self::set_firmware). It
    /// stays, for the kernel loads it again when the remote crashes.
    ///
    /// # Errors
    /// Firmware files are not this user's to write, or there is no room.
    pub fn install(&self, name: &str, firmware: &[u8]) -> Result<String, SysfsError> {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let plain: String = name.chars().take(64).map(plain).collect();
        let name = format!("sidecore-{}-{plain}", self.id);
        let path = self.roots.firmware.join(&name);
        // As a whole, for the kernel may be reading the last one.
        let new = self.roots.firmware.join(format!(".{name}.{}", std::process::id()));
        let written = fs::write(&new, firmware).and_then(|()| fs::rename(&new, &path));
        written.map_err(|error| {
            // Nothing of it is left, or nothing was made.
            let _ = fs::remove_file(&new);
            match SysfsError::of(&path, true, &error) {
                SysfsError::Denied { path, .. } => {
                    SysfsError::Denied { path, who: FIRMWARE_IS_ROOTS.to_owned() }
                }
                error => error,
            }
        })?;
        Ok(name)
    }

    /// Loads its firmware and starts it; takes over one that is detached. Returns when it runs.
    ///
    /// # Errors
    /// It runs already (`EBUSY`), there is no such firmware (`ENOENT`), the kernel cannot use it (its log says why), or
    /// the remote is not for this user.
    pub fn start(&self) -> Result<(), SysfsError> {
        self.order("start")
    }

    /// Stops it. Returns when it has stopped.
    ///
    /// # Errors
    /// It is not running (`EINVAL`), or not for this user.
    pub fn stop(&self) -> Result<(), SysfsError> {
        self.order("stop")
    }

    /// Leaves it running without us.
    ///
    /// # Errors
    /// It is not running, its driver cannot do that (`EINVAL`), or it is not for this user.
    pub fn detach(&self) -> Result<(), SysfsError> {
        self.order("detach")
    }

    /// By its attribute; where that is not for this user by its character device, if the kernel makes those.
    fn order(&self, order: &str) -> Result<(), SysfsError> {
        let refused = match write(&self.path("state"), order.as_bytes()) {
            Err(refused) if refused.is_denied() => refused,
            outcome => return outcome,
        };
        let device = self.roots.dev.join(&self.id);
        match write(&device, order.as_bytes()) {
            // The attribute is what everybody has.
            Err(SysfsError::Refused { errno: rustix::io::Errno::NOENT, .. } | SysfsError::Denied { .. }) => {
                Err(refused)
            }
            outcome => outcome,
        }
    }

    /// The names of its trace buffers, in order.
    ///
    /// # Errors
    /// debugfs is not mounted, or not for this user.
    pub fn traces(&self) -> Result<Vec<String>, SysfsError> {
        let folder = self.debug();
        let entries = fs::read_dir(&folder).map_err(|error| SysfsError::of(&folder, false, &error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut traces: Vec<(u32, String)> =
            names.filter_map(|name| Some((name.strip_prefix("trace")?.parse().ok()?, name))).collect();
        traces.sort();
        Ok(traces.into_iter().map(|(_, name)| name).collect())
    }

    /// What is in one of its trace buffers now.
    ///
    /// # Errors
    /// There is no such trace: the remote was stopped. Or it is not for this user.
    pub fn read_trace(&self, name: &str) -> Result<Vec<u8>, SysfsError> {
        read(&self.debug().join(name), TRACE)
    }

    fn debug(&self) -> PathBuf {
        self.roots.debug.join("remoteproc").join(&self.id)
    }

    /// Its folder in `/sys`, all links followed: whatever belongs to it lies below.
    pub(super) fn folder(&self) -> Result<PathBuf, SysfsError> {
        let path = self.path("");
        path.canonicalize().map_err(|error| SysfsError::of(&path, false, &error))
    }

    fn path(&self, attribute: &str) -> PathBuf {
        self.roots.sys.join("class/remoteproc").join(&self.id).join(attribute)
    }

    fn attribute(&self, name: &str) -> Result<String, SysfsError> {
        attribute(&self.path(name))
    }
}

/// The number in `remoteproc0`.
fn number(id: &str) -> Option<u32> {
    id.strip_prefix("remoteproc").filter(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

/// Reads an attribute: one line of text.
pub(super) fn attribute(path: &Path) -> Result<String, SysfsError> {
    let bytes = read(path, ATTRIBUTE)?;
    Ok(String::from_utf8_lossy(&bytes).trim_end_matches('\n').to_owned())
}

fn read(path: &Path, most: u64) -> Result<Vec<u8>, SysfsError> {
    let refused = |error: std::io::Error| SysfsError::of(path, false, &error);
    let mut bytes = Vec::new();
    File::open(path).map_err(refused)?.take(most).read_to_end(&mut bytes).map_err(refused)?;
    Ok(bytes)
}

/// Writes an attribute: in one piece, for each piece is an order of its own.
fn write(path: &Path, value: &[u8]) -> Result<(), SysfsError> {
    let refused = |error: std::io::Error| SysfsError::of(path, true, &error);
    let mut file = OpenOptions::new().write(true).open(path).map_err(refused)?;
    match file.write(value) {
        Ok(written) if written == value.len() => Ok(()),
        Ok(_) => Err(SysfsError::Refused { path: path.to_owned(), errno: rustix::io::Errno::IO }),
        Err(error) => Err(refused(error)),
    }
}

fn shortened(value: &str) -> String {
    value.chars().take(40).collect()
}
