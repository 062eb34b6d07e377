//! A link that misbehaves on purpose, the same way for the same seed.

use core::cell::{Cell, RefCell};

use sidecore_wire::rpmsg::Header;

use super::{Link, LinkError};

/// How often a [`Faulty`] link does what to the frames that come in, each in parts of 65536.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The frame never arrives.
    pub lose: u16,
    /// One bit of it, header or payload, arrives flipped.
    pub corrupt: u16,
    /// It arrives behind the next one.
    pub reorder: u16,
    /// It arrives when something is looked for again.
    pub delay: u16,
}

/// What a [`Faulty`] link has done so far; each count stays at its maximum. A frame can be in several.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Frames that never arrive.
    pub lost: Cell<u32>,
    /// Frames that arrive with a bit flipped.
    pub corrupted: Cell<u32>,
    /// Frames that were put aside until the next one has arrived.
    pub reordered: Cell<u32>,
    /// Frames that were put aside until the next look.
    pub delayed: Cell<u32>,
}

/// Passes the frames that come in on from `L`, some of them lost, changed, late or out of order. What happens to which
/// frame depends on the seed and the number of frames so far, and on nothing else. Sent frames pass untouched: put one
/// around each end for faults both ways.
#[derive(Debug)]
pub struct Faulty<L: Link> {
    link: L,
    faults: Faults,
    tally: Tally,
    state: Cell<u64>,
    /// A frame that waits for the next one or for the next look.
    waiting: RefCell<Option<(Header, FaultyHeld<L::Held>)>>,
    /// It has waited long enough.
    is_due: Cell<bool>,
}

/// A received frame, and what has been done to it.
#[derive(Debug)]
pub struct FaultyRx<T> {
    rx: T,
    /// Byte of the payload and the bits of it that are flipped.
    flip: Option<(usize, u8)>,
}

/// A received frame that was put aside, and what has been done to it.
#[derive(Debug)]
pub struct FaultyHeld<H> {
    held: H,
    flip: Option<(usize, u8)>,
}

type Received<'l, L> = (Header, FaultyRx<<L as Link>::Rx<'l>>);

impl<L: Link> Faulty<L> {
    /// A link with these faults; any seed will do.
    pub const fn new(link: L, faults: Faults, seed: u64) -> Self {
        // An xorshift generator has one state that it never leaves: zero.
        let state = Cell::new(seed ^ 0x9e37_79b9_7f4a_7c15 | 1);
        let tally = Tally {
            lost: Cell::new(0),
            corrupted: Cell::new(0),
            reordered: Cell::new(0),
            delayed: Cell::new(0),
        };
        Self { link, faults, tally, state, waiting: RefCell::new(None), is_due: Cell::new(false) }
    }

    /// What was done to frames so far.
    pub const fn tally(&self) -> &Tally {
        &self.tally
    }

    fn random(&self) -> u64 {
        let mut x = self.state.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.state.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn happens(&self, rate: u16) -> bool {
        (self.random() >> 48) < u64::from(rate)
    }

    /// Flips a bit of the header, or says which of the payload's is to be flipped.
    fn flip_a_bit(&self, header: &mut Header) -> Option<(usize, u8)> {
        let random = self.random();
        let bit = 1 << (random % 8);
        let mut bytes = header.emit();
        let at = (random >> 8) as usize % (bytes.len() + usize::from(header.len));
        let Some(byte) = bytes.get_mut(at) else { return Some((at - bytes.len(), bit)) };
        *byte ^= bit;
        *header = Header::parse(&bytes);
        None
    }

    fn next(&self) -> Result<Option<Received<'_, L>>, LinkError> {
        if self.is_due.take() {
            return Ok(self.waiting());
        }
        loop {
            let Some((mut header, rx)) = self.link.receive(|header, rx| (header, rx))? else {
                return Ok(self.waiting());
            };
            // Every fault is drawn for every frame, so that one rate does not shift the others' luck.
            let [lose, corrupt, reorder, delay] =
                [self.faults.lose, self.faults.corrupt, self.faults.reorder, self.faults.delay]
                    .map(|rate| self.happens(rate));
            if lose {
                count(&self.tally.lost);
                self.link.release(rx);
                self.link.flush();
                continue;
            }
            let flip = if corrupt {
                count(&self.tally.corrupted);
                self.flip_a_bit(&mut header)
            } else {
                None
            };
            let received = FaultyRx { rx, flip };
            let someone_waits = self.waiting.borrow().is_some();
            if (reorder || delay) && !someone_waits {
                self.put_aside(header, received);
                if delay {
                    count(&self.tally.delayed);
                    self.is_due.set(true);
                    return Ok(None);
                }
                count(&self.tally.reordered);
                continue;
            }
            self.is_due.set(someone_waits);
            return Ok(Some((header, received)));
        }
    }

