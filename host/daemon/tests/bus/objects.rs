//! Everything else that is on the bus: events, endpoints, console, log, dumps, firmware.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use sidecore_dbus::proxy::{EndpointProxy, FirmwareProxy, JobProxy, ManagerProxy, TraceProxy};
use zbus::{Fd, OwnedFd, OwnedObjectPath, Variant};

use crate::house::{Bus, Client, Options, SOON, board_image, echo, error_of, exchange, image};

impl Client {
    async fn job_of_dump(&self, path: &OwnedObjectPath, file: &File) -> zbus::Result<OwnedObjectPath> {
        self.processor(path).await.call("Dump", &(Fd::from(file), Options::new())).await
    }

    async fn end_of(&self, job: &OwnedObjectPath) -> (String, String) {
        let begin = Instant::now();
        loop {
            let job = JobProxy::builder(&self.0).path(job).build().await.unwrap();
            match job.state().await.unwrap().as_str() {
                "running" => assert!(begin.elapsed() < SOON),
                state => return (state.to_owned(), job.what().await.unwrap()),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn comings_and_goings_are_events() {
    let bus = Bus::new("events").await;
    let client = bus.client().await;
    let manager = ManagerProxy::new(&client.0).await.unwrap();
    let mut events = manager.receive_event().await.unwrap();
    let path = client.start("radio").await;
    drop(client.open(&path).await);
    let (): () = client.processor(&path).await.call("Stop", &(Options::new(),)).await.unwrap();
    let (): () = client.processor(&path).await.call("Remove", &(Options::new(),)).await.unwrap();
    let mut kinds = Vec::new();
    while let Some(event) = events.next().await {
        let event = event.args().unwrap();
        assert_eq!(*event.processor(), "radio");
        if *event.kind() == "name-appeared" {
            let service: &str = event.details()["service"].downcast_ref().unwrap();
            assert_eq!(service, "rpmsg-echo");
        }
        kinds.push(event.kind().to_string());
        if *event.kind() == "removed" {
            break;
        }
    }
    for kind in ["added", "name-appeared", "endpoint-opened", "endpoint-closed", "state", "removed"] {
        assert!(kinds.iter().any(|seen| seen == kind), "no {kind} in {kinds:?}");
    }
}

#[tokio::test]
async fn endpoints_are_objects_that_count_and_can_be_closed() {
    let bus = Bus::new("endpoints").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let socket = client.open(&path).await;
    for _ in 0..3 {
        exchange(&socket, b"counted");
    }
    let object = format!("{}/endpoints/1", path.as_str());
    let endpoint = EndpointProxy::builder(&client.0).path(object).build().await.unwrap();
    assert_eq!((endpoint.sent().await.unwrap(), endpoint.received().await.unwrap()), (3, 3));
    assert_eq!(endpoint.service().await.unwrap(), "rpmsg-echo");
    assert_eq!(endpoint.client().await.unwrap(), client.0.unique_name().unwrap().as_str());
    endpoint.close(HashMap::new()).await.unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0, "the end");
}

#[tokio::test]
async fn a_client_has_so_many_endpoints_and_no_more_and_others_have_theirs() {
    let bus = Bus::new("quota").await;
    let (greedy, other) = (bus.client().await, bus.client().await);
    let path = greedy.start("radio").await;
    let mut sockets = Vec::new();
    let refused = loop {
        match greedy.try_open(&path).await {
            Ok(opened) => sockets.push(opened),
            Err(error) => break error_of::<()>(Err(error)),
        }
        assert!(sockets.len() <= 64);
    };
    assert!(refused.0.ends_with("NoRoom"), "{refused:?}");
    exchange(&other.open(&path).await, b"there is room for me");
}

#[tokio::test]
async fn the_console_of_firmware_is_a_stream() {
    let bus = Bus::new("console").await;
    let client = bus.client().await;
    let path = client.start_of("cat", &image("cat"), Options::new()).await.unwrap();
    let console: OwnedFd =
        client.processor(&path).await.call("OpenConsole", &(Options::new(),)).await.unwrap();
    let mut console = UnixStream::from(std::os::fd::OwnedFd::from(console));
    console.set_read_timeout(Some(SOON)).unwrap();
    console.write_all(b"typed\n").unwrap();
    let mut said = [0; 6];
    console.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"typed\n");
    // Who comes later sees what was said last, and all see what is said.
    let second: OwnedFd =
        client.processor(&path).await.call("OpenConsole", &(Options::new(),)).await.unwrap();
    let mut second = UnixStream::from(std::os::fd::OwnedFd::from(second));
    second.set_read_timeout(Some(SOON)).unwrap();
    second.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"typed\n");
    second.write_all(b"again\n").unwrap();
    for console in [&mut console, &mut second] {
        console.read_exact(&mut said).unwrap();
        assert_eq!(&said, b"again\n");
    }
    // One that never reads, and one that leaves, keep nobody from it.
    drop(second);
    for _ in 0..1000 {
        console.write_all(b"more\n").unwrap();
        console.read_exact(&mut said[..5]).unwrap();
    }
}

#[tokio::test]
async fn the_log_of_its_traces_and_its_firmware_are_told() {
    let bus = Bus::new("log").await;
    let client = bus.client().await;
    let named = Options::from([("file", Variant::from("echo.elf"))]);
    let path = client.start_of("radio", &echo(), named).await.unwrap();
    let firmware = FirmwareProxy::builder(&client.0).path(&path).build().await.unwrap();
    assert_eq!(firmware.file().await.unwrap(), "echo.elf");
    assert_eq!(firmware.size().await.unwrap(), echo().metadata().unwrap().len());
    let traces = TraceProxy::builder(&client.0).path(&path).build().await.unwrap();
    assert!(!traces.list().await.unwrap().is_empty());
    let begin = Instant::now();
    loop {
        let mut text = String::new();
        if let Ok(log) = traces.open_log().await {
            File::from(std::os::fd::OwnedFd::from(log)).read_to_string(&mut text).unwrap();
        }
        if text.contains("echo") {
            break;
        }
        assert!(begin.elapsed() < SOON, "{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    exchange(&client.open(&path).await, b"before");
    let other = File::open(echo()).unwrap();
    firmware.replace(&Fd::from(&other), HashMap::from([("file", Variant::from("two.elf"))])).await.unwrap();
    exchange(&client.open(&path).await, b"after");
    let firmware = FirmwareProxy::builder(&client.0).path(&path).build().await.unwrap();
    assert_eq!(firmware.file().await.unwrap(), "two.elf");
}

#[tokio::test]
async fn a_remote_is_dumped_by_a_job_while_it_works() {
    let bus = Bus::new("dump").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let socket = client.open(&path).await;
    let place = bus.place.join("core");
    let job = client.job_of_dump(&path, &File::create_new(&place).unwrap()).await.unwrap();
    exchange(&socket, b"meanwhile");
    let (state, what) = client.end_of(&job).await;
    assert_eq!(state, "done", "{what}");
    let dump = std::fs::read(&place).unwrap();
    assert_eq!(&dump[..4], b"\x7fELF");
    exchange(&socket, b"afterwards");
    for wrong in [File::open("/dev/null").unwrap(), File::open(&place).unwrap(), File::open("/").unwrap()] {
        let (error, text) = error_of(client.job_of_dump(&path, &wrong).await);
        assert!(error.ends_with("BadOption"), "{error}: {text}");
    }
    let full = File::options().write(true).open("/dev/full").unwrap();
    assert!(client.job_of_dump(&path, &full).await.is_err());
    let job = JobProxy::builder(&client.0).path(&job).build().await.unwrap();
    assert!(job.cancel(HashMap::new()).await.is_err());
}

#[tokio::test]
async fn what_crashes_is_brought_back_as_often_as_was_asked_for() {
    let bus = Bus::new("restart").await;
    let client = bus.client().await;
    let options =
        Options::from([("restart", Variant::from(2_u32)), ("arguments", Variant::from(vec!["fault"]))]);
    let manager = ManagerProxy::new(&client.0).await.unwrap();
    let mut events = manager.receive_event().await.unwrap();
    client.start_of("crash", &image("crash"), options).await.unwrap();
    let (mut states, mut told) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    while !told.iter().any(|what: &String| what.contains("given up") || what.contains("too often")) {
        let event =
            tokio::time::timeout(SOON, events.next()).await.unwrap_or_else(|_| panic!("{told:?}")).unwrap();
        let event = event.args().unwrap();
        if *event.kind() == "state" {
            states.push(event.what().to_string());
        }
        told.push(event.what().to_string());
        assert!(begin.elapsed() < 3 * SOON, "{told:?}");
    }
    assert_eq!(states.iter().filter(|state| state.contains("crashed")).count(), 3, "{states:?}");
    let path = sidecore_dbus::processor_path("crash");
    let processor = client.processor(&path).await;
    assert_eq!(processor.get_property::<u64>("Restarts").await.unwrap(), 2);
}

#[tokio::test]
async fn what_a_client_does_not_read_is_lost_to_it_alone_and_told() {
    let bus = Bus::new("lost").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let processor = client.processor(&path).await;
    let short = Options::from([("queue", Variant::from(2_u32))]);
    let (fd, _, _): (OwnedFd, u32, u32) =
        processor.call("OpenEndpoint", &("rpmsg-echo", short)).await.unwrap();
    let slow = std::os::unix::net::UnixDatagram::from(std::os::fd::OwnedFd::from(fd));
    let other = client.open(&path).await;
    let object = format!("{}/endpoints/1", path.as_str());
    let endpoint = EndpointProxy::builder(&client.0).path(object).build().await.unwrap();
    let begin = Instant::now();
    while endpoint.lost().await.unwrap() == 0 {
        for _ in 0..64 {
            slow.send(&[7; 400]).unwrap();
        }
        exchange(&other, b"quick");
        assert!(begin.elapsed() < SOON);
    }
    exchange(&other, b"still");
}

#[tokio::test]
async fn a_board_is_a_remote_like_any_other_but_for_what_it_cannot() {
    let Some(firmware) = board_image("thumbv7em-none-eabihf") else { return };
    let bus = Bus::new("board").await;
    let client = bus.client().await;
    let on = Options::from([("on", Variant::from("qemu:mps2-an386"))]);
    let path = client.start_of("board", &firmware, on).await.unwrap();
    let processor = client.processor(&path).await;
    assert_eq!(processor.get_property::<String>("Kind").await.unwrap(), "qemu:mps2-an386");
    let (one, two) = (client.open(&path).await, client.open(&path).await);
    for round in 0..20_u32 {
        exchange(&one, &round.to_le_bytes());
        exchange(&two, b"the other");
    }
    let leased = processor.call::<_, _, OwnedFd>("Lease", &("exclusive", Options::new())).await;
    assert!(error_of(leased).0.ends_with("Unsupported"));
    let place = bus.place.join("core");
    let job = client.job_of_dump(&path, &File::create_new(&place).unwrap()).await.unwrap();
    let (state, what) = client.end_of(&job).await;
    assert_eq!(state, "done", "{what}");
    exchange(&one, b"it was held still, and goes on");
    let (): () = processor.call("Restart", &(Options::new(),)).await.unwrap();
    exchange(&client.open(&path).await, b"once more");
    let wrong = Options::from([("on", Variant::from("qemu:nothing"))]);
    let (error, text) = error_of(client.start_of("wrong", &firmware, wrong).await);
    assert!(error.ends_with("Unsupported") && text.contains("qemu:nothing"), "{error}: {text}");
}
