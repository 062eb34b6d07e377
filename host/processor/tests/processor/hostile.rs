//! Remotes that break rules: what that costs, and what it does not.

use crate::bench::{NUM, ParseName as _, SOON, Side, Vdev, echo, elf, events, processor, started};
use sidecore_backends::sim::{self, Sim, Step};
use sidecore_processor::{
    Dropped, Event, Lost, OpenError, Options, Processor, ReceiveError, Room, SendError,
};
use sidecore_remoteproc::Firmware;
use sidecore_rpmsg::{ADDR_ANY, DirectoryError, LinkError, NAME_SERVICE_ADDR};
use sidecore_virtio::QueueError;
use sidecore_virtio::transport::DeviceTransport as _;
use sidecore_wire::features::F_NS;
use sidecore_wire::status::Status;

/// Two devices with an echo each; on a message to the first the remote does `harm` to it.
fn two_devices(harm: impl Fn(&Side<'_>) + 'static) -> Processor<Sim> {
    let vdevs = [Vdev::rpmsg(F_NS), Vdev::rpmsg(F_NS)];
    let mut echo = echo("echo");
    let mut processor = processor(&vdevs, Options::new("sim"), move |side| {
        let step = echo(side);
        if side.remote.steps == 1 {
            harm(side);
        }
        step
    });
    processor.start().unwrap();
    processor.wait(Some(SOON));
    processor
}

/// The offset of the used ring's index in a ring of 8 with alignment 64.
const USED_INDEX: usize = (16 * NUM as usize + 4 + 2 * NUM as usize + 2).next_multiple_of(64) + 2;

#[test]
fn a_broken_ring_costs_its_link_and_nothing_else() {
    let mut processor = two_devices(|side| {
        side.ring(0, 0).store(USED_INDEX, 0x7777_u16).unwrap();
    });
    let services = processor.services();
    let [first, second] = services[..] else { panic!("{services:?}") };
    let (first, second) = (processor.open_service(&first).unwrap(), processor.open_service(&second).unwrap());
    processor.send(first, b"x", SOON).unwrap();
    processor.wait(Some(SOON));
    let broken = events(&processor).into_iter().find_map(|event| match event {
        Event::LinkBroken { device: 0, error } => Some(error),
        _ => None,
    });
    let Some(error @ LinkError::Queue(QueueError::PeerIndexJump { theirs: 0x7777, .. })) = broken else {
        panic!("{broken:?}")
    };
    let link = Lost::Link { device: 0, error };
    assert!(link.to_string().contains("30583"), "{link}");
    assert_eq!(processor.try_send(first, b"x"), Err(SendError::Lost(link.clone())));
    assert!(matches!(processor.receive(first, None), Err(ReceiveError::Lost(lost)) if lost == link));
    assert!(matches!(processor.open_at(0, None, None), Err(OpenError::Lost(lost)) if lost == link));
    for byte in 0..20 {
        processor.send(second, &[byte], SOON).unwrap();
        assert_eq!(processor.receive(second, Some(SOON)).unwrap().to_vec().unwrap(), [byte]);
    }
    assert!(processor.ended().is_none());
    processor.stop().unwrap();
    processor.start().unwrap();
    processor.open("echo", SOON).unwrap();
}

#[test]
fn a_remote_sees_that_its_device_failed_and_the_others_did_not() {
    let seen = std::rc::Rc::new(std::cell::Cell::new((0, 0)));
    let status = std::rc::Rc::clone(&seen);
    let vdevs = [Vdev::rpmsg(F_NS), Vdev::rpmsg(F_NS)];
    let mut processor = processor(&vdevs, Options::new("sim"), move |side| {
        status.set((side.registers[0].status().0, side.registers[1].status().0));
        side.ring(0, 1).store(USED_INDEX, 0x4000_u16).unwrap();
        Step::Sleep
    });
    processor.start().unwrap();
    processor.wait(Some(SOON));
    let endpoint = processor.open_at(0, None, Some(1024)).unwrap();
    let other = processor.open_at(1, None, Some(1024)).unwrap();
    // The transmit ring is looked at when its buffers are used up.
    while processor.send(endpoint, b"x", SOON).is_ok() {}
    processor.send(other, b"x", SOON).unwrap();
    processor.wait(Some(SOON));
    let (first, second) = seen.get();
    assert!(Status(first).contains(Status::FAILED), "{first:#x}");
    assert!(Status(second).contains(Status::DRIVER_OK) && !Status(second).contains(Status::FAILED));
}

#[test]
fn a_device_that_asks_for_a_reset_is_closed() {
    let processor = two_devices(|side| side.registers[0].set_needs_reset());
    let services = processor.services();
    let endpoint = processor.open_service(&services[0]).unwrap();
    processor.send(endpoint, b"x", SOON).unwrap();
    processor.wait(Some(SOON));
    assert!(events(&processor).contains(&Event::NeedsReset { device: 0 }));
    assert!(matches!(processor.try_send(endpoint, b"x"), Err(SendError::Lost(Lost::Link { .. }))));
    let other = processor.open_service(&services[1]).unwrap();
    processor.send(other, b"x", SOON).unwrap();
    drop(processor.receive(other, Some(SOON)).unwrap());
}

#[test]
fn announcements_without_end_are_one_event_and_a_bounded_directory() {
    let mut number = 0_u32;
    let options = Options { room: Room { services: 4, ..Room::DEFAULT }, ..Options::new("sim") };
    let mut processor = processor(&[Vdev::rpmsg(F_NS)], options, move |side| {
        let messages = side.messages(0);
        let endpoint = messages.open(ADDR_ANY, ADDR_ANY).unwrap();
        while messages.announce(endpoint, &format!("service-{number}").parse_name()).is_ok() {
            number += 1;
        }
        messages.close(endpoint);
        Step::Sleep
    });
    processor.start().unwrap();
    for _ in 0..50 {
        processor.wait(Some(SOON));
    }
    assert_eq!(processor.services().len(), 4);
    let events = events(&processor);
    let announced = events.iter().filter(|event| matches!(event, Event::ServiceAnnounced { .. })).count();
    assert_eq!((announced, events.len()), (4, 6), "{events:?}");
    let refused = events.iter().find_map(|event| match event {
        Event::AnnouncementRefused { error: DirectoryError::Full { capacity: 4 }, count, .. } => Some(*count),
        _ => None,
    });
    assert!(refused.is_some_and(|count| count > 50), "{refused:?}");
}

#[test]
fn services_that_come_and_go_without_end_are_counted_once_nobody_takes_the_events() {
    let processor = started(|side| {
        let messages = side.messages(0);
        let endpoint = messages.open(ADDR_ANY, ADDR_ANY).unwrap();
        let name = "flicker".parse_name();
        while messages.announce(endpoint, &name).is_ok() && messages.withdraw(endpoint, &name).is_ok() {}
        messages.close(endpoint);
        Step::Sleep
    });
    for _ in 0..600 {
        processor.wait(Some(SOON));
    }
    let events = events(&processor);
    assert!(events.len() <= 1025, "{}", events.len());
    assert!(matches!(events.last(), Some(Event::EventsLost { count }) if *count > 100));
}

#[test]
fn frames_of_no_use_are_counted_by_reason() {
    let processor = started(|side| {
        let messages = side.messages(0);
        let endpoint = messages.open(ADDR_ANY, ADDR_ANY).unwrap();
        messages.send_to(endpoint, 4711, b"nobody").unwrap();
        messages.send_to(endpoint, 4712, b"nobody").unwrap();
        messages.send_to(endpoint, NAME_SERVICE_ADDR, b"too short").unwrap();
        messages.send_to(endpoint, NAME_SERVICE_ADDR, &[0x1b; 40]).unwrap();
        Step::Sleep
    });
    processor.wait(Some(SOON));
    let dropped = events(&processor).into_iter().find_map(|event| match event {
        Event::Dropped { device: 0, frames } => Some(frames),
        _ => None,
    });
    assert_eq!(dropped, Some(Dropped { unknown_destination: 2, malformed: 0, bad_announcement: 2 }));
}

#[test]
fn devices_that_cannot_come_up_are_events_and_the_rest_goes_on() {
    let network = Vdev { id: 1, ..Vdev::rpmsg(0) };
    let mut processor = processor(&[network, Vdev::rpmsg(F_NS)], Options::new("sim"), |side| {
        if let Some(messages) = &side.devices[1]
            && side.remote.steps == 0
        {
            let endpoint = messages.open(ADDR_ANY, ADDR_ANY).unwrap();
            messages.announce(endpoint, &"here".parse_name()).unwrap();
        }
        Step::Sleep
    });
    processor.start().unwrap();
    let endpoint = processor.open("here", SOON).unwrap();
    assert_eq!(endpoint.device(), 1);
    let events = events(&processor);
    let Event::DeviceFailed { device: 0, error } = &events[0] else { panic!("{events:?}") };
    assert_eq!(error.to_string(), "virtio id 1: only rpmsg devices (7) have a driver here");
}

#[test]
fn a_table_that_is_not_loaded_makes_no_device() {
    let mut processor = Processor::new(Sim::new(|_: &mut sim::Remote<'_>| Step::Sleep), Options::new("sim"));
    processor.load(&Firmware::parse(&elf(&[Vdev::rpmsg(F_NS)], false)).unwrap()).unwrap();
    processor.start().unwrap();
    let events = events(&processor);
    assert!(
        matches!(&events[..], [Event::DeviceFailed { device: 0, error }]
        if error.to_string() == "the resource table is in no loaded segment"),
        "{events:?}"
    );
}

/// Numbers that look random and are the same for the same seed.
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

#[test]
fn whatever_a_remote_writes_anywhere_costs_its_links_at_most() {
    for seed in 0..300 {
        let mut number = numbers(seed);
        let mut echo = echo("echo");
        let vdevs = [Vdev::rpmsg(F_NS), Vdev::rpmsg(F_NS)];
        let mut processor = processor(&vdevs, Options::new("sim"), move |side| {
            let step = echo(side);
            let windows: Vec<_> = side.remote.memories.windows().collect();
            for _ in 0..number() % 8 {
                let region = &windows[number() as usize % windows.len()].region;
                let at = number() as usize % (region.len() - 8);
                region.write(at, &number().to_le_bytes()[..number() as usize % 8]).unwrap();
            }
            step
        });
        processor.start().unwrap();
        for turn in 0..60_usize {
            processor.wait(Some(std::time::Duration::ZERO));
            for service in processor.services() {
                let Ok(endpoint) = processor.open_service(&service) else { continue };
                let _ = processor.try_send(endpoint, &vec![turn as u8; turn]);
                while let Ok(Some(message)) = processor.try_receive(endpoint) {
                    assert!(message.len() <= 496 && message.to_vec().is_ok());
                }
                processor.close(endpoint);
            }
        }
        assert!(processor.ended().is_none() && events(&processor).len() <= 1025, "seed {seed}");
        processor.stop().unwrap();
    }
}

#[test]
fn many_remotes_live_side_by_side_and_die_alone() {
    let firmware = |number: usize| {
        let mut echo = echo("echo");
        move |side: &Side<'_>| match number % 4 {
            0 if side.remote.steps > 2 => Step::Exit(number as i32),
            1 => {
                side.ring(0, 0).store(USED_INDEX, 0x7777_u16).unwrap();
                Step::Sleep
            }
            _ => echo(side),
        }
    };
    let vdevs = [Vdev::rpmsg(F_NS), Vdev::rpmsg(F_NS)];
    let mut remotes: Vec<_> = (0..32)
        .map(|number| processor(&vdevs, Options::new(&format!("remote{number}")), firmware(number)))
        .collect();
    remotes.iter_mut().for_each(|remote| remote.start().unwrap());
    let answers: Vec<usize> = remotes
        .iter()
        .map(|remote| {
            let Ok(endpoint) = remote.open("echo", SOON) else { return 0 };
            let turn = |byte: u8| {
                remote.send(endpoint, &[byte], SOON).ok()?;
                remote.receive(endpoint, Some(SOON)).ok()?.to_vec().ok()
            };
            (0..10).filter(|byte| turn(*byte) == Some(vec![*byte])).count()
        })
        .collect();
    for (number, answers) in answers.into_iter().enumerate() {
        match number % 4 {
            0 => assert!(answers < 10, "remote {number} ended"),
            1 => assert_eq!(answers, 0, "remote {number} broke its ring"),
            _ => assert_eq!(answers, 10, "remote {number}"),
        }
    }
}
