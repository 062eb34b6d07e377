//! Nothing is shown before its time, and whoever waits is told.

use sidecore_rpmsg::LinkError;

use super::end::header;
use super::{Bench, Pair};

/// Runs the same for both directions: the ends' numbers, the sender's first.
fn both_ways(bench: &dyn Bench, run: impl Fn(&Pair, usize, usize)) {
    for [from, to] in [[0, 1], [1, 0]] {
        run(&bench.pair(), from, to);
    }
}

pub(super) fn link_nothing_is_seen_before_it_is_flushed(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, lane| {
        for _ in 0..10 {
            for _ in 0..lane.count {
                from.send(&header(1), b"x").unwrap();
            }
            assert_eq!(to.collect(), None, "frames that were not flushed");
            from.flush();
            let received: Vec<_> = (0..lane.count).map(|_| to.take()).collect();
            received.into_iter().for_each(|(_, rx)| to.release(rx));
            assert_eq!(from.post(b"x"), Err(LinkError::Full), "releases that were not flushed");
            to.flush();
        }
    });
}

pub(super) fn link_a_batch_is_told_of_once(bench: &dyn Bench) {
    both_ways(bench, |pair, from, to| {
        let [sender, receiver] = [&pair.ends[from], &pair.ends[to]];
        for _ in 0..20 {
            assert!(!receiver.arm());
            pair.told(to);
            for _ in 0..pair.lanes[from].count {
                sender.send(&header(0), &[]).unwrap();
                assert_eq!(pair.told(to), 0, "nothing was flushed");
            }
            sender.flush();
            assert_eq!(pair.told(to), 1);
            if pair.bells.is_some() {
                sender.flush();
                assert_eq!(pair.told(to), 0, "nothing is new");
            }
            while receiver.collect().is_some() {}
        }
    });
}

pub(super) fn link_arming_tells_what_is_there_already(bench: &dyn Bench) {
    both_ways(bench, |pair, from, to| {
        let [sender, receiver] = [&pair.ends[from], &pair.ends[to]];
        for _ in 0..10 {
            assert!(!receiver.arm());
            receiver.disarm();
            sender.post(b"x").unwrap();
            assert!(receiver.arm());
            assert_eq!(receiver.collect().as_deref(), Some(&b"x"[..]));
            assert!(!receiver.arm());
        }
    });
}

pub(super) fn link_who_waits_for_a_frame_is_told(bench: &dyn Bench) {
    both_ways(bench, |pair, from, to| {
        let [sender, receiver] = [&pair.ends[from], &pair.ends[to]];
        for turn in 0..200 {
            receiver.disarm();
            assert!(!receiver.arm());
            pair.told(to);
            sender.post(&[turn]).unwrap();
            assert_eq!(pair.told(to), 1, "frame {turn}");
            assert_eq!(receiver.collect(), Some(vec![turn]));
        }
    });
}

pub(super) fn link_who_waits_for_a_buffer_is_told_when_one_comes_back(bench: &dyn Bench) {
    both_ways(bench, |pair, from, to| {
        let [sender, receiver] = [&pair.ends[from], &pair.ends[to]];
        for turn in 0..200 {
            while sender.post(&[turn]).is_ok() {}
            assert!(!sender.arm(), "nothing has come back");
            pair.told(from);
            assert_eq!(receiver.collect(), Some(vec![turn]));
            assert_eq!(pair.told(from), 1, "turn {turn}");
            sender.post(&[turn]).unwrap();
            while receiver.collect().is_some() {}
            // One came back while nobody had asked yet.
            while sender.post(&[turn]).is_ok() {}
            sender.disarm();
            assert!(receiver.collect().is_some());
            assert!(sender.arm(), "one has come back");
            while receiver.collect().is_some() {}
        }
    });
}

pub(super) fn link_who_waits_for_a_buffer_is_told_of_one_that_was_not_sent(bench: &dyn Bench) {
    both_ways(bench, |pair, from, to| {
        let [sender, receiver] = [&pair.ends[from], &pair.ends[to]];
        let room = pair.lanes[from].room;
        for _ in 0..20 {
            for not_sent in [true, false] {
                while sender.post(b"x").is_ok() {}
                assert!(!sender.arm());
                assert!(receiver.collect().is_some());
                // Somebody else is quicker than who waits, and has no use for it in the end.
                if not_sent {
                    sender.cancel(sender.reserve().unwrap());
                } else {
                    assert!(sender.post(&vec![0; room + 1]).is_err());
                }
                assert!(sender.arm());
                while receiver.collect().is_some() {}
            }
        }
    });
}

pub(super) fn link_who_gave_up_waiting_is_not_kept_awake(bench: &dyn Bench) {
    both_ways(bench, |pair, from, to| {
        let [sender, receiver] = [&pair.ends[from], &pair.ends[to]];
        while sender.post(b"x").is_ok() {}
        while receiver.collect().is_some() {}
        assert!(sender.arm());
        assert!(!sender.arm(), "told once");
    });
}

pub(super) fn link_who_wants_no_notification_is_left_alone(bench: &dyn Bench) {
    both_ways(bench, |pair, from, to| {
        if pair.bells.is_none() {
            return;
        }
        let [sender, receiver] = [&pair.ends[from], &pair.ends[to]];
        let _there_or_not = (receiver.arm(), sender.arm());
        receiver.disarm();
        sender.disarm();
        for _ in 0..1000 {
            sender.post(b"x").unwrap();
            assert!(receiver.collect().is_some());
        }
        // An old wish may be answered once; nobody's buffers are waited for.
        assert!(pair.told(to) <= 1);
        assert!(pair.told(from) <= 1);
    });
}
