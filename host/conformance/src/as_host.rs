//! We are the host: rings, buffers and messages with a peer that is a remote.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use sidecore_rpmsg::link::Toward;
use sidecore_rpmsg::{Announcement, Header};
use sidecore_wire::resource_table::vdev::offset;
use sidecore_wire::split::{DESC_WRITE, Descriptor, USED_NO_NOTIFY};

use crate::peer::{Ground, Met, Woken};
use crate::ring::Ring;
use crate::verdict::{Outcome, Stop, deviates, not_shown};
use crate::watch::Watch;

mod receive;
mod start;

pub use start::Start;

/// Ring 0, in which the remote sends.
pub(crate) const FROM_REMOTE: usize = 0;
/// Ring 1, in which the host sends.
pub(crate) const TO_REMOTE: usize = 1;
/// Our endpoint.
pub(crate) const OURS: u32 = 1030;
/// The name service's address.
pub(crate) const NAMES: u32 = 53;
/// The steps of a status that ends in DRIVER_OK.
pub(crate) const STEPS: &[u8] = &[0, 1, 3, 7];

const TICK: Duration = Duration::from_millis(2);
/// What a remote finds in the place of a header.
const LITTER: [u8; Header::SIZE] = [0x5A; Header::SIZE];

/// A message that the peer sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// As it lay in the buffer.
    pub header: Header,
    /// As much of it as the frame has.
    pub payload: Vec<u8>,
}

/// A session with a remote.
pub struct AsHost<'w> {
    /// The memory and the doorbells.
    pub ground: Box<dyn Ground>,
    /// What is seen along the way.
    pub watch: &'w mut Watch,
    /// Both rings.
    pub rings: [Ring; 2],
    /// Device address of the vdev entry.
    pub vdev: u64,
    /// Device address of the resource table.
    pub table: Option<u64>,
    /// How long silence has to last to be one.
    pub pace: Duration,
    /// Services that were announced and not withdrawn.
    pub services: Vec<Announcement>,
    /// Services that were withdrawn.
    gone: Vec<Announcement>,
    /// Whether received buffers are kept for now.
    pub keeps: bool,
    /// Whether the remote is kicked for messages only where it says that it wants that.
    pub heeds: bool,
    /// The flags of the descriptors in which messages are sent.
    pub marks: u16,
    /// Received buffers that were kept, by descriptor.
    pub kept: Vec<u16>,
    wanted: Option<String>,
    pools: [(u64, u64); 2],
    buffer: u32,
    /// Whether the peer has neither table nor status.
    pub is_bare: bool,
    deadline: Instant,
    made: [u16; 2],
    seen: [u16; 2],
    out: [Vec<Option<Vec<u8>>>; 2],
    room: u32,
    /// The transmit buffer whose turn it is.
    next: u16,
    frames: VecDeque<Frame>,
    spoken: BTreeSet<u32>,
    features: u32,
    is_up: bool,
}

impl<'w> AsHost<'w> {
    /// A session with who was met.
    ///
    /// # Errors
    /// Its rings are none that a ring can be.
    pub fn new(
        met: Met,
        watch: &'w mut Watch,
        wanted: Option<String>,
        [pace, limit]: [Duration; 2],
    ) -> Result<Self, Stop> {
        let ring = |at: usize| {
            let vring = met.rings.get(at)?;
            Ring::new(vring)
        };
        let (Some(first), Some(second)) = (ring(0), ring(1)) else {
            return deviates(format!("the table's rings can be none: {:?}", met.rings));
        };
        let none = |ring: &Ring| vec![None; usize::from(ring.num())];
        let out = [none(&first), none(&second)];
        Ok(Self {
            ground: met.ground,
            watch,
            rings: [first, second],
            vdev: met.vdev,
            table: met.table,
            pace,
            services: Vec::new(),
            gone: Vec::new(),
            keeps: false,
            heeds: false,
            marks: 0,
            kept: Vec::new(),
            wanted,
            pools: met.pools,
            buffer: met.buffer,
            is_bare: met.is_bare,
            deadline: Instant::now() + limit,
            made: [0; 2],
            seen: [0; 2],
            out,
            room: met.buffer,
            next: 0,
            frames: VecDeque::new(),
            spoken: BTreeSet::new(),
            features: 0,
            is_up: false,
        })
    }

