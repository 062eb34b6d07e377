//! Remotes that lie in their rings, frames and tables, compiled for every instruction set: what that costs, and what not.

use std::time::{Duration, Instant};

use sidecore_processor::{Ended, Event, SendError};
use sidecore_remoteproc::Firmware;

use crate::{Case, Place, Remote, SOON};

/// The lies of the image `liar`, in its order.
pub(crate) const CASES: &[Case] = &[
    ("hostile::an_index_that_jumps_costs_the_link", |place| link_is_broken(place, 0), false),
    ("hostile::a_buffer_that_there_is_not_costs_the_link", |place| link_is_broken(place, 1), false),
    ("hostile::a_frame_longer_than_its_buffer_costs_the_link", |place| link_is_broken(place, 2), false),
    ("hostile::a_frame_without_a_header_costs_the_link", |place| link_is_broken(place, 3), false),
    ("hostile::a_table_of_ones_costs_at_most_the_remote", |place| survived(place, 4), false),
    ("hostile::a_table_of_zeros_costs_at_most_the_remote", |place| survived(place, 5), false),
    ("hostile::noise_in_all_that_is_shared_costs_at_most_the_remote", |place| survived(place, 6), false),
    ("hostile::frames_that_are_nothing_are_counted_and_the_rest_goes_on", babble, false),
    ("hostile::a_host_on_a_coprocessor_outlives_the_lies_of_its_sibling", sibling_lies, true),
];

/// A liar that has begun to lie.
fn lying(place: &Place, lie: u8) -> Remote {
    let remote = place.start("liar");
    let liar = remote.open("rpmsg-liar");
    remote.echo(liar, b"\xffan honest message");
    remote.send(liar, &[lie]);
    remote
}

/// Looks at it for a while, and talks on.
fn watch(remote: &Remote, done: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let liar = remote.processor.services().first().and_then(|liar| remote.processor.open_service(liar).ok());
    let end = Instant::now() + Duration::from_secs(1);
    while Instant::now() < end && !done(&remote.events()) {
        if let Some(liar) = liar {
            let _whatever_comes = remote.processor.try_send(liar, b"\xffand now?");
            let _whatever_comes =
                remote.processor.try_receive(liar).map(|message| message.map(|m| m.to_vec()));
        }
        remote.processor.wait(Some(Duration::from_millis(20)));
    }
    remote.events()
}

/// Whatever it was, honest firmware runs on the same remote afterwards.
fn recover(place: &Place, mut remote: Remote) {
    if remote.processor.ended().is_none() {
        remote.processor.stop().unwrap();
    }
    remote.processor.load(&Firmware::parse(&place.image("echo")).unwrap()).unwrap();
    remote.processor.start().unwrap();
    let echo = remote.open("rpmsg-echo");
    remote.echo(echo, b"good as new");
}

fn link_is_broken(place: &Place, lie: u8) {
    let remote = lying(place, lie);
    let is_broken = |events: &[Event]| {
        events.iter().any(|event| matches!(event, Event::LinkBroken { device: 0, error } if error.is_peer()))
    };
    let events = watch(&remote, is_broken);
    assert!(is_broken(&events), "{events:?}");
    assert!(remote.processor.ended().is_none(), "only the link is lost");
    recover(place, remote);
}

fn survived(place: &Place, lie: u8) {
    let remote = lying(place, lie);
    watch(&remote, |_| false);
    recover(place, remote);
}

/// Where there are two cores: on the first one the host, which judges for itself.
fn sibling_lies(place: &Place) {
    let Some(processor) = place.start_pair("tamer", "liar") else { return };
    let end = Instant::now() + 3 * SOON;
    while processor.ended().is_none() && Instant::now() < end {
        processor.wait(Some(SOON));
    }
    let trace = processor.remote().read_trace(0).unwrap();
    assert!(matches!(processor.ended(), Some(Ended::Exited { code: 0 })), "{:?}: {trace}", processor.ended());
}

fn babble(place: &Place) {
    let remote = lying(place, 7);
    let dropped = |events: &[Event]| events.iter().any(|event| matches!(event, Event::Dropped { .. }));
    let events = watch(&remote, dropped);
    assert!(dropped(&events), "{events:?}");
    let liar = remote.open("rpmsg-liar");
    let max = remote.processor.max_payload(liar).unwrap();
    assert!(matches!(remote.processor.try_send(liar, &vec![0xff; max + 1]), Err(SendError::TooLong { .. })));
    remote.echo(liar, b"\xffhonest again");
    recover(place, remote);
}
