//! Remotes that a daemon before us has left with their keepers.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use sidecore_os::Channel;
use tokio::time::timeout;

use crate::interface::manager::bus_of;
use crate::keeper::protocol::{Answer, Ask};
use crate::link::Link;
use crate::notify;
use crate::place::Place;
use crate::remote::Remote;
use crate::serve::House;

/// How long a keeper may take to answer. It may just be starting its remote.
const ANSWER: Duration = Duration::from_secs(5);

/// Takes over all remotes that there are: by the conversations with their keepers that the service manager kept, and by the
/// keepers' sockets.
pub(crate) async fn adopt(house: &House, inherited: Vec<(String, OwnedFd)>) {
    let mut found = BTreeSet::new();
    for (name, fd) in inherited {
        if take(house, &name, Channel::from(fd)).await {
            found.insert(name);
        } else {
            notify::remove(&name);
        }
    }
    let Ok(place) = Place::open(&house.settings().runtime_dir) else { return };
    for (name, channel) in place.keepers(&found) {
        if !take(house, &name, channel).await {
            eprintln!("sidecored: the keeper of {name} does not answer; its remote is left to it");
        }
    }
}

/// Whether there is a remote at the other end.
async fn take(house: &House, name: &str, channel: Channel) -> bool {
    let Ok((link, news)) = Link::find(channel) else { return false };
    let Ok(Ok((Answer::Known(Some(load)), _))) = timeout(ANSWER, link.ask(Ask::Hello, None)).await else {
        return false;
    };
    // Names come from the directory, but what counts is what the keeper says.
    if load.name != name {
        return false;
    }
    let remote = Remote::new(load, Arc::clone(&link));
    if house.registry().add(Arc::clone(&remote), usize::MAX).is_err() {
        return false;
    }
    notify::keep(name, link.channel());
    let served = house.serve(&remote).await.is_ok();
    tokio::spawn(house.clone().follow(Arc::clone(&remote), news));
    served
}

/// Ends what was tied to a client that is gone, or of a bus that is.
pub(crate) async fn end_those_whose_client_left(house: &House) {
    let connection = house.connection();
    let Ok(bus) = zbus::fdo::DBusProxy::new(&connection).await else { return };
    for remote in house.registry().all() {
        let Some((its_bus, client)) = &remote.load().tied_to else { continue };
        let is_there = match zbus::names::BusName::try_from(client.as_str()) {
            Ok(name) if *its_bus == bus_of(&connection) => bus.name_has_owner(name).await.unwrap_or(false),
            _ => false,
        };
        if !is_there {
            remote.end();
        }
    }
}
