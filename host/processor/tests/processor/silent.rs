//! Silent restarts: endpoints that outlive the crash of their remote.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use sidecore_backends::sim::{Sim, Step};
use sidecore_processor::{Ended, Endpoint, Event, Lost, Notice, Options, Processor, SendError};
use sidecore_remoteproc::recovery::{Decision, Policy, Recovery, Remedy};
use sidecore_remoteproc::{Crash, CrashKind};
use sidecore_rpmsg::ADDR_ANY;
use sidecore_wire::features::F_NS;

use crate::bench::{NUM, ParseName as _, SOON, Side, Vdev, echo, events, processor, started};

/// How long services may take to come back, where they do.
const WITHIN: Duration = Duration::from_secs(20);

fn crash() -> Step {
    let (kind, signal) = (CrashKind::Hang, 9);
    Step::Crash(Crash { kind, signal, pc: None, registers: None, allegation: None })
}

/// Has the remote restarted silently, if it has crashed.
fn supervise(processor: &mut Processor<Sim>, within: Duration) -> bool {
    if !matches!(processor.ended(), Some(Ended::Crashed(_))) {
        return false;
    }
    let policy = Policy::of(Remedy::RestartSilently { within }, 1000);
    assert!(matches!(processor.decide(&mut Recovery::new(policy), Duration::ZERO), Decision::Restart { .. }));
    assert!(processor.restart(Duration::ZERO).unwrap().is_empty());
    true
}

/// An echo that crashes when it has looked at so many messages since its start, the last one of them not released: once
/// it has answered that one (`after`), or before.
fn mortal(life: usize, after: bool) -> impl FnMut(&Side<'_>) -> Step {
    let mut age = 0;
    move |side| {
        if side.remote.steps == 0 {
            age = 0;
        }
        for messages in side.devices.iter().flatten() {
            if side.fresh {
                let endpoint = messages.open(ADDR_ANY, ADDR_ANY).unwrap();
                messages.announce(endpoint, &"echo".parse_name()).unwrap();
            }
            while let Ok(Some(event)) = messages.poll() {
                let sidecore_rpmsg::Event::Message(message) = event else { continue };
                age += 1;
                let mut payload = vec![0; message.len()];
                message.read(0, &mut payload).unwrap();
                if age == life && !after {
                    std::mem::forget(message);
                    return crash();
                }
                message.reply(&payload).unwrap();
                if age == life {
                    std::mem::forget(message);
                    return crash();
                }
            }
        }
        Step::Sleep
    }
}

/// What an application that numbers its messages receives until all are answered, and how often the remote crashed.
fn exchange(processor: &mut Processor<Sim>, endpoint: Endpoint, count: u32) -> (Vec<u32>, usize) {
    let (mut sent, mut answers, mut crashes) = (0, Vec::new(), 0);
    for _ in 0..100 * count {
        while sent < count {
            match processor.try_send(endpoint, &sent.to_le_bytes()) {
                Ok(()) => sent += 1,
                Err(SendError::Full | SendError::Lost(Lost::Ended(_))) => break,
                Err(error) => panic!("{error}"),
            }
        }
        while let Ok(Some(message)) = processor.try_receive(endpoint) {
            answers.push(u32::from_le_bytes(message.to_vec().unwrap().try_into().unwrap()));
        }
        if answers.last() == Some(&(count - 1)) {
            break;
        }
        processor.wait(Some(SOON));
        crashes += usize::from(supervise(processor, WITHIN));
    }
    (answers, crashes)
}

