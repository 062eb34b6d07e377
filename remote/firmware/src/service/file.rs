//! Files and directories that the user of the main side has granted.

use core::fmt;

use embedded_io::SeekFrom;
use sidecore_services::file::{
    Entries, Entry, Flags, Handle, Info, Path, SERVICE,
    client::{CallError, Client, Event, RequestId},
    protocol::{Answer, Request},
};

use super::{Channel, MESSAGE};
use crate::operation::Operation;
use crate::platform::{Native, Platform};
use crate::{Connection, Error};

/// Files and directories of the main side, as far as its user has granted them.
///
/// Paths are relative to what was granted, and no path leads out of it. One request is on its way at a time.
pub struct Files<'c, 's, P: Platform = Native> {
    channel: Channel<'c, 's, P>,
    client: Client<1>,
}

impl<'s, P: Platform> Connection<'s, P> {
    /// Gets at the files, as soon as the main side serves them.
    ///
    /// # Errors
    /// As for [`Connection::open`].
    pub fn files<'c>(
        &'c self,
    ) -> Operation<'s, impl Future<Output = Result<Files<'c, 's, P>, Error>> + use<'c, 's, P>, P> {
        Operation::of(self.machine(), async move {
            let channel = Channel::open(self, SERVICE.channel).await?;
            let mut files = Files { channel, client: Client::new().taking(MESSAGE as u16) };
            while files.client.session().is_none() {
                files.step(|_| ()).await?;
            }
            Ok(files)
        })
    }
}

/// Every operation fails with [`Error::File`] where the main side refuses it, with [`Error::Path`] where a path breaks
/// a rule of paths, and with [`Error::Link`] where the link is down.
impl<'s, P: Platform> Files<'_, 's, P> {
    /// Opens a file or a directory.
    pub fn open(
        &mut self,
        path: &[u8],
        flags: Flags,
    ) -> Operation<'s, impl Future<Output = Result<Handle, Error>>, P> {
        Operation::of(self.machine(), async move {
            let request = Request::Open { path: Path::new(path)?, flags };
            let opened = |answer: Answer<'_>| match answer {
                Answer::Opened(handle) => Some(handle),
                _ => None,
            };
            self.call(request, opened).await
        })
    }

    /// Reads from a file: as many bytes as fit both the memory and a message, fewer at its end, 0 behind it.
    pub fn read(
        &mut self,
        file: Handle,
        offset: u64,
        to: &mut [u8],
    ) -> Operation<'s, impl Future<Output = Result<usize, Error>>, P> {
        Operation::of(self.machine(), async move {
            // More does not fit an answer that we can take.
            let len = to.len().min(MESSAGE) as u32;
            let copy = |answer: Answer<'_>| match answer {
                Answer::Data(bytes) => {
                    to.get_mut(..bytes.len())?.copy_from_slice(bytes);
                    Some(bytes.len())
                }
                _ => None,
            };
            self.call(Request::Read { handle: file, offset, len }, copy).await
        })
    }

    /// Writes all bytes to a file.
    pub fn write(
        &mut self,
        file: Handle,
        offset: u64,
        bytes: &[u8],
    ) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        Operation::of(self.machine(), async move {
            let (mut rest, mut offset) = (bytes, offset);
            while !rest.is_empty() {
                let client = &mut self.client;
                let sent = self.channel.send(|out| {
                    let (id, chunk) = client.write(file, offset, rest, out)?;
                    Ok::<_, CallError>(Some((chunk.message, id)))
                });
                let written = |answer: Answer<'_>| match answer {
                    Answer::Written(len) => Some(len),
                    _ => None,
                };
                let id = sent.await?.ok_or(Error::PeerAnswer)?;
                let len = self.answer(id, written).await?;
                rest = rest.get(len as usize..).unwrap_or_default();
                offset = offset.saturating_add(len.into());
            }
            Ok(())
        })
    }

    /// What and how long something open is.
    pub fn info(&mut self, file: Handle) -> Operation<'s, impl Future<Output = Result<Info, Error>>, P> {
        Operation::of(self.machine(), async move { self.call(Request::Stat { handle: file }, info).await })
    }

    /// What and how long something with a name is.
    pub fn info_at(&mut self, path: &[u8]) -> Operation<'s, impl Future<Output = Result<Info, Error>>, P> {
        Operation::of(self.machine(), async move {
            self.call(Request::StatPath { path: Path::new(path)? }, info).await
        })
    }

    /// Hands entries of a directory, in no order, to `each`; gives the position at which to go on, `None` at the end.
    /// The first position is 0.
    pub fn list(
        &mut self,
        directory: Handle,
        position: u64,
        mut each: impl FnMut(Entry<'_>),
    ) -> Operation<'s, impl Future<Output = Result<Option<u64>, Error>>, P> {
        Operation::of(self.machine(), async move {
            let entries = |answer: Answer<'_>| match answer {
                Answer::Entries(entries) => Some(visit(entries, &mut each)),
                _ => None,
            };
            self.call(Request::List { handle: directory, position }, entries).await
        })
    }

    /// Waits until what was written is on the disk.
    pub fn sync(&mut self, file: Handle) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        self.done(Ok(Request::Sync { handle: file }))
    }

    /// Closes a file or directory. Whatever is answered, it is closed.
    pub fn close(&mut self, file: Handle) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        self.done(Ok(Request::Close { handle: file }))
    }

    /// Removes a file or an empty directory.
    pub fn remove(&mut self, path: &[u8]) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        self.done(Path::new(path).map(|path| Request::Remove { path }).map_err(Error::from))
    }

    /// Renames a file or directory, replacing what is there.
    pub fn rename<'b>(
        &mut self,
        from: &'b [u8],
        to: &'b [u8],
    ) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        let paths = Path::new(from).and_then(|from| Ok((from, Path::new(to)?)));
        self.done(paths.map(|(from, to)| Request::Rename { from, to }).map_err(Error::from))
    }

    /// Makes a directory.
    pub fn make_directory(
        &mut self,
        path: &[u8],
    ) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        self.done(Path::new(path).map(|path| Request::MakeDirectory { path }).map_err(Error::from))
    }

    /// A request that is answered by nothing but its success.
    fn done(
        &mut self,
        request: Result<Request<'_>, Error>,
    ) -> Operation<'s, impl Future<Output = Result<(), Error>>, P> {
        Operation::of(self.machine(), async move {
            self.call(request?, |answer| matches!(answer, Answer::Done).then_some(())).await
        })
    }

    /// Makes a request and waits for its answer, of which `take` makes something.
    async fn call<T>(
        &mut self,
        request: Request<'_>,
        take: impl FnOnce(Answer<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let client = &mut self.client;
        let sent = self.channel.send(|out| {
            let (id, message) = client.request(request, out)?;
            Ok::<_, CallError>(Some((message, id)))
        });
        let id = sent.await?.ok_or(Error::PeerAnswer)?;
        self.answer(id, take).await
    }

    /// Waits for the answer to a request.
    async fn answer<T>(
        &mut self,
        wanted: RequestId,
        take: impl FnOnce(Answer<'_>) -> Option<T>,
    ) -> Result<T, Error> {
        let mut take = Some(take);
        loop {
            let mut output = None;
            self.step(|event| match event {
                Event::Answer { id, answer } if id == wanted => {
                    output = take.take().map(|take| answer.map(take));
                }
                _ => {}
            })
            .await?;
            if let Some(output) = output {
                return output?.ok_or(Error::PeerAnswer);
            }
        }
    }

    /// Takes the next message, and answers it where that is due.
    async fn step(&mut self, mut on: impl FnMut(Event<'_>)) -> Result<(), Error> {
        let client = &mut self.client;
        self.channel.receive(|message| client.receive(message).map(&mut on)).await?;
        self.channel.send(|out| Ok::<_, Error>(client.poll(out)?.map(|message| (message, ())))).await?;
        Ok(())
    }

    fn machine(&self) -> &'s crate::Machine<P> {
        self.channel.endpoint.connection().machine()
    }
}

/// An open file with a position, as code for [`embedded_io`] wants it. Every call waits. Not closed when it is dropped.
pub struct File<'f, 'c, 's, P: Platform = Native> {
    files: &'f mut Files<'c, 's, P>,
    handle: Handle,
    position: u64,
}

