//! What clients do with remotes, and what they are refused.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use zbus::{OwnedFd, OwnedObjectPath, Variant};

use crate::house::{Bus, Options, SOON, echo, error_of, exchange, until};

#[tokio::test]
async fn a_remote_is_started_talked_with_over_a_socket_stopped_started_again_and_removed() {
    let bus = Bus::new("life").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    assert_eq!(path, sidecore_dbus::processor_path("radio"));
    let socket = client.open(&path).await;
    for len in [1, 16, 496] {
        exchange(&socket, &vec![len as u8; len]);
    }
    let processor = client.processor(&path).await;
    let services: Vec<(u32, String, u32)> = processor.call("ListServices", &()).await.unwrap();
    assert_eq!(services, [(0, "rpmsg-echo".to_owned(), 1024)]);
    assert_eq!(processor.get_property::<String>("State").await.unwrap(), "running");

    let (): () = processor.call("Stop", &(Options::new(),)).await.unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0, "the end");
    let begin = Instant::now();
    while processor.get_property::<String>("State").await.unwrap() != "offline" {
        assert!(begin.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(error_of(client.try_open(&path).await).0.ends_with("WrongState"));
    let (): () = processor.call("Start", &(Options::new(),)).await.unwrap();
    exchange(&client.open(&path).await, b"once more");
    assert_eq!(bus.sandboxes(), 1);

    let (): () = processor.call("Remove", &(Options::new(),)).await.unwrap();
    let manager = client.manager().await;
    let begin = Instant::now();
    while !manager.call::<_, _, Vec<OwnedObjectPath>>("ListProcessors", &()).await.unwrap().is_empty() {
        assert!(begin.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(until(|| bus.sandboxes() == 0));
    exchange(&client.open(&client.start("radio").await).await, b"the name is free");
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name_and_costs_nobody_anything() {
    let bus = Bus::new("refused").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let socket = client.open(&path).await;
    let known = |key, value: &'static str| HashMap::from([(key, Variant::from(value))]);
    let cases = [
        ("radio", echo(), Options::new(), "NameTaken", "radio"),
        ("two", echo(), known("lease", "forever"), "BadOption", "forever"),
        ("two", echo(), known("leese", "tied"), "BadOption", "leese"),
        ("two", PathBuf::from("/dev/null"), Options::new(), "BadFirmware", ""),
        ("two", PathBuf::from("/dev/zero"), Options::new(), "BadFirmware", "no file"),
        ("two", PathBuf::from("/proc/self/exe"), Options::new(), "", ""),
        ("../two", echo(), Options::new(), "Failed", "../two"),
        ("", echo(), Options::new(), "Failed", ""),
    ];
    for (name, file, options, error, word) in cases {
        let (found, text) = error_of(client.start_of(name, &file, options).await);
        assert!(
            found.starts_with("org.sidecore.Sidecore1.Error.") && found.ends_with(error),
            "{found}: {text}"
        );
        assert!(text.contains(word), "{found}: {text}");
    }
    let processor = client.processor(&path).await;
    let soon = HashMap::from([("timeout", Variant::from(1000_u64))]);
    let opened = processor.call::<_, _, (OwnedFd, u32, u32)>("OpenEndpoint", &("nobody", soon)).await;
    let (found, text) = error_of(opened);
    assert!(found.ends_with("NotAnnounced") && text.contains("rpmsg-echo"), "{found}: {text}");
    let long = "x".repeat(100_000);
    let opened = processor.call::<_, _, (OwnedFd, u32, u32)>("OpenEndpoint", &(&*long, Options::new())).await;
    assert!(error_of(opened).0.ends_with("NoRoom"));
    let nonsense = HashMap::from([("timeout", Variant::from("soon"))]);
    let opened = processor.call::<_, _, (OwnedFd, u32, u32)>("OpenEndpoint", &("rpmsg-echo", nonsense)).await;
    assert!(error_of(opened).0.ends_with("BadOption"));
    // Longer than any message: that endpoint is closed, and no other.
    let other = client.open(&path).await;
    other.send(&[0; 497]).unwrap();
    assert_eq!(other.recv(&mut [0; 8]).unwrap(), 0, "the end");
    exchange(&socket, b"all is well");
    let manager = client.manager().await;
    assert_eq!(manager.call::<_, _, Vec<OwnedObjectPath>>("ListProcessors", &()).await.unwrap(), [path]);
}

#[tokio::test]
async fn clients_see_their_own_messages_and_none_takes_the_others_buffers() {
    let bus = Bus::new("shared").await;
    let (flooder, other) = (bus.client().await, bus.client().await);
    let path = flooder.start("shared").await;
    let (flood, quiet) = (flooder.open(&path).await, other.open(&path).await);
    flood.set_nonblocking(true).unwrap();
    for round in 0..200_u32 {
        // It sends as long as anybody takes it, and reads nothing.
        loop {
            match flood.send(b"flood") {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("{error}"),
            }
        }
        exchange(&quiet, &round.to_le_bytes());
    }
    flood.set_nonblocking(false).unwrap();
    flood.set_read_timeout(Some(SOON)).unwrap();
    let mut answer = [0; 512];
    assert_eq!(flood.recv(&mut answer).unwrap(), 5);
    assert_eq!(&answer[..5], b"flood");
    drop(flood);
    exchange(&quiet, b"it left in the middle of it");
}

#[tokio::test]
async fn a_remote_that_is_tied_to_its_client_ends_when_that_leaves_the_bus_and_another_does_not() {
    let bus = Bus::new("tied").await;
    let (client, leaving) = (bus.client().await, bus.client().await);
    let stays = client.start("stays").await;
    let tied = HashMap::from([("lease", Variant::from("tied"))]);
    let path = leaving.start_of("goes", &echo(), tied).await.unwrap();
    let socket = client.open(&path).await;
    exchange(&socket, b"hello");
    leaving.0.close().await.unwrap();
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0, "the end");
    let manager = client.manager().await;
    let begin = Instant::now();
    while manager.call::<_, _, Vec<OwnedObjectPath>>("ListProcessors", &()).await.unwrap() != [stays.clone()]
    {
        assert!(begin.elapsed() < SOON);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    exchange(&client.open(&stays).await, b"still here");
}

#[tokio::test]
async fn a_transient_daemon_that_is_killed_leaves_nothing_behind() {
    let mut bus = Bus::new("killed").await;
    let client = bus.client().await;
    let sockets =
        [client.open(&client.start("one").await).await, client.open(&client.start("two").await).await];
    sockets.iter().for_each(|socket| exchange(socket, b"hello"));
    assert_eq!(bus.sandboxes(), 2);
    bus.daemon.kill().unwrap();
    for socket in &sockets {
        assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 0, "the end");
    }
    assert!(until(|| bus.sandboxes() == 0), "sandboxes are left");
}

/// The client in the book.
fn books_client() -> &'static str {
    let page = include_str!("../../../../book/src/guide/daemon.md");
    page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap()
}

#[tokio::test]
async fn the_program_of_the_book_in_another_language_starts_a_remote_and_talks_with_it() {
    let python = "/usr/bin/python3";
    let has_dbus = Command::new(python).args(["-c", "import dbus"]).stderr(Stdio::null()).status();
    if !has_dbus.is_ok_and(|status| status.success()) {
        eprintln!("skipped: {python} has no module dbus (Debian: python3-dbus)");
        return;
    }
    let bus = Bus::new("python").await;
    std::os::unix::fs::symlink(echo(), bus.place.join("echo.elf")).unwrap();
    let mut script = Command::new(python);
    script.args(["-c", books_client()]).env("DBUS_SESSION_BUS_ADDRESS", &bus.address);
    script.current_dir(&bus.place).stdin(Stdio::null());
    let ended = tokio::task::spawn_blocking(move || script.output()).await.unwrap().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(ended.stdout, b"b'hello'\n");
}
