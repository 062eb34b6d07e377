//! Services for the channels that firmware announces to Linux, over endpoints that Linux makes for us.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use sidecore_backends::sysfs::{Channel, Endpoint, Remoteproc, SysfsError};
use sidecore_os::{EventFd, poll_until};
use sidecore_processor::{Offer, Serve, ServiceEvent};
use sidecore_rpmsg::Name;

/// The longest payload of Linux' buffers, which nobody can ask for.
const PAYLOAD: usize = 496;
/// Channels that are served at once.
const MOST: usize = 16;
/// Messages that are taken of a channel before the next one has its turn.
const TURN: usize = 64;
/// How long Linux and udev may take to make an endpoint.
const MAKING: Duration = Duration::from_secs(2);
/// How soon a message is tried again for which there was no buffer.
const RETRY: Duration = Duration::from_millis(1);

/// The channels that are served.
pub(super) struct Channels {
    offers: Vec<Offer>,
    served: Vec<Served>,
    /// Those that were looked at, by name and address, whether they are served or not.
    known: Vec<(String, u32)>,
}

struct Served {
    name: String,
    address: u32,
    endpoint: Endpoint,
    service: Box<dyn Serve>,
    /// A message for which there was no buffer.
    unsent: Option<Vec<u8>>,
    /// The firmware will say no more than it has said.
    is_withdrawn: bool,
}

/// What there is to tell.
pub(super) enum News {
    /// A service has something to say.
    Service { service: &'static str, event: ServiceEvent },
    /// The firmware broke a service's rules.
    Wrong { service: &'static str, why: String },
    /// A channel is not served.
    Unserved { channel: String, why: SysfsError },
    /// An endpoint went with the remote.
    Gone,
}

impl Channels {
    pub(super) fn new(offers: Vec<Offer>) -> Self {
        Self { offers, served: Vec::new(), known: Vec::new() }
    }

    /// Looks for channels that were announced or withdrawn since the last time.
    ///
    /// # Errors
    /// Linux does not say.
    pub(super) fn look(&mut self, remote: &Remoteproc, tell: &mut dyn FnMut(News)) -> Result<(), SysfsError> {
        let channels = remote.channels()?;
        let is =
            |channel: &Channel, name: &str, address| channel.name == name && channel.destination == address;
        let is_there = |name: &str, address| channels.iter().any(|channel| is(channel, name, address));
        self.known.retain(|(name, address)| is_there(name, *address));
        for served in &mut self.served {
            served.is_withdrawn |= !is_there(&served.name, served.address);
        }
        for channel in &channels {
            if self.served.len() == MOST {
                break;
            }
            if self.known.iter().any(|(name, address)| is(channel, name, *address)) {
                continue;
            }
            self.known.push((channel.name.clone(), channel.destination));
            let Ok(name) = Name::new(&channel.name) else { continue };
            let Some(offer) = self.offers.iter_mut().find(|offer| name.matches(offer.channel)) else {
                continue;
            };
            let Some(service) = (offer.open)() else { continue };
            match remote.open_channel(channel, MAKING) {
                Ok(endpoint) => {
                    let (name, address) = (channel.name.clone(), channel.destination);
                    self.served.push(Served {
                        name,
                        address,
                        endpoint,
                        service,
                        unsent: None,
                        is_withdrawn: false,
                    });
                }
                // It may be that all went in the meantime.
                Err(SysfsError::Gone { .. }) => return Ok(()),
                Err(why) => tell(News::Unserved { channel: channel.name.clone(), why }),
            }
        }
        Ok(())
    }

    /// Carries messages to and fro, as far as there are any.
    pub(super) fn work(&mut self, tell: &mut dyn FnMut(News)) {
        let mut gone = false;
        self.served.retain_mut(|served| match served.work(tell) {
            Ok(more) => more || !served.is_withdrawn,
            Err(SysfsError::Gone { .. }) => {
                gone = true;
                false
            }
            Err(why) => {
                tell(News::Unserved { channel: served.name.clone(), why });
                false
            }
        });
        if gone {
            // Whoever comes back with the same name and address is another.
            self.known.clear();
            self.served.clear();
            tell(News::Gone);
        }
    }

    /// Sleeps until a message comes, the bell rings, or the time is over.
    pub(super) fn wait(&self, bell: &EventFd, most: Duration) {
        let waits = self.served.iter().any(|served| served.unsent.is_some());
        let end = Instant::now() + if waits { most.min(RETRY) } else { most };
        let mut wanted = vec![PollFd::new(bell, PollFlags::IN)];
        wanted.extend(self.served.iter().map(|served| PollFd::new(&served.endpoint, PollFlags::IN)));
        // Where the system has no memory for it nothing is known, and the next look tells.
        let _ = poll_until(&mut wanted, Some(end));
        bell.answer();
    }
}

impl Served {
    /// Carries messages; whether there may be more.
    fn work(&mut self, tell: &mut dyn FnMut(News)) -> Result<bool, SysfsError> {
        let service = self.service.name();
        let mut message = [0; PAYLOAD];
        for _ in 0..TURN {
            self.transmit(tell)?;
            let Some(len) = self.endpoint.receive(&mut message, Duration::ZERO)? else { return Ok(false) };
            let bytes = message.get(..len).unwrap_or(&message);
            if let Err(error) = self.service.receive(bytes) {
                tell(News::Wrong { service, why: error.to_string() });
            }
            while let Some(event) = self.service.event() {
                tell(News::Service { service, event });
            }
        }
        Ok(true)
    }

    /// Sends what there is to be sent, as far as there are buffers.
    fn transmit(&mut self, tell: &mut dyn FnMut(News)) -> Result<(), SysfsError> {
        let service = self.service.name();
        loop {
            let message = match self.unsent.take() {
                Some(message) => message,
                None => {
                    let mut room = vec![0; PAYLOAD];
                    match self.service.transmit(&mut room) {
                        Ok(Some(len)) => {
                            room.truncate(len);
                            room
                        }
                        Ok(None) => return Ok(()),
                        Err(error) => {
                            tell(News::Wrong { service, why: error.to_string() });
                            continue;
                        }
                    }
                }
            };
            if !self.endpoint.try_send(&message)? {
                self.unsent = Some(message);
                return Ok(());
            }
        }
    }
}
