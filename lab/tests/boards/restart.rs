//! Remotes and main sides that go and come back.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use sidecore_backends::Any;
use sidecore_processor::{Event, Lost, Options, Processor, SendError};
use sidecore_remoteproc::firmware::Segment;
use sidecore_remoteproc::{Backend as _, Boot, Event as BackendEvent, Firmware, Memory};

use crate::{Case, Place, Remote, message};

pub(crate) const CASES: &[Case] = &[
    ("restart::every_start_is_a_fresh_one", fresh, false),
    ("restart::a_remote_is_stopped_in_mid_traffic_and_started_again", mid_traffic, false),
    ("restart::firmware_is_replaced", replaced, false),
    ("restart::a_remote_that_was_started_before_its_main_side_waits_and_announces_then", early, true),
    ("restart::main_sides_come_and_go_while_the_remote_runs_on", main_sides, true),
];

fn fresh(place: &Place) {
    let mut remote = place.start("echo");
    for round in 0..5 {
        let echo = remote.open("rpmsg-echo");
        remote.echo(echo, &message(50, round));
        remote.processor.stop().unwrap();
        let lost = remote.processor.try_send(echo, b"x");
        assert!(matches!(lost, Err(SendError::Lost(_))), "{lost:?}");
        remote.processor.start().unwrap();
        let lost = remote.processor.try_receive(echo).map(|message| message.is_some());
        assert!(matches!(lost, Err(Lost::EarlierRun)), "{lost:?}");
    }
}

fn mid_traffic(place: &Place) {
    let mut remote = place.start("echo");
    for round in 0..8 {
        let echo = remote.open("rpmsg-echo");
        for number in 0..10 * round {
            if remote.processor.try_send(echo, &message(100, number)).is_err() {
                remote.processor.poll();
            }
        }
        remote.processor.stop().unwrap();
        remote.processor.start().unwrap();
    }
    let echo = remote.open("rpmsg-echo");
    remote.echo(echo, b"all is well");
}

fn replaced(place: &Place) {
    let mut remote = place.start("echo");
    for _ in 0..2 {
        for (image, service) in [("liar", "rpmsg-liar"), ("echo", "rpmsg-echo")] {
            remote.processor.stop().unwrap();
            remote.processor.load(&Firmware::parse(&place.image(image)).unwrap()).unwrap();
            remote.processor.start().unwrap();
            let endpoint = remote.open(service);
            remote.echo(endpoint, b"\xffecho");
        }
    }
}

/// A remote as a boot loader leaves it: it runs, its table is as it was made, and nobody is its main side.
fn booted(place: &Place) -> Processor<Any> {
    let bytes = place.image("echo");
    let firmware = Firmware::parse(&bytes).unwrap();
    let memory = |segment: &Segment<'_>| Memory {
        name: segment.name.clone(),
        at: Some(segment.at),
        len: segment.memsz,
        align: 4,
        access: segment.access(),
    };
    let mut backend = place.backend();
    backend.prepare(&mut firmware.segments().iter().map(memory).collect::<Vec<_>>()).unwrap();
    for segment in firmware.segments().iter().filter(|segment| !segment.bytes.is_empty()) {
        backend.load(segment.at, segment.bytes).unwrap();
    }
    let table = firmware.table_section().unwrap();
    let table = Some((table.at.unwrap(), table.bytes.len() as u32));
    backend.start(&Boot { entry: firmware.entry(), table }).unwrap();
    // It comes up and looks for a driver again and again.
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        let event = backend.wait(Some(Duration::from_millis(20)), &mut || false).unwrap();
        assert!(matches!(event, None | Some(BackendEvent::Kick)), "{event:?}");
    }
    // So long that nobody wants to see it waited for: our firmware tells when it has let go.
    Processor::detached(backend, Options { quiesce: Duration::from_secs(30), ..Options::new("echo") })
}

fn early(place: &Place) {
    let mut processor = booted(place);
    processor.attach(None).unwrap();
    let remote = Remote { processor, events: RefCell::default() };
    let echo = remote.open("rpmsg-echo");
    for len in [0, 1, 496] {
        remote.echo(echo, &message(len, 1));
    }
}

fn main_sides(place: &Place) {
    let mut processor = booted(place);
    for round in 0..5 {
        processor.attach(None).unwrap();
        let remote = Remote { processor, events: RefCell::default() };
        let echo = remote.open("rpmsg-echo");
        remote.echo(echo, &message(77, round));
        // It goes with messages under way, both ways.
        for number in 0..20 {
            let _sent = remote.processor.try_send(echo, &message(60, number));
        }
        processor = remote.processor;
        while let Some(event) = processor.event() {
            assert!(!matches!(event, Event::ResetNotAcknowledged { .. }), "{event}");
        }
        processor.detach().unwrap();
    }
    processor.attach(None).unwrap();
    assert!(processor.remote().backend().qemu().is_some_and(|qemu| qemu.pid().is_some()));
    processor.stop().unwrap();
    assert!(processor.ended().is_some());
}
