extern crate std;

use std::boxed::Box;
use std::vec;
use std::vec::Vec;

use sidecore_mem::Memory;
use sidecore_virtio::split::{self, Parts};
use sidecore_virtio::{Notify, RingFeatures};

use super::*;
use crate::link::vring::{Buffers, Driver};
use crate::{Announcement, Event, NAME_SERVICE_ADDR, Name, Rpmsg, SendError, Slot};

const START: u64 = 0x2000_0000;
const ECHO: u32 = 1024;
const PLACES: Places = Places { num: 8, to_host: 0, to_remote: 1024, align: 64 };
const POOLS: [usize; 2] = [4096, 8192];
const SIZE: u32 = 512;

/// Counts the notifications of both queues.
#[derive(Default)]
struct Bells([Cell<u32>; 2]);

impl Notify for &Bells {
    fn notify(&self, queue: u16) {
        let bell = &self.0[usize::from(queue)];
        bell.set(bell.get() + 1);
    }
}

type Host = Rpmsg<Driver<split::Driver<Vec<split::Slot>>, fn(u16)>, Vec<Slot>>;

struct Bench {
    shared: Region,
    host: Host,
    remote: Remote<'static, &'static Bells>,
    bells: &'static Bells,
}

fn host(shared: &Region) -> Host {
    let layout = Layout::new(PLACES.num, PLACES.align).unwrap();
    let [rx, tx] = [PLACES.to_host, PLACES.to_remote].map(|at| {
        let parts = Parts::contiguous(&shared.slice(at, 1024).unwrap(), &layout).unwrap();
        let slots = vec![split::Slot::default(); usize::from(PLACES.num)];
        split::Driver::new(parts, RingFeatures::default(), slots).unwrap()
    });
    let [from, to] = POOLS.map(|at| Buffers {
        region: shared.slice(at, 4096).unwrap(),
        addr: DeviceAddr(START + at as u64),
        size: SIZE,
    });
    let link = Driver::new(rx, tx, from, to, (|_| ()) as fn(u16)).unwrap();
    Rpmsg::new(link, vec![Slot::new(); 4])
}

fn bench() -> Bench {
    let shared = Box::leak(Box::<Memory<16384>>::default()).region();
    let host = host(&shared);
    let bells: &Bells = Box::leak(Box::default());
    let remote = Remote::new(shared.clone(), DeviceAddr(START), &PLACES, &[7, ECHO], bells).unwrap();
    Bench { shared, host, remote, bells }
}

/// Answers the next message with itself.
fn echo(remote: &Remote<'_, &Bells>) -> Result<Option<()>, Error> {
    let answer = remote.receive(|message| {
        assert_eq!(message.endpoint(), 1);
        let mut bytes = vec![0; message.len()];
        message.read(0, &mut bytes).unwrap();
        assert_eq!(message.read(1, &mut bytes), None);
        remote.send(ECHO, message.src(), &bytes)
    })?;
    answer.transpose()
}

#[test]
fn messages_are_announced_echoed_and_never_lost() {
    let Bench { host, remote, bells, .. } = bench();
    let announcement = Announcement { name: Name::new("rpmsg-echo").unwrap(), addr: ECHO, flags: 0 };
    remote.send(ECHO, NAME_SERVICE_ADDR, &announcement.emit()).unwrap();
    let Some(Event::Announcement(heard)) = host.poll().unwrap() else { panic!("no announcement") };
    assert_eq!(heard, announcement);
    let client = host.open(ADDR_ANY, ECHO).unwrap();
    for turn in 0..70_000_usize {
        let payload = vec![turn as u8; turn % 497];
        host.send(client, &payload).unwrap();
        assert!(remote.arm());
        assert_eq!(echo(&remote), Ok(Some(())));
        let Some(Event::Message(message)) = host.poll().unwrap() else { panic!("no answer") };
        let mut bytes = [0; 496];
        assert_eq!((message.src(), message.copy_to(&mut bytes).unwrap()), (ECHO, &payload[..]));
    }
    assert!(!remote.arm());
    assert_eq!(remote.receive(|_| ()), Ok(None));
    assert_eq!((bells.0[0].get(), bells.0[1].get() > 0), (70_001, false), "the host waits for messages only");
}

#[test]
fn a_full_ring_and_a_long_message_send_nothing() {
    let Bench { host, remote, .. } = bench();
    host.open(9, ADDR_ANY).unwrap();
    assert_eq!(remote.send(ECHO, 9, &[0; 497]), Err(Error::TooLong));
    assert_eq!(remote.send(ECHO, 9, &[0; 70_000]), Err(Error::TooLong));
    for _ in 0..PLACES.num {
        remote.send(ECHO, 9, &[1; 496]).unwrap();
    }
    assert_eq!(remote.send(ECHO, 9, b"more"), Err(Error::Full));
    for _ in 0..PLACES.num {
        let Some(Event::Message(message)) = host.poll().unwrap() else { panic!("no message") };
        assert_eq!(message.len(), 496);
    }
    remote.send(ECHO, 9, b"more").unwrap();
}

