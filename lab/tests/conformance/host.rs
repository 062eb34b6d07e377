//! A host as the chapters have it, and wrong in one thing where that is asked for.

use std::time::Duration;

use sidecore_conformance::{Ground as _, Ring};
use sidecore_rpmsg::{Announcement, Header};
use sidecore_wire::config::Epochs;
use sidecore_wire::resource_table::{Table, vdev::offset, vring};
use sidecore_wire::split::{DESC_WRITE, Descriptor};

use crate::rig::End;

/// What it does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    SkipsSteps,
    GoesOnAtOnce,
    FillsLate,
    LeavesLitter,
    OffersTwice,
    MarksWritable,
    BelievesIndex,
    BelievesId,
    BelievesLength,
    AcceptsAll,
    WritesFeatures,
    SaysNothingOfFailure,
    IgnoresRequests,
    NumbersNoReset,
    HeedsNoAcknowledgement,
    GivesUpOnSilence,
}

const BUFFERS: u16 = 32;
const SIZE: u32 = 512;
const POOLS: [u64; 2] = [0x1_0000, 0x2_0000];
const OURS: u32 = 1100;

pub(crate) struct Host {
    end: End,
    vdev: u64,
    fault: Fault,
    rings: [Ring; 2],
    made: [u16; 2],
    seen: [u16; 2],
    /// Bytes that a buffer of ring 1 is taken to have.
    room: Vec<u32>,
    out: [Vec<bool>; 2],
    service: Option<u32>,
    features: u32,
}

impl Host {
    pub(crate) fn live(end: End, vdev: u64, fault: Fault) {
        let mut bytes = [0; 512];
        end.read(0, &mut bytes);
        // Its length is not said anywhere: what is behind the entries is none of it.
        if Table::parse(&bytes).is_err() {
            return;
        }
        place(&end, vdev);
        let ring = |queue| Ring::new(&end.vring(vdev, queue));
        let (Some(first), Some(second)) = (ring(0), ring(1)) else { return };
        if !end.read(second.at, &mut [0]) {
            return;
        }
        let out = [vec![false; first.num().into()], vec![false; second.num().into()]];
        let room = vec![SIZE; BUFFERS.into()];
        let mut host = Host {
            rings: [first, second],
            end,
            vdev,
            fault,
            made: [0; 2],
            seen: [0; 2],
            room,
            out,
            service: None,
            features: 0,
        };
        host.start();
        if !host.work() && host.fault != Fault::SaysNothingOfFailure {
            let status = host.end.load_byte(vdev + offset::STATUS as u64).unwrap();
            host.end.store_byte(vdev + offset::STATUS as u64, status | 0x80);
        }
    }

