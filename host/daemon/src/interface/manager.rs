//! `org.sidecore.Sidecore1.Manager`.

use std::collections::HashMap;
use std::path::PathBuf;

use sidecore_dbus::{Error, action, processor_path};
use sidecored::config::{Defaults, Limits};
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, OwnedFd, OwnedObjectPath, OwnedVariant, interface};

use super::{Options, check_keys, flag, number, text, texts};
use crate::keeper::protocol::{Ask, Load};
use crate::serve::House;

/// Makes remotes.
pub(crate) struct Manager {
    house: House,
}

/// What holds for all remotes.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Where sandboxes and keepers have their sockets.
    pub(crate) runtime_dir: PathBuf,
    /// Where the logs of their traces are kept.
    pub(crate) logs: Option<PathBuf>,
    /// Whether remotes go on when the daemon ends.
    pub(crate) outlives: bool,
    pub(crate) limits: Limits,
    pub(crate) defaults: Defaults,
}

impl Manager {
    pub(crate) fn new(house: House) -> Self {
        Self { house }
    }
}

/// How often a remote is started again within a minute, at most.
const MAX_RESTARTS: u64 = 1000;

/// What the name of a sandbox begins with that something else has started.
const SANDBOX: &str = "sandbox:";

#[interface(name = "org.sidecore.Sidecore1.Manager")]
impl Manager {
    /// Starts firmware, an ELF file, on a new remote of that name. Answers the remote's object.
    ///
    /// Options: `on` (s): `sandbox`, as where it is not given, or `qemu:BOARD`; `lease` (s): `none`, or `tied`: the remote ends
    /// when the caller leaves the bus; `arguments` (as): the firmware's; `file` (s): what the firmware is called; `watchdog` (t):
    /// microseconds without a sign of life that are a hang; `restart` (u): how often within a minute it is started again when
    /// it crashes, and `silently` (b): with its endpoints.
    async fn start(
        &self,
        name: String,
        firmware: OwnedFd,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, Error> {
        self.house.check(&header, action::LOAD_FIRMWARE).await?;
        let keys = ["lease", "on", "arguments", "file", "watchdog", "restart", "silently"];
        check_keys(&options, &keys)?;
        let is_tied = match text(&options, "lease")?.unwrap_or("none") {
            "none" => false,
            "tied" => true,
            other => return Err(Error::BadOption(format!("lease is {other}, and not none or tied"))),
        };
        let caller = header.sender().map(ToString::to_string).filter(|_| is_tied);
        let usual = self.house.usual(name);
        let load = Load {
            file: text(&options, "file")?.unwrap_or("firmware").to_owned(),
            on: text(&options, "on")?.map_or(usual.on.clone(), str::to_owned),
            arguments: texts(&options, "arguments")?,
            watchdog_us: number(&options, "watchdog", usual.watchdog_us, u64::MAX)?,
            restarts: number(&options, "restart", usual.restarts.into(), MAX_RESTARTS)? as u32,
            silently: flag(&options, "silently")? || usual.silently && !options.contains_key("silently"),
            tied_to: caller.clone().map(|caller| (bus_of(connection), caller)),
            ..usual
        };
        let path = self.house.make(load, Ask::Load, Some(firmware.into())).await?;
        // The caller may have left before anybody knew that it is his.
        if let Some(caller) = caller {
            let bus = zbus::fdo::DBusProxy::new(connection).await?;
            let name = zbus::names::BusName::try_from(caller.as_str())?;
            if !bus.name_has_owner(name).await.unwrap_or(false) {
                self.house.registry().client_left(&caller);
            }
        }
        Ok(path)
    }

    /// Takes over a remote that runs already, `sandbox:NAME`: one that was left running by whatever started it. Answers its
    /// object.
    async fn attach(
        &self,
        remote: String,
        options: Options,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<OwnedObjectPath, Error> {
        self.house.check(&header, action::LIFECYCLE).await?;
        check_keys(&options, &[])?;
        let name = remote.strip_prefix(SANDBOX).ok_or_else(|| {
            Error::Unsupported(format!("{remote:?} is not {SANDBOX}NAME, and nothing else can be taken over"))
        })?;
        let load = Load { on: "sandbox".to_owned(), ..self.house.usual(name.to_owned()) };
        self.house.make(load, Ask::Attach, None).await
    }

    /// The objects of all remotes.
    async fn list_processors(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<OwnedObjectPath>, Error> {
        self.house.check(&header, action::INSPECT).await?;
        Ok(self.house.registry().all().iter().map(|remote| processor_path(remote.name())).collect())
    }

    /// Something happened: when, in microseconds since 1970; to which remote, by name; which kind of event, in one word of
    /// `added`, `removed`, `state`, `name-appeared`, `name-gone`, `lease`, `endpoint-opened`, `endpoint-closed`, `job`, `notice`,
    /// `warning`; what, in words; and by the kind more (`state` (s); `service` (s), `device` (u), `address` (u); `code` (s)).
    #[zbus(signal)]
    pub(crate) async fn event(
        emitter: &SignalEmitter<'_>,
        time: u64,
        processor: &str,
        kind: &str,
        what: &str,
        details: HashMap<String, OwnedVariant>,
    ) -> zbus::Result<()>;

    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }
}

/// The identity of the bus, within which names of clients are never used again.
pub(crate) fn bus_of(connection: &Connection) -> String {
    connection.server_guid().to_string()
}
