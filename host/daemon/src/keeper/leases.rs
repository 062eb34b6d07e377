//! Who has the remote: leases are sockets, and end when their other end is closed, however that happens.

use std::os::fd::OwnedFd;

use sidecore_os::{Channel, Errno};

use super::Refused;
use super::protocol::{Kind, Mode};
use super::watched::Watched;

/// How many there may be.
const MOST: usize = 256;

/// The leases that there are.
#[derive(Default)]
pub(super) struct Leases(Vec<Lease>);

struct Lease {
    mode: Mode,
    client: String,
    socket: Channel,
    _watched: Watched,
}

impl Leases {
    /// Whether there may be another one.
    pub(super) fn check(&self, mode: Mode) -> Refused<()> {
        if self.0.len() >= MOST {
            return Err(
                Kind::NoRoom.because(format_args!("there are {MOST} leases of it, and may be no more"))
            );
        }
        let stands_against = |there: &&Lease| {
            mode == Mode::Exclusive
                || there.mode == Mode::Exclusive
                || mode == Mode::Tied && there.mode == mode
        };
        match self.0.iter().find(stands_against) {
            None => Ok(()),
            Some(there) => Err(Kind::Leased.because(format_args!(
                "{} has a lease of it already ({}), and a lease that is {} cannot be beside that",
                there.client,
                there.mode.word(),
                mode.word()
            ))),
        }
    }

    /// Whether whoever wants to stop it may.
    pub(super) fn check_free(&self) -> Refused<()> {
        match self.0.first() {
            None => Ok(()),
            Some(there) => Err(Kind::Leased.because(format_args!(
                "{} has a lease of it ({}); the option force does it all the same",
                there.client,
                there.mode.word()
            ))),
        }
    }

    /// One more. What is answered is the client's end; with an exclusive one comes a packet with the connection to the
    /// remote's warden.
    pub(super) fn add(
        &mut self,
        mode: Mode,
        client: String,
        with: Option<OwnedFd>,
        poll: &OwnedFd,
    ) -> Refused<OwnedFd> {
        let failed = |errno: Errno| Kind::NoRoom.because(errno);
        let (ours, theirs) = Channel::pair().map_err(|refused| failed(refused.errno))?;
        if let Some(connection) = with {
            ours.send(b"warden", &[std::os::fd::AsFd::as_fd(&connection)]).map_err(failed)?;
        }
        rustix::io::ioctl_fionbio(&theirs, false).map_err(failed)?;
        let watched = Watched::new(poll, &ours).map_err(failed)?;
        self.0.push(Lease { mode, client, socket: ours, _watched: watched });
        Ok(theirs.into())
    }

    /// How it is leased, all in all.
    pub(super) fn mode(&self) -> Mode {
        let has = |mode: Mode| self.0.iter().any(|lease| lease.mode == mode);
        [Mode::Exclusive, Mode::Tied, Mode::Shared].into_iter().find(|mode| has(*mode)).unwrap_or_default()
    }

    /// Takes back the leases that ended.
    pub(super) fn take_ended(&mut self) -> Vec<Mode> {
        let mut ended = Vec::new();
        self.0.retain(|lease| {
            // Nobody has anything to say over it.
            let stays = loop {
                match lease.socket.receive(&mut [0; 16]) {
                    Ok(Some(_)) => {}
                    Err(Errno::AGAIN) => break true,
                    Ok(None) | Err(_) => break false,
                }
            };
            if !stays {
                ended.push(lease.mode);
            }
            stays
        });
        ended
    }

    /// Ends all.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
