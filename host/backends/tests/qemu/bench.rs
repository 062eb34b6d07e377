//! What the tests stand on.

use std::time::{Duration, Instant};

use sidecore_backends::qemu::{Board, Config, Qemu};
use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{Access, Backend, Boot, Crash, Event, Memory};

use crate::thumb::{Firmware, IMAGE, SHARED};

/// How long anything may take on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn board() -> Board {
    Board::find("mps2-an386").unwrap()
}

pub fn config() -> Config {
    Config::new(board())
}

pub fn memory(name: &str, at: u64, len: u64) -> Memory {
    let access = Access::ReadWriteExecute;
    Memory { name: name.to_owned(), at: Some(DeviceAddr(at)), len, align: 16, access }
}

/// A remote with this firmware, not started, and how to start it.
pub fn load(config: Config, firmware: &Firmware, at: u64) -> (Qemu, Boot) {
    let mut qemu = Qemu::new(config).unwrap();
    let shared = memory("shared", SHARED.into(), 0x1000);
    qemu.prepare(&mut [memory("image", at, 0x1_0000), shared]).unwrap();
    qemu.load(DeviceAddr(at), &firmware.finish()).unwrap();
    (qemu, Boot { entry: DeviceAddr(firmware.entry()), table: None })
}

pub fn run_with(config: Config, firmware: &Firmware) -> Qemu {
    let (mut qemu, boot) = load(config, firmware, IMAGE);
    qemu.start(&boot).unwrap();
    qemu
}

pub fn run(firmware: &Firmware) -> Qemu {
    run_with(config(), firmware)
}

pub fn shared(qemu: &Qemu, offset: u32) -> u32 {
    qemu.memories().resolve(DeviceAddr((SHARED + offset).into()), 4).unwrap().load(0).unwrap()
}

/// Waits for something that the firmware does.
pub fn until(qemu: &mut Qemu, what: &str, mut holds: impl FnMut(&Qemu) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds(qemu) {
        assert!(Instant::now() < deadline, "still not: {what}");
        let event = qemu.wait(Some(Duration::from_millis(1)), &mut || false).unwrap();
        assert!(matches!(event, None | Some(Event::Kick)), "{what}: {event:?}");
    }
}

/// The next event that is no kick.
pub fn end(qemu: &mut Qemu) -> Event {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match qemu.wait(Some(PATIENCE), &mut || false).unwrap() {
            Some(Event::Kick) | None => {}
            Some(end) => return end,
        }
    }
    panic!("nothing happened to the remote");
}

pub fn crash(qemu: &mut Qemu) -> Crash {
    match end(qemu) {
        Event::Crashed(crash) => crash,
        other => panic!("no crash but {other:?}"),
    }
}

/// Whether there is a process of this number that is no zombie.
pub fn lives(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}
