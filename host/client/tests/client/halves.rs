//! What one way has and the other has not.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;

use sidecore_backends::sandbox::{Config, Sandbox};
use sidecore_backends::sysfs::Roots;
use sidecore_client::{Client, Error, LeaseMode, OpenOptions, Places, StartOptions, aio};
use sidecore_os::Channel;
use sidecore_processor::{Options, Processor};

use crate::bench::{Bench, SHORT, SOON, exchange, firmware, open, until};
use crate::tests;

tests! {
    DAEMON:
    a_call_that_waits_is_refused_in_a_task_and_a_client_may_end_in_one,
    a_bus_without_a_daemon_and_no_bus_at_all_are_told_apart_from_all_else,
    who_leases_a_remote_exclusively_has_its_rings_until_all_of_it_is_dropped,
    a_tied_remote_ends_with_its_lease_and_a_shared_one_is_not_stopped_by_others,
}

tests! {
    DIRECT:
    a_remote_that_is_nobodys_goes_on_and_is_the_next_clients,
    there_is_one_main_side_at_a_time_and_the_second_is_told_whose_it_is,
    messages_beyond_the_queue_are_lost_to_that_endpoint_alone_and_an_event_says_so,
    what_linux_drives_is_listed_and_several_of_one_name_are_told_apart,
    a_console_is_a_stream_of_what_is_said_from_then_on,
    a_dump_is_of_a_remote_that_runs_on,
    the_log_grows_while_the_remote_runs,
    a_lease_without_a_daemon_is_exclusive_and_no_other,
    a_connection_to_a_warden_is_enough_to_be_the_main_side,
    what_only_a_daemon_can_do_is_refused,
}

fn a_call_that_waits_is_refused_in_a_task_and_a_client_may_end_in_one(bench: &mut Bench) {
    let client = bench.client();
    let address = bench.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async move {
        assert_eq!(client.processors(), Err(Error::InsideRuntime));
        assert!(matches!(Client::bus(&address), Err(Error::InsideRuntime)));
        drop(client);
        assert_eq!(aio::Client::bus(&address).await.unwrap().processors().await, Ok(Vec::new()));
    });
}

fn a_bus_without_a_daemon_and_no_bus_at_all_are_told_apart_from_all_else(bench: &mut Bench) {
    for address in ["unix:path=/nonexistent/bus", "tcp:nonsense", "", "unix:", "nonsense"] {
        let refused = Client::bus(address);
        assert!(matches!(refused, Err(Error::NoDaemon { .. })), "{address}: {refused:?}");
    }
    bench.kill_daemon();
    let Err(Error::NoDaemon { why }) = Client::bus(&bench.address()) else { panic!() };
    assert!(why.contains("org.sidecore.Sidecore1"), "{why}");
}

fn who_leases_a_remote_exclusively_has_its_rings_until_all_of_it_is_dropped(bench: &mut Bench) {
    let (client, other) = (bench.client(), bench.client());
    let (processor, before) = bench.echo(&client);
    exchange(&before, b"shared");
    for _ in 0..3 {
        let lease = processor.lease(LeaseMode::Exclusive).unwrap();
        assert!(matches!(before.receive(SOON), Err(Error::Ended { .. })));
        let leased = lease.processor().clone();
        let (one, two) = (open(&leased), open(&leased));
        exchange(&one, b"by its rings");
        exchange(&two, &[]);
        let others = other.processor(processor.name()).unwrap();
        assert!(matches!(others.open("rpmsg-echo", OpenOptions::new()), Err(Error::Leased { .. })));
        assert!(matches!(others.lease(LeaseMode::Shared), Err(Error::Leased { .. })));
        drop((lease, leased, one));
        exchange(&two, b"an endpoint has it, too");
        assert!(matches!(others.open("rpmsg-echo", OpenOptions::new()), Err(Error::Leased { .. })));
        drop(two);
        assert!(until(|| others.open("rpmsg-echo", OpenOptions::new()).is_ok()));
    }
    exchange(&open(&processor), b"shared again");
}

