//! Bad luck: daemons and buses that go, and come back; wardens that are killed; remotes that flood.

use std::thread;

use sidecore_backends::sandbox::{Process, Role};
use sidecore_client::{Error, OpenOptions};

use crate::bench::{Bench, SHORT, SOON, exchange, open, until};
use crate::tests;

tests! {
    DAEMON:
    a_client_goes_on_with_the_next_daemon,
    a_bus_that_comes_back_is_found_again,
    a_client_that_leaves_with_messages_queued_disturbs_nobody,
}

tests! {
    DIRECT:
    a_warden_that_is_killed_ends_endpoints_in_every_thread,
}

fn a_client_goes_on_with_the_next_daemon(bench: &mut Bench) {
    let client = bench.client();
    let mut events = client.events().unwrap();
    bench.kill_daemon();
    let refused = client.processors();
    assert!(matches!(refused, Err(Error::NoDaemon { .. })), "{refused:?}");
    assert_eq!(events.wait(SHORT), Ok(None));
    bench.start_daemon();
    client.processors().unwrap();
    let (_processor, endpoint) = bench.echo(&client);
    exchange(&endpoint, b"by the next daemon");
}

fn a_bus_that_comes_back_is_found_again(bench: &mut Bench) {
    let client = bench.client();
    let mut events = client.events().unwrap();
    bench.kill_bus();
    let refused = client.processors();
    assert!(matches!(refused, Err(Error::NoDaemon { .. } | Error::BusGone { .. })), "{refused:?}");
    assert!(matches!(events.wait(SOON), Err(Error::BusGone { .. })));
    bench.kill_daemon();
    bench.start_bus();
    let refused = client.processors();
    assert!(matches!(refused, Err(Error::NoDaemon { .. })), "{refused:?}");
    bench.start_daemon();
    assert_eq!(client.processors(), Ok(Vec::new()));
    let (_processor, endpoint) = bench.echo(&client);
    exchange(&endpoint, b"over the next bus");
}

fn a_client_that_leaves_with_messages_queued_disturbs_nobody(bench: &mut Bench) {
    let (stays, leaves) = (bench.client(), bench.client());
    let (processor, endpoint) = bench.echo(&stays);
    for _ in 0..5 {
        let others = leaves.processor(processor.name()).unwrap();
        let left = others.open("rpmsg-echo", OpenOptions::new()).unwrap();
        (0..100).for_each(|_| left.send(b"queued", SOON).unwrap());
        exchange(&endpoint, b"before");
    }
    drop(leaves);
    exchange(&endpoint, b"after");
}

fn a_warden_that_is_killed_ends_endpoints_in_every_thread(bench: &mut Bench) {
    let client = bench.client();
    let (processor, endpoint) = bench.echo(&client);
    exchange(&endpoint, b"hello");
    thread::scope(|scope| {
        let wait = || open(&processor).receive(None);
        let waiting: Vec<_> = (0..3).map(|_| scope.spawn(wait)).collect();
        thread::sleep(SHORT);
        Process::find(&bench.name("radio"), Role::Warden).unwrap().kill().unwrap();
        for waiting in waiting {
            let received = waiting.join().unwrap();
            assert!(matches!(received, Err(Error::Ended { .. })), "{received:?}");
        }
    });
    assert!(matches!(endpoint.send(b"x", SOON), Err(Error::Ended { .. })));
    assert!(until(|| client.processors().unwrap().is_empty()));
}
