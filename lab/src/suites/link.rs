//! What a link promises to those who keep its rules: the seam `rpmsg::link::Link`.

mod accounting;
mod end;
mod notification;
mod transfer;

use std::cell::Cell;
use std::rc::Rc;

use sidecore_rpmsg::Header;
use sidecore_rpmsg::link::{Faults, Faulty, Link, Sink, Toward, Tracer, Wire};
use sidecore_wire::features::{EVENT_IDX, F_NS};

use super::{Case, Row, cases};
use crate::rigs::{Shape, Vdev};

pub use end::{Back, End, Rx, Tx};

/// Every link, and what wraps one over both kinds.
pub const LINKS: &[Row<dyn Bench>] = &[
    Row { name: "vring_host", bench: &Vrings { event_index: false, ours: 0, wrapped: Wrapped::Bare } },
    Row { name: "vring_remote", bench: &Vrings { event_index: false, ours: 1, wrapped: Wrapped::Bare } },
    Row {
        name: "vring_host_event_index",
        bench: &Vrings { event_index: true, ours: 0, wrapped: Wrapped::Bare },
    },
    Row {
        name: "vring_remote_event_index",
        bench: &Vrings { event_index: true, ours: 1, wrapped: Wrapped::Bare },
    },
    Row { name: "loopback", bench: &Loopbacks { wrapped: Wrapped::Bare } },
    Row {
        name: "tracer_vring_host",
        bench: &Vrings { event_index: true, ours: 0, wrapped: Wrapped::Tracer },
    },
    Row {
        name: "tracer_vring_remote",
        bench: &Vrings { event_index: false, ours: 1, wrapped: Wrapped::Tracer },
    },
    Row { name: "tracer_loopback", bench: &Loopbacks { wrapped: Wrapped::Tracer } },
    Row {
        name: "faulty_vring_host",
        bench: &Vrings { event_index: false, ours: 0, wrapped: Wrapped::Faultless },
    },
    Row {
        name: "faulty_vring_remote",
        bench: &Vrings { event_index: true, ours: 1, wrapped: Wrapped::Faultless },
    },
    Row { name: "faulty_loopback", bench: &Loopbacks { wrapped: Wrapped::Faultless } },
    Row {
        name: "tracer_faulty_vring",
        bench: &Vrings { event_index: true, ours: 0, wrapped: Wrapped::Both },
    },
];

/// What all of them promise.
pub const CASES: &[Case<dyn Bench>] = cases![
    accounting::link_a_buffer_that_was_cancelled_is_there_again,
    accounting::link_a_full_link_takes_nothing_and_loses_nothing,
    accounting::link_a_refused_payload_costs_no_buffer,
    accounting::link_buffers_are_given_back_in_any_order,
    accounting::link_no_two_loans_are_of_one_buffer,
    accounting::link_what_was_put_aside_is_taken_up_again_as_it_was,
    notification::link_nothing_is_seen_before_it_is_flushed,
    notification::link_a_batch_is_told_of_once,
    notification::link_arming_tells_what_is_there_already,
    notification::link_who_waits_for_a_frame_is_told,
    notification::link_who_waits_for_a_buffer_is_told_when_one_comes_back,
    notification::link_who_waits_for_a_buffer_is_told_of_one_that_was_not_sent,
    notification::link_who_gave_up_waiting_is_not_kept_awake,
    notification::link_who_wants_no_notification_is_left_alone,
    transfer::link_frames_arrive_in_the_order_in_which_they_were_committed,
    transfer::link_every_header_arrives_as_it_was_sent,
    transfer::link_payloads_of_every_length_arrive_whole_both_ways,
    transfer::link_payloads_are_read_in_parts_and_no_further_than_the_frame,
    transfer::link_written_bytes_can_be_read_back,
    transfer::link_both_directions_go_on_for_longer_than_any_index,
];

/// Makes links of one kind.
pub trait Bench: Sync {
    /// Both ends of a fresh link.
    fn pair(&self) -> Pair;
}

