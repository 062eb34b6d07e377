//! `org.sidecore.Sidecore1.Manager`.

use std::path::PathBuf;
use std::sync::Arc;

use sidecore_dbus::{Error, action, processor_path};
use tokio::sync::mpsc;
use zbus::message::Header;
use zbus::object_server::ObjectServer;
use zbus::{Connection, OwnedFd, OwnedObjectPath, interface};

use super::processor::{Processor, ProcessorSignals as _};
use super::{Options, check_keys, error, text};
use crate::authority::Authority;
use crate::keeper::protocol::Ask;
use crate::link::{Link, News};
use crate::registry::Registry;

/// Makes remotes.
pub(crate) struct Manager {
    registry: Arc<Registry>,
    authority: Arc<Authority>,
    runtime_dir: PathBuf,
}

impl Manager {
    /// Sandboxes have their sockets in `runtime_dir`.
    pub(crate) fn new(registry: Arc<Registry>, authority: Arc<Authority>, runtime_dir: PathBuf) -> Self {
        Self { registry, authority, runtime_dir }
    }
}

#[interface(name = "org.sidecore.Sidecore1.Manager")]
impl Manager {
    /// Starts firmware, an ELF file, on a new remote in the sandbox. Answers the remote's object.
    ///
    /// Option `lease` (s): `none`, or `tied`: the remote ends when the caller leaves the bus.
    async fn start(
        &self,
        name: String,
        firmware: OwnedFd,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        #[zbus(object_server)] server: &ObjectServer,
    ) -> Result<OwnedObjectPath, Error> {
        self.authority.check(&header, action::LOAD_FIRMWARE).await?;
        check_keys(&options, &["lease"])?;
        let is_tied = match text(&options, "lease")?.unwrap_or("none") {
            "none" => false,
            "tied" => true,
            other => return Err(Error::BadOption(format!("lease is {other}, and not none or tied"))),
        };
        let caller = header.sender().map(ToString::to_string).filter(|_| is_tied);
        let reserved = self.registry.reserve(&name, caller.clone())?;
        let (link, news) = Link::start(&name).map_err(|error| Error::Failed(error.to_string()))?;
        let file: std::os::fd::OwnedFd = firmware.into();
        link.ask(Ask::Load { name: name.clone(), runtime_dir: self.runtime_dir.clone() }, Some(&file))
            .await
            .map_err(error)?;
        let path = processor_path(&name);
        server
            .at(&path, Processor::new(name.clone(), Arc::clone(&link), Arc::clone(&self.authority)))
            .await?;
        reserved.fill(Arc::clone(&link));
        tokio::spawn(follow(connection.clone(), path.clone(), name, Arc::clone(&self.registry), news));
        // The caller may have left before anybody knew that it is his.
        if let Some(caller) = caller {
            let bus = zbus::fdo::DBusProxy::new(connection).await?;
            let caller = zbus::names::BusName::try_from(caller)?;
            if !bus.name_has_owner(caller).await.unwrap_or(false) {
                link.end();
            }
        }
        Ok(path)
    }

    /// The objects of all remotes.
    async fn list_processors(
        &self,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<OwnedObjectPath>, Error> {
        self.authority.check(&header, action::INSPECT).await?;
        Ok(self.registry.names().iter().map(|name| processor_path(name)).collect())
    }

    /// The daemon's version.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }
}

/// Tells the bus what happens to a remote, until its keeper is gone.
async fn follow(
    connection: Connection,
    path: OwnedObjectPath,
    name: String,
    registry: Arc<Registry>,
    mut news: mpsc::Receiver<News>,
) {
    let server = connection.object_server();
    if let Ok(object) = server.interface::<_, Processor>(&path).await {
        while let Some(news) = news.recv().await {
            // Where the bus is gone there is nobody to tell.
            let _ = match news {
                News::State(state) => {
                    let processor = object.get().await;
                    processor.set_state(state);
                    processor.state_changed(object.signal_emitter()).await
                }
                News::Happened { what, is_warning } => object.happened(&what, is_warning).await,
            };
        }
    }
    let _ = server.remove::<Processor, _>(&path).await;
    registry.forget(&name);
}