    /// The features that the remote offers.
    #[must_use]
    pub fn offered(&self) -> u32 {
        self.register(offset::DFEATURES)
    }

    /// A register of the vdev entry.
    #[must_use]
    pub fn register(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        self.ground.read(self.vdev + at as u64, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    /// The status byte.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.ground.load_byte(self.vdev + offset::STATUS as u64).unwrap_or(0)
    }

    /// Writes the status byte.
    pub fn set_status(&mut self, status: u8) {
        if self.is_bare {
            return;
        }
        self.watch.trace_line(format!("status {:#04x} -> {status:#04x}", self.status()));
        self.ground.store_byte(self.vdev + offset::STATUS as u64, status);
    }

    /// Bytes of the longest message that fits into a buffer.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        (self.buffer as usize).saturating_sub(Header::SIZE)
    }

    /// Buffers of a ring.
    #[must_use]
    pub fn buffers(&self, queue: usize) -> u16 {
        let fit = self.pools[queue].1 / u64::from(self.buffer.max(1));
        self.rings[queue].num().min(u16::try_from(fit).unwrap_or(u16::MAX))
    }

    /// Where a buffer lies.
    #[must_use]
    pub fn place(&self, queue: usize, head: u16) -> u64 {
        self.pools[queue].0 + u64::from(head) * u64::from(self.buffer)
    }

    /// Makes a buffer of ring 0 available, without showing it. What is in it is of no use to anybody.
    fn fill(&mut self, head: u16) {
        self.ground.write(self.place(FROM_REMOTE, head), &LITTER);
        let descriptor =
            Descriptor { addr: self.place(FROM_REMOTE, head), len: self.room, flags: DESC_WRITE, next: 0 };
        self.rings[FROM_REMOTE].describe(&*self.ground, head, &descriptor);
        self.offer(FROM_REMOTE, head, Vec::new());
    }

    fn offer(&mut self, queue: usize, head: u16, contents: Vec<u8>) {
        self.rings[queue].offer(&*self.ground, self.made[queue], head);
        self.made[queue] = self.made[queue].wrapping_add(1);
        if let Some(out) = self.out[queue].get_mut(usize::from(head)) {
            *out = Some(contents);
        }
    }

    /// Shows what was made available.
    pub fn publish(&mut self, queue: usize) {
        self.ground.store(self.rings[queue].available_index(), self.made[queue]);
    }

    /// Kicks for a ring.
    pub fn kick(&mut self, queue: usize) {
        self.ground.kick(self.rings[queue].notifyid);
    }

    /// The used index of a ring.
    #[must_use]
    pub fn used_index(&self, queue: usize) -> u16 {
        self.ground.load(self.rings[queue].used_index()).unwrap_or(0)
    }

    /// How many entries were made available in a ring so far.
    #[must_use]
    pub fn made(&self, queue: usize) -> u16 {
        self.made[queue]
    }

    /// A free buffer to send in, once there is one.
    ///
    /// # Errors
    /// None comes back.
    pub fn free_buffer(&mut self) -> Result<u16, Stop> {
        loop {
            // Each in its turn, so that no two slots beside each other hold the same.
            let count = self.buffers(TO_REMOTE).max(1);
            let mut heads = (0..count).map(|step| (self.next + step) % count);
            let free = heads.find(|head| self.out[TO_REMOTE][usize::from(*head)].is_none());
            if let Some(head) = free {
                self.next = (head + 1) % count;
                return Ok(head);
            }
            self.turn("a transmit buffer did not come back")?;
        }
    }

    /// How many descriptors of a ring are with the remote.
    #[must_use]
    pub fn lent(&self, queue: usize) -> usize {
        self.out[queue].iter().flatten().count()
    }

    /// Whether there is a free buffer to send in.
    #[must_use]
    pub fn has_free_buffer(&self) -> bool {
        let count = usize::from(self.buffers(TO_REMOTE));
        self.out[TO_REMOTE].iter().take(count).any(Option::is_none)
    }

    /// Gives all received buffers back that were kept.
    pub fn give_kept(&mut self) {
        self.keeps = false;
        for head in std::mem::take(&mut self.kept) {
            self.fill(head);
        }
        self.publish(FROM_REMOTE);
        self.kick(FROM_REMOTE);
    }