    fn put_aside(&self, header: Header, rx: FaultyRx<L::Rx<'_>>) {
        if let Some(held) = self.hold(rx) {
            self.waiting.replace(Some((header, held)));
        }
    }

    fn waiting(&self) -> Option<Received<'_, L>> {
        let (header, held) = self.waiting.take()?;
        Some((header, self.resume(held)?))
    }
}

fn count(what: &Cell<u32>) {
    what.set(what.get().saturating_add(1));
}

impl<L: Link> Link for Faulty<L> {
    type Tx<'l>
        = L::Tx<'l>
    where
        Self: 'l;
    type Rx<'l>
        = FaultyRx<L::Rx<'l>>
    where
        Self: 'l;
    type Held = FaultyHeld<L::Held>;

    fn reserve(&self) -> Result<L::Tx<'_>, LinkError> {
        self.link.reserve()
    }

    fn room(&self, tx: &L::Tx<'_>) -> usize {
        self.link.room(tx)
    }

    fn write(&self, tx: &L::Tx<'_>, at: usize, bytes: &[u8]) -> Result<(), LinkError> {
        self.link.write(tx, at, bytes)
    }

    fn read_back(&self, tx: &L::Tx<'_>, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.link.read_back(tx, at, to)
    }

    fn commit(&self, tx: L::Tx<'_>, header: &Header) -> Result<(), LinkError> {
        self.link.commit(tx, header)
    }

    fn cancel(&self, tx: L::Tx<'_>) {
        self.link.cancel(tx);
    }

    fn receive<'l, R>(
        &'l self,
        take: impl FnOnce(Header, FaultyRx<L::Rx<'l>>) -> R,
    ) -> Result<Option<R>, LinkError> {
        let received = self.next()?;
        Ok(received.map(|(header, rx)| take(header, rx)))
    }

    fn payload_room(&self, rx: &FaultyRx<L::Rx<'_>>) -> usize {
        self.link.payload_room(&rx.rx)
    }

    fn read(&self, rx: &FaultyRx<L::Rx<'_>>, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.link.read(&rx.rx, at, to)?;
        if let Some((byte, bits)) = rx.flip
            && let Some(byte) = byte.checked_sub(at).and_then(|byte| to.get_mut(byte))
        {
            *byte ^= bits;
        }
        Ok(())
    }

    fn release(&self, rx: FaultyRx<L::Rx<'_>>) {
        self.link.release(rx.rx);
    }

    fn hold(&self, FaultyRx { rx, flip }: FaultyRx<L::Rx<'_>>) -> Option<FaultyHeld<L::Held>> {
        Some(FaultyHeld { held: self.link.hold(rx)?, flip })
    }

    fn resume(&self, FaultyHeld { held, flip }: FaultyHeld<L::Held>) -> Option<FaultyRx<L::Rx<'_>>> {
        Some(FaultyRx { rx: self.link.resume(held)?, flip })
    }

    fn flush(&self) {
        self.link.flush();
    }

    fn arm(&self) -> bool {
        self.link.arm() || self.waiting.borrow().is_some()
    }

    fn disarm(&self) {
        self.link.disarm();
    }

    fn is_closed(&self) -> bool {
        self.link.is_closed()
    }
}