#[test]
fn what_is_for_nobody_is_dropped_and_its_buffer_given_back() {
    let Bench { host, remote, .. } = bench();
    let client = host.open(ADDR_ANY, 5).unwrap();
    for turn in 0..100 {
        host.send_to(client, [5, ADDR_ANY, 53, 8][turn % 4], b"nobody").unwrap();
        assert_eq!(remote.receive(|_| ()), Ok(None));
    }
    host.send_to(client, 7, b"somebody").unwrap();
    assert_eq!(remote.receive(|message| (message.endpoint(), message.len())), Ok(Some((0, 8))));
}

#[test]
fn a_message_that_is_being_looked_at_is_not_given_back_twice() {
    let Bench { host, remote, .. } = bench();
    let client = host.open(ADDR_ANY, ECHO).unwrap();
    host.send(client, b"1").unwrap();
    host.send(client, b"2").unwrap();
    let both = remote.receive(|first| (first.len(), remote.receive(|second| second.len())));
    assert_eq!(both, Ok(Some((1, Ok(Some(1))))));
    for _ in 0..20 {
        host.send(client, b"on").unwrap();
        assert_eq!(remote.receive(|message| message.len()), Ok(Some(2)));
    }
}

#[test]
fn every_lie_in_the_ring_is_named_and_leads_nowhere() {
    // Offsets in the ring to the remote, what is written there, and what the remote says of it.
    let (available, descriptor) = (PLACES.to_remote + 16 * 8, PLACES.to_remote);
    let lies: [(usize, u64, usize, Error); 9] = [
        (available + 2, 9, 2, Error::PeerIndex),
        (available + 2, 0xFFFF, 2, Error::PeerIndex),
        (available + 4, 8, 2, Error::PeerHead),
        (descriptor + 12, u64::from(DESC_NEXT), 2, Error::PeerFlags),
        (descriptor + 12, u64::from(DESC_WRITE), 2, Error::PeerFlags),
        (descriptor + 8, 15, 4, Error::PeerLength),
        (descriptor + 8, 0xFFFF_FFFF, 4, Error::PeerAddress),
        (descriptor, START - 1, 8, Error::PeerAddress),
        (descriptor, START + POOLS[1] as u64 + 2, 8, Error::PeerAddress),
    ];
    for (at, value, width, error) in lies {
        let Bench { shared, host, remote, .. } = bench();
        let client = host.open(ADDR_ANY, ECHO).unwrap();
        host.send(client, b"a message").unwrap();
        shared.write(at, &value.to_le_bytes()[..width]).unwrap();
        for _ in 0..3 {
            assert_eq!(remote.receive(|_| ()), Err(error), "{at}: {value:#x}");
        }
        assert!(error.is_peer());
    }
}

#[test]
fn a_header_that_claims_more_than_its_buffer_holds_is_dropped() {
    let Bench { shared, host, remote, .. } = bench();
    let client = host.open(ADDR_ANY, ECHO).unwrap();
    host.send(client, b"a message").unwrap();
    shared.store(POOLS[1] + 12, 497_u16).unwrap();
    assert_eq!(remote.receive(|_| ()), Ok(None));
    host.send(client, b"a message").unwrap();
    assert_eq!(remote.receive(|message| message.len()), Ok(Some(9)));
}

#[test]
fn a_host_that_starts_anew_ends_the_link() {
    let Bench { shared, host: first, remote, .. } = bench();
    let client = first.open(ADDR_ANY, ECHO).unwrap();
    first.send(client, b"1").unwrap();
    assert_eq!(echo(&remote), Ok(Some(())));
    let second = host(&shared);
    let client = second.open(ADDR_ANY, ECHO).unwrap();
    assert_eq!(second.send(client, b"2"), Ok::<(), SendError>(()));
    assert_eq!(remote.receive(|_| ()), Err(Error::Closed));
    assert_eq!(remote.send(ECHO, 9, b"3"), Err(Error::Closed));
}

#[test]
fn rings_that_do_not_fit_are_refused() {
    let shared = Box::leak(Box::<Memory<16384>>::default()).region();
    let new = |places: Places| Remote::new(shared.clone(), DeviceAddr(START), &places, &[], |_| ()).is_ok();
    assert!(new(PLACES));
    assert!(!new(Places { num: 12, ..PLACES }));
    assert!(!new(Places { num: 0, ..PLACES }));
    assert!(!new(Places { align: 3, ..PLACES }));
    assert!(!new(Places { to_host: 4, ..PLACES }));
    assert!(!new(Places { to_remote: 16384, ..PLACES }));
    assert!(!new(Places { num: 1024, ..PLACES }));
}

#[test]
fn a_message_that_is_not_filled_is_not_sent_and_others_wait_meanwhile() {
    let Bench { host, remote, .. } = bench();
    host.open(9, ADDR_ANY).unwrap();
    for _ in 0..20 {
        assert_eq!(
            remote.send_in_place(ECHO, 9, 4, |message| message.write(1, b"long")),
            Err(Error::TooLong)
        );
        let sent = remote.send_in_place(ECHO, 9, 5, |message| {
            assert_eq!(remote.send(ECHO, 9, b"other"), Err(Error::Full));
            message.write(0, b"ab")?;
            message.write(2, b"cde")
        });
        assert_eq!(sent, Ok(()));
        let Some(Event::Message(message)) = host.poll().unwrap() else { panic!("no message") };
        assert_eq!(message.copy_to(&mut [0; 8]).unwrap(), b"abcde");
        drop(message);
        assert!(host.poll().unwrap().is_none());
    }
}
