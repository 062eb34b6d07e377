//! What a release said on the wire, byte for byte: our remote and our host still say it to who speaks as it did.
//!
//! `lab/golden/<release>/remote.txt` and `host.txt` are written once for a release, with `SIDECORE_BLESS=1`, and never
//! changed: `>` is what the suite sent, `<` what ours answered.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sidecore_conformance::peers::{ShmHost, ShmRemote};
use sidecore_conformance::{AsHost, AsRemote, Peer, Start, Table, Watch};
use sidecore_rpmsg::link::{Sink, Toward};
use sidecore_rpmsg::{Header, Name};

use crate::ours::{PATIENCE, place, with_patient_host, with_remote};

const RELEASE: &str = "0.1.0";
const PACE: Duration = Duration::from_millis(60);

/// The frames that pass, as text.
#[derive(Clone, Default)]
struct Frames(Arc<Mutex<String>>);

impl Sink for Frames {
    fn frame(
        &self,
        toward: Toward,
        header: &Header,
        room: usize,
        payload: &dyn Fn(usize, &mut [u8]) -> bool,
    ) {
        let mut bytes = vec![0; usize::from(header.len).min(room)];
        assert!(payload(0, &mut bytes));
        let arrow = if toward == Toward::Peer { '>' } else { '<' };
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        writeln!(self.0.lock().unwrap(), "{arrow} {} {}", hex(&header.emit()), hex(&bytes)).unwrap();
    }
}

impl Frames {
    fn note(&self, text: &str) {
        writeln!(self.0.lock().unwrap(), "{text}").unwrap();
    }

    /// Holds what was said to what the release said.
    fn compare(&self, name: &str) {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("golden").join(RELEASE).join(name);
        let said = self.0.lock().unwrap().clone();
        if std::env::var_os("SIDECORE_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &said).unwrap();
        }
        assert_eq!(said, std::fs::read_to_string(&path).unwrap(), "{}", path.display());
    }
}

fn watch(frames: &Frames) -> Watch {
    let mut watch = Watch::default();
    watch.record_to(Box::new(frames.clone()));
    watch
}

#[test]
fn our_remote_says_what_the_release_said() {
    let (config, frames) = (place("golden-remote"), Frames::default());
    with_remote(config.clone(), || {
        let mut watch = watch(&frames);
        let met = ShmRemote::new(config, None).meet(&Table::default().scene(), PATIENCE).unwrap();
        let mut host = AsHost::new(met, &mut watch, None, [PACE, PATIENCE]).unwrap();
        for round in 0..2 {
            frames.note(&format!("start {round}"));
            let to = host.up_with(&Start::default()).unwrap();
            for len in [0, 1, 16, 100, 496] {
                host.echo(to, &vec![len as u8; len]).unwrap();
            }
            // Index and slots of the used parts; the flags before them are a hint that comes and goes.
            let rings = host.rings.map(|ring| ring.remotes_part(&*host.ground));
            for (queue, bytes) in rings.iter().enumerate() {
                let hex: String = bytes[2..4 + 8 * 7].iter().map(|byte| format!("{byte:02x}")).collect();
                frames.note(&format!("used {queue} {hex}"));
            }
            frames.note(&format!("status {:02x}", host.status()));
            host.set_status(0);
            std::thread::sleep(2 * PACE);
        }
    });
    frames.compare("remote.txt");
}

#[test]
fn our_host_says_what_the_release_said() {
    let (config, frames) = (place("golden-host"), Frames::default());
    with_patient_host(config.clone(), Duration::from_secs(2), || {
        let mut watch = watch(&frames);
        let met = ShmHost::new(config, None).meet(&Table::default().scene(), PATIENCE).unwrap();
        let name = Name::new("rpmsg-echo").unwrap();
        let mut remote = AsRemote::new(met, Table::default(), &mut watch, vec![name], [PACE, PATIENCE]);
        remote.up().unwrap();
        remote.serve(12).unwrap();
        for (queue, ring) in remote.rings.iter().enumerate() {
            for index in 0..3 {
                frames.note(&format!(
                    "descriptor {queue} {index} {:x?}",
                    ring.descriptor(&*remote.ground, index)
                ));
            }
        }
        frames
            .note(&format!("at start {:x?}, {} available", remote.at_start.used, remote.at_start.available));
        frames.note(&format!("status {:02x} features {:x}", remote.status(), remote.register(16)));
    });
    frames.compare("host.txt");
}
