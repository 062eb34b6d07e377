//! Endpoints: where messages come from and go to.

use core::fmt;

use sidecore_rpmsg::{LinkError, Name, SendError};
use sidecore_wire::features::F_NS;

use crate::Error;
use crate::connection::{Connection, Message, Outgoing};
use crate::operation::Operation;
use crate::platform::{Native, Platform};

/// An open endpoint of a [`Connection`]. Dropping it closes it, and tells the main side where it was announced.
///
/// Messages for an endpoint wait while others are looked at; they keep their buffers, of which there are not many, so an
/// endpoint that is never read stops the main side's sending after a while.
pub struct Endpoint<'c, 's, P: Platform = Native> {
    connection: &'c Connection<'s, P>,
    endpoint: sidecore_rpmsg::Endpoint,
    /// The name under which it was announced.
    name: Option<Name>,
}

impl<'c, 's, P: Platform> Endpoint<'c, 's, P> {
    pub(crate) const fn new(connection: &'c Connection<'s, P>, endpoint: sidecore_rpmsg::Endpoint) -> Self {
        Self { connection, endpoint, name: None }
    }

    /// Announces the endpoint under a name, of which the main side makes a channel. The last name is withdrawn when the
    /// endpoint is dropped.
    ///
    /// # Errors
    /// [`Error::Name`], [`Error::NoNameService`], [`Error::Link`].
    pub fn announce(&mut self, name: &str) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        let name = Name::new(name);
        let (connection, endpoint) = (self.connection, self.endpoint);
        Operation::of(connection.machine(), async move {
            if connection.features() & F_NS == 0 {
                return Err(Error::NoNameService);
            }
            let name = name?;
            let announce = || match connection.rpmsg().announce(endpoint, &name) {
                Ok(()) => Ok(Some(())),
                Err(error) => connection.unsent(error).map(|()| None),
            };
            connection.attempt(announce).await?;
            self.name = Some(name);
            Ok(())
        })
    }

    /// The connection that it belongs to.
    pub const fn connection(&self) -> &'c Connection<'s, P> {
        self.connection
    }

    /// Its address.
    pub const fn addr(&self) -> u32 {
        self.endpoint.addr()
    }

    /// Where its messages go; `None` before that is known.
    pub fn peer(&self) -> Option<u32> {
        self.connection.rpmsg().peer(self.endpoint)
    }

    /// Binds it to a peer's address.
    pub fn bind(&self, peer: u32) {
        self.connection.rpmsg().bind(self.endpoint, peer);
    }

    /// The next message. It may be kept as long as one likes, while others are received.
    ///
    /// # Errors
    /// The link is down.
    pub fn receive(
        &self,
    ) -> Operation<'s, impl Future<Output = Result<Message<'c, 's, P>, LinkError>> + use<'c, 's, P>, P> {
        let (connection, endpoint) = (self.connection, self.endpoint);
        connection.attempt(move || connection.next(Some(endpoint)))
    }

    /// Sends a message to the peer, as soon as there is a buffer for it.
    ///
    /// # Errors
    /// The message is too long, there is no peer yet, or the link is down. Nothing was sent.
    pub fn send<'b>(
        &self,
        payload: &'b [u8],
    ) -> Operation<'s, impl Future<Output = Result<(), SendError>> + use<'b, 'c, 's, P>, P> {
        let (connection, endpoint) = (self.connection, self.endpoint);
        connection.attempt(move || match connection.rpmsg().send(endpoint, payload) {
            Ok(()) => Ok(Some(())),
            Err(error) => connection.unsent(error).map(|()| None),
        })
    }

    /// Sends a message to any address, as soon as there is a buffer for it.
    ///
    /// # Errors
    /// As for [`Endpoint::send`].
    pub fn send_to<'b>(
        &self,
        dst: u32,
        payload: &'b [u8],
    ) -> Operation<'s, impl Future<Output = Result<(), SendError>> + use<'b, 'c, 's, P>, P> {
        let (connection, endpoint) = (self.connection, self.endpoint);
        connection.attempt(move || match connection.rpmsg().send_to(endpoint, dst, payload) {
            Ok(()) => Ok(Some(())),
            Err(error) => connection.unsent(error).map(|()| None),
        })
    }

    /// Takes a buffer in which a message to the peer is written in place, as soon as there is one.
    ///
    /// # Errors
    /// As for [`Endpoint::send`].
    pub fn reserve(
        &self,
    ) -> Operation<'s, impl Future<Output = Result<Outgoing<'c, 's, P>, SendError>> + use<'c, 's, P>, P> {
        let (connection, endpoint) = (self.connection, self.endpoint);
        connection.attempt(move || match connection.rpmsg().reserve(endpoint) {
            Ok(outgoing) => Ok(Some(outgoing)),
            Err(error) => connection.unsent(error).map(|()| None),
        })
    }

    /// Takes a buffer in which a message to any address is written in place, as soon as there is one.
    ///
    /// # Errors
    /// As for [`Endpoint::send`].
    pub fn reserve_to(
        &self,
        dst: u32,
    ) -> Operation<'s, impl Future<Output = Result<Outgoing<'c, 's, P>, SendError>> + use<'c, 's, P>, P> {
        let (connection, endpoint) = (self.connection, self.endpoint);
        connection.attempt(move || match connection.rpmsg().reserve_to(endpoint, dst) {
            Ok(outgoing) => Ok(Some(outgoing)),
            Err(error) => connection.unsent(error).map(|()| None),
        })
    }
}

impl<P: Platform> Drop for Endpoint<'_, '_, P> {
    fn drop(&mut self) {
        self.connection.close(self.endpoint, self.name);
    }
}

impl<P: Platform> fmt::Debug for Endpoint<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({:#x})", self.addr())
    }
}
