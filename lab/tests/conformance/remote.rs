//! A remote as the chapters have it, and wrong in one thing where that is asked for.

use std::thread::sleep;
use std::time::Duration;

use sidecore_conformance::{Ground as _, Ring};
use sidecore_rpmsg::{Announcement, Header, Name};
use sidecore_wire::config::Epochs;
use sidecore_wire::resource_table::{vdev::offset, vring};
use sidecore_wire::split::{DESC_INDIRECT, DESC_NEXT, DESC_WRITE, UsedElement};

use crate::rig::End;

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    TouchesRingsEarly,
    ComparesStatus,
    TakesRingsInUse,
    LosesSlots,
    GivesBackTwice,
    BelievesIndex,
    BelievesHead,
    WritesIntoBuffers,
    ShowsTooSoon,
    ReturnsZero,
    GivesBackUnused,
    WritesFlags,
    BelievesLength,
    Cuts,
    DoublesAddress,
    LongAnnouncement,
    AnnouncesTwice,
    SpeaksFirst,
    TakesAnyFeatures,
    NeverKicks,
    NeverKicksForBuffers,
    IgnoresReset,
    GoesOnAfterReset,
    AsksForNothing,
    KeepsUselessFrames,
    WantsKicks,
    TakesChains,
    NeverAcknowledges,
    AcknowledgesInALink,
}

const ECHO: u32 = 1024;

/// Why it lets go of a link.
enum Over {
    Broken,
    Closed,
}

pub(crate) struct Remote {
    end: End,
    vdev: u64,
    fault: Fault,
    offered: u32,
    asked: bool,
}

struct Link {
    rings: [Ring; 2],
    taken: [u16; 2],
    given: [u16; 2],
    spare: Option<(u16, u64, u32)>,
    waiting: Option<(u32, u32, Vec<u8>)>,
}

impl Remote {
    pub(crate) fn live(end: End, vdev: u64, fault: Fault) {
        let offered = end.word(vdev + offset::DFEATURES as u64);
        let mut remote = Remote { end, vdev, fault, offered, asked: false };
        while !remote.end.is_over() {
            if remote.fault != Fault::NeverAcknowledges {
                remote.acknowledge();
            }
            if !remote.is_up() {
                remote.wait();
                remote.misbehave_early();
            } else if let Some(link) = remote.attach() {
                remote.work(link);
            } else {
                remote.ask();
            }
        }
    }

    /// Has let go of every link.
    fn acknowledge(&self) {
        let at = self.vdev + (offset::VRINGS + 2 * vring::SIZE) as u64;
        if self.offered & 1 << 16 != 0 {
            let epoch = self.end.word(at + Epochs::DRIVER as u64);
            self.end.write(at + Epochs::DEVICE as u64, &epoch.to_le_bytes());
        }
    }

    fn status(&self) -> u8 {
        self.end.load_byte(self.vdev + offset::STATUS as u64).unwrap()
    }

    fn is_up(&mut self) -> bool {
        let status = self.status();
        if self.asked && status & 0x40 != 0 {
            return false;
        }
        self.asked = false;
        match self.fault {
            Fault::ComparesStatus => status == 7,
            _ => status & 4 != 0 && status & 0x80 == 0,
        }
    }

    fn wait(&mut self) {
        self.end.wait(Duration::from_millis(5));
    }

    fn misbehave_early(&self) {
        if self.fault == Fault::TouchesRingsEarly && self.status() & 4 == 0 {
            let ring = Ring::new(&self.end.vring(self.vdev, 0)).unwrap();
            self.end.store(ring.used_flags(), 1);
        }
    }

    /// Asks for a reset.
    fn ask(&mut self) {
        if self.fault != Fault::AsksForNothing {
            self.end.store_byte(self.vdev + offset::STATUS as u64, self.status() | 0x40);
        }
        self.asked = true;
        while self.fault == Fault::AsksForNothing && !self.end.is_over() && self.status() & 4 != 0 {
            self.wait();
        }
    }

