//! A link that misbehaves on purpose, the same way for the same seed.

use core::cell::{Cell, RefCell};

use sidecore_wire::rpmsg::Header;

use super::{Link, LinkError};

/// How often a [`Faulty`] link does what to the frames that it sends, each in parts of 65536.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// The frame never arrives.
    pub lose: u16,
    /// One bit of it arrives flipped.
    pub corrupt: u16,
    /// It waits until the next frame has been sent, and so arrives behind it.
    pub reorder: u16,
    /// It waits until something is flushed again.
    pub delay: u16,
}

/// Passes frames on to `L`, some of them lost, changed, late or out of order. What happens to which frame depends on
/// the seed and the number of frames sent, and on nothing else. Received frames pass untouched: put one around each
/// end for faults both ways.
#[derive(Debug)]
pub struct Faulty<L: Link> {
    link: L,
    faults: Faults,
    state: Cell<u64>,
    /// A frame that waits for the next one.
    behind: RefCell<Option<(L::Tx, Header)>>,
    /// A frame that waits for the next flush.
    late: RefCell<Option<(L::Tx, Header)>>,
}

impl<L: Link> Faulty<L> {
    /// A link with these faults; any seed will do.
    pub fn new(link: L, faults: Faults, seed: u64) -> Self {
        // An xorshift generator has one seed that it never leaves.
        let state = Cell::new(seed ^ 0x9e37_79b9_7f4a_7c15 | 1);
        Self { link, faults, state, behind: RefCell::new(None), late: RefCell::new(None) }
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

    /// Flips a bit of the header or of the payload; a header that claims more than its frame stays as it is, since no
    /// link would carry it.
    fn flip_a_bit(&self, tx: &L::Tx, header: &Header) -> Result<Header, LinkError> {
        let random = self.random();
        let bit = 1 << (random % 8);
        let mut bytes = header.emit();
        let at = (random >> 8) as usize % (bytes.len() + usize::from(header.len));
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= bit;
            let flipped = Header::parse(&bytes);
            return Ok(if usize::from(flipped.len) <= self.link.room(tx) { flipped } else { *header });
        }
        let mut byte = [0];
        self.link.read_back(tx, at - bytes.len(), &mut byte)?;
        self.link.write(tx, at - bytes.len(), &[byte[0] ^ bit])?;
        Ok(*header)
    }

    fn send(&self, waiting: &RefCell<Option<(L::Tx, Header)>>) -> Result<(), LinkError> {
        match waiting.take() {
            Some((tx, header)) => self.link.commit(tx, &header),
            None => Ok(()),
        }
    }
}

impl<L: Link> Link for Faulty<L> {
    type Tx = L::Tx;
    type Rx<'l>
        = L::Rx<'l>
    where
        Self: 'l;
    type Held = L::Held;

    fn reserve(&self) -> Result<L::Tx, LinkError> {
        self.link.reserve()
    }

    fn room(&self, tx: &L::Tx) -> usize {
        self.link.room(tx)
    }

    fn write(&self, tx: &L::Tx, at: usize, bytes: &[u8]) -> Result<(), LinkError> {
        self.link.write(tx, at, bytes)
    }

    fn read_back(&self, tx: &L::Tx, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.link.read_back(tx, at, to)
    }

    fn commit(&self, tx: L::Tx, header: &Header) -> Result<(), LinkError> {
        // Every fault is drawn for every frame, so that one rate does not shift the others' luck.
        let [lose, corrupt, reorder, delay] =
            [self.faults.lose, self.faults.corrupt, self.faults.reorder, self.faults.delay]
                .map(|rate| self.happens(rate));
        if lose {
            self.link.cancel(tx);
            return Ok(());
        }
        let header = if corrupt { self.flip_a_bit(&tx, header)? } else { *header };
        if delay && self.late.borrow().is_none() {
            self.late.replace(Some((tx, header)));
            return Ok(());
        }
        if reorder && self.behind.borrow().is_none() {
            self.behind.replace(Some((tx, header)));
            return Ok(());
        }
        self.link.commit(tx, &header)?;
        self.send(&self.behind)
    }

    fn cancel(&self, tx: L::Tx) {
        self.link.cancel(tx);
    }

    fn receive(&self) -> Result<Option<(Header, L::Rx<'_>)>, LinkError> {
        self.link.receive()
    }

    fn payload_room(&self, rx: &L::Rx<'_>) -> usize {
        self.link.payload_room(rx)
    }

    fn read(&self, rx: &L::Rx<'_>, at: usize, to: &mut [u8]) -> Result<(), LinkError> {
        self.link.read(rx, at, to)
    }

    fn release(&self, rx: L::Rx<'_>) {
        self.link.release(rx);
    }

    fn hold(&self, rx: L::Rx<'_>) -> L::Held {
        self.link.hold(rx)
    }

    fn resume(&self, held: L::Held) -> Option<L::Rx<'_>> {
        self.link.resume(held)
    }

    fn flush(&self) {
        self.link.flush();
        // What was late goes out now and becomes visible with the next flush.
        let sent = self.send(&self.late);
        debug_assert!(sent.is_ok() || self.late.borrow().is_none(), "a frame leaves its place either way");
    }

    fn arm(&self) -> bool {
        self.link.arm()
    }

    fn disarm(&self) {
        self.link.disarm();
    }
}
