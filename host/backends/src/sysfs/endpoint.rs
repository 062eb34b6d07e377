//! Channels that a remote announced to the kernel, and endpoints of ours on them.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use sidecore_os::{RPMSG_ADDRESS_ANY, RpmsgEndpoint, destroy_rpmsg_endpoint, poll_until};

use super::remoteproc::attribute;
use super::{Remoteproc, SysfsError};

/// How often a look is taken for what the kernel and udev do in their own time.
const LOOK: Duration = Duration::from_millis(5);
/// How long udev may take to give a new device to its group.
const SETTLING: Duration = Duration::from_secs(2);

/// A channel that the kernel knows of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// The kernel's address; [`RPMSG_ADDRESS_ANY`] until it has a driver.
    pub source: u32,
    /// The remote's address.
    pub destination: u32,
    /// The driver that has it, if any.
    pub driver: Option<String>,
    /// Its character device, where that driver makes one.
    pub device: Option<PathBuf>,
    /// Where it lies in `/sys`, all links followed.
    folder: PathBuf,
}

/// An endpoint of the kernel's that this process has open.
#[derive(Debug)]
pub struct Endpoint {
    file: File,
    path: PathBuf,
    /// Where it lies in `/sys` if it was made for us: it is destroyed with us.
    ours: Option<PathBuf>,
}

impl Remoteproc {
    /// The channels that it announced, by the remote's address.
    ///
    /// # Errors
    /// The kernel does not say.
    pub fn channels(&self) -> Result<Vec<Channel>, SysfsError> {
        let own = self.folder()?;
        let bus = self.roots.sys.join("bus/rpmsg/devices");
        let entries = match fs::read_dir(&bus) {
            Ok(entries) => entries,
            // No driver of rpmsg is loaded, so nobody can have announced anything.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(SysfsError::of(&bus, false, &error)),
        };
        let folders = entries.flatten().filter_map(|entry| entry.path().canonicalize().ok());
        let mut channels: Vec<Channel> = folders
            .filter(|folder| folder.starts_with(&own))
            // Those that go while we look are not worth an error; nor those that the kernel made for itself.
            .filter_map(|folder| self.channel(folder).ok())
            .filter(|channel| !matches!(&*channel.name, "rpmsg_ctrl" | "rpmsg_ns"))
            .collect();
        channels.sort_by_key(|channel| channel.destination);
        Ok(channels)
    }

    fn channel(&self, folder: PathBuf) -> Result<Channel, SysfsError> {
        let address = |name: &str| {
            let path = folder.join(name);
            let value = attribute(&path)?;
            let digits = value.strip_prefix("0x").unwrap_or(&value);
            u32::from_str_radix(digits, 16)
                .map_err(|_| SysfsError::Strange { path, value: value.chars().take(40).collect() })
        };
        let driver = fs::read_link(folder.join("driver")).ok();
        let driver = driver.and_then(|link| Some(link.file_name()?.to_string_lossy().into_owned()));
        Ok(Channel {
            name: attribute(&folder.join("name"))?,
            source: address("src")?,
            destination: address("dst")?,
            driver,
            device: device_below(&folder).map(|device| self.roots.dev.join(device)),
            folder,
        })
    }

    /// Opens an endpoint to the channel of a name, waiting for its announcement: its own character device if it has one,
    /// else one that the kernel makes for us, which goes when the endpoint is dropped.
    ///
    /// # Errors
    /// The remote announces none in time, the kernel makes no endpoints, or they are not for this user.
    pub fn open(&self, name: &str, within: Duration) -> Result<Endpoint, SysfsError> {
        let end = Instant::now() + within;
        loop {
            let channels = self.channels()?;
            if let Some(channel) = channels.iter().find(|channel| channel.name == name) {
                return self.open_channel(channel, end.saturating_duration_since(Instant::now()));
            }
            if Instant::now() >= end {
                let known = channels.into_iter().map(|channel| channel.name).collect();
                return Err(SysfsError::NoChannel {
                    remote: self.id().to_owned(),
                    name: name.to_owned(),
                    known,
                });
            }
            thread::sleep(LOOK);
        }
    }

    /// Opens an endpoint to a channel that was announced, as [`open`](Self::open) does.
    ///
    /// # Errors
    /// The channel went, the kernel makes no endpoints, or they are not for this user.
    pub fn open_channel(&self, channel: &Channel, within: Duration) -> Result<Endpoint, SysfsError> {
        let end = Instant::now() + within;
        match &channel.device {
            Some(device) => Endpoint::open(device.clone(), None, end),
            None => self.create(channel, end),
        }
    }

