//! Leases, and what ends them.

use std::os::unix::net::UnixDatagram;

use sidecore_backends::sandbox::{Config, Sandbox};
use sidecore_os::Channel;
use sidecore_processor::{Options as Settings, Processor};
use zbus::{OwnedFd, OwnedObjectPath, Variant};

use crate::house::{Bus, Client, Options, SOON, error_of, exchange, until};

impl Client {
    async fn lease(&self, path: &OwnedObjectPath, mode: &str) -> zbus::Result<Channel> {
        let arguments = (mode, Options::new());
        let socket: OwnedFd = self.processor(path).await.call("Lease", &arguments).await?;
        Ok(Channel::from(std::os::fd::OwnedFd::from(socket)))
    }

    async fn mode(&self, path: &OwnedObjectPath) -> String {
        // Not from the cache of a proxy.
        let processor = self.processor(path).await;
        processor.get_property("LeaseMode").await.unwrap()
    }

    async fn has_mode(&self, path: &OwnedObjectPath, mode: &str) {
        let begin = std::time::Instant::now();
        while self.mode(path).await != mode {
            assert!(begin.elapsed() < SOON, "never {mode}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }
}

#[tokio::test]
async fn a_shared_lease_keeps_a_remote_from_being_stopped_but_by_force() {
    let bus = Bus::new("lease-shared").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    assert_eq!(client.mode(&path).await, "none");
    let [one, two] =
        [client.lease(&path, "shared").await.unwrap(), client.lease(&path, "shared").await.unwrap()];
    client.has_mode(&path, "shared").await;
    let processor = client.processor(&path).await;
    for method in ["Stop", "Restart", "Remove", "Detach"] {
        let (error, text) = error_of(processor.call::<_, _, ()>(method, &(Options::new(),)).await);
        assert!(error.ends_with("Leased") && text.contains("force"), "{method}: {error}: {text}");
    }
    exchange(&client.open(&path).await, b"shared");
    drop(one);
    client.has_mode(&path, "shared").await;
    let force = || Options::from([("force", Variant::from(true))]);
    let (): () = processor.call("Restart", &(force(),)).await.unwrap();
    assert_eq!(two.receive(&mut [0; 8]).map(|received| received.is_none()), Ok(true), "taken back");
    client.has_mode(&path, "none").await;
    let (): () = processor.call("Stop", &(Options::new(),)).await.unwrap();
}

#[tokio::test]
async fn a_remote_ends_with_the_lease_that_it_is_tied_to() {
    let bus = Bus::new("lease-tied").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let lease = client.lease(&path, "tied").await.unwrap();
    client.has_mode(&path, "tied").await;
    let (error, _) = error_of(client.lease(&path, "tied").await);
    assert!(error.ends_with("Leased"), "{error}");
    let socket = client.open(&path).await;
    exchange(&socket, b"hello");
    drop(lease);
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0, "the end");
    assert!(until(|| bus.sandboxes() == 0));
}

/// The main side over what an exclusive lease brings.
fn main_side(lease: &Channel) -> Processor<Sandbox> {
    lease.wait(None).unwrap();
    let received = lease.receive(&mut [0; 16]).unwrap().unwrap();
    let connection = received.fds.into_iter().next().unwrap();
    let sandbox = Sandbox::over(connection, Config { name: Some("radio".to_owned()), ..Config::default() });
    let mut processor = Processor::detached(sandbox.unwrap(), Settings::new("radio"));
    processor.attach(None).unwrap();
    processor
}

#[tokio::test]
async fn who_leases_a_remote_exclusively_is_its_main_side_until_the_lease_ends() {
    let bus = Bus::new("lease-exclusive").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let before: UnixDatagram = client.open(&path).await;
    exchange(&before, b"before");
    for _ in 0..3 {
        let lease = client.lease(&path, "exclusive").await.unwrap();
        client.has_mode(&path, "exclusive").await;
        let processor = main_side(&lease);
        let endpoint = processor.open("rpmsg-echo", SOON).unwrap();
        processor.send(endpoint, b"direct", SOON).unwrap();
        let answer = processor.receive(endpoint, Some(SOON)).unwrap();
        assert_eq!(answer.to_vec().unwrap(), b"direct");
        drop(answer);
        assert!(error_of(client.try_open(&path).await).0.ends_with("Leased"));
        assert!(error_of(client.lease(&path, "shared").await).0.ends_with("Leased"));
        // As if it had been killed: nothing is said to anybody.
        drop(processor);
        drop(lease);
        client.has_mode(&path, "none").await;
        exchange(&client.open(&path).await, b"shared again");
    }
    assert_eq!(before.recv(&mut [0; 8]).unwrap(), 0, "the end");
}

#[tokio::test]
async fn what_somebody_has_to_himself_can_be_ended_by_force() {
    let bus = Bus::new("lease-force").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let lease = client.lease(&path, "exclusive").await.unwrap();
    let processor = main_side(&lease);
    let force = || Options::from([("force", Variant::from(true))]);
    let (): () = client.processor(&path).await.call("Stop", &(force(),)).await.unwrap();
    while processor.ended().is_none() {
        assert!(processor.wait(Some(SOON)), "it runs on");
    }
    let (): () = client.processor(&path).await.call("Start", &(Options::new(),)).await.unwrap();
    exchange(&client.open(&path).await, b"a new one");
}
