//! A peer that is a thread of ours: memory and doorbells between it and the suite.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sidecore_conformance::{Ground, Met, Peer, Role, Scene, Table, Woken};
use sidecore_mem::Region;
use sidecore_mem::sync::full_fence;
use sidecore_os::{Mapping, SharedMemory};
use sidecore_wire::config::Epochs;
use sidecore_wire::features::{F_EPOCH, F_NS};
use sidecore_wire::resource_table::{Vring, vdev::offset, vring};

pub(crate) const LEN: usize = 0x8_0000;

/// Kicks that came, and who waits for them.
#[derive(Default)]
pub(crate) struct Bell(Mutex<u32>, Condvar);

/// One end of the memory.
pub(crate) struct End {
    memory: Region<Arc<Mapping>>,
    theirs: Arc<Bell>,
    ours: Arc<Bell>,
    stop: Arc<AtomicBool>,
}

impl End {
    pub(crate) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// What ends the life at this end, before its time.
    pub(crate) fn stopper(&self) -> impl FnOnce() + Send + use<> {
        let stop = Arc::clone(&self.stop);
        move || stop.store(true, Ordering::Relaxed)
    }

    /// The same end for another life, which has an end of its own, or this one's.
    pub(crate) fn again(&self) -> (End, impl FnOnce() + Send + use<>) {
        let stop = Arc::new(AtomicBool::new(false));
        let end = End {
            memory: self.memory.clone(),
            theirs: Arc::clone(&self.theirs),
            ours: Arc::clone(&self.ours),
            stop: Arc::clone(&stop),
        };
        (end, move || stop.store(true, Ordering::Relaxed))
    }

    pub(crate) fn word(&self, at: u64) -> u32 {
        let mut bytes = [0; 4];
        self.read(at, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    pub(crate) fn vring(&self, vdev: u64, queue: u64) -> Vring {
        let mut bytes = [0; vring::SIZE];
        self.read(vdev + offset::VRINGS as u64 + queue * vring::SIZE as u64, &mut bytes);
        Vring::parse(&bytes)
    }
}

impl Ground for End {
    fn read(&self, at: u64, to: &mut [u8]) -> bool {
        full_fence();
        self.memory.read(usize::try_from(at).unwrap_or(usize::MAX), to).is_ok()
    }

    fn write(&self, at: u64, from: &[u8]) -> bool {
        let written = self.memory.write(usize::try_from(at).unwrap_or(usize::MAX), from).is_ok();
        full_fence();
        written
    }

    fn load(&self, at: u64) -> Option<u16> {
        full_fence();
        let value = self.memory.load(usize::try_from(at).ok()?).ok();
        full_fence();
        value
    }

    fn store(&self, at: u64, value: u16) -> bool {
        full_fence();
        let stored = self.memory.store(usize::try_from(at).unwrap_or(usize::MAX), value).is_ok();
        full_fence();
        stored
    }

    fn load_byte(&self, at: u64) -> Option<u8> {
        full_fence();
        self.memory.load(usize::try_from(at).ok()?).ok()
    }

    fn store_byte(&self, at: u64, value: u8) -> bool {
        full_fence();
        let stored = self.memory.store(usize::try_from(at).unwrap_or(usize::MAX), value).is_ok();
        full_fence();
        stored
    }

    fn kick(&self, _: u32) {
        *self.theirs.0.lock().unwrap() += 1;
        self.theirs.1.notify_all();
    }

    fn wait(&mut self, timeout: Duration) -> Woken {
        let end = Instant::now() + timeout;
        let mut kicks = self.ours.0.lock().unwrap();
        while *kicks == 0 && Instant::now() < end {
            kicks = self.ours.1.wait_timeout(kicks, end - Instant::now()).unwrap().0;
        }
        if std::mem::take(&mut *kicks) > 0 { Woken::Kick } else { Woken::Time }
    }
}

/// A peer whose life is a function of its end of the memory, and of where the device's entry lies.
pub(crate) struct Thread<F> {
    role: Role,
    life: F,
    running: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

impl<F: Fn(End, u64) + Clone + Send + 'static> Thread<F> {
    pub(crate) fn new(role: Role, life: F) -> Self {
        Self { role, life, running: None }
    }

    fn end(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            stop.store(true, Ordering::Relaxed);
            thread.join().unwrap();
        }
    }
}

impl<F: Fn(End, u64) + Clone + Send + 'static> Peer for Thread<F> {
    fn role(&self) -> Role {
        self.role
    }

    fn meet(&mut self, scene: &Scene, _: Duration) -> Result<Met, String> {
        self.end();
        let memory = SharedMemory::create("conformance", LEN).unwrap().map().unwrap().region();
        // A remote brings its own table, which is the usual one.
        let features = (F_NS | F_EPOCH) as u32;
        let usual = Table { features, config: vec![0; Epochs::SIZE], ..Table::default() }.scene();
        let scene = if self.role == Role::Host { scene } else { &usual };
        memory.write(0, &scene.table).unwrap();
        scene.litter.iter().for_each(|(at, bytes)| memory.write(*at as usize, bytes).unwrap());
        let (stop, bells) = (Arc::new(AtomicBool::new(false)), [Arc::<Bell>::default(), Arc::default()]);
        let end = |ours: usize| End {
            memory: memory.clone(),
            theirs: Arc::clone(&bells[1 - ours]),
            ours: Arc::clone(&bells[ours]),
            stop: Arc::clone(&stop),
        };
        let (peer, met, vdev, life) = (end(1), end(0), scene.vdev as u64, self.life.clone());
        let rings = [met.vring(vdev, 0), met.vring(vdev, 1)];
        self.running = Some((stop, std::thread::spawn(move || life(peer, vdev))));
        let pools = [(0x1_0000, 0x2_0000), (0x3_0000, 0x2_0000)];
        Ok(Met { ground: Box::new(met), is_bare: false, table: Some(0), vdev, rings, pools, buffer: 512 })
    }

    fn name(&self) -> String {
        "a thread".to_owned()
    }
}

impl<F> Drop for Thread<F> {
    fn drop(&mut self) {
        if let Some((stop, _)) = self.running.take() {
            stop.store(true, Ordering::Relaxed);
        }
    }
}
