//! What comes from a remote, and what of it shows a clause kept or broken.

use sidecore_rpmsg::link::Toward;
use sidecore_rpmsg::{Announcement, Header};
use sidecore_wire::name_service::CREATE;
use sidecore_wire::split::UsedElement;

use super::{AsHost, FROM_REMOTE, Frame, LITTER, NAMES, TO_REMOTE};
use crate::verdict::{Outcome, deviates};

/// Announcements that are kept in mind.
const ANNOUNCEMENTS_MAX: usize = 1024;

impl AsHost<'_> {
    /// Takes everything that is there.
    ///
    /// # Errors
    /// The peer claims more than it can have given back.
    pub fn poll(&mut self) -> Outcome {
        for queue in [FROM_REMOTE, TO_REMOTE] {
            let ring = self.rings[queue];
            let index = self.ground.load(ring.used_index()).unwrap_or(0);
            let count = index.wrapping_sub(self.seen[queue]);
            let out = self.out[queue].iter().flatten().count();
            let is_possible = usize::from(count) <= out;
            self.watch.see("RING-2", is_possible, || {
                format!(
                    "the used index of ring {queue} is {index}, with {out} descriptors out since {}",
                    self.seen[queue]
                )
            });
            if !is_possible {
                return deviates(format!(
                    "the used index of ring {queue} claims {count} entries, {out} are out"
                ));
            }
            for _ in 0..count {
                let element = ring.used(&*self.ground, self.seen[queue]);
                self.seen[queue] = self.seen[queue].wrapping_add(1);
                self.came_back(queue, element)?;
            }
        }
        Ok(())
    }

    fn came_back(&mut self, queue: usize, element: UsedElement) -> Outcome {
        let UsedElement { id, len } = element;
        let contents = usize::try_from(id).ok().and_then(|id| self.out[queue].get_mut(id)?.take());
        self.watch.see("RING-9", contents.is_some(), || {
            format!("gave back descriptor {id} of ring {queue}, which it does not have")
        });
        let Some(contents) = contents else {
            return deviates(format!("gave back descriptor {id} of ring {queue}, which it does not have"));
        };
        let head = id as u16;
        if queue == TO_REMOTE {
            let given = self.rings[queue].descriptor(&*self.ground, head).len;
            self.watch.see("MESSAGE-5", len == given, || {
                format!("gave a buffer of {given} bytes back with the length {len}")
            });
            let mut now = vec![0; contents.len()];
            self.ground.read(self.place(queue, head), &mut now);
            self.watch.see("MEM-4", now == contents, || {
                let at = now.iter().zip(&contents).position(|(now, was)| now != was).unwrap_or(0);
                format!("wrote into byte {at} of a buffer that it may only read")
            });
            return Ok(());
        }
        self.received(head, len);
        Ok(())
    }

    fn received(&mut self, head: u16, len: u32) {
        let room = self.room;
        let is_frame = (Header::SIZE as u32..=room).contains(&len);
        self.watch.see("MESSAGE-3", is_frame, || format!("a frame of {len} bytes in a buffer of {room}"));
        let mut bytes = vec![0; (len.min(room) as usize).max(Header::SIZE)];
        self.ground.read(self.place(FROM_REMOTE, head), &mut bytes);
        if self.keeps {
            self.kept.push(head);
        } else {
            self.fill(head);
            self.publish(FROM_REMOTE);
        }
        let Some((fixed, rest)) = bytes.split_first_chunk() else { return };
        let header = Header::parse(fixed);
        let claimed = usize::from(header.len);
        self.watch.see("MESSAGE-8", *fixed != LITTER && *fixed != [0; Header::SIZE], || {
            "gave a buffer back without a frame in it".to_owned()
        });
        self.watch.see("MESSAGE-2", claimed <= rest.len(), || {
            format!("a header that claims {claimed} bytes in a buffer that has {} behind it", rest.len())
        });
        self.watch.see("MESSAGE-10", header.reserved == 0 && header.flags == 0, || {
            format!("sent reserved {:#x} and flags {:#x}", header.reserved, header.flags)
        });
        self.watch
            .see("ADDRESS-1", header.src != u32::MAX, || "sent a message from address \"any\"".to_owned());
        let frame = Frame { header, payload: rest[..claimed.min(rest.len())].to_vec() };
        self.watch.frame(Toward::Us, &frame.header, &frame.payload);
        if header.dst == NAMES {
            self.announced(&frame.payload);
        } else {
            let known = self.services.iter().any(|service| service.addr == header.src);
            let has_spoken = self.spoken.contains(&header.src);
            self.watch.see("NS-8", !known || has_spoken, || {
                format!("{} sent a message before it got one", header.src)
            });
            if self.frames.len() < usize::from(u16::MAX) {
                self.frames.push_back(frame);
            }
        }
    }

    fn announced(&mut self, payload: &[u8]) {
        self.watch.see("FEATURE-6", self.features & 1 != 0, || {
            "sent an announcement though the name service was not accepted".to_owned()
        });
        let bytes: Result<&[u8; Announcement::SIZE], _> = payload.try_into();
        self.watch.see("NS-1", bytes.is_ok(), || format!("an announcement of {} bytes", payload.len()));
        let Ok(bytes) = bytes else { return };
        let announcement = Announcement::parse(bytes);
        let end = bytes[..32].iter().position(|byte| *byte == 0);
        let is_clean = end.is_some_and(|end| {
            end > 0
                && bytes[..end].iter().all(|byte| (0x20..0x7F).contains(byte))
                && bytes[end..32].iter().all(|byte| *byte == 0)
        });
        self.watch.see("NS-2", is_clean, || format!("announced the name {:02x?}", &bytes[..32]));
        self.watch
            .see("NS-4", announcement.flags <= 1, || format!("announced flags {:#x}", announcement.flags));
        let addr = announcement.addr;
        self.watch.see("ADDRESS-2", addr != NAMES, || "announced a service at address 53".to_owned());
        if announcement.is_destroy() {
            self.watch.see("NS-9", true, String::new);
            self.services.retain(|known| known.addr != addr || known.name != announcement.name);
            if self.gone.len() < ANNOUNCEMENTS_MAX {
                self.gone.push(announcement);
            }
            return;
        }
        let same = |known: &Announcement| known.addr == addr;
        let twice = self.services.iter().find(|known| same(known) && known.name != announcement.name);
        self.watch.see("ADDRESS-3", twice.is_none() && addr >= 1024, || match twice {
            Some(other) => {
                format!("gave the address {addr} to {} and to {} at once", other.name, announcement.name)
            }
            None => {
                format!("announced the service {} at address {addr}, which is below 1024", announcement.name)
            }
        });
        if let Some(last) = self.gone.last() {
            let before = self.gone.iter().find(|gone| gone.addr == addr && gone.name != announcement.name);
            self.watch.see("ADDRESS-4", before.is_none(), || {
                let before = before.unwrap_or(last).name;
                format!("gave the address {addr} of {before}, which went, to {}", announcement.name)
            });
        }
        let again = self.services.iter().any(|known| same(known) && known.name == announcement.name);
        self.watch.see("NS-6", !again, || format!("announced {} at {addr} again", announcement.name));
        if self.services.len() < ANNOUNCEMENTS_MAX && !again && announcement.flags & 1 == CREATE {
            self.services.push(announcement);
        }
    }
}
