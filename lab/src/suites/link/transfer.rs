//! What was sent arrives, whole and in order.

use sidecore_rpmsg::{Header, LinkError};

use super::end::header;
use super::{Bench, End, FAR, Lane};

pub(super) fn link_frames_arrive_in_the_order_in_which_they_were_committed(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, Lane { count, .. }| {
        for turn in 0..20 {
            let mut buffers: Vec<_> = (0..count).map(|_| from.reserve().unwrap()).collect();
            // In another order than they were reserved in.
            buffers.rotate_left(turn % count);
            buffers.swap(0, count - 1);
            for (number, tx) in (0_u8..).zip(buffers) {
                from.write(&tx, 0, &[turn as u8, number]).unwrap();
                from.commit(tx, &header(2)).unwrap();
            }
            from.flush();
            for number in 0..count {
                assert_eq!(to.collect(), Some(vec![turn as u8, number as u8]));
            }
            assert_eq!(to.collect(), None);
        }
    });
}

pub(super) fn link_every_header_arrives_as_it_was_sent(bench: &dyn Bench) {
    let values = [0, 1, 53, 1024, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, 0xffff_ffff];
    bench.pair().both_ways(|from, to, _| {
        for (i, src) in values.into_iter().enumerate() {
            let (dst, reserved) = (values[(i + 3) % 8], values[(i + 5) % 8]);
            let sent = Header { src, dst, reserved, len: i as u16, flags: (src >> 16) as u16 };
            from.send(&sent, &[7; 8][..i]).unwrap();
            from.flush();
            let (arrived, rx) = to.take();
            assert_eq!(arrived, sent);
            to.release(rx);
            to.flush();
        }
    });
}

pub(super) fn link_payloads_of_every_length_arrive_whole_both_ways(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, Lane { room, .. }| {
        for len in 0..=room {
            let payload: Vec<u8> = (0..len).map(|i| (i * 7 + len) as u8).collect();
            from.post(&payload).unwrap();
            assert_eq!(to.collect().as_ref(), Some(&payload), "copied");
            let tx = from.reserve().unwrap();
            assert_eq!(from.room(&tx), room);
            // In two parts, the second one first.
            let (first, second) = payload.split_at(len / 3);
            from.write(&tx, first.len(), second).unwrap();
            from.write(&tx, 0, first).unwrap();
            from.commit(tx, &header(len)).unwrap();
            from.flush();
            assert_eq!(to.collect().as_ref(), Some(&payload), "written in place");
        }
    });
}

pub(super) fn link_payloads_are_read_in_parts_and_no_further_than_the_frame(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, Lane { room, .. }| {
        let payload: Vec<u8> = (0..room as u8).collect();
        from.post(&payload).unwrap();
        let (_, rx) = to.take();
        assert!(to.payload_room(&rx) >= room);
        for at in 0..room {
            let mut rest = vec![0; room - at];
            to.read(&rx, at, &mut rest).unwrap();
            assert_eq!(rest, payload[at..]);
            to.read(&rx, at, &mut []).unwrap();
        }
        for (at, len) in [(0, FAR), (FAR, 1), (usize::MAX, 1), (usize::MAX - 8, 9), (usize::MAX - 15, 16)] {
            let error = to.read(&rx, at, &mut vec![0; len]).unwrap_err();
            let named = matches!(error, LinkError::Bounds { at: first, len: asked, .. } if (first, asked) == (at, len));
            assert!(named, "{error}");
        }
        to.release(rx);
    });
}

pub(super) fn link_written_bytes_can_be_read_back(bench: &dyn Bench) {
    bench.pair().both_ways(|from, to, Lane { room, .. }| {
        let tx = from.reserve().unwrap();
        from.write(&tx, 0, &vec![0xaa; room]).unwrap();
        from.write(&tx, 3, b"there").unwrap();
        let mut back = [0; 9];
        from.read_back(&tx, 1, &mut back).unwrap();
        assert_eq!(back, *b"\xaa\xaathere\xaa\xaa");
        for at in [room - 8, room, usize::MAX - 8, usize::MAX] {
            assert!(from.read_back(&tx, at, &mut back).is_err(), "{at}");
            assert!(from.write(&tx, at, &back).is_err(), "{at}");
        }
        from.commit(tx, &header(room)).unwrap();
        from.flush();
        let payload = to.collect().unwrap();
        assert_eq!(
            (&payload[..8], payload[8..].iter().all(|byte| *byte == 0xaa)),
            (&b"\xaa\xaa\xaathere"[..], true)
        );
    });
}

pub(super) fn link_both_directions_go_on_for_longer_than_any_index(bench: &dyn Bench) {
    let pair = bench.pair();
    let [one, other] = &pair.ends;
    let step = pair.lanes.map(|lane| lane.count - 1);
    for turn in 0..0x1_1000_u32 / 3 {
        for (from, to, count) in [(one, other, step[0]), (other, one, step[1])] {
            for number in 0..count as u32 {
                from.send(&Header { src: turn, dst: number, ..Header::default() }, &[]).unwrap();
            }
            from.flush();
            for number in 0..count as u32 {
                let (header, rx) = to.take();
                assert_eq!((header.src, header.dst), (turn, number));
                to.release(rx);
            }
            to.flush();
        }
    }
    let quiet = |end: &dyn End| end.receive().unwrap().is_none();
    assert!(quiet(&**one) && quiet(&**other));
}
