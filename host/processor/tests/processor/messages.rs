//! Endpoints: opened by name, used, lost.

use std::time::Duration;

use crate::bench::{NUM, ParseName as _, SOON, Side, TABLE, Vdev, echo, events, processor, started};
use sidecore_backends::sim::{Sim, Step};
use sidecore_mem::DeviceAddr;
use sidecore_processor::{
    Ended, Event, Lost, Notice, OpenError, Options, Processor, ReceiveError, Room, SendError,
};
use sidecore_remoteproc::recovery::{Decision, Policy, Recovery};
use sidecore_remoteproc::{Backend as _, Crash, CrashKind};
use sidecore_rpmsg::ADDR_ANY;
use sidecore_wire::config::RpmsgConfig;
use sidecore_wire::features::{EVENT_IDX, F_BUFSZ, F_NS};

#[test]
fn messages_go_to_an_announced_service_and_back_under_every_feature_set() {
    for features in [F_NS, F_NS | EVENT_IDX] {
        let mut processor = processor(&[Vdev::rpmsg(features)], Options::new("echo"), echo("rpmsg-echo"));
        processor.start().unwrap();
        let endpoint = processor.open("rpmsg-echo", SOON).unwrap();
        for turn in 0..100_u32 {
            processor.send(endpoint, &turn.to_le_bytes(), SOON).unwrap();
            let message = processor.receive(endpoint, Some(SOON)).unwrap();
            assert_eq!(message.to_vec().unwrap(), turn.to_le_bytes());
        }
        let [
            Event::DeviceUp { device: 0, features: agreed },
            Event::ServiceAnnounced { device: 0, name, addr },
        ] = events(&processor)[..]
        else {
            panic!("a device and a service")
        };
        assert_eq!((agreed, name, addr), (features, "rpmsg-echo".parse_name(), 1024));
    }
}

#[test]
fn a_service_is_found_by_its_name_with_an_instance_suffix_and_no_other() {
    let processor = started(echo("rpmsg-echo-1"));
    processor.open("rpmsg-echo", SOON).unwrap();
    match processor.open("rpmsg-ech", Duration::ZERO).unwrap_err() {
        OpenError::NotAnnounced { service, announced, .. } => {
            assert_eq!((service.as_str(), announced), ("rpmsg-ech", vec!["rpmsg-echo-1".parse_name()]));
        }
        other => panic!("{other}"),
    }
}

#[test]
fn more_messages_than_the_rings_hold_wait_in_order_and_do_not_stop_the_remote() {
    let processor = started(echo("echo"));
    let endpoint = processor.open("echo", SOON).unwrap();
    for number in 0..10 * NUM {
        processor.send(endpoint, &number.to_le_bytes(), SOON).unwrap();
        processor.wait(Some(SOON));
    }
    for number in 0..10 * NUM {
        let message = processor.receive(endpoint, Some(SOON)).unwrap();
        assert_eq!(message.to_vec().unwrap(), number.to_le_bytes());
        assert_eq!(message.src(), 1024);
    }
    assert!(processor.try_receive(endpoint).unwrap().is_none());
}

#[test]
fn messages_above_the_limit_are_lost_and_counted() {
    let room = Room { waiting: 3, ..Room::DEFAULT };
    let options = Options { room, ..Options::new("echo") };
    let mut processor = processor(&[Vdev::rpmsg(F_NS)], options, echo("echo"));
    processor.start().unwrap();
    let endpoint = processor.open("echo", SOON).unwrap();
    events(&processor);
    for number in 0..10_u32 {
        processor.send(endpoint, &number.to_le_bytes(), SOON).unwrap();
        processor.wait(Some(SOON));
    }
    let lost = Event::MessagesLost { device: 0, addr: endpoint.addr(), count: 7 };
    assert_eq!(events(&processor), [lost]);
    let kept = || processor.try_receive(endpoint).unwrap().map(|message| message.to_vec().unwrap()[0]);
    assert_eq!([kept(), kept(), kept(), kept()], [Some(0), Some(1), Some(2), None]);
}

