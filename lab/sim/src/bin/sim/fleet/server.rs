//! What the remotes of a fleet run: an echo, which may flood its main side besides.

use sidecore_backends::sim::{Firmware, Remote, Step};
use sidecore_rpmsg::{ADDR_ANY, Endpoint, Event, Link as _, Name};

use crate::firmware::{Half, Look, Messages};
use sidecore_sim::luck::Luck;

/// Its channel.
pub(super) const SERVICE: &str = "sim-fleet";

pub(super) struct Server {
    floods: bool,
    luck: Luck,
    half: Half,
    up: Option<Up>,
}

struct Up {
    messages: Box<Messages>,
    endpoint: Endpoint,
    is_announced: bool,
}

impl Server {
    pub(super) fn new(floods: bool, luck: Luck) -> Self {
        Self { floods, luck, half: Half::default(), up: None }
    }
}

impl Firmware for Server {
    fn step(&mut self, remote: &mut Remote<'_>) -> Step {
        if remote.steps == 0 {
            (self.half, self.up) = (Half::default(), None);
        }
        let is_closed = self.up.as_ref().is_some_and(|up| up.messages.link().is_closed());
        match self.half.look(remote, is_closed) {
            Look::Same => {}
            Look::Gone => self.up = None,
            Look::New(messages) => {
                let endpoint = messages.open(ADDR_ANY, ADDR_ANY).expect("there is room");
                self.up = Some(Up { messages, endpoint, is_announced: false });
            }
        }
        let Some(up) = &mut self.up else { return Step::Sleep };
        up.answer();
        if self.floods {
            up.flood(&mut self.luck);
        }
        remote.ring = self.half.rings();
        let waiting = self.up.as_ref().is_some_and(|up| up.messages.link().arm());
        if waiting { Step::Work } else { Step::Sleep }
    }
}

impl Up {
    fn answer(&mut self) {
        let name = Name::new(SERVICE).expect("a name");
        self.is_announced = self.is_announced || self.messages.announce(self.endpoint, &name).is_ok();
        while let Ok(Some(event)) = self.messages.poll() {
            let Event::Message(message) = event else { continue };
            let mut id = [0; 4];
            message.read(0, &mut id).expect("a number");
            // A main side that takes nothing back while it is flooded loses answers, and is not promised any.
            let _ = message.reply(&id);
        }
    }

    /// To whoever is there and to whoever is not, and names without end, until there is no buffer.
    fn flood(&self, luck: &mut Luck) {
        loop {
            let sent = match luck.below(3) {
                0 => self.messages.send(self.endpoint, b"flood").is_ok(),
                1 => self.messages.send_to(self.endpoint, luck.below(1 << 32) as u32, b"flood").is_ok(),
                _ => {
                    let name = Name::new(&format!("flood-{}", luck.below(1000))).expect("a name");
                    self.messages.announce(self.endpoint, &name).is_ok()
                }
            };
            if !sent {
                return;
            }
        }
    }
}