#[test]
fn an_application_sees_every_message_answered_in_order_through_twenty_crashes() {
    for features in [F_NS, F_NS | sidecore_wire::features::EVENT_IDX] {
        let mut processor = processor(&[Vdev::rpmsg(features)], Options::new("mortal"), mortal(11, false));
        processor.start().unwrap();
        let endpoint = processor.open("echo", SOON).unwrap();
        let (addr, before) = (endpoint.addr(), places(&processor));
        events(&processor);
        let (answers, crashes) = exchange(&mut processor, endpoint, 210);
        assert_eq!(answers, (0..210).collect::<Vec<_>>(), "none was answered by a run that crashed over it");
        assert_eq!((crashes, processor.endpoints()), (20, vec![endpoint]));
        assert_eq!(endpoint.addr(), addr);
        assert_eq!(places(&processor), before);
        let told = events(&processor);
        let is_expected =
            |event: &Event| matches!(event, Event::Ended(Ended::Crashed(_)) | Event::DeviceRestarted { .. });
        assert!(told.iter().all(is_expected), "{told:?}");
        let log: Vec<_> = processor.remote().log().entries().map(|entry| entry.what.to_string()).collect();
        assert!(log.iter().any(|line| line.starts_with("restarted silently: restart 1 of 1000")), "{log:?}");
    }
}

/// Where memories, rings and buffers are.
fn places(processor: &Processor<Sim>) -> Vec<String> {
    let remote = processor.remote();
    let memories = remote.memories().iter().map(|memory| format!("{memory:?}"));
    memories.chain(remote.vdevs().iter().map(|vdev| format!("{vdev:?}"))).collect()
}

#[test]
fn wherever_a_remote_dies_all_is_answered_and_only_what_it_had_not_released_comes_twice() {
    for life in 2..40 {
        for after in [false, true] {
            let mut processor = started(mortal(life, after));
            let endpoint = processor.open("echo", SOON).unwrap();
            let (answers, crashes) = exchange(&mut processor, endpoint, 50);
            let mut once = answers.clone();
            once.dedup();
            assert_eq!(once, (0..50).collect::<Vec<_>>(), "life {life}, {after}: {answers:?}");
            // Of each run one at most: that which it answered and had not released.
            let twice = answers.len() - once.len();
            assert!(crashes > 0 && twice <= if after { crashes } else { 0 }, "life {life}: {answers:?}");
        }
    }
}

#[test]
fn what_had_come_is_still_there_and_what_was_under_way_is_sent_again_in_order() {
    // Answers two, and takes two more without a word.
    let firmware = |side: &Side<'_>| {
        let messages = side.messages(0);
        if side.fresh {
            let endpoint = messages.open(ADDR_ANY, ADDR_ANY).unwrap();
            messages.announce(endpoint, &"echo".parse_name()).unwrap();
        }
        let mut taken = 0;
        while let Ok(Some(sidecore_rpmsg::Event::Message(message))) = messages.poll() {
            taken += 1;
            let mut payload = vec![0; message.len()];
            message.read(0, &mut payload).unwrap();
            match taken {
                1 | 2 => message.reply(&payload).unwrap(),
                _ => std::mem::forget(message),
            }
            if payload == b"die" {
                return crash();
            }
        }
        Step::Sleep
    };
    let mut processor = started(firmware);
    let client = processor.clients().join("client");
    let endpoint = processor.open("echo", SOON).unwrap();
    for text in ["one", "two", "three", "die", "five"] {
        processor.send(endpoint, text.as_bytes(), SOON).unwrap();
    }
    while processor.ended().is_none() {
        processor.wait(Some(SOON));
    }
    assert!(
        matches!(processor.try_send(endpoint, b"x"), Err(SendError::Lost(Lost::Ended(_)))),
        "not decided"
    );
    client.acknowledge();
    let policy = Policy::of(Remedy::RestartSilently { within: WITHIN }, 1);
    processor.decide(&mut Recovery::new(policy), Duration::ZERO);
    assert_eq!(processor.try_send(endpoint, b"x"), Err(SendError::Full), "decided");
    assert_eq!(processor.send(endpoint, b"x", WITHIN), Err(SendError::Full), "and nobody waits for himself");
    events(&processor);
    processor.restart(Duration::ZERO).unwrap();
    assert_eq!([client.notice(), client.notice()], [Some(Notice::Crashed), Some(Notice::RestartedSilently)]);
    assert_eq!(processor.try_send(endpoint, b"x"), Err(SendError::Full), "it has not announced yet");
    let again = Event::DeviceRestarted { device: 0, features: F_NS, again: 3 };
    assert_eq!(events(&processor), [again]);
    // What the first run answered, then what the second does of the three that the first had not released.
    for text in ["one", "two", "three", "die"] {
        let message = processor.receive(endpoint, Some(SOON)).unwrap();
        assert_eq!(message.to_vec().unwrap(), text.as_bytes());
    }
}