#[test]
fn messages_can_be_held_while_others_are_sent_and_answered_out_of_order() {
    let processor = started(echo("echo"));
    let endpoint = processor.open("echo", SOON).unwrap();
    for byte in 0..3 {
        processor.send(endpoint, &[byte], SOON).unwrap();
    }
    let held: Vec<_> = (0..3).map(|_| processor.receive(endpoint, Some(SOON)).unwrap()).collect();
    held[2].reply(b"last").unwrap();
    held[0].reply(b"first").unwrap();
    let mut bytes = [0; 1];
    held[1].read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1]);
    assert!(held[1].read(1, &mut bytes).is_err());
    drop(held);
    assert_eq!(processor.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), b"last");
    assert_eq!(processor.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), b"first");
}

#[test]
fn every_reason_not_to_send_is_told_apart() {
    // A remote that announces itself and takes nothing.
    let deaf = |side: &Side<'_>| {
        if side.remote.steps == 0 {
            let endpoint = side.messages(0).open(ADDR_ANY, ADDR_ANY).unwrap();
            side.messages(0).announce(endpoint, &"deaf".parse_name()).unwrap();
        }
        Step::Sleep
    };
    let processor = started(deaf);
    let unbound = processor.open_at(0, Some(7), None).unwrap();
    assert_eq!(processor.try_send(unbound, b"x"), Err(SendError::NoPeer));
    assert!(matches!(processor.open_at(0, Some(7), None), Err(OpenError::Endpoint(_))));
    assert!(matches!(processor.open_at(1, None, None), Err(OpenError::NoDevice { device: 1 })));
    let endpoint = processor.open("deaf", SOON).unwrap();
    assert_eq!(processor.max_payload(endpoint), Ok(496));
    assert_eq!(processor.try_send(endpoint, &[0; 497]), Err(SendError::TooLong { len: 497, max: 496 }));
    for _ in 0..NUM {
        processor.try_send(endpoint, &[0; 496]).unwrap();
    }
    assert_eq!(processor.try_send(endpoint, b"x"), Err(SendError::Full));
    assert_eq!(processor.send(endpoint, b"x", Duration::from_millis(2)), Err(SendError::Full));
    processor.close(endpoint);
    assert_eq!(processor.try_send(endpoint, b"x"), Err(SendError::Lost(Lost::Closed)));
    assert!(matches!(processor.try_receive(endpoint), Err(Lost::Closed)));
    let timed_out = processor.receive(unbound, Some(Duration::from_millis(1)));
    assert!(matches!(timed_out, Err(ReceiveError::TimedOut { .. })));
}

#[test]
fn a_withdrawn_service_is_an_event_and_an_error_for_those_bound_to_it() {
    let mut endpoint = None;
    let processor = started(move |side: &Side<'_>| {
        let messages = side.messages(0);
        match (side.remote.steps, endpoint) {
            (0, _) => {
                let open = messages.open(ADDR_ANY, ADDR_ANY).unwrap();
                messages.announce(open, &"short".parse_name()).unwrap();
                endpoint = Some(open);
            }
            (1, Some(open)) => messages.withdraw(open, &"short".parse_name()).unwrap(),
            _ => {}
        }
        Step::Sleep
    });
    let endpoint = processor.open("short", SOON).unwrap();
    processor.send(endpoint, b"x", SOON).unwrap();
    processor.wait(Some(SOON));
    assert!(matches!(events(&processor).last(), Some(Event::ServiceWithdrawn { device: 0, .. })));
    let withdrawn = Lost::Withdrawn { service: "short".parse_name() };
    assert_eq!(processor.try_send(endpoint, b"x"), Err(SendError::Lost(withdrawn.clone())));
    assert!(
        matches!(processor.receive(endpoint, Some(SOON)), Err(ReceiveError::Lost(lost)) if lost == withdrawn)
    );
    assert!(processor.services().is_empty());
}

/// Sends a last message and ends.
fn ending(end: Step) -> impl FnMut(&Side<'_>) -> Step {
    move |side| {
        if side.remote.steps == 0 {
            let endpoint = side.messages(0).open(ADDR_ANY, 7).unwrap();
            side.messages(0).announce(endpoint, &"last".parse_name()).unwrap();
            return Step::Sleep;
        }
        let endpoint = side.messages(0).open(ADDR_ANY, ADDR_ANY).unwrap();
        side.messages(0).send_to(endpoint, 7, b"last words").unwrap();
        end.clone()
    }
}

