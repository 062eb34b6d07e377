//! The kernel's channels and endpoints, as a process sees them.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use sidecore_os::{RPMSG_ADDRESS_ANY, RpmsgEndpoint, destroy_rpmsg_endpoint};

use crate::wait;

/// Where the kernel lists endpoints.
const CLASS: &str = "/sys/class/rpmsg";

/// The longest payload of the usual buffers.
pub(crate) const PAYLOAD: usize = 496;

/// A character device of the kernel with an endpoint behind it.
pub(crate) struct Endpoint {
    file: File,
    pub(crate) path: PathBuf,
}

impl Endpoint {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(path);
        Ok(Self { file: file.with_context(|| path.display().to_string())?, path: path.to_owned() })
    }

    /// Makes an endpoint that is connected to an address of the remote.
    pub(crate) fn create(destination: u32) -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("guest-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        RpmsgEndpoint::new(&name, RPMSG_ADDRESS_ANY, destination)?.create(control()?)?;
        let named = |node: &PathBuf| attribute(node, "name").is_some_and(|own| own == name);
        let node =
            wait::until("no device of the endpoint that was created", || nodes().into_iter().find(named))?;
        let path = Path::new("/dev").join(node.file_name().unwrap_or_default());
        wait::until("no node of the endpoint that was created", || path.exists().then_some(()))?;
        Self::open(&path)
    }

    /// Has the kernel destroy it, and waits until it is gone.
    pub(crate) fn destroy(self) -> Result<()> {
        destroy_rpmsg_endpoint(&self.file)?;
        let path = self.path.clone();
        // The node goes at once, the device with the last that has it open.
        drop(self);
        wait::until("the destroyed endpoint has its node", || (!path.exists()).then_some(()))
    }

    pub(crate) fn send(&self, message: &[u8]) -> io::Result<()> {
        let written = (&self.file).write(message)?;
        if written != message.len() {
            return Err(io::Error::other(format!("{written} of {} bytes were sent", message.len())));
        }
        Ok(())
    }

    /// Takes a message, which comes soon.
    pub(crate) fn receive(&self, to: &mut [u8]) -> Result<usize> {
        let mut waiting = [PollFd::new(&self.file, PollFlags::IN)];
        if poll(&mut waiting, Some(&wait::limit()))? == 0 {
            bail!("{}: no message", self.path.display());
        }
        (&self.file).read(to).with_context(|| self.path.display().to_string())
    }

    /// Takes a message, however long it takes to come.
    pub(crate) fn receive_whenever(&self, to: &mut [u8]) -> Result<usize> {
        (&self.file).read(to).with_context(|| self.path.display().to_string())
    }

    /// Sends a message and takes it back.
    pub(crate) fn echoes(&self, message: &[u8]) -> Result<()> {
        self.send(message).with_context(|| format!("{} bytes on {}", message.len(), self.path.display()))?;
        let mut answer = [0xee; 2 * PAYLOAD];
        let length = self.receive(&mut answer)?;
        if answer[..length] != *message {
            bail!(
                "{}: {length} bytes came back that are not the {} sent",
                self.path.display(),
                message.len()
            );
        }
        Ok(())
    }

    /// Messages there and back, each with its own content and length.
    pub(crate) fn converses(&self, seed: usize, messages: usize) -> Result<()> {
        (0..messages)
            .try_for_each(|number| self.echoes(&message(seed + number * 7, (seed * 31 + number * 61) % 497)))
    }
}

/// A message whose every byte depends on its number.
pub(crate) fn message(number: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (number.wrapping_mul(167) ^ at.wrapping_mul(29)) as u8).collect()
}

/// The control device.
pub(crate) fn control() -> Result<File> {
    let path = "/dev/rpmsg_ctrl0";
    wait::until("no /dev/rpmsg_ctrl0", || OpenOptions::new().read(true).write(true).open(path).ok())
}

/// The endpoints that there are, by their nodes in `/sys`.
pub(crate) fn nodes() -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(CLASS).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| !path.to_string_lossy().contains("ctrl")).collect()
}

/// The endpoints of channels of a name, by their nodes in `/dev`; at least so many.
pub(crate) fn raw(count: usize) -> Result<Vec<Endpoint>> {
    let of_channel = |node: &PathBuf| attribute(node, "name").is_some_and(|name| name == "rpmsg-raw");
    let nodes = wait::until("not all channels named rpmsg-raw have a device", || {
        let nodes: Vec<PathBuf> = nodes().into_iter().filter(of_channel).collect();
        (nodes.len() >= count).then_some(nodes)
    })?;
    let paths = nodes.iter().map(|node| Path::new("/dev").join(node.file_name().unwrap_or_default()));
    paths.map(|path| Endpoint::open(&path)).collect()
}

/// The remote's address of the channel of a name.
pub(crate) fn address(channel: &str) -> Result<u32> {
    let find = || {
        let devices = fs::read_dir("/sys/bus/rpmsg/devices").into_iter().flatten().flatten();
        let mut nodes = devices.map(|device| device.path());
        let node = nodes.find(|node| attribute(node, "name").is_some_and(|name| name == channel))?;
        u32::from_str_radix(attribute(&node, "dst")?.trim_start_matches("0x"), 16).ok()
    };
    wait::until(&format!("no channel {channel}"), find)
}

fn attribute(node: &Path, name: &str) -> Option<String> {
    Some(fs::read_to_string(node.join(name)).ok()?.trim().to_owned())
}