    /// Has the kernel make an endpoint that is connected to a channel's address.
    fn create(&self, channel: &Channel, end: Instant) -> Result<Endpoint, SysfsError> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("sidecore-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        // The one of the same virtio device.
        let device = channel.folder.parent().unwrap_or(&channel.folder).to_owned();
        let is_ours = |folder: &Path| folder.starts_with(&device);
        let control = loop {
            match self
                .nodes()
                .into_iter()
                .find(|(name, folder)| name.starts_with("rpmsg_ctrl") && is_ours(folder))
            {
                Some((name, _)) => break self.roots.dev.join(name),
                None if Instant::now() >= end => {
                    return Err(SysfsError::NoControl { remote: self.id().to_owned() });
                }
                None => thread::sleep(LOOK),
            }
        };
        let file = open(&control, end)?;
        let refused = |refused: sidecore_os::Refused| SysfsError::of(&control, true, &refused.errno.into());
        let endpoint = RpmsgEndpoint::new(&name, RPMSG_ADDRESS_ANY, channel.destination).map_err(refused)?;
        endpoint.create(&file).map_err(refused)?;
        let named =
            |(_, folder): &(String, PathBuf)| attribute(&folder.join("name")).is_ok_and(|own| own == name);
        match self.nodes().into_iter().filter(|(_, folder)| is_ours(folder)).find(named) {
            Some((node, folder)) => Endpoint::open(self.roots.dev.join(node), Some(folder), end),
            // It went at once: the remote did.
            None => Err(SysfsError::Gone { path: control }),
        }
    }

    /// The character devices of rpmsg, by name and folder.
    fn nodes(&self) -> Vec<(String, PathBuf)> {
        let entries = fs::read_dir(self.roots.sys.join("class/rpmsg")).into_iter().flatten().flatten();
        let node = |entry: fs::DirEntry| {
            Some((entry.file_name().into_string().ok()?, entry.path().canonicalize().ok()?))
        };
        entries.filter_map(node).collect()
    }
}

impl Endpoint {
    fn open(path: PathBuf, ours: Option<PathBuf>, end: Instant) -> Result<Self, SysfsError> {
        Ok(Self { file: open(&path, end)?, path, ours })
    }

    /// The device that is open.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Sends a message, waiting for a buffer if need be (Linux: 15 s at most).
    ///
    /// # Errors
    /// It is longer than the buffers (`EMSGSIZE`), none came free in time, or the remote went.
    pub fn send(&self, message: &[u8]) -> Result<(), SysfsError> {
        match (&self.file).write(message) {
            Ok(written) if written == message.len() => Ok(()),
            Ok(_) => Err(SysfsError::Refused { path: self.path.clone(), errno: Errno::IO }),
            Err(error) => Err(SysfsError::of(&self.path, true, &error)),
        }
    }

    /// Sends a message if there is a buffer for it now; whether there was. From then on [`send`](Self::send) does not wait
    /// either.
    ///
    /// # Errors
    /// As of [`send`](Self::send).
    pub fn try_send(&self, message: &[u8]) -> Result<bool, SysfsError> {
        let nonblocking = rustix::io::ioctl_fionbio(&self.file, true);
        nonblocking.map_err(|errno| SysfsError::of(&self.path, true, &errno.into()))?;
        match self.send(message) {
            Ok(()) => Ok(true),
            // The first is what the kernel says, the second what it should.
            Err(SysfsError::Refused { errno: Errno::NOMEM | Errno::AGAIN, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Takes a message; its length, of which what does not fit is lost. `None` if there is none in time.
    ///
    /// # Errors
    /// The remote went.
    pub fn receive(&self, to: &mut [u8], within: Duration) -> Result<Option<usize>, SysfsError> {
        let refused = |error: std::io::Error| SysfsError::of(&self.path, false, &error);
        let mut wanted = [PollFd::new(&self.file, PollFlags::IN)];
        let ready = poll_until(&mut wanted, Some(Instant::now() + within));
        ready.map_err(|error| refused(error.errno.into()))?;
        if wanted[0].revents().is_empty() {
            return Ok(None);
        }
        (&self.file).read(to).map(Some).map_err(refused)
    }
}

/// Readable when a message came or the remote went.
impl AsFd for Endpoint {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        // One that went with the remote is gone already, and Linux (6.1, for one) does not survive to be asked to destroy it
        // again. Nor is its name another's while we have it open.
        if self.ours.as_ref().is_some_and(|folder| folder.exists()) {
            // There is nobody to tell.
            let _ = destroy_rpmsg_endpoint(&self.file);
        }
    }
}

/// Opens a device that may have been made just now: its node comes later, and its group later still.
fn open(path: &Path, end: Instant) -> Result<File, SysfsError> {
    let end = end.max(Instant::now() + SETTLING);
    loop {
        match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => return Ok(file),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied)
                    && Instant::now() < end =>
            {
                thread::sleep(LOOK);
            }
            Err(error) => return Err(SysfsError::of(path, true, &error)),
        }
    }
}

/// The name of the character device of a channel: `<folder>/rpmsg/rpmsgN`.
fn device_below(folder: &Path) -> Option<String> {
    let entries = fs::read_dir(folder.join("rpmsg")).ok()?;
    let mut names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| name.starts_with("rpmsg") && !name.starts_with("rpmsg_ctrl"))
}