fn crash() -> Crash {
    let kind = CrashKind::Fault { address: sidecore_mem::DeviceAddr(0xdead) };
    Crash { kind, signal: 11, pc: None, registers: None, allegation: None }
}

#[test]
fn what_a_remote_said_before_its_end_is_received_after_it_and_then_the_end() {
    let ends = [(Step::Exit(3), Ended::Exited { code: 3 }), (Step::Crash(crash()), Ended::Crashed(crash()))];
    for (step, ended) in ends {
        let processor = started(ending(step));
        let endpoint = processor.open_at(0, Some(7), Some(1024)).unwrap();
        processor.send(endpoint, b"go", SOON).unwrap();
        while processor.ended().is_none() {
            processor.wait(Some(SOON));
        }
        assert_eq!(events(&processor).last(), Some(&Event::Ended(ended.clone())));
        assert_eq!(processor.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), b"last words");
        let after = processor.receive(endpoint, None);
        assert!(matches!(after, Err(ReceiveError::Lost(Lost::Ended(end))) if end == ended));
        assert_eq!(processor.send(endpoint, b"x", SOON), Err(SendError::Lost(Lost::Ended(ended.clone()))));
        assert!(matches!(processor.open("echo", SOON), Err(OpenError::Lost(Lost::Ended(_)))));
    }
}

#[test]
fn a_restart_brings_new_devices_and_an_old_endpoint_says_for_ever_that_it_is_one() {
    let mut processor = started(echo("echo"));
    let old = processor.open("echo", SOON).unwrap();
    processor.send(old, b"waits", SOON).unwrap();
    processor.wait(Some(SOON));
    processor.stop().unwrap();
    assert_eq!(processor.ended(), Some(Ended::Stopped));
    assert_eq!(processor.try_send(old, b"x"), Err(SendError::Lost(Lost::Ended(Ended::Stopped))));
    processor.start().unwrap();
    assert_eq!(processor.try_send(old, b"x"), Err(SendError::Lost(Lost::EarlierRun)));
    assert!(matches!(processor.try_receive(old), Err(Lost::EarlierRun)));
    let new = processor.open("echo", SOON).unwrap();
    processor.send(new, b"again", SOON).unwrap();
    assert_eq!(processor.receive(new, Some(SOON)).unwrap().to_vec().unwrap(), b"again");
}

#[test]
fn buffer_sizes_of_the_firmware_are_used_in_both_directions() {
    let config = RpmsgConfig::new(128, 64).emit().to_vec();
    let vdev = Vdev { config, ..Vdev::rpmsg(F_NS | F_BUFSZ) };
    let mut processor = processor(&[vdev], Options::new("sized"), echo("echo"));
    processor.start().unwrap();
    let endpoint = processor.open("echo", SOON).unwrap();
    assert_eq!(processor.max_payload(endpoint), Ok(48));
    processor.send(endpoint, &[7; 48], SOON).unwrap();
    assert_eq!(processor.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), [7; 48]);
    assert_eq!(processor.try_send(endpoint, &[7; 49]), Err(SendError::TooLong { len: 49, max: 48 }));
}

#[test]
fn buffer_sizes_that_align_nothing_are_rounded_up() {
    let config = RpmsgConfig::new(101, 53).emit().to_vec();
    let vdev = Vdev { config, ..Vdev::rpmsg(F_NS | F_BUFSZ) };
    let mut processor = processor(&[vdev], Options::new("odd"), echo("echo"));
    processor.start().unwrap();
    let endpoint = processor.open("echo", SOON).unwrap();
    assert_eq!(processor.max_payload(endpoint), Ok(56 - 16));
    for byte in 0..2 * NUM as u8 {
        processor.send(endpoint, &[byte; 40], SOON).unwrap();
        assert_eq!(processor.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), [byte; 40]);
    }
}

#[test]
fn many_messages_go_in_one_call() {
    let processor = started(echo("echo"));
    let endpoint = processor.open("echo", SOON).unwrap();
    let payloads: Vec<[u8; 1]> = (0..20).map(|byte| [byte]).collect();
    let sent = processor.try_send_all(endpoint, payloads.iter().map(|payload| &payload[..])).unwrap();
    assert_eq!(sent, NUM as usize);
    for byte in 0..NUM as u8 {
        assert_eq!(processor.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), [byte]);
    }
}

