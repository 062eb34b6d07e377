extern crate std;

use std::cell::RefCell;
use std::vec;
use std::vec::Vec;

use super::*;
use crate::{ADDR_ANY, Delivered, Endpoint, Event, Name, Rpmsg, SendError, Slot};

type Ends<L> = (Rpmsg<L, Vec<Slot>>, Rpmsg<L, Vec<Slot>>);

fn over<L: Link>([one, other]: [L; 2]) -> Ends<L> {
    (Rpmsg::new(one, vec![Slot::new(); 4]), Rpmsg::new(other, vec![Slot::new(); 4]))
}

fn connect<L: Link>((one, other): &Ends<L>) -> (Endpoint, Endpoint) {
    (one.open(1024, 1025).unwrap(), other.open(1025, 1024).unwrap())
}

/// The payloads of everything that is there.
fn take_all<L: Link>(rpmsg: &Rpmsg<L, Vec<Slot>>) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    while let Some(event) = rpmsg.poll().unwrap() {
        let Event::Message(message) = event else { panic!("{event:?}") };
        payloads.push(message.copy_to(&mut [0; 64]).unwrap().to_vec());
    }
    payloads
}

mod loopback {
    use super::*;

    #[test]
    fn messages_and_names_go_both_ways_in_order() {
        let wire = Wire::<4, 48>::default();
        let ends = over(wire.ends());
        let (one, other) = &ends;
        let service = other.open(ADDR_ANY, ADDR_ANY).unwrap();
        other.announce(service, &Name::new("echo").unwrap()).unwrap();
        let Some(Event::Announcement(found)) = one.poll().unwrap() else { panic!("no announcement") };
        let client = one.open(ADDR_ANY, found.addr).unwrap();
        for turn in 0..100_u8 {
            for i in 0..4 {
                one.send(client, &[turn, i]).unwrap();
            }
            assert_eq!(one.send(client, b"x"), Err(SendError::Full));
            for i in 0..4 {
                let Some(Event::Message(message)) = other.poll().unwrap() else { panic!("no message") };
                message.reply(message.copy_to(&mut [0; 2]).unwrap()).unwrap();
                assert_eq!(message.len(), 2, "message {i}");
            }
            assert_eq!(take_all(one), [[turn, 0], [turn, 1], [turn, 2], [turn, 3]]);
        }
        assert_eq!(one.send(client, &[0; 49]), Err(SendError::TooLong { len: 49, max: 48 }));
    }

    #[test]
    fn an_announcement_ends_a_delivery_and_the_rest_follows() {
        let wire = Wire::<8, 64>::default();
        let ends = over(wire.ends());
        let (ours, _) = connect(&ends);
        let (one, other) = &ends;
        one.send(ours, b"a").unwrap();
        one.announce(ours, &Name::new("late").unwrap()).unwrap();
        one.send(ours, b"b").unwrap();
        let mut seen = 0;
        let (count, end) = other.deliver_all(8, |_| seen += 1).unwrap();
        assert_eq!((count, seen), (1, 1));
        assert!(matches!(end, Delivered::Announcement(found) if found.addr == 1024));
        assert_eq!(other.deliver_all(8, |_| seen += 1).unwrap(), (1, Delivered::Nothing));
    }
}

mod tracer {
    use super::*;

    #[derive(Default)]
    struct Seen(RefCell<Vec<(Toward, u32, Vec<u8>)>>);

    impl Sink for &Seen {
        fn frame(
            &self,
            toward: Toward,
            header: &Header,
            room: usize,
            payload: &dyn Fn(usize, &mut [u8]) -> bool,
        ) {
            let mut bytes = vec![0; usize::from(header.len).min(room)];
            assert!(payload(0, &mut bytes));
            assert!(!payload(room, &mut [0]));
            self.0.borrow_mut().push((toward, header.dst, bytes));
        }
    }

    #[test]
    fn every_frame_of_both_ways_is_shown_whole() {
        let wire = Wire::<4, 64>::default();
        let [one, other] = wire.ends();
        let (at_one, at_other) = (Seen::default(), Seen::default());
        let ends = over([Tracer::new(one, &at_one), Tracer::new(other, &at_other)]);
        let (ours, theirs) = connect(&ends);
        ends.0.send(ours, b"there").unwrap();
        let mut out = ends.0.reserve(ours).unwrap();
        out.append(b"in place").unwrap();
        out.send().unwrap();
        drop(ends.0.reserve(ours).unwrap());
        assert_eq!(take_all(&ends.1), [b"there".to_vec(), b"in place".to_vec()]);
        ends.1.send(theirs, b"back").unwrap();
        assert_eq!(take_all(&ends.0), [b"back".to_vec()]);
        let frame = |toward, dst, bytes: &[u8]| (toward, dst, bytes.to_vec());
        use Toward::{Peer, Us};
        let expected =
            [frame(Peer, 1025, b"there"), frame(Peer, 1025, b"in place"), frame(Us, 1024, b"back")];
        assert_eq!(at_one.0.take(), expected);
        let expected = [frame(Us, 1025, b"there"), frame(Us, 1025, b"in place"), frame(Peer, 1024, b"back")];
        assert_eq!(at_other.0.take(), expected);
    }
}

mod faulty {
    use super::*;

    /// What arrives of 2000 numbered messages under these faults.
    fn arrivals(faults: Faults, seed: u64) -> Vec<Vec<u8>> {
        let wire = Wire::<8, 64>::default();
        let [one, other] = wire.ends();
        let ends = over([Faulty::new(one, Faults::default(), 0), Faulty::new(other, faults, seed)]);
        let (ours, _) = connect(&ends);
        let mut arrived = Vec::new();
        for number in 0..2000_u16 {
            ends.0.send(ours, &number.to_le_bytes()).unwrap();
            arrived.extend(take_all(&ends.1));
        }
        arrived.extend(take_all(&ends.1));
        arrived
    }

