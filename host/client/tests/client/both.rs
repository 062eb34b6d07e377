//! What holds whichever way a client goes.

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use sidecore_backends::sandbox::Halted;
use sidecore_client::{Client, Endpoint, Error, OpenOptions, StartOptions, Way};
use sidecore_os::poll_until;

use crate::bench::{Bench, Half, SHORT, SOON, exchange, firmware, open, until};
use crate::tests;

tests! {
    TESTS:
    a_remote_is_listed_found_by_each_of_its_names_and_gone_after_its_end,
    messages_of_all_sizes_come_back_and_one_that_is_too_long_costs_nothing,
    endpoints_in_several_threads_see_their_own_messages_alone,
    who_floods_and_never_reads_starves_nobody,
    endpoints_that_are_closed_make_room_for_others,
    a_stop_ends_endpoints_and_a_start_does_not_bring_them_back,
    every_time_out_is_of_its_own_kind_and_not_early,
    what_a_remote_takes_late_is_sent_late_or_not_at_all,
    the_descriptor_is_readable_when_something_is_there_and_not_before,
    a_message_longer_than_its_buffer_is_not_lost,
    an_endpoint_at_an_address_talks_with_whoever_is_there,
    what_makes_no_sense_is_refused_in_words_and_costs_nobody_anything,
    a_crash_in_the_middle_of_it_ends_endpoints_and_is_told,
}

fn a_remote_is_listed_found_by_each_of_its_names_and_gone_after_its_end(bench: &mut Bench) {
    let client = bench.client();
    assert_eq!(client.way() == Way::Direct, bench.half == Half::Direct);
    assert_eq!(client.processors().unwrap(), []);
    let processor = bench.start(&client, "radio", "echo");
    let name = bench.name("radio");
    let listed = client.processors().unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((&*listed[0].name, &*listed[0].kind, &*listed[0].state), (&*name, "sandbox", "running"));
    for selector in [name.clone(), format!("sandbox:{name}"), listed[0].qualified()] {
        let found = client.processor(&selector).unwrap();
        assert_eq!((found.name(), found.kind()), (&*name, "sandbox"));
        assert_eq!(found.state().unwrap(), "running");
    }
    let Err(Error::NotFound { why }) = client.processor("nobody") else { panic!() };
    assert!(why.contains("nobody") && why.contains(&name), "{why}");
    let again = client.start(&name, &firmware("echo"), &StartOptions::new());
    assert!(matches!(again, Err(Error::NameTaken { .. })), "{again:?}");

    processor.remove().unwrap();
    assert!(until(|| client.processors().unwrap().is_empty()));
    assert!(matches!(client.processor(&name), Err(Error::NotFound { .. })));
    bench.start(&client, "radio", "echo");
}

fn messages_of_all_sizes_come_back_and_one_that_is_too_long_costs_nothing(bench: &mut Bench) {
    let client = bench.client();
    let (processor, endpoint) = bench.echo(&client);
    let services = processor.services().unwrap();
    assert_eq!((services.len(), &*services[0].name, services[0].device), (1, "rpmsg-echo", 0));
    let max = endpoint.max_payload();
    assert_eq!(max, 496);
    assert!(endpoint.addr() >= 1024);
    let mut room = [0; 496];
    for len in 1..=max {
        let message: Vec<u8> = (0..len).map(|at| (at * 7 + len) as u8).collect();
        exchange(&endpoint, &message);
        endpoint.send(&message, SOON).unwrap();
        assert_eq!(endpoint.receive_into(&mut room, SOON).unwrap(), len);
        assert_eq!(&room[..len], message);
    }
    for len in [max + 1, 65536, 1 << 20] {
        let long = vec![0; len];
        assert_eq!(endpoint.send(&long, SOON), Err(Error::TooLong { len, max }));
        assert_eq!(endpoint.try_send(&long), Err(Error::TooLong { len, max }));
    }
    exchange(&endpoint, b"all is well");
}