#[test]
fn a_waker_ends_a_wait() {
    let processor = started(echo("echo"));
    let waker = processor.waker();
    assert!(!processor.wait(Some(Duration::from_millis(1))));
    waker.wake();
    assert!(processor.wait(None));
    let thread = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(30));
        waker.wake();
    });
    assert!(processor.wait(Some(Duration::from_secs(20))));
    thread.join().unwrap();
}

#[test]
fn a_processor_can_be_moved_to_another_thread() {
    fn send<T: Send>() {}
    send::<Processor<sidecore_backends::sandbox::Sandbox>>();
    let _ = std::any::type_name::<Processor<Sim>>();
}

#[test]
fn a_remote_that_was_given_up_is_taken_over_with_its_devices_brought_up_anew() {
    let mut processor = started(echo("echo"));
    let mut old = processor.open("echo", SOON).unwrap();
    processor.send(old, b"one", SOON).unwrap();
    assert_eq!(processor.receive(old, Some(SOON)).unwrap().to_vec().unwrap(), b"one");
    for round in 0..3_u8 {
        processor.detach().unwrap();
        assert_eq!(processor.ended(), Some(Ended::Detached));
        assert_eq!(processor.try_send(old, b"x"), Err(SendError::Lost(Lost::Ended(Ended::Detached))));
        assert!(!processor.wait(Some(SOON)));
        assert_eq!(
            processor.start().unwrap_err().to_string(),
            "cannot start: the remote is detached (attach to it first)"
        );

        processor.attach(None).unwrap();
        assert_eq!(processor.try_send(old, b"x"), Err(SendError::Lost(Lost::EarlierRun)));
        let new = processor.open("echo", SOON).unwrap();
        processor.send(new, &[round; 40], SOON).unwrap();
        assert_eq!(processor.receive(new, Some(SOON)).unwrap().to_vec().unwrap(), [round; 40]);
        old = new;
    }
    processor.stop().unwrap();
}

#[test]
fn a_table_at_a_known_address_that_is_none_is_refused_and_the_remote_runs_on() {
    let mut processor = started(echo("echo"));
    processor.detach().unwrap();
    let buffers = processor.remote().vdevs().len();
    assert_eq!(buffers, 0, "what is not ours is not known");
    for (at, wrong) in [(TABLE + 1, "version"), (TABLE + 8, "version"), (0x4000_0000, "cannot be read")] {
        let known = Some((DeviceAddr(at.into()), 0x1000));
        let error = processor.attach(known).unwrap_err().to_string();
        assert!(error.contains(wrong), "{at:#x}: {error}");
    }
    processor.attach(None).unwrap();
    processor.open("echo", SOON).unwrap();
}

#[test]
fn a_restart_waits_for_those_who_were_told_of_the_crash_and_names_who_never_answered() {
    let mut times = 0;
    let mut talk = echo("echo");
    let mut processor = started(move |side| {
        times += usize::from(side.remote.steps == 0);
        let crash = Crash { kind: CrashKind::Hang, signal: 9, pc: None, registers: None, allegation: None };
        if side.remote.steps == 3 && times < 3 { Step::Crash(crash) } else { talk(side) }
    });
    let (quick, stuck) = (processor.clients().join("quick"), processor.clients().join("stuck"));
    for expected in [vec!["stuck".to_owned()], Vec::new()] {
        for id in 0..20 {
            sidecore_remoteproc::Doorbell::ring(&processor.remote().backend().doorbell(), id);
            processor.wait(Some(SOON));
        }
        assert!(matches!(processor.ended(), Some(Ended::Crashed(_))), "{:?}", processor.ended());
        let decision = processor.decide(&mut Recovery::new(Policy::restart(5)), Duration::ZERO);
        assert!(matches!(decision, Decision::Restart { .. }));
        assert_eq!(quick.notice(), Some(Notice::Crashed));
        quick.acknowledge();
        if expected.is_empty() {
            stuck.acknowledge();
        }
        assert_eq!(processor.restart(Duration::from_millis(5)).unwrap(), expected);
        assert_eq!(quick.notice(), Some(Notice::Restarted));
    }
    let log = processor.remote().log().entries().map(|entry| entry.what.to_string()).collect::<Vec<_>>();
    assert!(log.iter().any(|line| line == "restarted without the word of stuck"), "{log:?}");
}