    fn attach(&self) -> Option<Link> {
        let accepted = self.end.word(self.vdev + offset::GFEATURES as u64);
        if accepted & !self.offered != 0 && self.fault != Fault::TakesAnyFeatures {
            return None;
        }
        let ring = |queue| Ring::new(&self.end.vring(self.vdev, queue)).unwrap();
        let rings = [ring(0), ring(1)];
        let used = rings.map(|ring| self.end.load(ring.used_index()).unwrap());
        let goes_on = matches!(self.fault, Fault::TakesRingsInUse | Fault::GoesOnAfterReset);
        if used != [0; 2] && !goes_on {
            return None;
        }
        if self.fault != Fault::WantsKicks {
            self.end.store(rings[0].used_flags(), 1);
        }
        let mut link = Link { rings, taken: [0; 2], given: used, spare: None, waiting: None };
        if accepted & 1 != 0 {
            self.announce(&mut link);
        }
        if self.fault == Fault::SpeaksFirst {
            let _ = self.send(&mut link, ECHO, 1030, b"hello");
        }
        if self.fault == Fault::GivesBackUnused {
            let (head, at, len) = self.take(&mut link, 0).ok().flatten()?;
            self.end.write(at, &[0; 16]);
            self.give(&mut link, 0, u32::from(head), len);
            let _ = self.show(&mut link, 0);
        }
        Some(link)
    }

    fn announce(&self, link: &mut Link) {
        let mut say = |name: &str| {
            let name = Name::new(name).unwrap();
            let mut bytes = Announcement { name, addr: ECHO, flags: 0 }.emit().to_vec();
            if self.fault == Fault::LongAnnouncement {
                let _ = self.send(link, ECHO, 53, &bytes);
                bytes.extend([0; 4]);
            }
            let _ = self.send(link, ECHO, 53, &bytes);
        };
        say("rpmsg-echo");
        match self.fault {
            Fault::AnnouncesTwice => say("rpmsg-echo"),
            Fault::DoublesAddress => say("rpmsg-other"),
            _ => {}
        }
    }

    fn work(&mut self, mut link: Link) {
        loop {
            let ignores = self.fault == Fault::IgnoresReset;
            if self.end.is_over() || (!ignores && !self.is_up()) {
                return;
            }
            if self.fault == Fault::AcknowledgesInALink {
                self.acknowledge();
            }
            match self.turn(&mut link) {
                Ok(true) => {}
                Ok(false) => self.wait(),
                Err(Over::Closed) => return,
                Err(Over::Broken) => {
                    let is_cleared = (0..2).any(|queue| self.is_cleared(&link, queue));
                    if !is_cleared && self.is_up() {
                        self.ask();
                    }
                    return;
                }
            }
        }
    }

    fn is_cleared(&self, link: &Link, queue: usize) -> bool {
        self.fault != Fault::GoesOnAfterReset
            && self.end.load(link.rings[queue].used_index()) != Some(link.given[queue])
    }

    fn turn(&self, link: &mut Link) -> Result<bool, Over> {
        if self.is_cleared(link, 0) || self.is_cleared(link, 1) {
            return Err(Over::Closed);
        }
        if let Some((src, dst, payload)) = link.waiting.take()
            && !self.send(link, src, dst, &payload)?
        {
            link.waiting = Some((src, dst, payload));
            return Ok(false);
        }
        let Some((head, at, len)) = self.take(link, 1)? else { return Ok(false) };
        let mut bytes = vec![0; len as usize];
        if !self.end.read(at, &mut bytes) {
            return Err(Over::Broken);
        }
        let (fixed, rest) = bytes.split_first_chunk().ok_or(Over::Broken)?;
        let header = Header::parse(fixed);
        let mut claimed = usize::from(header.len);
        if self.fault == Fault::BelievesLength {
            claimed = claimed.min(rest.len());
        }
        let is_echo = header.dst == ECHO && claimed <= rest.len();
        if is_echo {
            link.waiting = Some((ECHO, header.src, rest[..claimed].to_vec()));
        }
        if self.fault == Fault::WritesIntoBuffers {
            self.end.write(at + 8, &0x77_u32.to_le_bytes());
        }
        if self.fault == Fault::KeepsUselessFrames && !is_echo {
            return Ok(true);
        }
        let back = if self.fault == Fault::ReturnsZero { 0 } else { len };
        self.give(link, 1, u32::from(head), back);
        if self.fault == Fault::GivesBackTwice && is_echo {
            self.give(link, 1, u32::from(head), back);
        }
        self.show(link, 1)?;
        Ok(true)
    }

