//! Remotes on the bus: their objects, and what is told of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sidecore_dbus::{Error, ROOT, processor_path};
use sidecored::rules::{Event, Rules};
use tokio::sync::mpsc;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use crate::authority::Authority;
use crate::interface::endpoint::Endpoint;
use crate::interface::firmware::Firmware;
use crate::interface::manager::{Manager, Settings};
use crate::interface::processor::{Processor, ProcessorSignals as _};
use crate::interface::trace::Trace;
use crate::keeper::protocol::{News, Opened};
use crate::notify;
use crate::registry::Registry;
use crate::remote::Remote;

/// News that are kept of a remote that is being made.
const EARLY: usize = 256;

/// How long a keeper has to live for its death to be made good again.
const TOO_SOON: Duration = Duration::from_secs(5);

/// What all objects stand on. There is one, and clones of it.
#[derive(Clone, Debug)]
pub(crate) struct House(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    settings: Settings,
    rules: Rules,
    /// Another one when the bus went and came back.
    bus: Mutex<Bus>,
}

/// The bus that there is now.
#[derive(Clone, Debug)]
struct Bus {
    connection: Connection,
    authority: Arc<Authority>,
}

/// More about an event.
pub(crate) type Details = HashMap<String, OwnedVariant>;

impl House {
    pub(crate) fn new(
        settings: Settings,
        rules: Rules,
        connection: Connection,
        authority: Authority,
    ) -> Self {
        let bus = Mutex::new(Bus { connection, authority: Arc::new(authority) });
        Self(Arc::new(Inner { registry: Registry::default(), settings, rules, bus }))
    }