impl<'c, 's, P: Platform> Files<'c, 's, P> {
    /// An open file as a reader and writer, from its beginning on.
    pub const fn file(&mut self, handle: Handle) -> File<'_, 'c, 's, P> {
        File { files: self, handle, position: 0 }
    }
}

impl<P: Platform> embedded_io::ErrorType for File<'_, '_, '_, P> {
    type Error = Error;
}

impl<P: Platform> embedded_io::Read for File<'_, '_, '_, P> {
    fn read(&mut self, to: &mut [u8]) -> Result<usize, Error> {
        let len = self.files.read(self.handle, self.position, to).wait()?;
        self.position = self.position.saturating_add(len as u64);
        Ok(len)
    }
}

impl<P: Platform> embedded_io::Write for File<'_, '_, '_, P> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.files.write(self.handle, self.position, bytes).wait()?;
        self.position = self.position.saturating_add(bytes.len() as u64);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.files.sync(self.handle).wait()
    }
}

impl<P: Platform> embedded_io::Seek for File<'_, '_, '_, P> {
    fn seek(&mut self, to: SeekFrom) -> Result<u64, Error> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.files.info(self.handle).wait()?.size.checked_add_signed(by),
        };
        self.position = position.ok_or(Error::BadPosition)?;
        Ok(self.position)
    }
}

impl<P: Platform> fmt::Debug for File<'_, '_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({:?} at {})", self.handle, self.position)
    }
}

fn info(answer: Answer<'_>) -> Option<Info> {
    match answer {
        Answer::Info(info) => Some(info),
        _ => None,
    }
}

fn visit(entries: Entries<'_>, each: &mut impl FnMut(Entry<'_>)) -> Option<u64> {
    let mut next = None;
    for entry in entries.iter() {
        next = Some(entry.next);
        each(entry);
    }
    next
}

impl<P: Platform> fmt::Debug for Files<'_, '_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({:?})", self.channel.endpoint)
    }
}
