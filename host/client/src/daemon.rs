//! Remotes that the daemon has: the half through it. What waits here waits for the bus; messages do not pass here.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::StreamExt as _;
use sidecore_dbus::proxy::{EventStream, JobProxy, Options, ProcessorProxy, TraceProxy};
use zbus::proxy::CacheProperties;
use zbus::{Fd, OwnedObjectPath, OwnedVariant, Variant};

use crate::bus::{Bus, LIMIT, answered, manager, microseconds, none};
use crate::error::{Error, Result};
use crate::options::{Detail, Event, Info, LeaseMode, OpenOptions, Progress, Service, StartOptions};
use crate::select::select;
use crate::socket::Socket;

/// How often a job is asked how far it has come.
const LOOK: Duration = Duration::from_millis(20);

/// One remote of the daemon's.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    bus: Arc<Bus>,
    path: OwnedObjectPath,
    pub(crate) info: Info,
}

/// Bytes of the longest text that goes by the bus, all arguments of firmware together included.
const MAX_TEXT: usize = 1 << 20;

/// Whether a text can go by the bus, which cuts the connection of those who send what is none.
fn check<'t>(texts: impl IntoIterator<Item = &'t str>) -> Result<()> {
    let mut len = 0_usize;
    for text in texts {
        len = len.saturating_add(text.len());
        if let Some(at) = text.find('\0') {
            return Err(Error::BadOption { why: format!("{:?} has a NUL, its byte {at}", shortened(text)) });
        }
    }
    match len {
        0..=MAX_TEXT => Ok(()),
        _ => Err(Error::BadOption { why: format!("{len} bytes of text: {MAX_TEXT} at most") }),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The remotes' infos.
pub(crate) async fn processors(bus: &Bus) -> Result<Vec<Info>> {
    Ok(bus.list().await?.into_iter().map(|(info, _)| info).collect())
}

/// The one that a selector stands for.
pub(crate) async fn processor(bus: &Arc<Bus>, selector: &str) -> Result<Remote> {
    let all = bus.list().await?;
    let infos: Vec<Info> = all.iter().map(|(info, _)| info.clone()).collect();
    let info = select(&infos, selector)?.clone();
    let found = all.into_iter().find(|(one, _)| *one == info);
    let (info, path) = found.expect("it was selected from these");
    Ok(Remote { bus: Arc::clone(bus), path, info })
}

pub(crate) async fn start(
    bus: &Arc<Bus>,
    name: &str,
    firmware: &File,
    asked: &StartOptions,
) -> Result<Remote> {
    let texts = asked.on.iter().chain(&asked.file).chain(&asked.arguments).map(String::as_str);
    check(texts.chain([name]))?;
    let mut options = Options::new();
    options.extend(asked.on.as_ref().map(|on| ("on", Variant::from(on.as_str()))));
    options.extend(asked.lease.map(|mode| ("lease", Variant::from(mode.word()))));
    options.extend(asked.watchdog.map(|period| ("watchdog", Variant::from(microseconds(period)))));
    options.extend(asked.file.as_ref().map(|file| ("file", Variant::from(file.as_str()))));
    if !asked.arguments.is_empty() {
        let arguments: Vec<&str> = asked.arguments.iter().map(String::as_str).collect();
        options.insert("arguments", Variant::from(arguments));
    }
    let firmware = Fd::from(firmware);
    let manager = bus.manager().await?;
    let path = answered(LIMIT, manager.start(name, &firmware, options)).await?;
    Remote::at(bus, path).await
}

pub(crate) async fn attach(bus: &Arc<Bus>, remote: &str) -> Result<Remote> {
    check([remote])?;
    let path = answered(LIMIT, bus.manager().await?.attach(remote, none())).await?;
    Remote::at(bus, path).await
}

impl Remote {
    async fn at(bus: &Arc<Bus>, path: OwnedObjectPath) -> Result<Self> {
        let found = bus.list().await?.into_iter().find(|(_, one)| *one == path);
        let (info, path) =
            found.ok_or_else(|| Error::NotFound { why: format!("{path} ended as soon as it began") })?;
        Ok(Self { bus: Arc::clone(bus), path, info })
    }

    pub(crate) async fn state(&self) -> Result<String> {
        answered(LIMIT, self.object().await?.state()).await
    }

    pub(crate) async fn start(&self) -> Result<()> {
        answered(LIMIT, self.object().await?.start(none())).await
    }

    pub(crate) async fn stop(&self) -> Result<()> {
        answered(LIMIT, self.object().await?.stop(none())).await
    }

    pub(crate) async fn restart(&self) -> Result<()> {
        answered(LIMIT, self.object().await?.restart(none())).await
    }

    pub(crate) async fn detach(&self) -> Result<()> {
        answered(LIMIT, self.object().await?.detach(none())).await
    }

    pub(crate) async fn remove(&self) -> Result<()> {
        answered(LIMIT, self.object().await?.remove(none())).await
    }

    pub(crate) async fn services(&self) -> Result<Vec<Service>> {
        let services = answered(LIMIT, self.object().await?.list_services()).await?;
        Ok(services.into_iter().map(|(device, name, address)| Service { device, name, address }).collect())
    }

    pub(crate) async fn open(&self, service: &str, asked: OpenOptions) -> Result<Socket> {
        check([service])?;
        let mut options = queue(asked);
        options.insert("timeout", Variant::from(microseconds(asked.timeout)));
        let limit = LIMIT.saturating_add(asked.timeout);
        let opened = answered(limit, self.object().await?.open_endpoint(service, options)).await;
        socket(opened?)
    }

    pub(crate) async fn open_at(
        &self,
        device: u32,
        local: Option<u32>,
        peer: Option<u32>,
        asked: OpenOptions,
    ) -> Result<Socket> {
        let any = |address: Option<u32>| address.unwrap_or(sidecore_dbus::ADDRESS_ANY);
        let object = self.object().await?;
        let opened = object.open_endpoint_at(device, any(local), any(peer), queue(asked));
        socket(answered(LIMIT, opened).await?)
    }

    pub(crate) async fn console(&self) -> Result<OwnedFd> {
        Ok(answered(LIMIT, self.object().await?.open_console(none())).await?.into())
    }

    pub(crate) async fn log(&self) -> Result<File> {
        let connection = self.bus.connection().await?;
        let fd = answered(LIMIT, async {
            let trace = TraceProxy::builder(&connection).destination(sidecore_dbus::NAME);
            let trace = trace.path(&self.path).cache_properties(CacheProperties::No).build().await?;
            trace.open_log().await
        });
        Ok(File::from(OwnedFd::from(fd.await?)))
    }

    /// The socket by which the lease is held.
    pub(crate) async fn lease(&self, mode: LeaseMode) -> Result<OwnedFd> {
        Ok(answered(LIMIT, self.object().await?.lease(mode.word(), none())).await?.into())
    }

    pub(crate) async fn dump(&self, file: &File, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<()> {
        let object = self.object().await?;
        let file = Fd::from(file);
        let path = answered(LIMIT, object.dump(&file, none())).await?;
        let job = answered(LIMIT, async {
            let job = JobProxy::builder(object.inner().connection()).destination(sidecore_dbus::NAME);
            job.path(path).cache_properties(CacheProperties::No).build().await
        });
        let job = job.await?;
        loop {
            let state = answered(LIMIT, job.state()).await?;
            let (done, total) = answered(LIMIT, job.progress()).await?;
            progress(Progress { done, total: Some(total).filter(|total| *total > 0) });
            match &*state {
                "running" => tokio::time::sleep(LOOK).await,
                "done" => return Ok(()),
                _ => return Err(Error::of_daemon("", answered(LIMIT, job.what()).await?)),
            }
        }
    }

    async fn object(&self) -> Result<ProcessorProxy<'static>> {
        let connection = self.bus.connection().await?;
        let object = async {
            let object = ProcessorProxy::builder(&connection).destination(sidecore_dbus::NAME);
            object.path(self.path.clone()).cache_properties(CacheProperties::No).build().await
        };
        answered(LIMIT, object).await
    }

    /// What happens to this one.
    pub(crate) async fn events(&self) -> Result<Events> {
        Events::open(&self.bus, Some(self.info.name.clone())).await
    }
}

fn queue(asked: OpenOptions) -> Options<'static> {
    let mut options = Options::new();
    if asked.queue != OpenOptions::DEFAULT.queue {
        options.insert("queue", Variant::from(asked.queue));
    }
    options
}

fn socket((fd, address, max): (zbus::OwnedFd, u32, u32)) -> Result<Socket> {
    Ok(Socket::new(fd.into(), address, max as usize))
}

/// What happens to remotes, by the daemon's signals.
pub(crate) struct Events {
    stream: EventStream,
    /// Of this one alone.
    of: Option<String>,
}

impl Events {
    pub(crate) async fn open(bus: &Bus, of: Option<String>) -> Result<Self> {
        // Signals that nobody takes would hold the answers up that come by the same connection.
        let manager = manager(&bus.another().await?).await?;
        let stream = answered(LIMIT, manager.receive_event()).await?;
        Ok(Self { stream, of })
    }

    /// The next one.
    ///
    /// # Errors
    /// The bus is gone.
    pub(crate) async fn next(&mut self) -> Result<Event> {
        loop {
            let signal = self.stream.next().await;
            let signal = signal.ok_or_else(|| Error::BusGone { why: "no more events come".to_owned() })?;
            // What is no event of ours says nothing.
            let Ok(arguments) = signal.args() else { continue };
            if self.of.as_deref().is_some_and(|name| name != arguments.processor) {
                continue;
            }
            let details =
                arguments.details.iter().filter_map(|(key, value)| Some((key.clone(), detail(value)?)));
            return Ok(Event {
                time: UNIX_EPOCH + Duration::from_micros(arguments.time),
                processor: arguments.processor.to_owned(),
                kind: arguments.kind.to_owned(),
                what: arguments.what.to_owned(),
                details: details.collect(),
            });
        }
    }
}

fn detail(value: &OwnedVariant) -> Option<Detail> {
    if let Ok(text) = <&str>::try_from(value) {
        return Some(Detail::Text(text.to_owned()));
    }
    let number = u64::try_from(value.clone()).or_else(|_| u32::try_from(value.clone()).map(u64::from));
    number.ok().map(Detail::Number)
}
