//! The console: output, input, arguments, exit code.

use core::fmt;

use sidecore_services::console::{
    Arguments, SERVICE, Stream,
    client::{Client, Event, Read},
};

use super::{Channel, MESSAGE};
use crate::operation::Operation;
use crate::platform::{Native, Platform};
use crate::{Connection, Error};

/// The firmware's console on the main side: what it prints, reads and was told on the command line.
///
/// It is also a reader and a writer of [`embedded_io`], for code that knows those; these wait.
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
            let mut console = Console { channel, client: Client::new().taking(MESSAGE as u16) };
            while console.client.session().is_none() {
                console.step(|_| ()).await?;
            }
            Ok(console)
        })
    }
}

impl<'s, P: Platform> Console<'_, 's, P> {
    /// Prints what `format_args!` or anything else displays.
    ///
    /// ```
    /// use sidecore_firmware::{Console, Error};
    ///
    /// fn report(console: &mut Console<'_, '_>, count: u32) -> Result<(), Error> {
    ///     console.print(format_args!("{count} messages\n")).wait()
    /// }
    /// ```
    ///
    /// # Errors
    /// The link is down, or the exit code was sent.
    pub fn print(
        &mut self,
        text: impl fmt::Display,
    ) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        self.display(Stream::Out, text)
    }

    /// Prints to the standard error what `format_args!` or anything else displays.
    ///
    /// # Errors
    /// As for [`Console::print`].
    pub fn print_error(
        &mut self,
        text: impl fmt::Display,
    ) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        self.display(Stream::Err, text)
    }

    fn display(
        &mut self,
        stream: Stream,
        text: impl fmt::Display,
    ) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        Operation::of(self.machine(), async move {
            let mut done = 0;
            loop {
                let mut window = Window::<MESSAGE>::new(done);
                let is_whole = fmt::write(&mut window, format_args!("{text}")).is_ok();
                let bytes = window.bytes();
                self.write(stream, bytes).await?;
                done += bytes.len();
                if is_whole || bytes.is_empty() {
                    return Ok(());
                }
            }
        })
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

impl<P: Platform> embedded_io::ErrorType for Console<'_, '_, P> {
    type Error = Error;
}

impl<P: Platform> embedded_io::Read for Console<'_, '_, P> {
    fn read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        Console::read(self, to).wait()
    }
}

impl<P: Platform> embedded_io::Write for Console<'_, '_, P> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        Console::write(self, Stream::Out, bytes).wait()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Error> {
        // Whatever was written is with the main side.
        Ok(())
    }
}

/// What text displays behind its first `skip` bytes, as much as has room: so text of any length is printed without
/// memory for all of it, by being formatted again for each piece.
struct Window<const N: usize> {
    skip: usize,
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Window<N> {
    const fn new(skip: usize) -> Self {
        Self { skip, bytes: [0; N], len: 0 }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl<const N: usize> fmt::Write for Window<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let skipped = self.skip.min(text.len());
        self.skip -= skipped;
        let mut rest = text.bytes().skip(skipped);
        for (place, byte) in self.bytes.iter_mut().skip(self.len).zip(&mut rest) {
            *place = byte;
            self.len += 1;
        }
        // A full window ends the formatting.
        if rest.len() == 0 { Ok(()) } else { Err(fmt::Error) }
    }
}

impl<P: Platform> fmt::Debug for Console<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Console({:?})", self.channel.endpoint)
    }
}