    fn numbers(payloads: &[Vec<u8>]) -> Vec<u16> {
        payloads.iter().map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]])).collect()
    }

    const HALF: u16 = 1 << 15;

    #[test]
    fn no_faults_change_nothing() {
        assert!(numbers(&arrivals(Faults::default(), 7)).into_iter().eq(0..2000));
    }

    #[test]
    fn the_same_seed_does_the_same_and_another_one_does_not() {
        let faults = Faults { lose: 5000, corrupt: 5000, reorder: 5000, delay: 5000 };
        assert_eq!(arrivals(faults, 1), arrivals(faults, 1));
        assert_ne!(arrivals(faults, 1), arrivals(faults, 2));
    }

    #[test]
    fn lost_frames_are_gone_in_about_the_rate_asked_for_and_cost_no_buffer() {
        let arrived = numbers(&arrivals(Faults { lose: HALF, ..Faults::default() }, 3));
        assert!((800..1200).contains(&arrived.len()), "{}", arrived.len());
        assert!(arrived.is_sorted());
    }

    #[test]
    fn late_frames_all_arrive() {
        for faults in
            [Faults { delay: HALF, ..Faults::default() }, Faults { reorder: HALF, ..Faults::default() }]
        {
            let mut arrived = numbers(&arrivals(faults, 4));
            arrived.sort_unstable();
            assert!(arrived.into_iter().eq(0..2000), "{faults:?}");
        }
    }

    /// Frames straight from the link: numbers that arrive one look after the other, `None` where a look finds nothing.
    fn looks(link: &impl Link, count: usize) -> Vec<Option<u8>> {
        let number = |header: Header, rx| {
            link.release(rx);
            link.flush();
            header.flags as u8
        };
        (0..count).map(|_| link.receive(number).unwrap()).collect()
    }

    /// `count` numbered frames on their way, and the end that they come to.
    fn on_the_way<const N: usize>(
        wire: &Wire<N, 8>,
        faults: Faults,
        seed: u64,
    ) -> Faulty<Loopback<'_, N, 8>> {
        let [one, other] = wire.ends();
        for number in 0..N as u16 {
            one.send(&Header { flags: number, ..Header::default() }, &[]).unwrap();
        }
        one.flush();
        Faulty::new(other, faults, seed)
    }

    #[test]
    fn a_frame_out_of_order_arrives_right_behind_the_next_one_and_a_late_one_at_the_next_look() {
        let wire = Wire::<4, 8>::default();
        let always_reordered = on_the_way(&wire, Faults { reorder: u16::MAX, ..Faults::default() }, 1);
        assert_eq!(looks(&always_reordered, 5), [Some(1), Some(0), Some(3), Some(2), None]);
        assert_eq!(always_reordered.tally().reordered.get(), 2);
        let wire = Wire::<2, 8>::default();
        let always_late = on_the_way(&wire, Faults { delay: u16::MAX, ..Faults::default() }, 1);
        assert_eq!(looks(&always_late, 5), [None, Some(0), None, Some(1), None]);
        assert_eq!(always_late.tally().delayed.get(), 2);
    }

    #[test]
    fn whoever_is_put_aside_keeps_its_reader_awake() {
        let wire = Wire::<1, 8>::default();
        let link = on_the_way(&wire, Faults { delay: u16::MAX, ..Faults::default() }, 1);
        assert_eq!(looks(&link, 1), [None]);
        assert!(link.arm());
        assert_eq!(looks(&link, 1), [Some(0)]);
        assert!(!link.arm());
    }

    #[test]
    fn the_tally_tells_of_everything_that_was_done() {
        let faults = Faults { lose: 9000, corrupt: 9000, reorder: 9000, delay: 9000 };
        for seed in 0..50 {
            let wire = Wire::<256, 8>::default();
            let link = on_the_way(&wire, faults, seed);
            let found = looks(&link, 600);
            let arrived: Vec<u8> = found.iter().copied().flatten().collect();
            let tally = link.tally();
            assert_eq!(arrived.len() as u32 + tally.lost.get(), 256);
            for count in [&tally.lost, &tally.corrupted, &tally.reordered, &tally.delayed] {
                assert!((5..100).contains(&count.get()), "{tally:?}");
            }
        }
    }

    #[test]
    fn frames_overtake_each_other_when_several_are_there() {
        let wire = Wire::<8, 64>::default();
        let [one, other] = wire.ends();
        let faults = Faults { reorder: HALF, ..Faults::default() };
        let ends = over([Faulty::new(one, Faults::default(), 0), Faulty::new(other, faults, 9)]);
        let (ours, _) = connect(&ends);
        let mut overtaken = 0;
        for _ in 0..100 {
            for number in 0..4_u16 {
                ends.0.send(ours, &number.to_le_bytes()).unwrap();
            }
            let arrived = numbers(&take_all(&ends.1));
            assert_eq!(arrived.len(), 4);
            overtaken += usize::from(!arrived.is_sorted());
        }
        assert!(overtaken > 20, "{overtaken}");
    }

    #[test]
    fn a_corrupt_frame_differs_in_one_bit_or_misses_its_endpoint() {
        let arrived = arrivals(Faults { corrupt: u16::MAX, ..Faults::default() }, 5);
        // A flipped bit of the header's addresses or length loses most of the rest.
        assert!(arrived.len() < 1900 && arrived.len() > 100, "{}", arrived.len());
        let odd = arrived.iter().filter(|bytes| bytes.len() != 2).count();
        assert!(odd > 0, "some lengths are wrong");
    }
}
