//! Peers in other processes: a file as memory, a socket as doorbell.

use std::os::unix::fs::FileTypeExt as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sidecore_backends::shm::{Config, Guest, Seat, Shm};
use sidecore_os::Lent;
use sidecore_remoteproc::{BackendError, Doorbell as _, Found, Remote};
use sidecore_wire::resource_table::{Vring, vdev::offset, vring};

use super::{Bells, Bytes, Command, bytes, file, meet_remote};
use crate::clause::Table;
use crate::peer::{Ground, Met, Peer, Role, Scene, Woken};

/// How soon a remote hangs up, if it does.
const SETTLES: Duration = Duration::from_millis(5);

/// A remote that made file and socket.
#[derive(Debug)]
pub struct ShmRemote {
    config: Config,
    command: Option<Command>,
}

impl ShmRemote {
    /// A remote at this place, which `command` starts anew each time.
    #[must_use]
    pub fn new(config: Config, command: Option<Command>) -> Self {
        Self { config, command }
    }
}

impl Peer for ShmRemote {
    fn role(&self) -> Role {
        Role::Remote
    }

    fn meet(&mut self, _: &Scene, patience: Duration) -> Result<Met, String> {
        if let Some(command) = &mut self.command {
            command.end();
            // What a remote leaves behind that was killed would be met in place of the next one. Nothing but a socket: a
            // path may be mistaken.
            let found = std::fs::symlink_metadata(&self.config.socket);
            if found.is_ok_and(|found| found.file_type().is_socket()) {
                let _ = std::fs::remove_file(&self.config.socket);
            }
            command.start()?;
        }
        let deadline = Instant::now() + patience;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let config = Config { patience: left, ..self.config.clone() };
            let shm = Shm::new(config).map_err(|error| error.to_string())?;
            let mut remote = Remote::detached(shm);
            remote.attach(&Found::default()).map_err(|error| error.to_string())?;
            // One that has not yet seen the last of us go hangs up on who comes too early.
            let is_there = remote.wait(Some(SETTLES), &mut || false).is_ok();
            if is_there || Instant::now() >= deadline {
                let met = meet_remote(remote, Bells::Always)?;
                return Ok(Met { is_bare: self.is_bare(), ..met });
            }
        }
    }

    fn name(&self) -> String {
        format!("a remote at {}", self.config.memory.display())
    }

    fn is_bare(&self) -> bool {
        self.config.table.is_none()
    }
}

/// A host that comes to file and socket of ours.
#[derive(Debug)]
pub struct ShmHost {
    config: Config,
    seat: Option<Seat>,
    command: Option<Command>,
}

impl ShmHost {
    /// A host that comes to this place, which `command` starts anew each time.
    #[must_use]
    pub fn new(config: Config, command: Option<Command>) -> Self {
        Self { config, seat: None, command }
    }
}

impl Peer for ShmHost {
    fn role(&self) -> Role {
        Role::Host
    }

    fn meet(&mut self, scene: &Scene, patience: Duration) -> Result<Met, String> {
        let said = |error: BackendError| error.to_string();
        if let Some(command) = &mut self.command {
            command.end();
        }
        let mut seat = match self.seat.take() {
            Some(seat) => seat,
            None => Seat::new(self.config.clone()).map_err(said)?,
        };
        seat.open_with(&scene.table, &scene.litter).map_err(said)?;
        if let Some(command) = &mut self.command {
            command.start()?;
        }
        let guest = seat.accept(Some(patience)).map_err(said)?;
        let (table, at) = seat.table().map_err(said)?;
        let bytes = file(seat.region(), (table, at));
        self.seat = Some(seat);
        let guest = guest.ok_or_else(|| format!("no host came within {patience:?}"))?;
        let vdev = at.0 + scene.vdev as u64;
        let rings = [0, 1].map(|queue| {
            let mut entry = [0; vring::SIZE];
            bytes.read(vdev + (offset::VRINGS + vring::SIZE * queue) as u64, &mut entry);
            Vring::parse(&entry)
        });
        let ground = Box::new(WithGuest { bytes, guest });
        let (is_bare, table) = (self.is_bare(), Some(at.0));
        Ok(Met { ground, is_bare, table, vdev, rings, pools: [(0, 0); 2], buffer: 0 })
    }

    fn name(&self) -> String {
        format!("a host at {}", self.config.memory.display())
    }

    fn is_bare(&self) -> bool {
        self.config.table.is_none()
    }

    /// Its rings are those of the place; where that leaves them to the host, what is left behind lies wherever they may come
    /// to lie.
    fn usual_table(&self) -> Table {
        let usual = Table::default();
        // The tables of the suite say nothing of sizes.
        let config = Config { buffer: Config::openamp().buffer, ..self.config.clone() };
        let rings = config.vrings().unwrap_or(usual.rings);
        Table { rings, free: config.free, ..usual }
    }
}

struct WithGuest {
    bytes: Bytes<Arc<Lent>, 2>,
    guest: Guest,
}

impl Ground for WithGuest {
    bytes!();

    fn kick(&self, notifyid: u32) {
        self.guest.doorbell().ring(notifyid);
    }

    fn wait(&mut self, timeout: Duration) -> Woken {
        match self.guest.wait(Some(timeout)) {
            Ok(true) => Woken::Kick,
            Ok(false) => Woken::Time,
            Err(BackendError::ExecutorLost { reason, .. }) => Woken::Gone(reason),
            Err(error) => Woken::Gone(error.to_string()),
        }
    }
}
