//! Messages with a remote that keeps the rules.

use std::time::Duration;

use sidecore_conformance::peers::OfBackend;
use sidecore_conformance::{Options, Verdict, report, run};
use sidecore_processor::SendError;
use sidecore_remoteproc::{Backend as _, Doorbell as _, Firmware, Remote, resource};

use crate::{Case, Place, SOON, message};

pub(crate) const CASES: &[Case] = &[
    ("protocol::every_clause_is_followed", every_clause, false),
    ("protocol::messages_of_every_length_come_back", every_length, false),
    ("protocol::more_messages_than_the_rings_hold_come_back_in_order", more_than_rings, false),
    ("protocol::messages_are_held_and_given_back_in_any_order", held, false),
    ("protocol::a_message_that_is_too_long_is_refused_and_changes_nothing", too_long, false),
    ("protocol::answers_go_to_the_endpoint_that_asked", several, false),
    ("protocol::bells_for_nothing_lose_and_make_no_message", bells, false),
    ("protocol::messages_to_nobody_cost_nobody_anything", to_nobody, false),
];

fn every_clause(place: &Place) {
    let bytes = place.image("echo");
    let place = place.clone();
    let mut peer = OfBackend::new("echo", move || {
        let firmware = Firmware::parse(&bytes).map_err(|error| error.to_string())?;
        let mut remote = Remote::new(place.backend());
        remote.load(&firmware, &resource::Options::default()).map_err(|error| error.to_string())?;
        remote.start().map_err(|error| error.to_string())?;
        Ok(remote)
    });
    let mut options = Options { patience: SOON, ..Options::default() };
    // What has to do with time is tried once more, and given more of it: emulators share this machine with others.
    for pace in [100, 500] {
        options.pace = Duration::from_millis(pace);
        let found = run(&mut peer, &options, None, &mut |_| ());
        let deviations: Vec<_> =
            found.findings.iter().filter(|finding| finding.verdict == Verdict::Deviates).collect();
        if deviations.is_empty() {
            assert!(found.count(Verdict::Follows) > 0, "{}", report::summary(&found));
            return;
        }
        let told: Vec<String> = deviations.iter().map(|finding| report::line(finding, true)).collect();
        assert!(pace < 500, "{}", told.join("\n"));
        options.only = deviations.iter().map(|finding| finding.clause.to_owned()).collect();
    }
}

fn every_length(place: &Place) {
    let remote = place.start("echo");
    let echo = remote.open("rpmsg-echo");
    for len in 0..=remote.processor.max_payload(echo).unwrap() {
        remote.echo(echo, &message(len, len));
    }
}

fn more_than_rings(place: &Place) {
    let remote = place.start("echo");
    let echo = remote.open("rpmsg-echo");
    let (mut sent, mut received) = (0, 0);
    while received < 2000 {
        while sent < 2000 && remote.processor.try_send(echo, &message(sent % 100, sent)).is_ok() {
            sent += 1;
        }
        remote.processor.wait(Some(SOON));
        while let Some(answer) = remote.processor.try_receive(echo).unwrap() {
            assert_eq!(answer.to_vec().unwrap(), message(received % 100, received), "{received}");
            received += 1;
        }
    }
}

fn held(place: &Place) {
    let remote = place.start("echo");
    let echo = remote.open("rpmsg-echo");
    for round in 0..10 {
        for number in 0..8 {
            remote.send(echo, &message(20, number + round));
        }
        let mut messages: Vec<_> =
            (0..8).map(|_| Some(remote.processor.receive(echo, Some(SOON)).unwrap())).collect();
        for number in [5, 0, 7, 1, 6, 2, 3, 4] {
            let held = messages[number].take().unwrap();
            assert_eq!(held.to_vec().unwrap(), message(20, number + round));
        }
    }
}

fn too_long(place: &Place) {
    let remote = place.start("echo");
    let echo = remote.open("rpmsg-echo");
    let max = remote.processor.max_payload(echo).unwrap();
    for _ in 0..200 {
        let refused = remote.processor.try_send(echo, &message(max + 1, 0));
        assert_eq!(refused, Err(SendError::TooLong { len: max + 1, max }));
    }
    remote.echo(echo, b"still here");
}

fn several(place: &Place) {
    let remote = place.start("echo");
    let first = remote.open("rpmsg-echo");
    let others: Vec<_> = (0..5).map(|_| remote.open("rpmsg-echo")).collect();
    for round in 0..20 {
        for (number, endpoint) in others.iter().enumerate() {
            remote.send(*endpoint, &message(10, number + round));
        }
        remote.echo(first, b"first");
        for (number, endpoint) in others.iter().enumerate().rev() {
            assert_eq!(remote.receive(*endpoint), message(10, number + round));
        }
    }
}

fn bells(place: &Place) {
    let remote = place.start("echo");
    let echo = remote.open("rpmsg-echo");
    let bell = remote.processor.remote().backend().doorbell();
    for number in 0..500 {
        bell.ring(number);
        if number % 10 == 0 {
            remote.echo(echo, &message(30, number as usize));
        }
    }
    (0..2000).for_each(|number| bell.ring(number));
    remote.echo(echo, b"after them");
    assert!(remote.processor.try_receive(echo).unwrap().is_none());
}

fn to_nobody(place: &Place) {
    let remote = place.start("echo");
    let echo = remote.open("rpmsg-echo");
    for number in 0..500 {
        while remote.processor.try_send_to(echo, 2000 + number, b"anybody?") == Err(SendError::Full) {
            remote.processor.wait(Some(SOON));
        }
    }
    remote.echo(echo, b"somebody");
    assert!(remote.processor.ended().is_none());
}