fn a_tied_remote_ends_with_its_lease_and_a_shared_one_is_not_stopped_by_others(bench: &mut Bench) {
    let (client, other) = (bench.client(), bench.client());
    let name = bench.name("radio");
    let processor = client.start(&name, &firmware("echo"), &StartOptions::new()).unwrap();
    let others = other.processor(&name).unwrap();
    let lease = processor.lease(LeaseMode::Shared).unwrap();
    exchange(&open(lease.processor()), b"shared");
    assert!(matches!(others.stop(), Err(Error::Leased { .. })), "{:?}", others.stop());
    drop(lease);
    let lease = processor.lease(LeaseMode::Tied).unwrap();
    let endpoint = open(&others);
    exchange(&endpoint, b"tied");
    drop(lease);
    assert!(matches!(endpoint.receive(SOON), Err(Error::Ended { .. })));
    assert!(until(|| client.processors().unwrap().is_empty()));
}

fn a_remote_that_is_nobodys_goes_on_and_is_the_next_clients(bench: &mut Bench) {
    let name = bench.name("radio");
    {
        let client = bench.client();
        let processor = client.start(&name, &firmware("echo"), &StartOptions::new()).unwrap();
        let endpoint = open(&processor);
        exchange(&endpoint, b"hello");
        // Left with messages that nobody has received.
        (0..100).for_each(|_| endpoint.send(b"queued", SOON).unwrap());
    }
    for round in 0..3_u32 {
        let client = bench.client();
        let processor = client.processor(&format!("sandbox:{name}")).unwrap();
        assert_eq!(processor.state().unwrap(), "running");
        let endpoint = open(&processor);
        exchange(&endpoint, &round.to_le_bytes());
        assert_eq!(endpoint.try_receive(), Ok(None));
    }
    let client = bench.client();
    let processor = client.attach(&name).unwrap();
    exchange(&open(&processor), b"attached to");
    processor.detach().unwrap();
    exchange(&open(&processor), b"attached to again, as there was something to do");
    let refused = processor.restart().unwrap_err();
    assert!(matches!(refused, Error::WrongState { .. }), "{refused:?}");
    exchange(&open(&processor), b"what cannot be started again is not stopped");
    processor.remove().unwrap();
    assert!(until(|| client.processors().unwrap().is_empty()));
}

fn there_is_one_main_side_at_a_time_and_the_second_is_told_whose_it_is(bench: &mut Bench) {
    let (one, other) = (bench.client(), bench.client());
    let name = bench.name("radio");
    let processor = one.start(&name, &firmware("echo"), &StartOptions::new()).unwrap();
    let endpoint = open(&processor);
    let same = one.processor(&name).unwrap();
    exchange(&open(&same), b"the same client has it already");
    let others = other.processor(&name).unwrap();
    let Err(Error::Leased { why }) = others.open("rpmsg-echo", OpenOptions::new()) else { panic!() };
    assert!(why.contains(&std::process::id().to_string()), "{why}");
    drop((processor, same));
    assert!(matches!(others.services(), Err(Error::Leased { .. })), "an endpoint is enough to have it");
    exchange(&endpoint, b"undisturbed");
    drop(endpoint);
    assert!(until(|| others.open("rpmsg-echo", OpenOptions::new()).is_ok()));
    others.remove().unwrap();
}

fn messages_beyond_the_queue_are_lost_to_that_endpoint_alone_and_an_event_says_so(bench: &mut Bench) {
    let client = bench.client();
    let (processor, quiet) = bench.echo(&client);
    let mut events = processor.events().unwrap();
    let few = processor.open("rpmsg-echo", OpenOptions::new().queue(3)).unwrap();
    for number in 0..10_u32 {
        few.send(&number.to_le_bytes(), SOON).unwrap();
        exchange(&quiet, &number.to_le_bytes());
    }
    for number in 0..3_u32 {
        assert_eq!(few.receive(SOON).unwrap(), number.to_le_bytes());
    }
    assert_eq!(few.try_receive(), Ok(None));
    let mut warnings = std::iter::from_fn(|| events.wait(SOON).unwrap());
    let lost = warnings.find(|event| event.kind == "warning").unwrap();
    assert_eq!((lost.text("code"), &*lost.processor), (Some("E0517"), processor.name()));
}

