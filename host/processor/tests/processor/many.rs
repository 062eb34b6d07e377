//! Many remotes with several virtio devices each, in one process and one thread.

use std::cell::Cell;
use std::rc::Rc;

use sidecore_backends::sim::{Sim, Step};
use sidecore_processor::{Ended, Endpoint, Event, Options, Processor};
use sidecore_remoteproc::{Crash, CrashKind};
use sidecore_wire::features::{EVENT_IDX, F_NS};

use crate::bench::{SOON, Side, Vdev, echo, events, processor};

const REMOTES: usize = 64;
/// Devices of each.
const VDEVS: usize = 3;
/// An echo on every device, until it is to die.
fn firmware(dies: Rc<Cell<bool>>) -> impl FnMut(&Side<'_>) -> Step {
    let mut talk = echo("echo");
    move |side| {
        if dies.get() {
            let kind = CrashKind::Hang;
            return Step::Crash(Crash { kind, signal: 9, pc: None, registers: None, allegation: None });
        }
        talk(side)
    }
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[test]
fn sixty_four_remotes_with_three_devices_each_talk_on_every_link_and_the_crash_of_one_is_its_own() {
    let before = resident();
    let vdevs = [Vdev::rpmsg(F_NS), Vdev::rpmsg(F_NS | EVENT_IDX), Vdev::rpmsg(F_NS)];
    let mut remotes: Vec<(Processor<Sim>, [Endpoint; VDEVS])> = Vec::new();
    let dies = Rc::new(Cell::new(false));
    for number in 0..REMOTES {
        let its_own = if number == 7 { Rc::clone(&dies) } else { Rc::default() };
        let mut remote = processor(&vdevs, Options::new(&format!("remote{number}")), firmware(its_own));
        remote.start().unwrap();
        for _ in 0..4 {
            remote.wait(Some(SOON));
        }
        let services = remote.services();
        let devices: Vec<u32> = services.iter().map(|service| service.device).collect();
        assert_eq!(devices, [0, 1, 2], "remote {number}");
        let endpoints = [0, 1, 2].map(|device| remote.open_service(&services[device]).unwrap());
        remotes.push((remote, endpoints));
    }
    for round in 0..50_u32 {
        dies.set(round >= 25);
        // All are asked before the first is answered.
        for (number, (remote, endpoints)) in remotes.iter().enumerate() {
            for (device, endpoint) in endpoints.iter().enumerate() {
                let sent = remote.try_send(*endpoint, &[round as u8, number as u8, device as u8]);
                assert!(sent.is_ok() || number == 7 && round > 25, "{number} {device} {round}: {sent:?}");
            }
        }
        for (number, (remote, endpoints)) in remotes.iter().enumerate() {
            for (device, endpoint) in endpoints.iter().enumerate() {
                let answer = remote.receive(*endpoint, Some(SOON)).map(|message| message.to_vec().unwrap());
                match answer {
                    Ok(bytes) => assert_eq!(bytes, [round as u8, number as u8, device as u8]),
                    Err(error) => assert!(number == 7 && round >= 25, "{number} {device} {round}: {error}"),
                }
            }
        }
    }
    // Of use where no other test runs at this moment.
    println!("{} bytes a remote", resident().saturating_sub(before) / REMOTES);
    for (number, (remote, _)) in remotes.iter().enumerate() {
        let is_end = |event: &Event| matches!(event, Event::Ended(_) | Event::LinkBroken { .. });
        assert_eq!(events(remote).iter().any(is_end), number == 7);
        assert_eq!(matches!(remote.ended(), Some(Ended::Crashed(_))), number == 7);
    }
}