    /// Writes a message and makes it available, without showing it. `len` is the descriptor's.
    ///
    /// # Errors
    /// There is no buffer for it.
    pub fn put(&mut self, header: &Header, payload: &[u8], len: u32) -> Outcome {
        let head = self.free_buffer()?;
        let mut bytes = header.emit().to_vec();
        bytes.extend(payload);
        bytes.truncate(self.buffer as usize);
        let addr = self.place(TO_REMOTE, head);
        self.ground.write(addr, &bytes);
        self.rings[TO_REMOTE].describe(
            &*self.ground,
            head,
            &Descriptor { addr, len, flags: self.marks, next: 0 },
        );
        self.watch.frame(Toward::Peer, header, payload);
        self.offer(TO_REMOTE, head, bytes);
        self.spoken.insert(header.dst);
        Ok(())
    }

    /// Sends a message.
    ///
    /// # Errors
    /// There is no buffer for it.
    pub fn send(&mut self, src: u32, dst: u32, payload: &[u8]) -> Outcome {
        let header = Header { src, dst, reserved: 0, len: payload.len() as u16, flags: 0 };
        self.put(&header, payload, (Header::SIZE + payload.len()) as u32)?;
        self.publish(TO_REMOTE);
        let flags = self.ground.load(self.rings[TO_REMOTE].used_flags()).unwrap_or(0);
        if !self.heeds || flags & USED_NO_NOTIFY == 0 {
            self.kick(TO_REMOTE);
        }
        Ok(())
    }

    /// Sends a message in such a way that the answer has to come with a kick, and waits for that as long as silence has to
    /// last to be one.
    ///
    /// # Errors
    /// There is no buffer for it.
    pub fn send_asleep(&mut self, dst: u32, payload: &[u8]) -> Result<Woken, Stop> {
        let header = Header { src: OURS, dst, reserved: 0, len: payload.len() as u16, flags: 0 };
        self.put(&header, payload, (Header::SIZE + payload.len()) as u32)?;
        let ring = self.rings[TO_REMOTE];
        Ok(self.ground.show_and_wait(
            ring.available_index(),
            self.made[TO_REMOTE],
            ring.notifyid,
            5 * self.pace,
        ))
    }

    /// Makes a descriptor of any kind available as the next of ring 1: from now on we break rules, and what is seen
    /// along the way shows nothing.
    ///
    /// # Errors
    /// There is no descriptor left for it.
    pub fn send_descriptor(&mut self, change: impl FnOnce(&mut Descriptor)) -> Outcome {
        let head = self.free_buffer()?;
        self.watch.look_away();
        let header = Header { src: OURS, dst: self.service_addr(), reserved: 0, len: 4, flags: 0 };
        let addr = self.place(TO_REMOTE, head);
        let mut bytes = header.emit().to_vec();
        bytes.extend(b"evil");
        self.ground.write(addr, &bytes);
        let mut descriptor = Descriptor { addr, len: 20, flags: 0, next: 0 };
        change(&mut descriptor);
        self.watch.trace_line(format!("to peer   {descriptor:x?}"));
        self.rings[TO_REMOTE].describe(&*self.ground, head, &descriptor);
        self.offer(TO_REMOTE, head, bytes);
        self.publish(TO_REMOTE);
        self.kick(TO_REMOTE);
        Ok(())
    }

    fn service_addr(&self) -> u32 {
        self.services.first().map_or(0, |service| service.addr)
    }

    /// Looks, and sleeps for a moment where there was nothing.
    ///
    /// # Errors
    /// The time of the clause is over, with `why` as the reason, or the peer is gone.
    pub fn turn(&mut self, why: &str) -> Outcome {
        if Instant::now() >= self.deadline {
            return not_shown(format!("{why}, and the time is over"));
        }
        let before = self.seen;
        self.poll()?;
        if self.seen == before
            && let Woken::Gone(how) = self.ground.wait(TICK)
        {
            // What it left may hold something still.
            self.poll()?;
            if self.seen == before {
                return not_shown(format!("{why}, and the peer is gone: {how}"));
            }
        }
        Ok(())
    }