fn what_linux_drives_is_listed_and_several_of_one_name_are_told_apart(bench: &mut Bench) {
    let root = bench.path("root");
    let class = root.join("sys/class/remoteproc");
    for (id, name) in
        [("remoteproc0", "m4"), ("remoteproc1", "m4"), ("remoteproc2", "dsp"), ("remoteproc3", "")]
    {
        fs::create_dir_all(class.join(id)).unwrap();
        fs::write(class.join(id).join("name"), format!("{name}\n")).unwrap();
        fs::write(class.join(id).join("state"), "offline\n").unwrap();
    }
    let roots = Roots::below(&root);
    let client = Client::direct_in(Places::new().runtime_dir(Some(bench.path("none"))).roots(roots));
    let names: HashSet<_> = client.processors().unwrap().iter().map(|info| info.qualified()).collect();
    assert_eq!(names, (0..4).map(|number| format!("linux:remoteproc{number}")).collect());
    for (selector, kind) in [
        ("dsp", "linux:remoteproc2"),
        ("remoteproc1", "linux:remoteproc1"),
        ("linux:dsp", "linux:remoteproc2"),
        ("remoteproc3", "linux:remoteproc3"),
    ] {
        let found = client.processor(selector).unwrap();
        assert_eq!((found.kind(), &*found.state().unwrap()), (kind, "offline"));
    }
    let Err(Error::Ambiguous { candidates, .. }) = client.processor("m4") else { panic!() };
    assert_eq!(candidates, ["linux:remoteproc0", "linux:remoteproc1"]);
    let dsp = client.processor("dsp").unwrap();
    dsp.start().unwrap();
    // A file is no attribute: the rest of what was there stays.
    let ordered = fs::read_to_string(class.join("remoteproc2/state")).unwrap();
    assert!(ordered.starts_with("start"), "{ordered}");
    let refused = dsp.open("rpmsg-echo", OpenOptions::new().timeout(SHORT)).unwrap_err();
    assert!(matches!(refused, Error::NotAnnounced { .. }), "{refused:?}");
    assert!(matches!(dsp.console(), Err(Error::Unsupported { .. })));
    assert!(matches!(dsp.remove(), Err(Error::Unsupported { .. })));
    assert!(matches!(dsp.lease(LeaseMode::Exclusive), Err(Error::Unsupported { .. })));
}

fn a_console_is_a_stream_of_what_is_said_from_then_on(bench: &mut Bench) {
    let client = bench.client();
    let processor = bench.start(&client, "cat", "cat");
    let mut console = UnixStream::from(processor.console().unwrap());
    console.set_read_timeout(Some(SOON)).unwrap();
    assert!(matches!(processor.console(), Err(Error::WrongState { .. })), "there is one");
    for round in 0..20_u32 {
        let line = format!("line {round} {}\n", "x".repeat(1000));
        console.write_all(line.as_bytes()).unwrap();
        let mut answer = vec![0; line.len()];
        console.read_exact(&mut answer).unwrap();
        assert_eq!(answer, line.as_bytes());
    }
    drop(console);
    // The next one has it when the first is seen to be gone.
    let opened = RefCell::new(None);
    assert!(until(|| processor.console().is_ok_and(|console| opened.replace(Some(console)).is_none())));
    let mut console = UnixStream::from(opened.take().unwrap());
    console.set_read_timeout(Some(SOON)).unwrap();
    console.write_all(b"again").unwrap();
    let mut answer = [0; 5];
    console.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"again");
    processor.stop().unwrap();
    assert_eq!(console.read(&mut answer).unwrap(), 0, "the end");
}

