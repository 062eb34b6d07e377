//! All of rpmsg over vring links, both ends ours, and someone who writes to the memory between them.
//!
//! For as long as nobody has, the books ([`books`]) say exactly what either end must answer: frames with any header
//! are no excuse. Afterwards an end may find its link broken, and may do nothing else that it must not.

mod books;
mod side;

use std::cell::Cell;
use std::rc::Rc;

use sidecore_rpmsg::link::Link;
use sidecore_rpmsg::{Rpmsg, Slot};
use sidecore_wire::features::{EVENT_IDX, F_NS};

use self::books::{Books, Lane};
use self::side::Side;
use crate::rigs::{Shape, Vdev};
use crate::tape::Tape;

/// Bytes of a buffer to the host and to the remote; an announcement fits both.
const SIZE: [u32; 2] = [64, 80];
/// Endpoints that an end has room for.
const SLOTS: usize = 4;
/// Services that an end's directory has room for.
const SERVICES: usize = 3;

/// Plays host and remote with someone between them, as the bytes have it: the first is the rings' sizes and features, and
/// whether memory is written to; the rest are calls and writes, each of the side that its highest bit says. Answers how
/// many messages arrived.
///
/// # Panics
/// One of them does what it must not.
pub fn play_rpmsg(bytes: &[u8]) -> usize {
    let mut tape = Tape::new(bytes);
    let choice = tape.u8();
    let features = F_NS | if choice & 0x10 != 0 { EVENT_IDX } else { 0 };
    let num = [1 << (choice % 4), 1 << (choice / 4 % 4)];
    let vdev = Vdev::new(Shape { features, num, size: SIZE });
    let [to_host, to_remote] = [0, 1].map(|queue| Lane::new(num[queue].into(), SIZE[queue] as usize));
    let bells = [Bell::default(), Bell::default()];
    let [host_bell, remote_bell] = &bells;
    let host = rpmsg(vdev.host(|_| remote_bell.set(remote_bell.get() + 1)));
    let remote = rpmsg(vdev.remote(|_| host_bell.set(host_bell.get() + 1)));
    let mut books = Books::new(vdev, [to_remote, to_host]);
    let lies = choice & 0x20 != 0;
    let (mut host, mut remote) = (Side::new(&host, 0, host_bell), Side::new(&remote, 1, remote_bell));
    while !tape.is_at_end() {
        let step = tape.u8();
        let which = Step::of(step);
        if which == Step::Lie && lies {
            books.lie(&mut tape);
        } else if step & 0x80 == 0 {
            host.step(which, &mut tape, &mut books);
            remote.hears(&books);
        } else {
            remote.step(which, &mut tape, &mut books);
            host.hears(&books);
        }
    }
    host.put_down(&mut books);
    remote.put_down(&mut books);
    // Twice: what one of them gives back only now, the other one finds.
    for _ in 0..2 {
        host.empty(&mut books);
        remote.empty(&mut books);
    }
    host.balance(&books);
    remote.balance(&books);
    books.arrived
}

/// Notifications that an end has heard.
type Bell = Rc<Cell<usize>>;

fn rpmsg<L: Link>(link: L) -> Rpmsg<L, Vec<Slot>> {
    Rpmsg::new(link, vec![Slot::new(); SLOTS])
}

/// What happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Open,
    Close,
    Tell,
    Send,
    SendTo,
    Reserve,
    Fill,
    SendReserved,
    Cancel,
    Poll,
    Drain,
    Release,
    Hold,
    Resume,
    BatchBegins,
    BatchEnds,
    Arm,
    Disarm,
    RawFrame,
    Lie,
    Bind,
}

/// In the order of their numbers on the tape. The corpora know these: a new step takes the place of a double.
const STEPS: [Step; 32] = [
    Step::Open,
    Step::Close,
    Step::Tell,
    Step::Send,
    Step::SendTo,
    Step::Reserve,
    Step::Fill,
    Step::SendReserved,
    Step::Cancel,
    Step::Poll,
    Step::Drain,
    Step::Release,
    Step::Hold,
    Step::Resume,
    Step::BatchBegins,
    Step::BatchEnds,
    Step::Arm,
    Step::Disarm,
    Step::RawFrame,
    Step::Lie,
    Step::Bind,
    Step::Send,
    Step::Send,
    Step::Poll,
    Step::Poll,
    Step::Poll,
    Step::RawFrame,
    Step::Release,
    Step::Arm,
    Step::Lie,
    Step::Open,
    Step::SendTo,
];

const _: () = {
    let mut number = 0;
    while number <= Step::Bind as usize {
        assert!(STEPS[number] as usize == number);
        number += 1;
    }
};

impl Step {
    fn of(byte: u8) -> Self {
        STEPS[usize::from(byte) % STEPS.len()]
    }
}
