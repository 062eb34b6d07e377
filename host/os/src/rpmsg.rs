//! Endpoints and devices that Linux makes on demand: the requests of `/dev/rpmsg_ctrl*` and `/dev/rpmsg*`.
//!
//! Source: `include/uapi/linux/rpmsg.h`, `drivers/rpmsg/rpmsg_ctrl.c` and `rpmsg_char.c`.

#![allow(unsafe_code)]

use std::os::fd::AsFd;

use rustix::io::Errno;
use rustix::ioctl::{NoArg, Opcode, Setter, ioctl, opcode};

use crate::Refused;

/// The address that leaves the choice to Linux.
pub const RPMSG_ADDRESS_ANY: u32 = u32::MAX;

/// An endpoint or a channel, as `struct rpmsg_endpoint_info` has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RpmsgEndpoint {
    name: [u8; 32],
    source: u32,
    destination: u32,
}

impl RpmsgEndpoint {
    /// One with this name, of 1 to 31 bytes without NUL; the address that it has here, or [`RPMSG_ADDRESS_ANY`]; and the
    /// one on the remote that it is connected to.
    ///
    /// # Errors
    /// It cannot have that name (`EINVAL`).
    pub fn new(name: &str, source: u32, destination: u32) -> Result<Self, Refused> {
        let mut bytes = [0; 32];
        let room = bytes.get_mut(..name.len()).filter(|room| (1..32).contains(&room.len()));
        match room.filter(|_| !name.contains('\0')) {
            Some(room) => room.copy_from_slice(name.as_bytes()),
            None => return Err(Refused { operation: "name an rpmsg endpoint", errno: Errno::INVAL }),
        }
        Ok(Self { name: bytes, source, destination })
    }

    /// Has the control device make a character device `/dev/rpmsgN` with an endpoint of this kind, which is opened with
    /// the device.
    ///
    /// # Errors
    /// The kernel makes none: the descriptor is no `/dev/rpmsg_ctrl*` (`ENOTTY`), there is no room.
    pub fn create(&self, control: impl AsFd) -> Result<(), Refused> {
        self.ask::<CREATE_ENDPOINT>(control, "create an rpmsg endpoint (RPMSG_CREATE_EPT_IOCTL)")
    }

    /// Has the control device make a channel of this name, whose driver is then probed.
    ///
    /// # Errors
    /// The kernel makes none: it is older than 6.0 (`ENOTTY`), the channel exists (`EINVAL`).
    pub fn create_channel(&self, control: impl AsFd) -> Result<(), Refused> {
        self.ask::<CREATE_CHANNEL>(control, "create an rpmsg channel (RPMSG_CREATE_DEV_IOCTL)")
    }

    /// Has the control device take back a channel that [`create_channel`](Self::create_channel) made.
    ///
    /// # Errors
    /// There is none like it (`EINVAL`), or the kernel is older than 6.0 (`ENOTTY`).
    pub fn release_channel(&self, control: impl AsFd) -> Result<(), Refused> {
        self.ask::<RELEASE_CHANNEL>(control, "release an rpmsg channel (RPMSG_RELEASE_DEV_IOCTL)")
    }

    fn ask<const OPCODE: Opcode>(&self, fd: impl AsFd, operation: &'static str) -> Result<(), Refused> {
        // SAFETY: the request reads a `struct rpmsg_endpoint_info`, which ours is byte for byte, and writes nothing. A
        // descriptor of another kind knows no request of this number, which holds rpmsg's letter.
        let request = unsafe { Setter::<OPCODE, Self>::new(*self) };
        // SAFETY: as above.
        unsafe { ioctl(fd, request) }.map_err(Refused::to(operation))
    }
}

/// Destroys the endpoint behind an open `/dev/rpmsgN`, and the device with it. One that belongs to a channel which the
/// remote announced stays.
///
/// # Errors
/// The kernel refuses: the descriptor is no `/dev/rpmsgN` (`ENOTTY`), or the device belongs to a channel (`EINVAL`).
pub fn destroy_rpmsg_endpoint(endpoint: impl AsFd) -> Result<(), Refused> {
    // SAFETY: the request has no argument.
    let request = unsafe { NoArg::<DESTROY_ENDPOINT>::new() };
    // SAFETY: as above; a descriptor of another kind knows no request of this number.
    unsafe { ioctl(endpoint, request) }
        .map_err(Refused::to("destroy an rpmsg endpoint (RPMSG_DESTROY_EPT_IOCTL)"))
}

const CREATE_ENDPOINT: Opcode = opcode::write::<RpmsgEndpoint>(0xb5, 1);
const DESTROY_ENDPOINT: Opcode = opcode::none(0xb5, 2);
const CREATE_CHANNEL: Opcode = opcode::write::<RpmsgEndpoint>(0xb5, 3);
const RELEASE_CHANNEL: Opcode = opcode::write::<RpmsgEndpoint>(0xb5, 4);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_those_of_the_kernel_s_header() {
        // As a C compiler prints them.
        assert_eq!(CREATE_ENDPOINT, 0x4028_b501);
        assert_eq!(DESTROY_ENDPOINT, 0xb502);
        assert_eq!(CREATE_CHANNEL, 0x4028_b503);
        assert_eq!(RELEASE_CHANNEL, 0x4028_b504);
    }

    #[test]
    fn names_are_those_that_the_kernel_can_hold() {
        let named = |name: &str| RpmsgEndpoint::new(name, RPMSG_ADDRESS_ANY, 1024);
        assert!(named("a").is_ok() && named(&"n".repeat(31)).is_ok());
        for name in ["", "a\0b", &"n".repeat(32)] {
            assert_eq!(named(name).map_err(|error| error.errno), Err(Errno::INVAL), "{name:?}");
        }
    }

    #[test]
    fn other_descriptors_refuse() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let endpoint = RpmsgEndpoint::new("x", RPMSG_ADDRESS_ANY, 1).unwrap();
        assert_eq!(endpoint.create(&null).map_err(|error| error.errno), Err(Errno::NOTTY));
        assert_eq!(endpoint.create_channel(&null).map_err(|error| error.errno), Err(Errno::NOTTY));
        assert_eq!(endpoint.release_channel(&null).map_err(|error| error.errno), Err(Errno::NOTTY));
        assert_eq!(destroy_rpmsg_endpoint(&null).map_err(|error| error.errno), Err(Errno::NOTTY));
    }
}
