//! The kinds of remote that sidecore can drive, one file each.
//!
//! Each implements [`sidecore_remoteproc::Backend`] and has a row in [`KINDS`]; but for [`sysfs`], where the kernel does what
//! they do.

pub mod log;
pub mod qemu;
pub mod sandbox;
pub mod shm;
pub mod sim;
pub mod sysfs;

mod any;
mod room;

pub use any::{Any, AnyDoorbell};

/// Bytes of a journal ([`sidecore_remoteproc::Backend::journal`]): enough for sixteen devices with rings of 256, and of
/// them only those that are written take memory.
const JOURNAL_SIZE: usize = 256 << 10;

/// One kind of remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// What it is called on the command line.
    pub name: &'static str,
    /// What it is, in one line.
    pub help: &'static str,
}

/// All kinds.
pub const KINDS: &[Kind] = &[sandbox::KIND, qemu::KIND, shm::KIND, sim::KIND];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own_and_a_line_of_help() {
        for (index, kind) in KINDS.iter().enumerate() {
            assert!(!kind.name.is_empty() && !kind.help.is_empty() && !kind.help.contains('\n'));
            assert!(KINDS[..index].iter().all(|other| other.name != kind.name), "{} twice", kind.name);
        }
    }
}