/// Both ends of a link. The first is the row's own, the second its peer; what is promised holds for both.
pub struct Pair {
    /// The ends.
    pub ends: [Box<dyn End>; 2],
    /// What is known of the frames that each of them sends.
    pub lanes: [Lane; 2],
    /// Notifications that reached each of them; `None` where the link has no doorbell and is polled.
    pub bells: Option<[Bell; 2]>,
}

/// One direction of a link.
#[derive(Clone, Copy, Debug)]
pub struct Lane {
    /// Number of its buffers.
    pub count: usize,
    /// Bytes of the longest payload that one takes.
    pub room: usize,
}

/// Counts the notifications of one end.
pub type Bell = Rc<Cell<usize>>;

#[derive(Clone, Copy)]
enum Wrapped {
    Bare,
    Tracer,
    Faultless,
    Both,
}

/// Vring links, the host's end first (`ours: 0`) or the remote's.
struct Vrings {
    event_index: bool,
    ours: usize,
    wrapped: Wrapped,
}

impl Bench for Vrings {
    fn pair(&self) -> Pair {
        let features = F_NS | if self.event_index { EVENT_IDX } else { 0 };
        let vdev = Vdev::new(Shape { features, num: [8, 4], size: [64, 120] });
        let [host_bell, remote_bell] = [Bell::default(), Bell::default()];
        let ring = |bell: &Bell| {
            let bell = bell.clone();
            move |_: u16| bell.set(bell.get() + 1)
        };
        let host = vdev.host(ring(&remote_bell));
        // The kick that follows DRIVER_OK.
        assert_eq!(remote_bell.take(), 1);
        let remote = vdev.remote(ring(&host_bell));
        let mut ends = [self.wrapped.end(host), self.wrapped.end(remote)];
        let mut lanes = [Lane { count: 4, room: 104 }, Lane { count: 8, room: 48 }];
        let mut bells = [host_bell, remote_bell];
        if self.ours == 1 {
            ends.reverse();
            lanes.reverse();
            bells.reverse();
        }
        Pair { ends, lanes, bells: Some(bells) }
    }
}

struct Loopbacks {
    wrapped: Wrapped,
}

impl Bench for Loopbacks {
    fn pair(&self) -> Pair {
        let wire: &'static Wire<4, 48> = Box::leak(Box::default());
        let ends = wire.ends().map(|end| self.wrapped.end(end));
        Pair { ends, lanes: [Lane { count: 4, room: 48 }; 2], bells: None }
    }
}

impl Wrapped {
    fn end<L: Link + 'static>(self, link: L) -> Box<dyn End> {
        let faultless = |link| Faulty::new(link, Faults::default(), 1);
        match self {
            Self::Bare => end::leak(link),
            Self::Tracer => end::leak(Tracer::new(link, Whole)),
            Self::Faultless => end::leak(faultless(link)),
            Self::Both => end::leak(Tracer::new(faultless(link), Whole)),
        }
    }
}

/// Sees that all of a frame is shown, and nothing outside of it.
struct Whole;

impl Sink for Whole {
    fn frame(&self, _: Toward, header: &Header, room: usize, payload: &dyn Fn(usize, &mut [u8]) -> bool) {
        // A header that claims more is about to be refused.
        assert!(payload(0, &mut vec![0; room.min(header.len.into())]));
        assert!(!payload(FAR, &mut [0]) && !payload(usize::MAX, &mut [0]));
    }
}

/// An offset behind any buffer.
const FAR: usize = 1 << 16;

impl Pair {
    /// Runs the same for both directions: from which end, to which, and what is known of the frames between.
    fn both_ways(&self, run: impl Fn(&dyn End, &dyn End, Lane)) {
        let [one, other] = &self.ends;
        run(&**one, &**other, self.lanes[0]);
        run(&**other, &**one, self.lanes[1]);
    }

    /// How often an end was notified since this was asked last; on links without a doorbell, whether it would find
    /// something.
    fn told(&self, end: usize) -> usize {
        match &self.bells {
            Some(bells) => bells[end].take(),
            None => self.ends[end].arm().into(),
        }
    }
}
