//! A link that goes on where another host was killed.

use core::cell::Cell;

use sidecore_mem::Block;
use sidecore_virtio::split::{self, Ledger, Left, Slot};
use sidecore_virtio::{Direction, DriverQueue, Notify};
use sidecore_wire::name_service::Announcement;
use sidecore_wire::rpmsg::{Header, NAME_SERVICE_ADDR};

use super::driver::{Driver, DriverRx, Pool};
use super::{Buffers, FROM_DEVICE, TO_DEVICE};
use crate::link::{Link, LinkError};

/// The driver's side, with journals where there is memory for them.
pub type Resumable<S, N, O> = Driver<split::Driver<S, O, Option<Ledger<O>>>, N, O>;

impl<S: AsRef<[Slot]>, N: Notify, O: Clone> Resumable<S, N, O> {
    /// A link over queues that were resumed.
    ///
    /// # Errors
    /// The memory of a direction is too short for its buffers, or their size is of no use.
    pub(crate) fn resume(
        rx: split::Driver<S, O, Option<Ledger<O>>>,
        tx: split::Driver<S, O, Option<Ledger<O>>>,
        rx_buffers: Buffers<O>,
        tx_buffers: Buffers<O>,
        notify: N,
    ) -> Result<Self, LinkError> {
        let rx_pool = Pool::new(&rx_buffers, rx.num())?;
        let tx_pool = Pool::new(&tx_buffers, tx.num())?;
        // Those that are with the remote are not held, and stay as they are.
        for head in (0..tx.num()).rev() {
            if tx.bind(head, tx_pool.buffer(head, Direction::ToDevice)).is_ok() {
                tx.free(head)?;
            }
        }
        for head in 0..rx.num() {
            let _with_remote = rx.bind(head, rx_pool.buffer(head, Direction::FromDevice));
        }
        tx.disable_notifications();
        Ok(Self { rx, tx, rx_pool, tx_pool, notify, starved: Cell::new(false) })
    }
}

impl<S: AsRef<[Slot]>, N: Notify, O: Clone> Resumable<S, N, O> {
    /// The frames that the other host had received and not released, in no particular order: the greater their age, the
    /// older. Each is taken up by [`again`](Self::again), once.
    pub fn left(&self) -> impl Iterator<Item = Left> + '_ {
        self.rx.ledger().into_iter().flat_map(Ledger::left)
    }

    /// A frame of [`left`](Self::left).
    ///
    /// # Errors
    /// Its length cannot be.
    pub fn again(&self, left: Left) -> Result<(Header, DriverRx<'_>), LinkError> {
        self.open(left.head, left.len)
    }

    /// Announcements that the other host had released, and perhaps not taken note of: the remote has not been shown yet
    /// that it may write there again.
    pub fn unsure(&self) -> impl Iterator<Item = Announcement> + '_ {
        self.rx.unpublished().filter_map(|head| {
            let block = self.block_of(head)?;
            let mut header = [0; Header::SIZE];
            block.read(0, &mut header)?;
            let header = Header::parse(&header);
            let mut bytes = [0; Announcement::SIZE];
            block.read(Header::SIZE, &mut bytes)?;
            let announcement = Announcement::parse(&bytes);
            let is_one = header.dst == NAME_SERVICE_ADDR
                && usize::from(header.len) == Announcement::SIZE
                && announcement.name.is_valid();
            is_one.then_some(announcement)
        })
    }

    /// Shows the remote what it was not shown, and rings it whether or not it asks: the other host may have died before
    /// it rang. To be called once, when everything that was [left](Self::left) is taken up.
    pub fn go_on(&self) {
        self.flush();
        self.notify.notify(TO_DEVICE);
        self.notify.notify(FROM_DEVICE);
    }

    fn block_of(&self, head: u16) -> Option<Block<'_>> {
        // Initial buffers that were never written hold no frame.
        let written = self.rx.ledger()?.len_of(head) as usize >= Header::SIZE;
        (written && head < self.rx.num()).then(|| self.rx_pool.block(head))
    }
}