#[test]
fn services_that_come_back_elsewhere_and_peers_that_are_learnt_again_get_what_was_for_them() {
    let run = Rc::new(Cell::new(0_u32));
    let heard = Rc::new(RefCell::new(Vec::<(u32, u32, Vec<u8>)>::new()));
    let (run_of, heard_by) = (Rc::clone(&run), Rc::clone(&heard));
    let firmware = move |side: &Side<'_>| {
        let messages = side.messages(0);
        if side.fresh {
            run_of.set(run_of.get() + 1);
            let at = 40 * run_of.get();
            // Two of one name, in another order in the second run, at other addresses.
            for number in if run_of.get() == 1 { [0, 1] } else { [1, 0] } {
                let twin = messages.open(at + number, ADDR_ANY).unwrap();
                messages.announce(twin, &["left", "right"][number as usize].parse_name()).unwrap();
            }
            let fixed = messages.open(7, ADDR_ANY).unwrap();
            // Speaks first to what the application has at 99, from another address each time.
            let caller = messages.open(at + 9, 99).unwrap();
            messages.send_to(caller, 99, b"hello").unwrap();
            let _ = fixed;
        }
        while let Ok(Some(event)) = messages.poll() {
            let sidecore_rpmsg::Event::Message(message) = event else { continue };
            let mut payload = vec![0; message.len()];
            message.read(0, &mut payload).unwrap();
            if run_of.get() == 1 {
                let is_last = payload == b"die";
                std::mem::forget(message);
                if is_last {
                    return crash();
                }
                continue;
            }
            heard_by.borrow_mut().push((message.endpoint().addr(), message.src(), payload));
        }
        Step::Sleep
    };
    let mut processor = processor(&[Vdev::rpmsg(F_NS)], Options::new("movers"), firmware);
    processor.start().unwrap();
    let learner = processor.open_at(0, Some(99), None).unwrap();
    let left = processor.open("left", SOON).unwrap();
    let right = processor.open("right", SOON).unwrap();
    let fixed = processor.open_at(0, Some(98), Some(7)).unwrap();
    assert_eq!(processor.receive(learner, Some(SOON)).unwrap().src(), 49);
    processor.announce(learner, &"mine".parse_name()).unwrap();
    for (endpoint, text) in [(left, "l"), (learner, "n"), (right, "r"), (fixed, "f"), (left, "die")] {
        processor.send(endpoint, text.as_bytes(), SOON).unwrap();
    }
    // To another than its peer.
    processor.try_send_to(learner, 7, b"o").unwrap();
    while processor.ended().is_none() {
        processor.wait(Some(SOON));
    }
    assert!(supervise(&mut processor, WITHIN));
    while heard.borrow().len() < 6 && processor.wait(Some(SOON)) {}
    assert_eq!(processor.receive(learner, Some(SOON)).unwrap().src(), 89);
    let mut all = heard.borrow().clone();
    all.sort();
    let text = |text: &str| text.as_bytes().to_vec();
    assert_eq!(
        all,
        [
            (7, 98, text("f")),
            (7, 99, text("o")),
            (80, left.addr(), text("die")),
            (80, left.addr(), text("l")),
            (81, right.addr(), text("r")),
            (89, 99, text("n")),
        ]
    );
    let of_left: Vec<_> =
        heard.borrow().iter().filter(|(at, ..)| *at == 80).map(|(.., text)| text.clone()).collect();
    assert_eq!(of_left, [text("l"), text("die")], "in order");
    processor.try_send(left, b"as before").unwrap();
    processor.try_send(learner, b"as before").unwrap();
}