    fn start(&mut self) {
        let at = self.vdev + offset::STATUS as u64;
        let is_anothers = self.end.load_byte(at) != Some(0);
        let reset = self.number_reset();
        self.end.store_byte(at, 0);
        if is_anothers && self.fault != Fault::GoesOnAtOnce {
            for _ in 0..200 {
                let is_heard = reset.is_some_and(|(at, epoch)| self.end.word(at) == epoch);
                if is_heard && self.fault != Fault::HeedsNoAcknowledgement {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if self.fault != Fault::SkipsSteps {
            self.end.store_byte(at, 1);
            self.end.store_byte(at, 3);
        }
        let offered = self.end.word(self.vdev + offset::DFEATURES as u64);
        self.features = if self.fault == Fault::AcceptsAll { offered } else { offered & 1 };
        self.end.write(self.vdev + offset::GFEATURES as u64, &self.features.to_le_bytes());
        if self.fault == Fault::WritesFeatures {
            self.end.write(self.vdev + offset::DFEATURES as u64, &0xFF_u32.to_le_bytes());
        }
        for ring in self.rings {
            if self.fault == Fault::LeavesLitter {
                self.end.store(ring.available_index(), 0);
            } else {
                ring.clear(&self.end);
            }
        }
        let last = if self.fault == Fault::SkipsSteps { 4 } else { 7 };
        if self.fault == Fault::FillsLate {
            self.end.store_byte(at, last);
            std::thread::sleep(Duration::from_millis(20));
        }
        for head in 0..BUFFERS.min(self.rings[0].num()) {
            self.offer(0, head, SIZE);
        }
        self.publish(0);
        self.end.store(self.rings[1].available_flags(), 1);
        self.end.store_byte(at, last);
        self.end.kick(self.rings[0].notifyid);
    }

    /// Where the remote acknowledges a reset, and how; `None` where it does not.
    fn number_reset(&self) -> Option<(u64, u32)> {
        let config = self.end.word(self.vdev + offset::CONFIG_LEN as u64) as usize;
        let knows = self.end.word(self.vdev + offset::DFEATURES as u64) & 1 << 16 != 0;
        let epochs = Epochs::at(config).filter(|_| knows && self.fault != Fault::NumbersNoReset)?;
        let at = self.vdev + (offset::VRINGS + 2 * vring::SIZE + epochs) as u64;
        let epoch = self.end.word(at) ^ 0x8000_0000;
        self.end.write(at + Epochs::DRIVER as u64, &epoch.to_le_bytes());
        Some((at + Epochs::DEVICE as u64, epoch))
    }

    fn offer(&mut self, queue: usize, head: u16, len: u32) {
        let is_writable = queue == 0 || self.fault == Fault::MarksWritable;
        let flags = if is_writable { DESC_WRITE } else { 0 };
        let addr = POOLS[queue] + u64::from(head) * u64::from(SIZE);
        let ring = self.rings[queue];
        ring.describe(&self.end, head, &Descriptor { addr, len, flags, next: 0 });
        let times = if self.fault == Fault::OffersTwice && queue == 1 { 2 } else { 1 };
        for _ in 0..times {
            ring.offer(&self.end, self.made[queue], head);
            self.made[queue] = self.made[queue].wrapping_add(1);
        }
        self.out[queue][usize::from(head)] = true;
    }

    fn publish(&self, queue: usize) {
        self.end.store(self.rings[queue].available_index(), self.made[queue]);
        self.end.kick(self.rings[queue].notifyid);
    }

    /// Talks with the first service that it hears of; `false` where a rule was broken.
    fn work(&mut self) -> bool {
        let (mut number, mut is_answered, mut silent) = (0_usize, true, 0);
        while !self.end.is_over() {
            let status = self.end.load_byte(self.vdev + offset::STATUS as u64).unwrap();
            if status & 0x40 != 0 && self.fault != Fault::IgnoresRequests {
                return false;
            }
            match self.poll() {
                None => return false,
                Some(any) => is_answered |= any,
            }
            if let (true, Some(dst)) = (is_answered, self.service) {
                is_answered = !self.send(dst, &vec![number as u8; 4 + number % 64]);
                number += usize::from(!is_answered);
            }
            silent = if self.end.wait(Duration::from_millis(2)) == sidecore_conformance::Woken::Time {
                silent + 1
            } else {
                0
            };
            if self.fault == Fault::GivesUpOnSilence && silent > 20 {
                return false;
            }
        }
        true
    }

    /// Whether a message came; `None` where a rule was broken.
    fn poll(&mut self) -> Option<bool> {
        let mut any = false;
        for queue in 0..2 {
            let ring = self.rings[queue];
            let index = self.end.load(ring.used_index()).unwrap();
            let count = index.wrapping_sub(self.seen[queue]);
            let out = self.out[queue].iter().filter(|out| **out).count();
            if usize::from(count) > out
                && self.fault != Fault::BelievesIndex
                && self.fault != Fault::OffersTwice
            {
                return None;
            }
            for _ in 0..count.min(ring.num()) {
                let used = ring.used(&self.end, self.seen[queue]);
                self.seen[queue] = self.seen[queue].wrapping_add(1);
                let is_out = self.out[queue].get(used.id as usize) == Some(&true);
                let believes =
                    matches!(self.fault, Fault::BelievesId | Fault::BelievesIndex | Fault::OffersTwice);
                let is_frame = queue == 1 || (16..=SIZE).contains(&used.len);
                if !is_frame && self.fault == Fault::BelievesIndex {
                    continue;
                }
                if !is_out && !believes || !is_frame {
                    return None;
                }
                let head = (used.id % u32::from(BUFFERS)) as u16;
                self.out[queue][usize::from(head)] = false;
                if queue == 1 {
                    if self.fault == Fault::BelievesLength {
                        self.room[usize::from(head)] = used.len;
                    }
                } else {
                    any |= self.received(head, used.len);
                    self.offer(0, head, SIZE);
                    self.publish(0);
                }
            }
            if self.fault == Fault::BelievesIndex {
                self.seen[queue] = index;
            }
        }
        Some(any)
    }

    fn received(&mut self, head: u16, len: u32) -> bool {
        let mut bytes = vec![0; len.min(SIZE) as usize];
        self.end.read(POOLS[0] + u64::from(head) * u64::from(SIZE), &mut bytes);
        let (fixed, rest) = bytes.split_first_chunk().unwrap();
        let header = Header::parse(fixed);
        let Some(payload) = rest.get(..usize::from(header.len)) else { return false };
        if header.dst == 53 && self.features & 1 != 0 {
            let announcement = payload.try_into().ok().map(Announcement::parse);
            let named = announcement.filter(|one| one.name.is_valid() && one.name.matches("rpmsg-echo"));
            self.service = self.service.or(named.map(|one| one.addr));
        }
        header.dst == OURS
    }

    fn send(&mut self, dst: u32, payload: &[u8]) -> bool {
        let Some(head) = (0..BUFFERS.min(self.rings[1].num())).find(|head| !self.out[1][usize::from(*head)])
        else {
            return false;
        };
        let room = (self.room[usize::from(head)].max(16) as usize - 16).min(SIZE as usize - 16);
        let payload = &payload[..payload.len().min(room)];
        let header = Header { src: OURS, dst, reserved: 0, len: payload.len() as u16, flags: 0 };
        let bytes = [&header.emit()[..], payload].concat();
        self.end.write(POOLS[1] + u64::from(head) * u64::from(SIZE), &bytes);
        let len = if self.fault == Fault::BelievesLength { SIZE } else { bytes.len() as u32 };
        self.offer(1, head, len);
        self.publish(1);
        true
    }
}

/// Places rings that have no place, and numbers those that have none.
fn place(end: &End, vdev: u64) {
    for (queue, da) in (0..).zip([0x4000_u32, 0x8000]) {
        let at = vdev + offset::VRINGS as u64 + queue * vring::SIZE as u64;
        let vring = end.vring(vdev, queue);
        if vring.da == u32::MAX {
            end.write(at, &da.to_le_bytes());
        }
        if vring.notifyid == u32::MAX {
            end.write(at + vring::offset::NOTIFYID as u64, &(queue as u32 + 1).to_le_bytes());
        }
    }
}
