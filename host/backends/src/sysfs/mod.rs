//! The remote processors that Linux drives itself: `/sys/class/remoteproc`, `/dev/rpmsg*` and debugfs.
//!
//! On a board the kernel has the reset line, the mailbox and the memory. It loads the firmware, places what the resource
//! table asks for and works the rings; what is left to a process is to name the firmware, to say start and stop, to read
//! the trace, and to open endpoints. So this is no [`sidecore_remoteproc::Backend`], whose business is what the kernel does
//! here, but a [`Remoteproc`] with [`Endpoint`]s.
//!
//! Source: the kernel's `Documentation/ABI/testing/sysfs-class-remoteproc`, `drivers/remoteproc/remoteproc_{sysfs,debugfs,
//! cdev}.c` and `drivers/rpmsg/rpmsg_{char,ctrl}.c`.
//!
//! Whatever is read is text of another: of bounded length, and of any content.

mod endpoint;
mod error;
mod remoteproc;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub use endpoint::{Channel, Endpoint};
pub use error::{RULE, SysfsError};
pub use remoteproc::{Remoteproc, State};

/// Where the kernel's file systems are mounted, and where it looks for firmware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roots {
    /// sysfs.
    pub sys: PathBuf,
    /// Device nodes.
    pub dev: PathBuf,
    /// debugfs.
    pub debug: PathBuf,
    /// Firmware files.
    pub firmware: PathBuf,
}

impl Roots {
    /// All of them below another root than `/`.
    #[must_use]
    pub fn below(root: &Path) -> Self {
        Self {
            sys: root.join("sys"),
            dev: root.join("dev"),
            debug: root.join("sys/kernel/debug"),
            firmware: root.join("lib/firmware"),
        }
    }
}

impl Default for Roots {
    fn default() -> Self {
        Self::below(Path::new("/"))
    }
}