fn a_dump_is_of_a_remote_that_runs_on(bench: &mut Bench) {
    let client = bench.client();
    let (processor, endpoint) = bench.echo(&client);
    let path = bench.path("core");
    let mut told = Vec::new();
    processor.dump(&File::create(&path).unwrap(), |progress| told.push(progress)).unwrap();
    let mut head = [0; 4];
    File::open(&path).unwrap().read_exact(&mut head).unwrap();
    assert_eq!(&head, b"\x7fELF");
    let last = told.last().unwrap();
    assert_eq!((Some(last.done), last.total), (last.total, Some(fs::metadata(&path).unwrap().len())));
    exchange(&endpoint, b"it runs on");
    let refused = processor.dump(&File::open(&path).unwrap(), |_| ());
    assert!(matches!(refused, Err(Error::System { .. })), "{refused:?}");
}

fn the_log_grows_while_the_remote_runs(bench: &mut Bench) {
    let client = bench.client();
    let (processor, _endpoint) = bench.echo(&client);
    let log = processor.log().unwrap();
    // Whoever reads on where it ended finds what came meanwhile.
    for _ in 0..3 {
        let text = RefCell::new(String::new());
        assert!(until(|| {
            (&log).read_to_string(&mut text.borrow_mut()).unwrap();
            text.borrow().contains("announced at")
        }));
        processor.restart().unwrap();
    }
}

fn a_lease_without_a_daemon_is_exclusive_and_no_other(bench: &mut Bench) {
    let (client, other) = (bench.client(), bench.client());
    let name = bench.name("radio");
    client.start(&name, &firmware("echo"), &StartOptions::new()).unwrap();
    let lease = client.processor(&name).unwrap().lease(LeaseMode::Exclusive).unwrap();
    assert_eq!(lease.mode(), LeaseMode::Exclusive);
    let others = other.processor(&name).unwrap();
    assert!(matches!(others.lease(LeaseMode::Exclusive), Err(Error::Leased { .. })));
    exchange(&open(lease.processor()), b"leased");
    for mode in [LeaseMode::Shared, LeaseMode::Tied] {
        assert!(matches!(others.lease(mode), Err(Error::Unsupported { .. })));
    }
    drop(lease);
    let lease = others.lease(LeaseMode::Exclusive).unwrap();
    lease.processor().remove().unwrap();
}

fn a_connection_to_a_warden_is_enough_to_be_the_main_side(bench: &mut Bench) {
    let client = bench.client();
    let name = bench.name("radio");
    drop(client.start(&name, &firmware("echo"), &StartOptions::new()).unwrap());
    let connect = || Sandbox::ask_for(&name, Some(&bench.path("sidecore"))).unwrap();
    let config = || Config { name: Some("anything".to_owned()), ..Config::default() };
    for _ in 0..3 {
        let sandbox = Sandbox::over(connect(), config()).unwrap();
        let mut processor = Processor::detached(sandbox, Options::new("anything"));
        processor.attach(None).unwrap();
        let endpoint = processor.open("rpmsg-echo", SOON).unwrap();
        processor.send(endpoint, b"over it", SOON).unwrap();
        assert_eq!(processor.receive(endpoint, Some(SOON)).unwrap().to_vec().unwrap(), b"over it");
        processor.detach().unwrap();
        // It is good for once: the directory is not this one's to look into.
        assert!(processor.attach(None).is_err());
    }
    // What is no such connection, and one that nobody answers.
    let null = File::open("/dev/null").unwrap();
    assert!(Sandbox::over(null.into(), config()).is_err());
    assert!(Sandbox::over(UnixStream::pair().unwrap().0.into(), config()).is_err());
    let (ours, theirs) = Channel::pair().unwrap();
    drop(theirs);
    let mut gone = Processor::detached(Sandbox::over(ours.into(), config()).unwrap(), Options::new("gone"));
    assert!(gone.attach(None).is_err());
    client.processor(&name).unwrap().remove().unwrap();
}

fn what_only_a_daemon_can_do_is_refused(bench: &mut Bench) {
    let client = bench.client();
    let name = bench.name("board");
    let on = StartOptions::new().on("qemu:mps2-an386");
    assert!(matches!(client.start(&name, &firmware("echo"), &on), Err(Error::Unsupported { .. })));
    let leased = StartOptions::new().lease(LeaseMode::Shared);
    assert!(matches!(client.start(&name, &firmware("echo"), &leased), Err(Error::BadOption { .. })));
    assert_eq!(client.processors(), Ok(Vec::new()));
}
