//! Both ends of a link in one program, with no shared memory: for tests of what runs above a link.

use core::cell::Cell;

use sidecore_wire::rpmsg::Header;

use super::{Link, LinkError};

/// The wire between two [`Loopback`] ends: `N` buffers for payloads of `B` bytes in each direction.
#[derive(Debug)]
pub struct Wire<const N: usize, const B: usize> {
    lanes: [Lane<N, B>; 2],
}

impl<const N: usize, const B: usize> Default for Wire<N, B> {
    fn default() -> Self {
        Self { lanes: [Lane::new(), Lane::new()] }
    }
}

impl<const N: usize, const B: usize> Wire<N, B> {
    /// The two ends. Both see the same wire for as long as they live.
    pub fn ends(&self) -> [Loopback<'_, N, B>; 2] {
        let [there, back] = &self.lanes;
        [Loopback { tx: there, rx: back }, Loopback { tx: back, rx: there }]
    }
}

/// One direction.
#[derive(Debug)]
struct Lane<const N: usize, const B: usize> {
    frames: [Frame<B>; N],
    /// Frames that were committed, oldest first.
    queue: [Cell<usize>; N],
    first: Cell<usize>,
    committed: Cell<usize>,
    /// How many of the committed ones the peer may see.
    visible: Cell<usize>,
    /// The sender found no frame, and has not been told since that one came back.
    starved: Cell<bool>,
}

#[derive(Debug)]
struct Frame<const B: usize> {
    header: Cell<Header>,
    payload: Cell<[u8; B]>,
    place: Cell<Place>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Free,
    /// Reserved, on its way or received.
    Out,
    /// Given back by the receiver, which the sender has not been shown.
    Released,
}

impl<const N: usize, const B: usize> Lane<N, B> {
    fn new() -> Self {
        Self {
            frames: [const {
                Frame {
                    header: Cell::new(NO_HEADER),
                    payload: Cell::new([0; B]),
                    place: Cell::new(Place::Free),
                }
            }; N],
            queue: [const { Cell::new(0) }; N],
            first: Cell::new(0),
            committed: Cell::new(0),
            visible: Cell::new(0),
            starved: Cell::new(false),
        }
    }

    fn free(&self) -> Option<usize> {
        self.frames.iter().position(|frame| frame.place.get() == Place::Free)
    }

    fn frame(&self, index: usize) -> Result<&Frame<B>, LinkError> {
        self.frames.get(index).ok_or(LinkError::Closed)
    }

    fn put(&self, index: usize, place: Place) {
        if let Some(frame) = self.frames.get(index) {
            frame.place.set(place);
        }
    }

    fn read(&self, index: usize, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        let bytes = self.frame(index)?.payload.get();
        let bounds = LinkError::Bounds { at, len: to.len(), room: B };
        let end = at.checked_add(to.len()).ok_or(bounds)?;
        to.copy_from_slice(bytes.get(at..end).ok_or(bounds)?);
        Ok(())
    }
}

const NO_HEADER: Header = Header { src: 0, dst: 0, reserved: 0, len: 0, flags: 0 };

/// One end of a [`Wire`].
#[derive(Clone, Copy, Debug)]
pub struct Loopback<'w, const N: usize, const B: usize> {
    tx: &'w Lane<N, B>,
    rx: &'w Lane<N, B>,
}

/// A buffer of a [`Wire`].
#[derive(Debug)]
#[must_use = "a buffer that is not given back is lost"]
pub struct LoopbackFrame {
    index: usize,
}

impl<const N: usize, const B: usize> Link for Loopback<'_, N, B> {
    type Tx<'l>
        = LoopbackFrame
    where
        Self: 'l;
    type Rx<'l>
        = LoopbackFrame
    where
        Self: 'l;
    type Held = LoopbackFrame;

    fn reserve(&self) -> Result<LoopbackFrame, LinkError> {
        let Some(index) = self.tx.free() else {
            self.tx.starved.set(true);
            return Err(LinkError::Full);
        };
        self.tx.put(index, Place::Out);
        Ok(LoopbackFrame { index })
    }

    fn room(&self, _: &LoopbackFrame) -> usize {
        B.min(usize::from(u16::MAX))
    }

    fn write(&self, tx: &LoopbackFrame, at: usize, from: &[u8]) -> Result<(), LinkError> {
        let frame = self.tx.frame(tx.index)?;
        let mut bytes = frame.payload.get();
        let bounds = LinkError::Bounds { at, len: from.len(), room: B };
        let end = at.checked_add(from.len()).ok_or(bounds)?;
        bytes.get_mut(at..end).ok_or(bounds)?.copy_from_slice(from);
        frame.payload.set(bytes);
        Ok(())
    }

    fn read_back(&self, tx: &LoopbackFrame, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.tx.read(tx.index, at, to)
    }

    fn commit(&self, tx: LoopbackFrame, header: &Header) -> Result<(), LinkError> {
        let len = usize::from(header.len);
        if len > B {
            self.cancel(tx);
            return Err(LinkError::Bounds { at: 0, len, room: B });
        }
        let lane = self.tx;
        lane.frame(tx.index)?.header.set(*header);
        // No more frames can be queued than there are, so the place is free.
        let place = (lane.first.get() + lane.committed.get()) % N;
        lane.queue.get(place).ok_or(LinkError::Closed)?.set(tx.index);
        lane.committed.set(lane.committed.get() + 1);
        Ok(())
    }

    fn cancel(&self, tx: LoopbackFrame) {
        self.tx.put(tx.index, Place::Free);
    }

    fn receive<'l, R>(
        &'l self,
        take: impl FnOnce(Header, Self::Rx<'l>) -> R,
    ) -> Result<Option<R>, LinkError> {
        let lane = self.rx;
        if lane.visible.get() == 0 {
            return Ok(None);
        }
        let first = lane.first.get();
        let index = lane.queue.get(first).ok_or(LinkError::Closed)?.get();
        lane.first.set((first + 1) % N);
        lane.committed.set(lane.committed.get() - 1);
        lane.visible.set(lane.visible.get() - 1);
        Ok(Some(take(lane.frame(index)?.header.get(), LoopbackFrame { index })))
    }

    fn payload_room(&self, _: &LoopbackFrame) -> usize {
        B
    }

    fn read(&self, rx: &LoopbackFrame, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.rx.read(rx.index, at, to)
    }

    fn release(&self, rx: LoopbackFrame) {
        self.rx.put(rx.index, Place::Released);
    }

    fn hold(&self, rx: LoopbackFrame) -> Option<LoopbackFrame> {
        Some(rx)
    }

    fn resume(&self, held: LoopbackFrame) -> Option<LoopbackFrame> {
        Some(held)
    }

    fn flush(&self) {
        self.tx.visible.set(self.tx.committed.get());
        for frame in self.rx.frames.iter().filter(|frame| frame.place.get() == Place::Released) {
            frame.place.set(Place::Free);
        }
    }

    fn arm(&self) -> bool {
        let buffers = self.tx.starved.get() && self.tx.free().is_some();
        if buffers {
            self.tx.starved.set(false);
        }
        self.rx.visible.get() > 0 || buffers
    }

    fn disarm(&self) {}
}