    fn take(&self, link: &mut Link, queue: usize) -> Result<Option<(u16, u64, u32)>, Over> {
        let ring = link.rings[queue];
        let waiting = self.end.load(ring.available_index()).unwrap().wrapping_sub(link.taken[queue]);
        let held = link.taken[queue].wrapping_sub(link.given[queue]);
        if u32::from(waiting) + u32::from(held) > u32::from(ring.num()) && self.fault != Fault::BelievesIndex
        {
            let is_old = matches!(self.fault, Fault::TakesRingsInUse | Fault::GoesOnAfterReset);
            if !is_old || u32::from(waiting) > u32::from(ring.num()) {
                return Err(Over::Broken);
            }
        }
        if waiting == 0 {
            return Ok(None);
        }
        let entry = link.taken[queue];
        let slot = if self.fault == Fault::LosesSlots { entry % (ring.num() - 1) } else { entry };
        let mut head = ring.available(&self.end, slot);
        if head >= ring.num() {
            if self.fault != Fault::BelievesHead {
                return Err(Over::Broken);
            }
            head %= ring.num();
        }
        let descriptor = ring.descriptor(&self.end, head);
        let wanted = if queue == 0 { DESC_WRITE } else { 0 };
        let rules = if self.fault == Fault::TakesChains { 0 } else { DESC_NEXT | DESC_WRITE | DESC_INDIRECT };
        let is_right = descriptor.flags & rules == wanted & rules && descriptor.len >= 16;
        if !is_right || !self.end.read(descriptor.addr, &mut [0]) {
            return Err(Over::Broken);
        }
        link.taken[queue] = link.taken[queue].wrapping_add(1);
        Ok(Some((head, descriptor.addr, descriptor.len)))
    }

    fn give(&self, link: &mut Link, queue: usize, id: u32, len: u32) {
        link.rings[queue].give(&self.end, link.given[queue], &UsedElement { id, len });
        link.given[queue] = link.given[queue].wrapping_add(1);
    }

    /// Makes what was given back visible.
    fn show(&self, link: &mut Link, queue: usize) -> Result<(), Over> {
        let ring = link.rings[queue];
        self.end.store(ring.used_index(), link.given[queue]);
        let is_wanted = self.end.load(ring.available_flags()).unwrap() & 1 == 0;
        let is_silent = self.fault == Fault::NeverKicks && queue == 0
            || matches!(self.fault, Fault::NeverKicksForBuffers | Fault::NeverKicks) && queue == 1;
        if is_wanted && !is_silent {
            self.end.kick(ring.notifyid);
        }
        Ok(())
    }

    /// Whether there was a buffer for it.
    fn send(&self, link: &mut Link, src: u32, dst: u32, payload: &[u8]) -> Result<bool, Over> {
        let buffer = match link.spare.take() {
            Some(spare) => Some(spare),
            None => self.take(link, 0)?,
        };
        let Some((head, at, room)) = buffer else { return Ok(false) };
        let mut payload = payload;
        if payload.len() + 16 > room as usize {
            if self.fault != Fault::Cuts {
                link.spare = Some((head, at, room));
                return Ok(true);
            }
            payload = &payload[..room as usize - 16];
        }
        let flags = if self.fault == Fault::WritesFlags { 0x8000 } else { 0 };
        let header = Header { src, dst, reserved: 0, len: payload.len() as u16, flags };
        let bytes = [&header.emit()[..], payload].concat();
        if self.fault == Fault::ShowsTooSoon && dst != 53 && payload.len() > 8 {
            self.give(link, 0, u32::from(head), bytes.len() as u32);
            self.show(link, 0)?;
            sleep(Duration::from_micros(300));
            self.end.write(at, &bytes);
            return Ok(true);
        }
        self.end.write(at, &bytes);
        self.give(link, 0, u32::from(head), bytes.len() as u32);
        // With what comes too early, so that nobody can have spoken between.
        if self.fault != Fault::SpeaksFirst || dst != 53 {
            self.show(link, 0)?;
        }
        Ok(true)
    }
}
