//! `org.sidecore.Sidecore1.Firmware`.

use std::sync::Arc;

use sidecore_dbus::{Error, action};
use zbus::message::Header;
use zbus::{OwnedFd, interface};

use super::{Options, check_free, check_keys, error, text};
use crate::keeper::protocol::Ask;
use crate::remote::Remote;
use crate::serve::House;

/// A remote's firmware.
pub(crate) struct Firmware {
    remote: Arc<Remote>,
    house: House,
}

impl Firmware {
    pub(crate) fn new(remote: Arc<Remote>, house: House) -> Self {
        Self { remote, house }
    }
}

#[interface(name = "org.sidecore.Sidecore1.Firmware")]
impl Firmware {
    /// Stops the remote and starts other firmware in its place.
    ///
    /// Options: `file` (s): what it is called; `force` (b): whoever has a lease.
    async fn replace(
        &self,
        firmware: OwnedFd,
        options: Options,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), Error> {
        self.house.check(&header, action::LOAD_FIRMWARE).await?;
        check_keys(&options, &["file", "force"])?;
        let file = text(&options, "file")?.unwrap_or("firmware").to_owned();
        check_free(&self.remote, &options).await?;
        let firmware: std::os::fd::OwnedFd = firmware.into();
        self.remote.ask(Ask::Replace { file }, Some(&firmware)).await.map(drop).map_err(error)
    }

    /// What its file is called.
    #[zbus(property(emits_changed_signal = "false"))]
    fn file(&self) -> String {
        self.remote.known().firmware.file.clone()
    }

    /// Bytes of its file; 0 where it was found running.
    #[zbus(property(emits_changed_signal = "false"))]
    fn size(&self) -> u64 {
        self.remote.known().firmware.size
    }

    /// The identity that its linker gave it, in hexadecimal digits, or nothing.
    #[zbus(property(emits_changed_signal = "false"))]
    fn build_id(&self) -> String {
        self.remote.known().firmware.build_id.clone()
    }
}
