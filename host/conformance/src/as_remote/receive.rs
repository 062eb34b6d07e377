//! What comes from a host, and what of it shows a clause kept or broken.

use sidecore_rpmsg::link::Toward;
use sidecore_rpmsg::{Announcement, Header};
use sidecore_wire::name_service::DESTROY;
use sidecore_wire::resource_table::vdev::offset;
use sidecore_wire::split::{Descriptor, UsedElement};

use super::{AsRemote, FIRST, Frame, NAMES, TO_REMOTE};
use crate::verdict::Stop;

impl AsRemote<'_> {
    /// Takes all messages that are there, and gives their buffers back.
    ///
    /// # Errors
    /// The host breaks a rule of the rings.
    pub fn poll(&mut self) -> Result<bool, Stop> {
        let mut any = false;
        for _ in 0..256 {
            let Some((head, Descriptor { addr, len, .. })) = self.take(TO_REMOTE)? else { break };
            any = true;
            let mut bytes = vec![0; (len as usize).clamp(Header::SIZE, 1 << 16)];
            self.ground.read(addr, &mut bytes);
            if let Some((fixed, rest)) = bytes.split_first_chunk() {
                self.received(Header::parse(fixed), rest);
            }
            let len = self.returned_len.unwrap_or(len);
            self.give(TO_REMOTE, &UsedElement { id: u32::from(head), len })?;
        }
        Ok(any)
    }

    fn received(&mut self, header: Header, rest: &[u8]) {
        let claimed = usize::from(header.len);
        self.watch.see("MESSAGE-2", claimed <= rest.len(), || {
            format!("a header that claims {claimed} bytes in a frame that has {} behind it", rest.len())
        });
        self.watch.see("MESSAGE-10", header.reserved == 0 && header.flags == 0, || {
            format!("sent reserved {:#x} and flags {:#x}", header.reserved, header.flags)
        });
        self.watch
            .see("ADDRESS-1", header.src != u32::MAX, || "sent a message from address \"any\"".to_owned());
        self.watch.see("ADDRESS-3", header.src >= FIRST || header.src == NAMES, || {
            format!("gave out the address {}, which is below 1024", header.src)
        });
        let frame = Frame { header, payload: rest[..claimed.min(rest.len())].to_vec() };
        self.watch.frame(Toward::Us, &frame.header, &frame.payload);
        if header.dst == NAMES {
            let is_accepted = self.register(offset::GFEATURES) & 1 != 0;
            self.watch.see("FEATURE-6", is_accepted, || "announced without the name service".to_owned());
            let bytes: Result<&[u8; Announcement::SIZE], _> = frame.payload.as_slice().try_into();
            self.watch.see("NS-1", bytes.is_ok(), || format!("an announcement of {claimed} bytes"));
            if let Ok(bytes) = bytes {
                let announcement = Announcement::parse(bytes);
                self.watch
                    .see("NS-2", announcement.name.is_valid(), || format!("the name {:02x?}", &bytes[..32]));
                self.watch.see("NS-4", announcement.flags <= DESTROY, || {
                    format!("flags {:#x}", announcement.flags)
                });
            }
            return;
        }
        let is_ours = (FIRST..FIRST + self.names.len() as u32).contains(&header.dst);
        self.watch.see("NS-5", is_ours, || format!("wrote to {}, which was not announced", header.dst));
        self.peer = Some((header.src, header.dst));
        self.frames.push_back(frame);
    }
}
