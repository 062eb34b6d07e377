//! What the daemon has on the bus of its remotes, beyond what a client is told: firmware, leases, endpoints with their counters.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::time::Duration;

use serde::Serialize;
use sidecore_client::{Client, Error, Way};
use zbus::fdo::{ManagedObjects, ObjectManagerProxy};
use zbus::names::OwnedInterfaceName;
use zbus::proxy::CacheProperties;
use zbus::{Connection, OwnedVariant};

use crate::failure::Failure;
use crate::target::failed;

/// How long the daemon may take to answer.
const LIMIT: Duration = Duration::from_secs(10);

/// What is known of a remote. `None`: the daemon does not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Details {
    pub(crate) restarts: Option<u64>,
    pub(crate) lease: Option<String>,
    pub(crate) firmware: Option<String>,
    /// Bytes of the firmware's file.
    pub(crate) size: Option<u64>,
    pub(crate) build_id: Option<String>,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// An endpoint that some client has open.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Endpoint {
    pub(crate) device: u32,
    pub(crate) address: u32,
    pub(crate) service: String,
    /// The client's unique name on the bus.
    pub(crate) client: String,
    pub(crate) sent: u64,
    pub(crate) received: u64,
}

/// Asks the daemon, as often as one likes.
pub(crate) struct Inspector {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
}

impl Inspector {
    /// The daemon that this client reaches.
    pub(crate) fn new(daemon: &Client) -> Result<Self, Failure> {
        let system = |reason: &dyn std::fmt::Display| {
            let error = Error::System { operation: "make a runtime".to_owned(), reason: reason.to_string() };
            failed("cannot ask the daemon", &error)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| system(&error))?;
        let builder = match daemon.way() {
            Way::System => zbus::connection::Builder::system(),
            _ => zbus::connection::Builder::session(),
        };
        let connection = runtime.block_on(within(builder.build())).map_err(|error| gone(&error))?;
        Ok(Self { runtime, connection })
    }

    /// Whether the daemon is there. One that the bus can start is not started by this.
    pub(crate) fn is_there(&self) -> bool {
        let asked = self.runtime.block_on(within(async {
            let names = zbus::fdo::DBusProxy::new(&self.connection).await?;
            let name = zbus::names::BusName::try_from(sidecore_dbus::NAME)?;
            Ok(names.name_has_owner(name).await?)
        }));
        asked.unwrap_or(false)
    }

    /// All of its remotes, by name.
    pub(crate) fn all(&self) -> Result<BTreeMap<String, Details>, Failure> {
        let objects = self.runtime.block_on(within(async {
            let objects = ObjectManagerProxy::builder(&self.connection);
            let objects = objects.destination(sidecore_dbus::NAME).path(sidecore_dbus::ROOT);
            let objects = objects.cache_properties(CacheProperties::No).build().await?;
            Ok(objects.get_managed_objects().await?)
        }));
        objects.map(read).map_err(|error| gone(&error))
    }
}

async fn within<T>(answer: impl Future<Output = zbus::Result<T>>) -> Result<T, String> {
    match tokio::time::timeout(LIMIT, answer).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", LIMIT.as_secs())),
    }
}

fn gone(why: &str) -> Failure {
    failed("cannot ask the daemon", &Error::BusGone { why: why.to_owned() })
}

type Properties = HashMap<String, OwnedVariant>;

fn read(objects: ManagedObjects) -> BTreeMap<String, Details> {
    let interface = |interfaces: &HashMap<OwnedInterfaceName, Properties>, wanted: &str| {
        let found = interfaces.iter().find(|(name, _)| name.as_str() == wanted);
        found.map(|(_, properties)| properties.clone())
    };
    let mut endpoints: Vec<(String, Endpoint)> = Vec::new();
    let mut remotes = Vec::new();
    for (path, interfaces) in objects {
        if let Some(properties) = interface(&interfaces, sidecore_dbus::ENDPOINT) {
            // `.../processors/NAME/endpoints/N`
            let remote = path.as_str().rsplitn(3, '/').nth(2).unwrap_or_default();
            endpoints.push((remote.to_owned(), endpoint(&properties)));
        }
        if let Some(properties) = interface(&interfaces, sidecore_dbus::PROCESSOR) {
            let firmware = interface(&interfaces, sidecore_dbus::FIRMWARE).unwrap_or_default();
            remotes.push((path.as_str().to_owned(), properties, firmware));
        }
    }
    endpoints.sort_by_key(|(_, endpoint)| (endpoint.device, endpoint.address));
    let of = |(path, properties, firmware): (String, Properties, Properties)| {
        let own = endpoints.iter().filter(|(remote, _)| *remote == path);
        let details = Details {
            restarts: number(&properties, "Restarts"),
            lease: text(&properties, "LeaseMode"),
            firmware: text(&firmware, "File").filter(|file| !file.is_empty()),
            size: number(&firmware, "Size"),
            build_id: text(&firmware, "BuildId").filter(|id| !id.is_empty()),
            endpoints: own.map(|(_, endpoint)| endpoint.clone()).collect(),
        };
        Some((text(&properties, "Name")?, details))
    };
    remotes.into_iter().filter_map(of).collect()
}

fn endpoint(properties: &Properties) -> Endpoint {
    let small =
        |key| number(properties, key).and_then(|number| u32::try_from(number).ok()).unwrap_or_default();
    Endpoint {
        device: small("Device"),
        address: small("Address"),
        service: text(properties, "Service").unwrap_or_default(),
        client: text(properties, "Client").unwrap_or_default(),
        sent: number(properties, "Sent").unwrap_or_default(),
        received: number(properties, "Received").unwrap_or_default(),
    }
}

fn text(properties: &Properties, key: &str) -> Option<String> {
    <&str>::try_from(properties.get(key)?).ok().map(ToOwned::to_owned)
}

fn number(properties: &Properties, key: &str) -> Option<u64> {
    let value = properties.get(key)?;
    u64::try_from(value.clone()).or_else(|_| u32::try_from(value.clone()).map(u64::from)).ok()
}
