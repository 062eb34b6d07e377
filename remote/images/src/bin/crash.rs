//! Ends in the way that it is told: for tests of whoever watches over firmware.
#![no_std]
#![no_main]

use core::time::Duration;

use sidecore_firmware::{Error, Machine, Misbehaviour, Remote, image, trace};
use sidecore_images::{program, usage};

image! { main: main }

const USAGE: &str = "crash fault [ADDRESS] | illegal | syscall | stack | panic | abort | hang | exit CODE";

/// Where there is nothing: in the sandbox the first page, on boards what no board has.
const NOWHERE: u32 = if cfg!(target_os = "none") { 0xF000_0000 } else { 0 };

/// How soon a hang is found.
const WATCHDOG: Duration = Duration::from_millis(200);

fn main(remote: Remote) -> Result<i32, Error> {
    program(remote, |connection, console, line| {
        let machine = connection.machine();
        let how = line.at(0);
        trace!("crash: {}", how.escape_ascii());
        match (how, line.number(1, 0_u32)) {
            (b"fault", Some(0)) => machine.misbehave(Misbehaviour::BadAccess(NOWHERE.into())),
            (b"fault", Some(address)) => machine.misbehave(Misbehaviour::BadAccess(address.into())),
            (b"illegal", _) => machine.misbehave(Misbehaviour::IllegalInstruction),
            (b"syscall", _) => machine.misbehave(Misbehaviour::ForbiddenCall),
            (b"stack", _) => machine.exit(dig(0) as i32),
            (b"panic", _) => panic!("as it was told"),
            (b"abort", _) => machine.abort("aborted, as it was told"),
            (b"hang", _) => hang(machine),
            (b"exit", Some(code)) => Ok(code as i32),
            _ => usage(console, USAGE),
        }
    })
}

/// Promises to be alive, and breaks the promise.
fn hang(machine: &Machine) -> ! {
    machine.arm_watchdog(WATCHDOG);
    loop {
        core::hint::spin_loop();
    }
}

/// Uses up the stack.
#[expect(unconditional_recursion, reason = "that is what it is for")]
fn dig(depth: u64) -> u64 {
    let room = core::hint::black_box([depth; 64]);
    // Not the last thing that it does, or the compiler makes a loop of it.
    dig(depth + 1).wrapping_add(room.iter().sum())
}