fn endpoints_in_several_threads_see_their_own_messages_alone(bench: &mut Bench) {
    let client = bench.client();
    let (processor, _idle) = bench.echo(&client);
    let talk = |number: u32| {
        let endpoint = open(&processor);
        for round in 0..500_u32 {
            exchange(&endpoint, &[number.to_le_bytes(), round.to_le_bytes()].concat());
        }
    };
    let shared = open(&processor);
    thread::scope(|scope| {
        (0..4).for_each(|number| drop(scope.spawn(move || talk(number))));
        // Two threads on one endpoint: one sends, the other receives.
        // Fewer than may wait for who receives more slowly than the other sends.
        scope.spawn(|| (0..200_u32).for_each(|round| shared.send(&round.to_le_bytes(), SOON).unwrap()));
        for round in 0..200_u32 {
            assert_eq!(shared.receive(SOON).unwrap(), round.to_le_bytes());
        }
    });
}

fn who_floods_and_never_reads_starves_nobody(bench: &mut Bench) {
    let client = bench.client();
    let (processor, quiet) = bench.echo(&client);
    let flood = processor.open("rpmsg-echo", OpenOptions::new().timeout(SOON)).unwrap();
    for round in 0..200_u32 {
        // It sends as long as anybody takes it, and reads nothing.
        for _ in 0..500 {
            match flood.try_send(b"flood") {
                Ok(()) => {}
                Err(Error::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        exchange(&quiet, &round.to_le_bytes());
    }
    assert_eq!(flood.receive(SOON).unwrap(), b"flood");
    drop(flood);
    exchange(&quiet, b"it left in the middle of it");
}

fn endpoints_that_are_closed_make_room_for_others(bench: &mut Bench) {
    let client = bench.client();
    let (processor, first) = bench.echo(&client);
    for round in 0..100_u32 {
        let endpoint = open(&processor);
        endpoint.send(b"nobody waits for the answer", SOON).unwrap();
        if round % 2 == 0 {
            exchange(&first, &round.to_le_bytes());
        }
        endpoint.close();
    }
    exchange(&first, b"still there");
}

fn a_stop_ends_endpoints_and_a_start_does_not_bring_them_back(bench: &mut Bench) {
    let client = bench.client();
    let (processor, endpoint) = bench.echo(&client);
    exchange(&endpoint, b"hello");
    processor.stop().unwrap();
    let ended = |endpoint: &Endpoint| {
        assert!(until(|| matches!(endpoint.try_send(b"x"), Err(Error::Ended { .. }))));
        let received = endpoint.receive(SOON);
        assert!(matches!(received, Err(Error::Ended { .. })), "{received:?}");
        assert!(matches!(endpoint.try_receive(), Err(Error::Ended { .. })));
        assert!(endpoint.poll(SOON).unwrap(), "the end is something to be received");
    };
    ended(&endpoint);
    assert!(until(|| processor.state().unwrap() == "offline"), "{}", processor.state().unwrap());
    let opened = processor.open("rpmsg-echo", OpenOptions::new().timeout(SHORT));
    let is_told = matches!(opened, Err(Error::WrongState { .. } | Error::NoRoom { .. }));
    assert!(is_told && opened.as_ref().unwrap_err().to_string().contains("stopped"), "{opened:?}");

    processor.start().unwrap();
    exchange(&open(&processor), b"once more");
    ended(&endpoint);
}

fn every_time_out_is_of_its_own_kind_and_not_early(bench: &mut Bench) {
    let client = bench.client();
    let (processor, endpoint) = bench.echo(&client);
    let timed = |act: &mut dyn FnMut()| {
        let begin = Instant::now();
        act();
        let took = begin.elapsed();
        assert!((SHORT..SOON).contains(&took), "{took:?}");
    };
    timed(&mut || assert_eq!(endpoint.receive(SHORT), Err(Error::TimedOut { waited: SHORT })));
    timed(&mut || {
        assert_eq!(endpoint.receive_into(&mut [0; 8], SHORT), Err(Error::TimedOut { waited: SHORT }))
    });
    timed(&mut || assert_eq!(endpoint.poll(SHORT), Ok(false)));
    timed(&mut || {
        let opened = processor.open("rpmsg-nobody", OpenOptions::new().timeout(SHORT));
        let Err(Error::NotAnnounced { why }) = opened else { panic!("{opened:?}") };
        assert!(why.contains("rpmsg-nobody") && why.contains("rpmsg-echo"), "{why}");
    });
    assert_eq!(endpoint.receive(Duration::ZERO), Err(Error::TimedOut { waited: Duration::ZERO }));
    assert_eq!(endpoint.try_receive(), Ok(None));
    assert_eq!(endpoint.try_receive_into(&mut []), Ok(None));
    exchange(&endpoint, b"in time");
}

fn what_a_remote_takes_late_is_sent_late_or_not_at_all(bench: &mut Bench) {
    let client = bench.client();
    let (_processor, endpoint) = bench.echo(&client);
    exchange(&endpoint, b"hello");
    let halted = Halted::hold(&bench.name("radio"), Some(&bench.path("sidecore"))).unwrap();
    let mut sent = 0_u32;
    let mut refused = 0;
    // Whoever is between may take his time with what he takes.
    while refused < 5 {
        match endpoint.send(&sent.to_le_bytes(), SHORT) {
            Ok(()) => (sent, refused) = (sent + 1, 0),
            Err(error) => {
                assert_eq!(error, Error::Full);
                refused += 1;
            }
        }
    }
    assert_eq!(endpoint.try_send(b"x"), Err(Error::Full));
    assert!(sent > 8);
    drop(halted);
    for number in 0..sent {
        assert_eq!(endpoint.receive(SOON).unwrap(), number.to_le_bytes());
    }
    assert_eq!(endpoint.try_receive(), Ok(None), "what was refused was not sent");
}

fn readable(endpoint: &Endpoint, within: Duration) -> bool {
    let mut fds = [PollFd::new(endpoint, PollFlags::IN)];
    poll_until(&mut fds, Some(Instant::now() + within)).unwrap() > 0
}

fn the_descriptor_is_readable_when_something_is_there_and_not_before(bench: &mut Bench) {
    let client = bench.client();
    let (processor, one) = bench.echo(&client);
    let other = open(&processor);
    assert!(!readable(&one, SHORT) && !readable(&other, SHORT));
    for round in 0..50_u32 {
        one.send(&round.to_le_bytes(), SOON).unwrap();
        assert!(readable(&one, SOON));
        // It is when there may be something: whose it is, is seen by looking.
        assert_eq!(other.try_receive(), Ok(None));
        assert!(readable(&one, SOON));
        assert_eq!(one.try_receive().unwrap().as_deref(), Some(&round.to_le_bytes()[..]));
        assert_eq!(one.try_receive(), Ok(None));
        assert!(!readable(&one, Duration::ZERO) && !readable(&other, Duration::ZERO));
    }
    // Both at once, and the one that is looked at first takes nothing from the other.
    one.send(b"one", SOON).unwrap();
    other.send(b"other", SOON).unwrap();
    assert!(until(|| readable(&one, Duration::ZERO) && readable(&other, Duration::ZERO)));
    assert_eq!(one.receive(SOON).unwrap(), b"one");
    assert!(readable(&other, SOON));
    assert_eq!(other.receive(SOON).unwrap(), b"other");
    processor.stop().unwrap();
    assert!(readable(&one, SOON) && readable(&other, SOON));
}

fn a_message_longer_than_its_buffer_is_not_lost(bench: &mut Bench) {
    let client = bench.client();
    let (_processor, endpoint) = bench.echo(&client);
    let long = [7; 100];
    endpoint.send(&long, SOON).unwrap();
    endpoint.send(b"next", SOON).unwrap();
    for room in [0, 1, 99] {
        let refused = endpoint.receive_into(&mut vec![0; room], SOON);
        assert_eq!(refused, Err(Error::BufferTooSmall { len: 100, room }));
        assert!(endpoint.poll(SHORT).unwrap());
    }
    assert_eq!(endpoint.try_receive().unwrap().as_deref(), Some(&long[..]));
    assert_eq!(endpoint.receive(SOON).unwrap(), b"next");
}

fn an_endpoint_at_an_address_talks_with_whoever_is_there(bench: &mut Bench) {
    let client = bench.client();
    let (processor, _) = bench.echo(&client);
    let peer = processor.services().unwrap()[0].address;
    let endpoint = processor.open_at(0, Some(77), Some(peer), OpenOptions::new()).unwrap();
    assert_eq!(endpoint.addr(), 77);
    exchange(&endpoint, b"by its address");
    let taken = processor.open_at(0, Some(77), Some(peer), OpenOptions::new());
    assert!(matches!(taken, Err(Error::NoRoom { .. })), "{taken:?}");
    assert!(processor.open_at(9, None, None, OpenOptions::new()).is_err());
    exchange(&processor.open_at(0, None, Some(peer), OpenOptions::new()).unwrap(), b"from any");
}

fn what_makes_no_sense_is_refused_in_words_and_costs_nobody_anything(bench: &mut Bench) {
    let client = bench.client();
    let (processor, endpoint) = bench.echo(&client);
    let long = "x".repeat(1 << 16);
    for name in ["", ".", "..", "../radio", "a/b", "a b", "größe", "n\0ul", &long] {
        let refused = client.start(name, &firmware("echo"), &StartOptions::new()).unwrap_err();
        assert!(
            !refused.to_string().is_empty() && refused.code().to_string().starts_with('E'),
            "{refused:?}"
        );
        assert!(client.processor(name).is_err());
    }
    for file in ["/dev/null", "/dev/zero", "/proc/self/status"] {
        let refused = client.start(&bench.name("bad"), &File::open(file).unwrap(), &StartOptions::new());
        assert!(matches!(refused, Err(Error::BadFirmware { .. })), "{file}: {refused:?}");
    }
    let on = StartOptions::new().on("qemu:nothing-like-it");
    assert!(client.start(&bench.name("bad"), &firmware("echo"), &on).is_err());
    for service in ["", "n\0ul", "größe", &long] {
        let refused = processor.open(service, OpenOptions::new().timeout(SHORT));
        assert!(refused.is_err(), "{service:.20}");
    }
    assert!(client.attach("sandbox:nobody-of-that-name").is_err());
    assert_eq!(client.processors().unwrap().len(), 1);
    exchange(&endpoint, b"all is well");
}

fn a_crash_in_the_middle_of_it_ends_endpoints_and_is_told(bench: &mut Bench) {
    let client = bench.client();
    let (processor, endpoint) = bench.echo(&client);
    let busy = open(&processor);
    thread::scope(|scope| {
        let talking = scope.spawn(|| {
            loop {
                let received = busy.send(b"busy", SOON).and_then(|()| busy.receive(SOON));
                if let Err(error) = received {
                    break error;
                }
            }
        });
        exchange(&endpoint, b"hello");
        bench.kill_remote("radio");
        let error = endpoint.receive(SOON).unwrap_err();
        assert!(matches!(error, Error::Ended { .. }), "{error:?}");
        assert!(matches!(talking.join().unwrap(), Error::Ended { .. }));
    });
    assert!(until(|| processor.state().unwrap() == "crashed"), "{}", processor.state().unwrap());
    processor.restart().unwrap();
    exchange(&open(&processor), b"as new");
}

/// Clients are for any thread.
const _: fn() = || {
    fn shared<T: Send + Sync>() {}
    shared::<Client>();
    shared::<Endpoint>();
};
