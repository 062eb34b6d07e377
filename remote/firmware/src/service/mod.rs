//! What the main side does for the firmware, each service over a channel of its own.

mod console;
mod file;

pub use console::Console;
pub use file::{File, Files};

use sidecore_services::PeerError;

use crate::endpoint::Endpoint;
use crate::platform::Platform;
use crate::trace::trace_line;
use crate::{Connection, Error};

/// Bytes of the longest message of a service that the SDK reads or writes. More than the usual buffer takes.
const MESSAGE: usize = 512;

/// A service's channel, of which the main side speaks first.
struct Channel<'c, 's, P: Platform> {
    endpoint: Endpoint<'c, 's, P>,
    name: &'static str,
}

impl<'c, 's, P: Platform> Channel<'c, 's, P> {
    async fn open(connection: &'c Connection<'s, P>, name: &'static str) -> Result<Self, Error> {
        Ok(Self { endpoint: connection.open(name).await?, name })
    }

    /// Hands the next message to `take`. One that breaks the service's rules costs nothing but itself; the trace has it.
    async fn receive<T>(&self, take: impl FnOnce(&[u8]) -> Result<T, PeerError>) -> Result<Option<T>, Error> {
        let message = self.endpoint.receive().await?;
        let mut buffer = [0; MESSAGE];
        let bytes = match message.copy_to(&mut buffer) {
            Ok(bytes) => bytes,
            Err(error @ sidecore_rpmsg::ReadError::Length { .. }) => {
                trace_line(format_args!("{}: {error}", self.name));
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        drop(message);
        match take(bytes) {
            Ok(output) => Ok(Some(output)),
            Err(error) => {
                trace_line(format_args!("{}: {error}", self.name));
                Ok(None)
            }
        }
    }

    /// Sends the message that `write` makes, if it makes one. It is asked only once there is a buffer to send in, for
    /// a message that was written must be sent.
    async fn send<T, E>(
        &self,
        write: impl for<'o> FnOnce(&'o mut [u8]) -> Result<Option<(&'o [u8], T)>, E>,
    ) -> Result<Option<T>, Error>
    where
        Error: From<E>,
    {
        let mut outgoing = self.endpoint.reserve().await?;
        let mut buffer = [0; MESSAGE];
        let room = outgoing.capacity().min(MESSAGE);
        let Some((message, output)) = write(buffer.get_mut(..room).unwrap_or_default())? else {
            return Ok(None);
        };
        outgoing.append(message)?;
        outgoing.send()?;
        Ok(Some(output))
    }
}

#[cfg(test)]
mod tests;
