//! The smallest remotes, by which code size, memory and stack are measured: messages over rings at places that both
//! sides know, no resource table and no life cycle.
#![no_std]

use sidecore_mem::Memory;
use sidecore_rpmsg::small::Places;
use sidecore_rpmsg::{Announcement, Name};

/// Buffers each way.
pub const BUFFERS: u16 = 8;

/// Where the rings lie in the shared memory; the host puts its buffers behind them.
pub const PLACES: Places = Places { num: BUFFERS, to_host: 0, to_remote: 1024, align: 64 };

/// What both sides share.
pub static SHARED: Memory<16384> = Memory::new();

/// The address of the echo.
pub const ECHO: u32 = 1024;

/// The announcement of the echo as it goes on the wire.
#[must_use]
pub const fn announcement() -> [u8; Announcement::SIZE] {
    match Name::new("rpmsg-echo") {
        Ok(name) => Announcement { name, addr: ECHO, flags: 0 }.emit(),
        Err(_) => panic!("a printable name"),
    }
}
