//! The console: output, input, arguments, exit code.

use core::fmt;

use sidecore_services::console::{
    Arguments, SERVICE, Stream,
    client::{Client, Event, Read},
};

use super::Channel;
use crate::operation::Operation;
use crate::platform::{Native, Platform};
use crate::{Connection, Error};

/// The firmware's console on the main side: what it prints, reads and was told on the command line.
///
/// `write!` and `writeln!` print to it and wait until the main side has taken the text.
pub struct Console<'c, 's, P: Platform = Native> {
    channel: Channel<'c, 's, P>,
    client: Client,
}

impl<'s, P: Platform> Connection<'s, P> {
    /// Opens the console, as soon as the main side serves it.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub fn console<'c>(
        &'c self,
    ) -> Operation<'s, impl Future<Output = Result<Console<'c, 's, P>, Error>> + use<'c, 's, P>, P> {
        Operation::of(self.machine(), async move {
            let channel = Channel::open(self, SERVICE.channel).await?;
            let mut console = Console { channel, client: Client::new() };
            while console.client.session().is_none() {
                console.step(|_| ()).await?;
            }
            Ok(console)
        })
    }
}

impl<'s, P: Platform> Console<'_, 's, P> {
    /// Prints text.
    ///
    /// # Errors
    /// The link is down, or the exit code was sent.
    pub fn print(&mut self, text: &str) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        self.write(Stream::Out, text.as_bytes())
    }

    /// Prints any bytes, to the standard output or the standard error.
    ///
    /// # Errors
    /// As for [`Console::print`].
    pub fn write(
        &mut self,
        stream: Stream,
        bytes: &[u8],
    ) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        Operation::of(self.machine(), async move {
            let mut rest = bytes;
            while !rest.is_empty() {
                let sent = self.channel.send(|out| {
                    let chunk = self.client.output(stream, rest, out)?;
                    Ok::<_, Error>(chunk.map(|chunk| (chunk.message, chunk.taken)))
                });
                match sent.await? {
                    Some(taken) => rest = rest.get(taken..).unwrap_or_default(),
                    None => self.step(|_| ()).await?,
                }
            }
            Ok(())
        })
    }

    /// Reads input, at least one byte; 0 means that nothing will ever come.
    ///
    /// # Errors
    /// The link is down.
    pub fn read(&mut self, to: &mut [u8]) -> Operation<'s, impl Future<Output = Result<usize, Error>>, P> {
        Operation::of(self.machine(), async move {
            loop {
                match self.client.read(to) {
                    Read::Bytes(len) => {
                        self.answer().await?;
                        return Ok(len);
                    }
                    Read::End => return Ok(0),
                    Read::Wait => {
                        self.answer().await?;
                        self.step(|_| ()).await?;
                    }
                }
            }
        })
    }

    /// The arguments that the firmware was given, in the caller's memory.
    ///
    /// # Errors
    /// The link is down, or the memory is too short ([`Error::NoRoom`] says how much is needed).
    pub fn arguments<'b>(
        &mut self,
        memory: &'b mut [u8],
    ) -> Operation<'s, impl Future<Output = Result<Arguments<'b>, Error>>, P> {
        Operation::of(self.machine(), async move {
            let needed = self.client.session().map_or(0, |session| session.arguments_len as usize);
            let room = memory.len();
            let memory = memory.get_mut(..needed).ok_or(Error::NoRoom { needed, room })?;
            let mut filled = 0;
            while let Some(rest) = memory.get_mut(filled..).filter(|rest| !rest.is_empty()) {
                let client = &mut self.client;
                let sent = self.channel.send(|out| {
                    client.request_arguments(filled as u32, out).map(|message| Some((message, ())))
                });
                sent.await?;
                let mut taken = 0;
                while taken == 0 {
                    self.step(|event| {
                        if let Event::Arguments { bytes, .. } = event {
                            for (place, byte) in rest.iter_mut().zip(bytes) {
                                *place = *byte;
                                taken += 1;
                            }
                        }
                    })
                    .await?;
                }
                filled += taken;
            }
            Arguments::new(memory).map_err(|_| Error::PeerAnswer)
        })
    }

    /// Tells the main side the exit code, as the console's last message. To be returned by `main` too.
    ///
    /// # Errors
    /// The link is down.
    pub fn exit(mut self, code: i32) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        Operation::of(self.machine(), async move {
            let client = &mut self.client;
            let sent = self.channel.send(|out| client.exit(code, out).map(|message| Some((message, ()))));
            sent.await.map(|_| ())
        })
    }

    /// Takes the next message, and answers it where that is due.
    async fn step(&mut self, mut on: impl FnMut(Event<'_>)) -> Result<(), Error> {
        let client = &mut self.client;
        self.channel.receive(|message| client.receive(message).map(&mut on)).await?;
        self.answer().await
    }

    /// Sends what is due by itself.
    async fn answer(&mut self) -> Result<(), Error> {
        let client = &mut self.client;
        while self
            .channel
            .send(|out| Ok::<_, Error>(client.poll(out)?.map(|message| (message, ()))))
            .await?
            .is_some()
        {}
        Ok(())
    }

    fn machine(&self) -> &'s crate::Machine<P> {
        self.channel.endpoint.connection().machine()
    }
}

impl<P: Platform> fmt::Write for Console<'_, '_, P> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.print(text).wait().map_err(|_| fmt::Error)
    }
}

impl<P: Platform> fmt::Debug for Console<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Console({:?})", self.channel.endpoint)
    }
}
