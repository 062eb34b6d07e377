//! `org.sidecore.Sidecore1.Endpoint`.

use std::sync::Arc;

use sidecore_dbus::{Error, action};
use zbus::message::Header;
use zbus::{fdo, interface};

use super::{Options, check_keys, error};
use crate::keeper::protocol::{Answer, Ask, Opened};
use crate::remote::Remote;
use crate::serve::House;

/// An endpoint that a client has open.
pub(crate) struct Endpoint {
    remote: Arc<Remote>,
    facts: Opened,
    house: House,
}

impl Endpoint {
    pub(crate) fn new(remote: Arc<Remote>, facts: Opened, house: House) -> Self {
        Self { remote, facts, house }
    }

    /// Messages to the remote, from it, and lost.
    async fn count(&self) -> fdo::Result<(u64, u64, u64)> {
        match self.remote.ask(Ask::Count(self.facts.number), None).await {
            Ok((Answer::Counted { sent, received, lost }, _)) => Ok((sent, received, lost)),
            Ok(_) => Err(fdo::Error::Failed("the keeper did not count".to_owned())),
            Err(refusal) => Err(fdo::Error::Failed(refusal.why)),
        }
    }
}

#[interface(name = "org.sidecore.Sidecore1.Endpoint")]
impl Endpoint {
    /// Closes it; its client reads the end.
    async fn close(&self, options: Options, #[zbus(header)] header: Header<'_>) -> Result<(), Error> {
        self.house.check(&header, action::OPEN_ENDPOINT).await?;
        check_keys(&options, &[])?;
        self.remote.tell(Ask::Close(self.facts.number)).await.map_err(error)
    }

    /// Number of its device.
    #[zbus(property(emits_changed_signal = "const"))]
    fn device(&self) -> u32 {
        self.facts.device
    }

    /// Its own address.
    #[zbus(property(emits_changed_signal = "const"))]
    fn address(&self) -> u32 {
        self.facts.addr
    }

    /// The service that it is bound to, or nothing.
    #[zbus(property(emits_changed_signal = "const"))]
    fn service(&self) -> &str {
        &self.facts.service
    }

    /// Its client's unique name on the bus.
    #[zbus(property(emits_changed_signal = "const"))]
    fn client(&self) -> &str {
        &self.facts.client
    }

    /// Messages from the client to the remote so far.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn sent(&self) -> fdo::Result<u64> {
        self.count().await.map(|(sent, _, _)| sent)
    }

    /// Messages from the remote to the client so far.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn received(&self) -> fdo::Result<u64> {
        self.count().await.map(|(_, received, _)| received)
    }

    /// Messages from the remote that the client did not take, and that are lost.
    #[zbus(property(emits_changed_signal = "false"))]
    async fn lost(&self) -> fdo::Result<u64> {
        self.count().await.map(|(_, _, lost)| lost)
    }
}