    /// The next message that is for `dst`; none within `limit` is `None`.
    ///
    /// # Errors
    /// The peer is gone, or claims what cannot be.
    pub fn receive_within(&mut self, dst: u32, limit: Duration) -> Result<Option<Frame>, Stop> {
        let end = Instant::now() + limit;
        loop {
            if let Some(at) = self.frames.iter().position(|frame| frame.header.dst == dst) {
                return Ok(self.frames.remove(at));
            }
            if Instant::now() >= end {
                return Ok(None);
            }
            self.turn("no message came")?;
        }
    }

    /// A message from this address that nobody asked for yet.
    #[must_use]
    pub fn unread(&self, src: u32) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.header.src == src)
    }

    /// The service that sends back what it gets: the one asked for, or the first that does.
    ///
    /// # Errors
    /// None is announced, or none answers.
    pub fn service(&mut self) -> Result<u32, Stop> {
        let end = Instant::now() + 10 * self.pace;
        let mut tried = BTreeSet::new();
        while Instant::now() < end {
            let wanted = self.wanted.clone();
            let next = self.services.iter().find(|service| {
                !tried.contains(&service.addr)
                    && wanted.as_ref().is_none_or(|wanted| service.name.as_str() == Some(wanted))
            });
            if let Some(addr) = next.map(|service| service.addr) {
                tried.insert(addr);
                self.send(OURS, addr, b"sidecore")?;
                if self.receive_within(OURS, 3 * self.pace)?.is_some_and(|frame| frame.payload == b"sidecore")
                {
                    return Ok(addr);
                }
            } else {
                self.turn("no service was announced")?;
            }
        }
        let names: Vec<String> = self.services.iter().map(|service| service.name.to_string()).collect();
        not_shown(format!("no service sends back what it gets (announced: {})", names.join(", ")))
    }

    /// Brings the link up as one does, and finds a service that echoes.
    ///
    /// # Errors
    /// There is none.
    pub fn up(&mut self) -> Result<u32, Stop> {
        self.up_with(&Start::default())
    }

    /// As [`AsHost::up`], in another way.
    ///
    /// # Errors
    /// There is none.
    pub fn up_with(&mut self, start: &Start) -> Result<u32, Stop> {
        self.start(start);
        self.service()
    }

    /// Sends a message to a service and takes the answer, which has to be the same.
    ///
    /// # Errors
    /// It does not come, or is another.
    pub fn echo(&mut self, to: u32, payload: &[u8]) -> Outcome {
        self.send(OURS, to, payload)?;
        match self.receive_within(OURS, 10 * self.pace)? {
            None => not_shown(format!("a message of {} bytes was not answered", payload.len())),
            Some(frame) if frame.payload != payload => {
                let at = frame.payload.iter().zip(payload).position(|(a, b)| a != b);
                let what = match at {
                    Some(at) => format!("is another from byte {at} on"),
                    None => format!("has {} bytes", frame.payload.len()),
                };
                deviates(format!("the answer to a message of {} bytes {what}", payload.len()))
            }
            Some(_) => Ok(()),
        }
    }

    /// Whether the link still answers. Nothing is watched any more.
    #[must_use]
    pub fn still_answers(&mut self, to: u32) -> Liveness {
        self.watch.look_away();
        // It has to have looked before things are as if nothing had been.
        let end = Instant::now() + self.pace;
        while Instant::now() < end {
            if self.status() & 0x40 != 0 {
                return Liveness::AsksForReset;
            }
            std::thread::sleep(TICK);
        }
        let sent = self.send(OURS, to, b"still there?");
        let answer = sent.and_then(|()| self.receive_within(OURS, 3 * self.pace));
        match answer {
            Ok(Some(_)) => Liveness::Answers,
            Err(Stop::NotShown(why)) if why.contains("is gone") => Liveness::Gone,
            Err(Stop::Deviates(_)) => Liveness::Wild,
            _ if self.status() & 0x40 != 0 => Liveness::AsksForReset,
            _ => Liveness::Silent,
        }
    }
}

/// How a peer took something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It goes on as if nothing were.
    Answers,
    /// It says that only a reset helps.
    AsksForReset,
    /// It says nothing.
    Silent,
    /// It is gone.
    Gone,
    /// It gives back what it does not have.
    Wild,
}
