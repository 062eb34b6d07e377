//! Remotes that a backend reaches: images that it runs, and peers that it attaches to.

use std::time::Duration;

use sidecore_remoteproc::{Backend, BackendError, Doorbell as _, Event, Remote, RemoteError};
use sidecore_wire::resource_table::{Vring, vdev::ID_RPMSG};

use super::{Bytes, bytes};
use crate::peer::{Ground, Met, Peer, Role, Scene, Woken};
use crate::ring::Ring;

/// Remotes that are made by a function: each time anew.
pub struct OfBackend<F> {
    name: String,
    make: F,
}

impl<B: Backend + 'static, F: FnMut() -> Result<Remote<B>, String>> OfBackend<F> {
    /// Remotes that `make` makes and starts, or attaches to.
    pub fn new(name: &str, make: F) -> Self {
        Self { name: name.to_owned(), make }
    }
}

impl<B: Backend + 'static, F: FnMut() -> Result<Remote<B>, String>> Peer for OfBackend<F> {
    fn role(&self) -> Role {
        Role::Remote
    }

    fn meet(&mut self, _: &Scene, _: Duration) -> Result<Met, String> {
        meet_remote((self.make)()?, Bells::Asleep)
    }

    fn name(&self) -> String {
        self.name.clone()
    }
}

/// When a remote's doorbell reaches us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bells {
    /// Always: each kick that was sent ends a wait.
    Always,
    /// While we sleep: a remote that finds us awake need not ring, for we look before we sleep. Then a used index that
    /// moved meanwhile counts as a kick, and a remote that forgets one may go unnoticed.
    Asleep,
}

/// A remote that runs, as the suite wants it.
///
/// # Errors
/// It has no rpmsg device that could be reached.
pub fn meet_remote<B: Backend + 'static>(remote: Remote<B>, bells: Bells) -> Result<Met, String> {
    let device = remote.vdevs().iter().find(|vdev| vdev.id == ID_RPMSG);
    let device = device.ok_or("its table has no rpmsg device (id 7)")?;
    let at = device.at.ok_or("its resource table is in no memory that is shared")?.0;
    let [first, second, ..] = &device.vrings[..] else {
        return Err("its rpmsg device has no two rings".into());
    };
    let buffers = device.buffers.as_ref().ok_or("there is no room for its buffers")?;
    let ring = |place: &sidecore_remoteproc::resource::VringPlace| Vring {
        da: place.at.0 as u32,
        align: place.align,
        num: u32::from(place.num),
        notifyid: place.notifyid,
        pa: 0,
    };
    let pool = |place: &sidecore_remoteproc::resource::PoolPlace| {
        (place.at.0, u64::from(place.size) * u64::from(place.count))
    };
    let rings = [ring(first), ring(second)];
    let buffer = buffers.from_remote.size.min(buffers.to_remote.size);
    let pools = [pool(&buffers.from_remote), pool(&buffers.to_remote)];
    let table = at.checked_sub(u64::from(device.offset));
    let bytes = Bytes(remote.backend().memories().clone());
    let index = |ring: &Vring| Ring::new(ring).map_or(0, |ring| ring.used_index());
    let indices = [index(&rings[0]), index(&rings[1])];
    let seen = [0; 2];
    Ok(Met {
        ground: Box::new(OnBackend { bytes, remote, bells, indices, seen }),
        is_bare: false,
        table,
        vdev: at,
        rings,
        pools,
        buffer,
    })
}

struct OnBackend<B: Backend> {
    bytes: Bytes<B::Owner, { sidecore_remoteproc::MAX_MEMORIES }>,
    remote: Remote<B>,
    bells: Bells,
    /// Where the used indices are, and what they were after the last wait.
    indices: [u64; 2],
    seen: [u16; 2],
}

impl<B: Backend> Ground for OnBackend<B> {
    bytes!();

    fn kick(&self, notifyid: u32) {
        self.remote.backend().doorbell().ring(notifyid);
    }

    fn wait(&mut self, timeout: Duration) -> Woken {
        let (bytes, indices, seen, bells) = (&self.bytes, self.indices, self.seen, self.bells);
        let now = || indices.map(|at| bytes.load(at).unwrap_or(0));
        let mut ready = || bells == Bells::Asleep && now() != seen;
        let woken = self.remote.wait(Some(timeout), &mut ready);
        self.seen = now();
        told(woken)
    }

    fn show_and_wait(&mut self, at: u64, value: u16, notifyid: u32, timeout: Duration) -> Woken {
        let doorbell = self.remote.backend().doorbell();
        let bytes = &self.bytes;
        let mut is_shown = false;
        // Asked once we are known to be asleep: from then on only the bell wakes us.
        let mut show = || {
            if !std::mem::replace(&mut is_shown, true) {
                bytes.store(at, value);
                doorbell.ring(notifyid);
            }
            false
        };
        let woken = self.remote.wait(Some(timeout), &mut show);
        self.seen = self.indices.map(|at| self.bytes.load(at).unwrap_or(0));
        told(woken)
    }
}

/// What ended a wait.
fn told(woken: Result<Option<Event>, RemoteError>) -> Woken {
    match woken {
        Ok(Some(Event::Kick)) => Woken::Kick,
        Ok(Some(Event::Exited { code })) => Woken::Gone(format!("it ended with exit code {code}")),
        Ok(Some(Event::Crashed(crash))) => Woken::Gone(format!("it crashed: {:?}", crash.kind)),
        Ok(_) => Woken::Time,
        Err(RemoteError::Backend(BackendError::ExecutorLost { reason, .. })) => Woken::Gone(reason),
        Err(error) => Woken::Gone(error.to_string()),
    }
}