#[test]
fn who_does_not_come_back_in_time_is_told_to_those_who_wait_and_the_rest_goes_on() {
    let run = Cell::new(0);
    let mut talk = echo("stays");
    let firmware = move |side: &Side<'_>| {
        if side.fresh {
            run.set(run.get() + 1);
            if run.get() == 1 {
                let messages = side.messages(0);
                let goes = messages.open(5, ADDR_ANY).unwrap();
                messages.announce(goes, &"goes".parse_name()).unwrap();
            }
        }
        let dies = run.get() == 1 && side.remote.steps > 0 && !side.remote.rung.is_empty();
        if dies { crash() } else { talk(side) }
    };
    let mut processor = processor(&[Vdev::rpmsg(F_NS)], Options::new("leaver"), firmware);
    processor.start().unwrap();
    let goes = processor.open("goes", SOON).unwrap();
    let stays = processor.open("stays", SOON).unwrap();
    for endpoint in [goes, stays, goes] {
        let _ = processor.try_send(endpoint, b"message");
    }
    while processor.ended().is_none() {
        processor.wait(Some(SOON));
    }
    events(&processor);
    assert!(supervise(&mut processor, Duration::from_millis(30)));
    // The one is answered while the other is waited for.
    assert_eq!(processor.receive(stays, Some(SOON)).unwrap().to_vec().unwrap(), b"message");
    assert_eq!(processor.try_send(goes, b"x"), Err(SendError::Full));
    std::thread::sleep(Duration::from_millis(40));
    assert!(processor.wait(Some(WITHIN)), "nobody waits for ever");
    let service = "goes".parse_name();
    assert_eq!(processor.try_send(goes, b"x"), Err(SendError::Lost(Lost::Withdrawn { service })));
    assert!(matches!(processor.try_receive(goes), Err(Lost::Withdrawn { .. })));
    let told = events(&processor);
    assert!(told.contains(&Event::ServiceNotBack { device: 0, name: service, addr: 5 }), "{told:?}");
    assert!(told.contains(&Event::NotSentAgain { device: 0, addr: goes.addr(), count: 2 }), "{told:?}");
    assert_eq!(processor.try_send(stays, b"x"), Ok(()));
}

#[test]
fn a_remote_that_crashes_again_before_it_is_back_costs_nothing_more() {
    let run = Rc::new(Cell::new(0));
    let counted = Rc::clone(&run);
    let mut talk = echo("echo");
    let firmware = move |side: &Side<'_>| {
        counted.set(counted.get() + u32::from(side.remote.steps == 0));
        match counted.get() {
            1 if side.remote.steps > 0 && !side.remote.rung.is_empty() => crash(),
            // Without a word.
            2..5 => crash(),
            _ => talk(side),
        }
    };
    let mut processor = started(firmware);
    let endpoint = processor.open("echo", SOON).unwrap();
    let mut expected = VecDeque::new();
    for number in 0..NUM as u8 {
        processor.send(endpoint, &[number], SOON).unwrap();
        expected.push_back(number);
    }
    while let Some(next) = expected.front() {
        if let Ok(Some(message)) = processor.try_receive(endpoint) {
            assert_eq!(message.to_vec().unwrap(), [*next]);
            expected.pop_front();
            continue;
        }
        processor.wait(Some(SOON));
        supervise(&mut processor, WITHIN);
    }
    assert_eq!(run.get(), 5);
    let again = events(&processor).into_iter().filter_map(|event| match event {
        Event::DeviceRestarted { again, .. } => Some(again),
        _ => None,
    });
    assert_eq!(again.collect::<Vec<_>>(), [NUM; 4], "they are sent again as often as it takes");
}

#[test]
fn a_plain_restart_closes_endpoints_even_where_a_silent_one_was_decided_on() {
    let mut processor = started(mortal(1, false));
    let endpoint = processor.open("echo", SOON).unwrap();
    processor.send(endpoint, b"x", SOON).unwrap();
    while processor.ended().is_none() {
        processor.wait(Some(SOON));
    }
    let policy = Policy::of(Remedy::RestartSilently { within: WITHIN }, 1);
    processor.decide(&mut Recovery::new(policy), Duration::ZERO);
    processor.start().unwrap();
    assert!(matches!(processor.try_receive(endpoint), Err(Lost::EarlierRun)));
    assert!(!processor.services().iter().any(|service| service.addr == 0));
}