    /// The bus came back: remotes are as they were, and on it once more.
    pub(crate) fn move_to(&self, connection: Connection, authority: Authority) {
        *self.bus() = Bus { connection, authority: Arc::new(authority) };
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    pub(crate) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    pub(crate) fn connection(&self) -> Connection {
        self.bus().connection.clone()
    }

    /// Whether the caller may do what `action` is about.
    ///
    /// # Errors
    /// [`Error::NotAuthorized`].
    pub(crate) async fn check(&self, header: &Header<'_>, action: &str) -> Result<(), Error> {
        let authority = Arc::clone(&self.bus().authority);
        authority.check(header, action).await
    }

    fn bus(&self) -> MutexGuard<'_, Bus> {
        // Nothing in there is ever half done.
        self.0.bus.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a remote on the bus.
    pub(crate) async fn serve(&self, remote: &Arc<Remote>) -> Result<OwnedObjectPath, Error> {
        let (path, connection) = (processor_path(remote.name()), self.connection());
        let server = connection.object_server();
        server.at(&path, Trace::new(Arc::clone(remote), self.clone())).await?;
        server.at(&path, Firmware::new(Arc::clone(remote), self.clone())).await?;
        server.at(&path, Processor::new(Arc::clone(remote), self.clone())).await?;
        remote.set_served();
        let endpoints: Vec<_> = remote.known().endpoints.values().cloned().collect();
        for endpoint in endpoints {
            self.opened(remote, endpoint).await;
        }
        self.tell(remote.name(), "added", "it is there", Details::new()).await;
        // What was told before anybody could hear it.
        let early = std::mem::take(&mut remote.known().early);
        for news in early {
            self.hear(remote, news).await;
        }
        Ok(path)
    }

    /// Tells the bus what happens to a remote, until it is gone.
    pub(crate) async fn follow(self, remote: Arc<Remote>, mut news: mpsc::Receiver<News>) {
        loop {
            let since = Instant::now();
            while let Some(news) = news.recv().await {
                self.hear(&remote, news).await;
            }
            if since.elapsed() < TOO_SOON && remote.is_served() {
                break;
            }
            match remote.keep_again().await {
                None => break,
                Some(next) => news = next,
            }
            let opened = std::mem::take(&mut remote.known().endpoints);
            for number in opened.into_keys() {
                self.closed(&remote, number).await;
            }
            let what = "its keeper died, and another has taken it over; endpoints are closed";
            self.warn(&remote, what, "E0504").await;
        }
        self.registry().forget(&remote);
        notify::remove(remote.name());
        if !remote.is_served() {
            return;
        }
        let (path, connection) = (processor_path(remote.name()), self.connection());
        let server = connection.object_server();
        let opened = std::mem::take(&mut remote.known().endpoints);
        for number in opened.into_keys() {
            self.closed(&remote, number).await;
        }
        let _ = server.remove::<Processor, _>(&path).await;
        let _ = server.remove::<Firmware, _>(&path).await;
        let _ = server.remove::<Trace, _>(&path).await;
        self.tell(remote.name(), "removed", "it is gone", Details::new()).await;
    }

    /// Takes over what its keeper tells. Where the bus is gone there is nobody to tell.
    async fn hear(&self, remote: &Arc<Remote>, news: News) {
        if !remote.is_served() && matches!(news, News::Service { .. } | News::Happened { .. }) {
            let early = &mut remote.known().early;
            if early.len() < EARLY {
                early.push(news);
            }
            return;
        }
        match news {
            News::State(state) => {
                let before = std::mem::replace(&mut remote.known().state, state.clone());
                if before == state || !remote.is_served() {
                    return;
                }
                if let Some(object) = self.object(remote).await {
                    let _ = object.get().await.state_changed(object.signal_emitter()).await;
                }
                let details = details([("state", state.as_str().into())]);
                self.tell(remote.name(), "state", &format!("it is {state}"), details).await;
            }
            News::Lease(mode) => {
                remote.known().lease = mode;
                if let Some(object) = self.object(remote).await {
                    let _ = object.get().await.lease_mode_changed(object.signal_emitter()).await;
                }
                let details = details([("lease", mode.word().into())]);
                self.tell(remote.name(), "lease", &format!("its lease is {}", mode.word()), details).await;
            }
            News::Restarts(restarts) => {
                remote.known().restarts = restarts;
                if let Some(object) = self.object(remote).await {
                    let _ = object.get().await.restarts_changed(object.signal_emitter()).await;
                }
            }
            News::Firmware(facts) => remote.known().firmware = facts,
            News::Opened(opened) => {
                remote.known().endpoints.insert(opened.number, opened.clone());
                if remote.is_served() {
                    self.opened(remote, opened).await;
                }
            }
            News::Closed(number) => {
                remote.known().endpoints.remove(&number);
                self.closed(remote, number).await;
            }
            News::Service { service, is_there } => {
                let Some(object) = self.object(remote).await else { return };
                let (emitter, name) = (object.signal_emitter(), service.name.as_str());
                let details = details([
                    ("service", name.into()),
                    ("device", service.device.into()),
                    ("address", service.addr.into()),
                ]);
                let (kind, word) = if is_there {
                    let _ = emitter.service_appeared(service.device, name, service.addr).await;
                    ("name-appeared", "appeared")
                } else {
                    let _ = emitter.service_gone(service.device, name, service.addr).await;
                    ("name-gone", "is gone")
                };
                self.tell(remote.name(), kind, &format!("{name} {word}"), details).await;
            }
            News::Happened { what, code: Some(code) } => self.warn(remote, &what, &code).await,
            News::Happened { what, code: None } => {
                if let Some(object) = self.object(remote).await {
                    let _ = object.signal_emitter().happened(&what, false).await;
                }
                self.tell(remote.name(), "notice", &what, Details::new()).await;
            }
        }
    }

    async fn warn(&self, remote: &Arc<Remote>, what: &str, code: &str) {
        if let Some(object) = self.object(remote).await {
            let _ = object.signal_emitter().happened(what, true).await;
        }
        self.tell(remote.name(), "warning", what, details([("code", code.into())])).await;
    }

    async fn opened(&self, remote: &Arc<Remote>, opened: Opened) {
        let path = endpoint_path(remote.name(), opened.number);
        let what = format!("{} opened endpoint {:#x} {}", opened.client, opened.addr, opened.service);
        let details = details([("service", opened.service.as_str().into()), ("address", opened.addr.into())]);
        let object = Endpoint::new(Arc::clone(remote), opened, self.clone());
        let _ = self.connection().object_server().at(&path, object).await;
        self.tell(remote.name(), "endpoint-opened", what.trim_end(), details).await;
    }

    async fn closed(&self, remote: &Arc<Remote>, number: u64) {
        let path = endpoint_path(remote.name(), number);
        let removed = self.connection().object_server().remove::<Endpoint, _>(&path).await;
        if removed.is_ok_and(|removed| removed) {
            self.tell(remote.name(), "endpoint-closed", "an endpoint is closed", Details::new()).await;
        }
    }

    async fn object(&self, remote: &Arc<Remote>) -> Option<zbus::object_server::InterfaceRef<Processor>> {
        if !remote.is_served() {
            return None;
        }
        self.connection().object_server().interface(&processor_path(remote.name())).await.ok()
    }

    /// Tells everybody who wants to know.
    pub(crate) async fn tell(&self, processor: &str, kind: &str, what: &str, details: Details) {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64);
        let words = details.iter().map(|(key, value)| (key.clone(), word(value)));
        let event = Event {
            time_us: time,
            remote: processor.to_owned(),
            kind: kind.to_owned(),
            what: what.to_owned(),
            details: words.collect(),
        };
        self.0.rules.offer(&event);
        if let Ok(emitter) = SignalEmitter::new(&self.connection(), ROOT) {
            // Where the bus is gone there is nobody to tell.
            let _ = Manager::event(&emitter, time, processor, kind, what, details).await;
        }
    }
}

/// A detail as rules see it.
fn word(value: &OwnedVariant) -> String {
    let text = <&str>::try_from(value).map(str::to_owned);
    text.or_else(|_| u32::try_from(value.clone()).map(|number| number.to_string())).unwrap_or_default()
}

fn details<const N: usize>(of: [(&str, zbus::Variant<'_>); N]) -> Details {
    let owned = of.into_iter().map(|(key, value)| Some((key.to_owned(), value.try_into_owned().ok()?)));
    owned.flatten().collect()
}

fn endpoint_path(name: &str, number: u64) -> OwnedObjectPath {
    let path = format!("{}/endpoints/{number}", processor_path(name).as_str());
    OwnedObjectPath::try_from(path).expect("a number is behind a path")
}
