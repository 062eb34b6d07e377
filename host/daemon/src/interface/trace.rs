//! `org.sidecore.Sidecore1.Trace`.

use std::fs::File;
use std::io::ErrorKind;
use std::sync::Arc;

use sidecore_dbus::{Error, action};
use zbus::message::Header;
use zbus::{OwnedFd, interface};

use crate::remote::Remote;
use crate::serve::House;

/// A remote's traces.
pub(crate) struct Trace {
    remote: Arc<Remote>,
    house: House,
}

impl Trace {
    pub(crate) fn new(remote: Arc<Remote>, house: House) -> Self {
        Self { remote, house }
    }
}

#[interface(name = "org.sidecore.Sidecore1.Trace")]
impl Trace {
    /// The log of its traces, a file to be read from the beginning on; it grows while the remote runs. After 8 MiB a new one
    /// is begun, and this one ends: ask again.
    async fn open_log(&self, #[zbus(header)] header: Header<'_>) -> Result<OwnedFd, Error> {
        self.house.check(&header, action::INSPECT).await?;
        let load = self.remote.load();
        let logs = load.logs.as_ref().ok_or_else(|| Error::Unsupported("no log is kept of it".to_owned()))?;
        let path = logs.join(sidecore_backends::log::file_name(&load.name));
        let opened = tokio::task::spawn_blocking(move || File::open(path)).await;
        let opened = opened.map_err(|error| Error::Failed(error.to_string()))?;
        match opened {
            Ok(file) => Ok(std::os::fd::OwnedFd::from(file).into()),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Err(Error::NotFound("it has said nothing yet".to_owned()))
            }
            Err(error) => Err(Error::Failed(format!("its log cannot be read: {error}"))),
        }
    }

    /// The names of its trace buffers.
    async fn list(&self, #[zbus(header)] header: Header<'_>) -> Result<Vec<String>, Error> {
        self.house.check(&header, action::INSPECT).await?;
        Ok(self.remote.known().firmware.traces.clone())
    }
}
