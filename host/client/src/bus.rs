//! A connection to a daemon.

use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use sidecore_dbus::proxy::{ManagerProxy, Options};
use tokio::sync::Mutex;
use zbus::fdo::{self, DBusProxy, ManagedObjects, ObjectManagerProxy};
use zbus::names::BusName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use crate::error::{Error, Result};
use crate::options::{Info, Way};

/// How long an answer may take that nothing has to be waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// Turns of the runtime in which its reader sees that the bus is gone, if it is.
const LOOKS: u32 = 4;

/// What the interface's errors begin with.
const ERROR: &str = "org.sidecore.Sidecore1.Error.";

/// The daemon of one bus. The connection is made anew when the bus was gone.
#[derive(Debug)]
pub(crate) struct Bus {
    way: Way,
    /// Where [`Way::Bus`] is.
    address: Option<String>,
    connection: Mutex<Option<Connection>>,
}

impl Bus {
    /// Connects to a bus on which there is a daemon, or one can be had.
    ///
    /// # Errors
    /// There is neither.
    pub(crate) async fn open(way: Way, address: Option<&str>) -> Result<Self> {
        let bus = Self { way, address: address.map(ToOwned::to_owned), connection: Mutex::new(None) };
        let connection = bus.connection().await?;
        let names = answered(LIMIT, async {
            let names = DBusProxy::new(&connection).await?;
            let wanted = BusName::try_from(sidecore_dbus::NAME)?;
            let is_there = names.name_has_owner(wanted.clone()).await?;
            Ok(is_there || names.list_activatable_names().await?.iter().any(|name| **name == wanted))
        });
        match names.await? {
            true => Ok(bus),
            false => Err(Error::NoDaemon { why: format!("nobody is {} on that bus", sidecore_dbus::NAME) }),
        }
    }

    pub(crate) fn way(&self) -> Way {
        self.way
    }

    /// The connection, or a new one where it was lost.
    pub(crate) async fn connection(&self) -> Result<Connection> {
        let mut kept = self.connection.lock().await;
        for _ in 0..LOOKS {
            tokio::task::yield_now().await;
        }
        match &*kept {
            Some(connection) if !connection.is_closed() => Ok(connection.clone()),
            _ => Ok(kept.insert(self.another().await?).clone()),
        }
    }

    /// A connection of its own: who does not take what comes there holds nobody up.
    pub(crate) async fn another(&self) -> Result<Connection> {
        use zbus::connection::Builder;
        let builder = match (self.way, &self.address) {
            (_, Some(address)) => Builder::address(address.as_str()),
            (Way::System, None) => Builder::system(),
            _ => Builder::session(),
        };
        let built = tokio::time::timeout(LIMIT, builder.build()).await;
        let built = built.map_err(|_| Error::NoAnswer { waited: LIMIT })?;
        built.map_err(|error| Error::NoDaemon { why: error.to_string() })
    }

    pub(crate) async fn manager(&self) -> Result<ManagerProxy<'static>> {
        manager(&self.connection().await?).await
    }

    /// All remotes that the daemon has, by name, with their objects.
    pub(crate) async fn list(&self) -> Result<Vec<(Info, OwnedObjectPath)>> {
        let connection = self.connection().await?;
        let objects = answered(LIMIT, async {
            let objects = ObjectManagerProxy::builder(&connection);
            let objects = objects.destination(sidecore_dbus::NAME).path(sidecore_dbus::ROOT);
            let objects = objects.cache_properties(CacheProperties::No).build().await?;
            Ok(objects.get_managed_objects().await?)
        });
        Ok(infos(objects.await?))
    }
}

pub(crate) async fn manager(connection: &Connection) -> Result<ManagerProxy<'static>> {
    let builder = ManagerProxy::builder(connection).cache_properties(CacheProperties::No);
    answered(LIMIT, builder.build()).await
}

fn infos(objects: ManagedObjects) -> Vec<(Info, OwnedObjectPath)> {
    let text = |properties: &HashMap<String, OwnedVariant>, key| {
        let value = properties.get(key).and_then(|value| <&str>::try_from(value).ok());
        value.map(ToOwned::to_owned)
    };
    let of = |(path, interfaces): (OwnedObjectPath, HashMap<_, _>)| {
        let properties =
            interfaces.iter().find_map(|(name, properties): (&zbus::names::OwnedInterfaceName, _)| {
                (name.as_str() == sidecore_dbus::PROCESSOR).then_some(properties)
            })?;
        let info = Info {
            name: text(properties, "Name")?,
            kind: text(properties, "Kind").unwrap_or_else(|| "sandbox".to_owned()),
            state: text(properties, "State").unwrap_or_default(),
        };
        Some((info, path))
    };
    let mut infos: Vec<_> = objects.into_iter().filter_map(of).collect();
    infos.sort_by(|(a, _), (b, _)| (&a.name, &a.kind).cmp(&(&b.name, &b.kind)));
    infos
}

/// What a call answers, in time, with the errors of both bus and daemon in our words.
pub(crate) async fn answered<T>(limit: Duration, call: impl Future<Output = zbus::Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(translated),
        Err(_) => Err(Error::NoAnswer { waited: limit }),
    }
}

/// A time as the interface has it.
pub(crate) fn microseconds(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// Options of which there are none.
pub(crate) fn none() -> Options<'static> {
    Options::new()
}

pub(crate) fn translated(error: zbus::Error) -> Error {
    match error {
        zbus::Error::MethodError(name, text, _) => {
            let why = text.unwrap_or_else(|| name.to_string());
            Error::of_daemon(name.as_str().strip_prefix(ERROR).unwrap_or_default(), why)
        }
        zbus::Error::FDO(error) => freedesktop(*error),
        zbus::Error::InputOutput(error) => Error::BusGone { why: error.to_string() },
        zbus::Error::Connection(error, address) => Error::NoDaemon { why: format!("{address}: {error}") },
        zbus::Error::Handshake(why) => Error::NoDaemon { why },
        other => Error::of_daemon("", other.to_string()),
    }
}

/// An error of the bus itself, or of whoever stands at the daemon's place.
fn freedesktop(error: fdo::Error) -> Error {
    match error {
        fdo::Error::ZBus(error) => translated(error),
        fdo::Error::ServiceUnknown(why)
        | fdo::Error::NameHasNoOwner(why)
        | fdo::Error::SpawnFailed(why)
        | fdo::Error::SpawnChildExited(why)
        | fdo::Error::SpawnChildSignaled(why)
        | fdo::Error::SpawnServiceNotFound(why) => Error::NoDaemon { why },
        fdo::Error::NoReply(why) | fdo::Error::Disconnected(why) | fdo::Error::IOError(why) => {
            Error::BusGone { why }
        }
        fdo::Error::AccessDenied(why) | fdo::Error::AuthFailed(why) => Error::of_daemon("NotAuthorized", why),
        fdo::Error::UnknownObject(why) => Error::NotFound { why },
        fdo::Error::UnknownMethod(why)
        | fdo::Error::UnknownInterface(why)
        | fdo::Error::UnknownProperty(why)
        | fdo::Error::NotSupported(why) => Error::unsupported(format!("the daemon does not know it: {why}")),
        fdo::Error::InvalidArgs(why) => Error::BadOption { why },
        other => Error::of_daemon("", other.to_string()),
    }
}
