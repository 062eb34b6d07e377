//! Remotes that are killed in mid-traffic and restarted silently.

use std::time::Duration;

use sidecore_processor::{Ended, Event, Lost, SendError};
use sidecore_remoteproc::recovery::{Policy, Recovery, Remedy};

use crate::many::kill;
use crate::{Case, Place, SOON};

/// For the sandbox, whose remotes are processes.
pub(crate) const CASES: &[Case] =
    &[("silent::numbered_messages_are_answered_in_order_through_twenty_kills", twenty, false)];

const KILLS: u32 = 20;
/// Messages between two kills.
const BETWEEN: u32 = 97;

fn twenty(place: &Place) {
    let mut remote = place.start("echo");
    let echo = remote.open("rpmsg-echo");
    remote.echo(echo, b"here");
    let places = |remote: &crate::Remote| {
        let remote = remote.processor.remote();
        format!("{:?} {:?}", remote.memories(), remote.vdevs())
    };
    let before = places(&remote);
    remote.events();
    let (mut sent, mut answers, mut again) = (0_u32, Vec::new(), 0);
    let (mut kills, mut crashes) = (0, 0);
    while answers.last() != Some(&(KILLS * BETWEEN)) {
        while sent <= KILLS * BETWEEN {
            match remote.processor.try_send(echo, &sent.to_le_bytes()) {
                Ok(()) => sent += 1,
                Err(SendError::Full | SendError::Lost(Lost::Ended(_))) => break,
                Err(error) => panic!("{error}"),
            }
            if sent.is_multiple_of(BETWEEN) && kills < KILLS && kills == crashes {
                kill(remote.processor.remote().backend().sandbox().unwrap().name());
                kills += 1;
            }
        }
        while let Ok(Some(message)) = remote.processor.try_receive(echo) {
            answers.push(u32::from_le_bytes(message.to_vec().unwrap().try_into().unwrap()));
        }
        if !matches!(remote.processor.ended(), Some(Ended::Crashed(_))) {
            remote.processor.wait(Some(Duration::from_millis(20)));
            continue;
        }
        crashes += 1;
        let policy = Policy::of(Remedy::RestartSilently { within: SOON }, 1);
        remote.processor.decide(&mut Recovery::new(policy), Duration::ZERO);
        remote.processor.restart(Duration::ZERO).unwrap();
        assert_eq!(places(&remote), before, "everything lies where it lay");
    }
    assert_eq!(crashes, kills);
    assert_eq!(remote.processor.endpoints(), [echo], "none was opened anew");
    for event in remote.events() {
        match event {
            Event::DeviceRestarted { again: more, .. } => again += more,
            Event::DeviceUp { .. } | Event::ServiceAnnounced { .. } | Event::Ended(Ended::Crashed(_)) => {}
            other => panic!("{other}"),
        }
    }
    // What was answered and not yet released is answered twice, and follows all that was sent before it.
    let mut expected = 0;
    let mut twice = 0;
    for answer in answers {
        if answer == expected {
            expected += 1;
        } else {
            assert!(answer < expected, "{answer} comes before {expected}");
            twice += 1;
        }
    }
    assert_eq!(expected, KILLS * BETWEEN + 1);
    assert!(twice <= again, "{twice} answers came again, of {again} messages that were sent again");
    assert!(crashes >= KILLS / 2, "{crashes} crashes");
}
