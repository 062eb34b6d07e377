//! We are the remote: registers, rings and messages with a peer that is a host.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use sidecore_rpmsg::link::Toward;
use sidecore_rpmsg::{Announcement, Header, Name};
use sidecore_wire::name_service::CREATE;
use sidecore_wire::resource_table::vdev::offset;
use sidecore_wire::resource_table::{Vring, vring};
use sidecore_wire::split::{DESC_INDIRECT, DESC_NEXT, DESC_WRITE, Descriptor, UsedElement};

use crate::as_host::{FROM_REMOTE, Frame, NAMES, TO_REMOTE};
use crate::clause::Table;
use crate::peer::{Ground, Met, Woken};
use crate::ring::Ring;
use crate::verdict::{Outcome, Stop, deviates, not_shown};
use crate::watch::Watch;

mod lie;
mod receive;

const TICK: Duration = Duration::from_millis(1);
const DRIVER_OK: u8 = 4;
const FAILED: u8 = 0x80;
/// The address of our first service.
const FIRST: u32 = 1024;
const HISTORY_MAX: usize = 64;

/// What was there when DRIVER_OK came.
#[derive(Clone, Debug, Default)]
pub struct AtStart {
    /// Every status that was seen.
    pub history: Vec<u8>,
    /// The used parts of both rings, as the host left them: flags, index and event.
    pub used: [[u16; 3]; 2],
    /// Buffers of ring 0 that were available.
    pub available: u16,
    /// Whether it kicked when it had set DRIVER_OK, as far as that was seen before its rings were looked at.
    pub kicked: bool,
}

/// A session with a host.
pub struct AsRemote<'w> {
    /// The memory and the doorbells.
    pub ground: Box<dyn Ground>,
    /// What is seen along the way.
    pub watch: &'w mut Watch,
    /// Both rings, once DRIVER_OK was seen.
    pub rings: Vec<Ring>,
    /// Device address of the vdev entry.
    pub vdev: u64,
    /// How long silence has to last to be one.
    pub pace: Duration,
    /// The table that the host found.
    pub found: Table,
    /// Whether the peer has neither table nor status.
    pub is_bare: bool,
    /// What was there when DRIVER_OK came.
    pub at_start: AtStart,
    /// The length with which received buffers are given back, in place of their own.
    pub returned_len: Option<u32>,
    /// Whether our books say nothing any more, since we gave back what there is not.
    lies: bool,
    /// The services that are announced, from address 1024 on.
    pub names: Vec<Name>,
    deadline: Instant,
    taken: [u16; 2],
    /// What the used indices were at the start.
    begun: [u16; 2],
    given: [u16; 2],
    with_us: [Vec<bool>; 2],
    /// Buffers of ring 0 that were taken and not sent.
    spare: VecDeque<(u16, u64, u32)>,
    mine: [Vec<u8>; 2],
    frames: VecDeque<Frame>,
    /// Who writes to us, and to which of our endpoints, as of the last message.
    peer: Option<(u32, u32)>,
}

impl<'w> AsRemote<'w> {
    /// A session with who came.
    #[must_use]
    pub fn new(
        met: Met,
        found: Table,
        watch: &'w mut Watch,
        names: Vec<Name>,
        [pace, limit]: [Duration; 2],
    ) -> Self {
        Self {
            found,
            is_bare: met.is_bare,
            ground: met.ground,
            watch,
            rings: Vec::new(),
            vdev: met.vdev,
            pace,
            at_start: AtStart::default(),
            returned_len: None,
            lies: false,
            names,
            deadline: Instant::now() + limit,
            taken: [0; 2],
            begun: [0; 2],
            given: [0; 2],
            with_us: [Vec::new(), Vec::new()],
            spare: VecDeque::new(),
            mine: [Vec::new(), Vec::new()],
            frames: VecDeque::new(),
            peer: None,
        }
    }

