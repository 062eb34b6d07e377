//! Every buffer is in one place at a time, and comes back.

use sidecore_rpmsg::LinkError;

use super::end::header;
use super::{Bench, End, Lane, Tx};

/// All buffers of a direction that nobody has, each told apart from the others by what is written to it.
fn all(from: &dyn End, count: usize) -> Vec<Tx> {
    let buffers: Vec<Tx> =
        (0..count).map(|i| from.reserve().unwrap_or_else(|error| panic!("{i}: {error}"))).collect();
    assert_eq!(from.reserve().err(), Some(LinkError::Full), "one more than {count}");
    for (i, tx) in buffers.iter().enumerate() {
        from.write(tx, 0, &[i as u8; 4]).unwrap();
    }
    for (i, tx) in buffers.iter().enumerate() {
        let mut mark = [0; 4];
        from.read_back(tx, 0, &mut mark).unwrap();
        assert_eq!(mark, [i as u8; 4], "two of them are the same buffer");
    }
    buffers
}

fn cancel_all(from: &dyn End, count: usize) {
    for tx in all(from, count) {
        from.cancel(tx);
    }
}

pub(super) fn link_a_buffer_that_was_cancelled_is_there_again(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, Lane { count, .. }| {
        for turn in 0..50 {
            let mut buffers = all(from, count);
            buffers.swap(0, turn % count);
            let sent = buffers.pop().unwrap();
            buffers.into_iter().for_each(|tx| from.cancel(tx));
            from.write(&sent, 0, &[turn as u8]).unwrap();
            from.commit(sent, &header(1)).unwrap();
            from.flush();
            assert_eq!((to.collect(), to.collect()), (Some(vec![turn as u8]), None), "the one that was sent");
        }
        cancel_all(from, count);
    });
}

pub(super) fn link_a_full_link_takes_nothing_and_loses_nothing(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, Lane { count, .. }| {
        for _ in 0..20 {
            for number in 0..count as u8 {
                from.post(&[number]).unwrap();
            }
            for _ in 0..10 {
                assert_eq!(from.post(b"one too many"), Err(LinkError::Full));
                assert_eq!(from.reserve().err(), Some(LinkError::Full));
            }
            // One comes back, one can be sent.
            assert_eq!(to.collect(), Some(vec![0]));
            from.post(b"room").unwrap();
            assert_eq!(from.post(b"one too many"), Err(LinkError::Full));
            for number in 1..count as u8 {
                assert_eq!(to.collect(), Some(vec![number]));
            }
            assert_eq!((to.collect(), to.collect()), (Some(b"room".to_vec()), None));
        }
        cancel_all(from, count);
    });
}

pub(super) fn link_a_refused_payload_costs_no_buffer(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, Lane { count, room }| {
        for _ in 0..2 * count {
            for len in [room + 1, room + 17, 65535] {
                let refused = from.send(&header(len), &vec![0; len]);
                assert_eq!(refused, Err(LinkError::TooLong { len, max: room }));
                let tx = from.reserve().unwrap();
                let error = from.commit(tx, &header(len)).unwrap_err();
                assert!(matches!(error, LinkError::Bounds { len: named, .. } if named == len), "{error}");
            }
            // Whose length the header cannot tell.
            let refused = from.send(&header(0), &vec![0; 0x1_0000]);
            assert_eq!(refused, Err(LinkError::TooLong { len: 0x1_0000, max: room }));
        }
        from.flush();
        assert_eq!(to.collect(), None);
        from.post(&vec![1; room]).unwrap();
        assert_eq!(to.collect(), Some(vec![1; room]));
        cancel_all(from, count);
    });
}

pub(super) fn link_buffers_are_given_back_in_any_order(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, Lane { count, .. }| {
        for order in permutations(count.min(4)) {
            for number in 0..order.len() as u8 {
                from.post(&[number; 5]).unwrap();
            }
            let mut kept: Vec<_> = order.iter().map(|_| Some(to.take())).collect();
            for (done, number) in order.iter().copied().enumerate() {
                // What the others hold is untouched by what came back and was sent again.
                for (header, rx) in kept.iter().flatten() {
                    let payload = to.payload(header, rx);
                    assert!(payload.len() == 5 && payload.iter().all(|byte| *byte == payload[0]));
                }
                let (header, rx) = kept[number].take().unwrap();
                assert_eq!(to.payload(&header, &rx), [number as u8; 5]);
                to.release(rx);
                to.flush();
                from.post(&[0xee; 3]).unwrap_or_else(|error| panic!("after {done} of {order:?}: {error}"));
            }
            for _ in &order {
                assert_eq!(to.collect(), Some(vec![0xee; 3]));
            }
        }
        cancel_all(from, count);
    });
}

pub(super) fn link_no_two_loans_are_of_one_buffer(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, Lane { count, .. }| {
        for sent in 0..=count {
            // Some on their way, some received, some reserved: all of them together are all there are.
            for number in 0..sent as u8 {
                from.post(&[number; 4]).unwrap();
            }
            let received: Vec<_> = (0..sent / 2).map(|_| to.take()).collect();
            let reserved = all(from, count - sent);
            for (number, (header, rx)) in received.iter().enumerate() {
                assert_eq!(to.payload(header, rx), [number as u8; 4]);
            }
            reserved.into_iter().for_each(|tx| from.cancel(tx));
            received.into_iter().for_each(|(_, rx)| to.release(rx));
            for number in sent / 2..sent {
                assert_eq!(to.collect(), Some(vec![number as u8; 4]));
            }
            to.flush();
            cancel_all(from, count);
        }
    });
}

pub(super) fn link_what_was_put_aside_is_taken_up_again_as_it_was(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, Lane { count, .. }| {
        for turn in 0..20 {
            for number in 0..count {
                from.post(&vec![number as u8; number]).unwrap();
            }
            let mut held: Vec<_> = (0..count)
                .map(|number| {
                    let (header, rx) = to.take();
                    (number, to.payload_room(&rx), header, to.hold(rx).unwrap())
                })
                .collect();
            held.rotate_left(turn % count);
            assert_eq!(from.post(b"x"), Err(LinkError::Full), "what is put aside is not given back");
            for (number, room, header, held) in held {
                let rx = to.resume(held).unwrap();
                assert_eq!(
                    (to.payload_room(&rx), to.payload(&header, &rx)),
                    (room, vec![number as u8; number])
                );
                let again = to.hold(rx).unwrap();
                to.release(to.resume(again).unwrap());
            }
            to.flush();
            cancel_all(from, count);
        }
    });
}

/// All orders of the numbers below `len`.
fn permutations(len: usize) -> Vec<Vec<usize>> {
    if len == 0 {
        return vec![vec![]];
    }
    let shorter = permutations(len - 1);
    let places = |order: &Vec<usize>| {
        let order = order.clone();
        (0..len).map(move |at| [&order[..at], &[len - 1], &order[at..]].concat())
    };
    shorter.iter().flat_map(places).collect()
}