    /// A register of the vdev entry.
    #[must_use]
    pub fn register(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.ground.read(self.vdev + at as u64, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// One ring's entry as it is now.
    #[must_use]
    pub fn vring(&self, queue: usize) -> Vring {
        let mut bytes = [0; vring::SIZE];
        self.ground.read(self.vdev + (offset::VRINGS + vring::SIZE * queue) as u64, &mut bytes);
        Vring::parse(&bytes)
    }

    /// The status byte.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.ground.load_byte(self.vdev + offset::STATUS as u64).unwrap_or(0)
    }

    /// Sets NEEDS_RESET.
    pub fn ask_for_reset(&mut self) {
        self.watch.look_away();
        self.watch.trace_line("NEEDS_RESET set");
        self.ground.store_byte(self.vdev + offset::STATUS as u64, self.status() | 0x40);
    }

    /// Waits for DRIVER_OK, and notes what is there then.
    ///
    /// # Errors
    /// It does not come in time, or the rings are nowhere.
    pub fn await_start(&mut self, limit: Duration) -> Outcome {
        if self.is_bare {
            self.await_kick(limit)?;
        }
        let end = Instant::now() + limit;
        let mut history: Vec<u8> = Vec::new();
        loop {
            let status = self.status();
            if history.last() != Some(&status) && history.len() < HISTORY_MAX {
                self.watch.trace_line(format!("status {status:#04x}"));
                history.push(status);
            }
            if status & DRIVER_OK != 0 {
                break;
            }
            if Instant::now() >= end {
                return not_shown(format!("DRIVER_OK did not come (status seen: {history:02x?})"));
            }
            // Short: the steps come within microseconds.
            std::thread::sleep(Duration::from_micros(20));
            match self.ground.wait(Duration::ZERO) {
                // Sent before it or after it: that it was the one behind DRIVER_OK cannot be ruled out.
                Woken::Kick => self.at_start.kicked = self.status() & DRIVER_OK != 0,
                Woken::Gone(how) if self.status() & DRIVER_OK == 0 => {
                    return not_shown(format!("the host is gone before DRIVER_OK: {how}"));
                }
                _ => {}
            }
        }
        self.at_start.history = history;
        self.rings.clear();
        for queue in 0..2 {
            let vring = self.vring(queue);
            let Some(ring) = Ring::new(&vring) else {
                return deviates(format!("ring {queue} can be none: {vring:?}"));
            };
            let load = |at| self.ground.load(at).unwrap_or(0);
            self.at_start.used[queue] =
                [load(ring.used_flags()), load(ring.used_index()), load(ring.available_event())];
            if queue == FROM_REMOTE {
                self.at_start.available = load(ring.available_index());
            }
            self.mine[queue] = ring.remotes_part(&*self.ground);
            self.with_us[queue] = vec![false; usize::from(ring.num())];
            self.rings.push(ring);
        }
        // A host without a status hands its transmit buffers over as used entries.
        self.begun = if self.is_bare { self.at_start.used.map(|[_, index, _]| index) } else { [0; 2] };
        (self.taken, self.given, self.peer) = ([0; 2], self.begun, None);
        self.spare.clear();
        self.frames.clear();
        Ok(())
    }

    /// Waits for the first kick of a host without a status, and takes it for DRIVER_OK.
    fn await_kick(&mut self, limit: Duration) -> Outcome {
        match self.ground.wait(limit) {
            Woken::Kick => {
                self.ground.write(self.vdev + offset::GFEATURES as u64, &1_u32.to_le_bytes());
                self.ground.store_byte(self.vdev + offset::STATUS as u64, DRIVER_OK);
                Ok(())
            }
            Woken::Time => not_shown("the first kick did not come"),
            Woken::Gone(how) => not_shown(format!("the host is gone before its first kick: {how}")),
        }
    }

    /// The ring, once there is one.
    fn ring(&self, queue: usize) -> Result<Ring, Stop> {
        self.rings.get(queue).copied().ok_or_else(|| Stop::NotShown("there are no rings yet".to_owned()))
    }

    /// Comes up as one does, and announces our services.
    ///
    /// # Errors
    /// The host does not start.
    pub fn up(&mut self) -> Outcome {
        self.await_start(20 * self.pace)?;
        self.announce()
    }

    /// Announces our services, each at its address.
    ///
    /// # Errors
    /// There are no buffers for it.
    pub fn announce(&mut self) -> Outcome {
        for (name, addr) in self.names.clone().into_iter().zip(FIRST..) {
            let announcement = Announcement { name, addr, flags: CREATE };
            self.send(addr, NAMES, &announcement.emit())?;
        }
        Ok(())
    }

    /// The next buffer of a ring, if there is one: head, descriptor.
    fn take(&mut self, queue: usize) -> Result<Option<(u16, Descriptor)>, Stop> {
        let ring = self.ring(queue)?;
        let index = self.ground.load(ring.available_index()).unwrap_or(0);
        let waiting = index.wrapping_sub(self.taken[queue]);
        let given = self.given[queue].wrapping_sub(self.begun[queue]);
        let held = self.taken[queue].wrapping_sub(given);
        let is_possible = u32::from(waiting) + u32::from(held) <= u32::from(ring.num());
        self.watch.see("RING-2", is_possible, || {
            format!("the available index of ring {queue} is {index}, {held} of {} are with us", ring.num())
        });
        if !is_possible && !self.lies {
            return deviates(format!("the available index of ring {queue} claims {waiting} entries more"));
        }
        if waiting == 0 {
            return Ok(None);
        }
        let entries =
            (0..waiting).map(|entry| ring.available(&*self.ground, self.taken[queue].wrapping_add(entry)));
        let heads: BTreeSet<u16> = entries.collect();
        self.watch.see("RING-4", heads.len() == usize::from(waiting), || {
            format!("made {waiting} entries of ring {queue} available with {} descriptors", heads.len())
        });
        let head = ring.available(&*self.ground, self.taken[queue]);
        let is_new = self.with_us[queue].get(usize::from(head)) == Some(&false);
        self.watch
            .see("RING-4", is_new, || format!("made descriptor {head} of ring {queue} available again"));
        if !is_new && !self.lies {
            return deviates(format!(
                "made descriptor {head} of ring {queue} available, which it does not have"
            ));
        }
        if let Some(with_us) = self.with_us[queue].get_mut(usize::from(head)) {
            *with_us = true;
        }
        self.taken[queue] = self.taken[queue].wrapping_add(1);
        let descriptor = ring.descriptor(&*self.ground, head);
        let Descriptor { addr, len, flags, .. } = descriptor;
        self.watch.see("RING-5", flags & (DESC_NEXT | DESC_INDIRECT) == 0, || {
            format!("a descriptor of ring {queue} with flags {flags:#x}")
        });
        let wanted = if queue == FROM_REMOTE { DESC_WRITE } else { 0 };
        self.watch.see("RING-6", flags & DESC_WRITE == wanted, || {
            format!("a descriptor of ring {queue} with flags {flags:#x}")
        });
        let mut byte = [0];
        let last = addr.wrapping_add(u64::from(len)).wrapping_sub(1);
        let is_there = self.ground.read(addr, &mut byte) && self.ground.read(last, &mut byte);
        self.watch.see("MEM-2", is_there, || format!("a buffer of {len} bytes at {addr:#x}"));
        self.watch.see("MESSAGE-3", len >= 16, || format!("a buffer of {len} bytes"));
        Ok(Some((head, descriptor)))
    }

    fn give(&mut self, queue: usize, element: &UsedElement) -> Outcome {
        let ring = self.ring(queue)?;
        // The host must not have touched what is ours.
        ring.give(&*self.ground, self.given[queue], element);
        self.given[queue] = self.given[queue].wrapping_add(1);
        if let Some(with_us) = self.with_us[queue].get_mut(element.id as usize) {
            *with_us = false;
        }
        self.ground.store(ring.used_index(), self.given[queue]);
        self.mine[queue] = ring.remotes_part(&*self.ground);
        self.ground.kick(ring.notifyid);
        Ok(())
    }

    /// Whether what we alone write is as we wrote it.
    pub fn check_ours(&mut self) {
        for queue in 0..self.rings.len() {
            let now = self.rings[queue].remotes_part(&*self.ground);
            let is_same = now == self.mine[queue];
            self.watch.see("MEM-4", is_same, || format!("wrote into the used part of ring {queue}"));
        }
    }

    /// Whether the host has shown a message that was not taken yet.
    #[must_use]
    pub fn has_message(&self) -> bool {
        let index = self.rings.get(TO_REMOTE).and_then(|ring| self.ground.load(ring.available_index()));
        index.is_some_and(|index| index != self.taken[TO_REMOTE])
    }

    /// A buffer of ring 0, taken.
    ///
    /// # Errors
    /// None comes.
    pub fn buffer(&mut self) -> Result<(u16, u64, u32), Stop> {
        loop {
            if let Some(spare) = self.spare.pop_front() {
                return Ok(spare);
            }
            if let Some((head, descriptor)) = self.take(FROM_REMOTE)? {
                return Ok((head, descriptor.addr, descriptor.len));
            }
            self.turn("the host made no buffer of ring 0 available")?;
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// No buffer comes.
    pub fn send(&mut self, src: u32, dst: u32, payload: &[u8]) -> Outcome {
        let header = Header { src, dst, reserved: 0, len: payload.len() as u16, flags: 0 };
        self.send_frame(&header, payload, (Header::SIZE + payload.len()) as u32)
    }

    /// Sends any frame, with any length in its used entry.
    ///
    /// # Errors
    /// No buffer comes.
    pub fn send_frame(&mut self, header: &Header, payload: &[u8], len: u32) -> Outcome {
        let (head, addr, room) = self.buffer()?;
        let mut bytes = header.emit().to_vec();
        bytes.extend(payload);
        bytes.truncate(room as usize);
        self.ground.write(addr, &bytes);
        self.watch.frame(Toward::Peer, header, payload);
        self.give(FROM_REMOTE, &UsedElement { id: u32::from(head), len })
    }

    /// Looks, and sleeps for a moment where there was nothing.
    ///
    /// # Errors
    /// The time of the clause is over, or the peer is gone.
    pub fn turn(&mut self, why: &str) -> Outcome {
        if Instant::now() >= self.deadline {
            return not_shown(format!("{why}, and the time is over"));
        }
        if !self.poll()?
            && let Woken::Gone(how) = self.ground.wait(TICK)
        {
            return not_shown(format!("{why}, and the host is gone: {how}"));
        }
        Ok(())
    }

    /// The next message for us; `None` where none comes within `limit`.
    ///
    /// # Errors
    /// As for [`AsRemote::turn`].
    pub fn receive_within(&mut self, limit: Duration) -> Result<Option<Frame>, Stop> {
        let end = Instant::now() + limit;
        loop {
            if self.frames.is_empty() {
                self.poll()?;
            }
            if let Some(frame) = self.frames.pop_front() {
                return Ok(Some(frame));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.turn("no message came")?;
        }
    }

    /// Sends messages back, as many as come up to `count`, and answers them all.
    ///
    /// # Errors
    /// None comes.
    pub fn serve(&mut self, count: usize) -> Result<Vec<Frame>, Stop> {
        let mut served: Vec<Frame> = Vec::new();
        while served.len() < count {
            let Some(frame) = self.receive_within(10 * self.pace)? else { break };
            self.answer(&frame)?;
            served.push(frame);
        }
        if served.is_empty() {
            return not_shown("the host opened none of our services and sent nothing");
        }
        Ok(served)
    }

    /// Sends a message back.
    ///
    /// # Errors
    /// No buffer comes.
    pub fn answer(&mut self, frame: &Frame) -> Outcome {
        self.send(frame.header.dst, frame.header.src, &frame.payload)
    }

    /// Whether the host goes on sending: answers one message that may have been on its way, and waits for the next.
    #[must_use]
    pub fn goes_on(&mut self) -> HostGoes {
        self.watch.look_away();
        let end = Instant::now() + 5 * self.pace;
        let mut is_answered = false;
        loop {
            let status = self.status();
            if status & FAILED != 0 {
                return HostGoes::GivesUp;
            }
            if status & DRIVER_OK == 0 {
                return HostGoes::Resets;
            }
            match self.receive_within(Duration::ZERO) {
                Ok(Some(_)) if is_answered => return HostGoes::On,
                Ok(Some(frame)) => {
                    std::thread::sleep(self.pace / 2);
                    is_answered = true;
                    // Without a buffer for it there is no answer, and nothing that goes on.
                    let _ = self.answer(&frame);
                }
                Err(Stop::NotShown(why)) if why.contains("is gone") => return self.how_it_went(),
                Err(_) => return HostGoes::Wild,
                Ok(None) if Instant::now() >= end => return HostGoes::Silent,
                Ok(None) => {}
            }
            if let Woken::Gone(_) = self.ground.wait(TICK) {
                return self.how_it_went();
            }
        }
    }

    /// What a host that is gone said last.
    fn how_it_went(&self) -> HostGoes {
        match self.status() {
            status if status & FAILED != 0 => HostGoes::GivesUp,
            status if status & DRIVER_OK == 0 => HostGoes::Resets,
            _ => HostGoes::Away,
        }
    }
}

/// How a host took something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostGoes {
    /// It goes on as if nothing were.
    On,
    /// It set FAILED.
    GivesUp,
    /// It reset the device.
    Resets,
    /// It says nothing.
    Silent,
    /// It is gone.
    Away,
    /// It breaks rules itself now.
    Wild,
}
