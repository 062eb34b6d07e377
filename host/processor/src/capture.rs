//! Frames on their way, recorded to a pcapng file.
//!
//! What is written is what the link carried: the 16-byte rpmsg header and the payload, link type
//! `LINKTYPE_USER0` (147), each frame with its direction (`epb_flags`: 1 inbound from the remote, 2 outbound to it) and
//! a time stamp in nanoseconds. Every rpmsg device of every remote is an interface of its own, named
//! `<remote>/<device>`. Wireshark shows such files as raw bytes unless it is given a dissector: `lab/wireshark/sidecore.lua`.
//!
//! Source: the PCAP Next Generation Dump File Format (`draft-ietf-opsawg-pcapng`): section header, interface
//! description and enhanced packet blocks.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use sidecore_rpmsg::Header;
use sidecore_rpmsg::link::{Sink, Toward};

/// The link type of the recorded frames: rpmsg header and payload.
pub const LINKTYPE_USER0: u16 = 147;

/// A recording, to which any number of remotes may write. Clones write to the same one.
///
/// When the file takes no more (a full disk), recording ends and [`Capture::error`] tells why; the traffic goes on.
#[derive(Clone)]
pub struct Capture(Arc<Mutex<Recording>>);

impl Capture {
    /// Begins a recording. `file` is written in small pieces, so it should buffer; [`Capture::flush`] is called
    /// whenever a processor goes to sleep.
    ///
    /// # Errors
    /// The beginning cannot be written.
    pub fn new(file: impl Write + Send + 'static) -> io::Result<Self> {
        let mut recording = Recording {
            file: Box::new(file),
            interfaces: 0,
            started: Instant::now(),
            epoch: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
            frame: Vec::new(),
            block: Vec::new(),
            error: None,
            dirty: false,
        };
        recording.section()?;
        recording.file.flush()?;
        Ok(Self(Arc::new(Mutex::new(recording))))
    }

    /// Adds an interface: frames shown to the returned sink are recorded under this name.
    #[must_use]
    pub fn tap(&self, name: &str) -> Tap {
        Tap(Some((self.clone(), self.lock().interface(name))))
    }

    /// Why recording ended early, if it did.
    pub fn error(&self) -> Option<io::ErrorKind> {
        self.lock().error
    }

    /// Hands everything that was recorded so far to the file.
    pub fn flush(&self) {
        let mut recording = self.lock();
        if std::mem::take(&mut recording.dirty)
            && let Err(error) = recording.file.flush()
        {
            recording.error.get_or_insert(error.kind());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recording> {
        // A panic elsewhere leaves at worst half a block, which readers notice.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Capture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Capture").finish_non_exhaustive()
    }
}

/// Where a device's link shows its frames: to a recording, or to nobody.
#[derive(Clone, Debug, Default)]
pub struct Tap(Option<(Capture, u32)>);

impl Tap {
    pub(crate) const OFF: Self = Self(None);
}

impl Sink for Tap {
    #[inline]
    fn frame(
        &self,
        toward: Toward,
        header: &Header,
        room: usize,
        payload: &dyn Fn(usize, &mut [u8]) -> bool,
    ) {
        if let Some((capture, interface)) = &self.0 {
            capture.lock().packet(*interface, toward, header, room, payload);
        }
    }
}

struct Recording {
    file: Box<dyn Write + Send>,
    interfaces: u32,
    started: Instant,
    /// The time of day at `started`: stamps come from the steady clock, so that they never go back.
    epoch: Duration,
    frame: Vec<u8>,
    block: Vec<u8>,
    error: Option<io::ErrorKind>,
    dirty: bool,
}

impl Recording {
    fn section(&mut self) -> io::Result<()> {
        self.block.clear();
        self.block.extend(BYTE_ORDER_MAGIC.to_le_bytes());
        self.block.extend(VERSION_MAJOR.to_le_bytes());
        self.block.extend(VERSION_MINOR.to_le_bytes());
        self.block.extend(u64::MAX.to_le_bytes()); // The section's length is not known yet.
        option(&mut self.block, SHB_USERAPPL, concat!("sidecore ", env!("CARGO_PKG_VERSION")).as_bytes());
        option(&mut self.block, END_OF_OPTIONS, &[]);
        self.write(SECTION_HEADER)
    }

    fn interface(&mut self, name: &str) -> u32 {
        self.block.clear();
        self.block.extend(LINKTYPE_USER0.to_le_bytes());
        self.block.extend([0; 2]);
        self.block.extend(0_u32.to_le_bytes()); // Frames are never cut.
        option(&mut self.block, IF_NAME, name.as_bytes());
        option(&mut self.block, IF_DESCRIPTION, b"rpmsg frames: 16-byte header and payload");
        option(&mut self.block, IF_TSRESOL, &[NANOSECONDS]);
        option(&mut self.block, END_OF_OPTIONS, &[]);
        self.try_write(INTERFACE_DESCRIPTION);
        let id = self.interfaces;
        self.interfaces += 1;
        id
    }

    /// Records a frame: all of it, or as much as there is of one whose header claims more.
    fn packet(
        &mut self,
        interface: u32,
        toward: Toward,
        header: &Header,
        room: usize,
        payload: &dyn Fn(usize, &mut [u8]) -> bool,
    ) {
        if self.error.is_some() {
            return;
        }
        let claimed = usize::from(header.len);
        self.frame.clear();
        self.frame.resize(claimed.min(room), 0);
        if !payload(0, &mut self.frame) {
            self.frame.clear();
        }
        let captured = (Header::SIZE + self.frame.len()) as u32;
        let original = (Header::SIZE + claimed) as u32;
        let stamp = (self.epoch + self.started.elapsed()).as_nanos() as u64;
        let direction: u32 = match toward {
            Toward::Us => 1,
            Toward::Peer => 2,
        };
        self.block.clear();
        self.block.extend(interface.to_le_bytes());
        self.block.extend(((stamp >> 32) as u32).to_le_bytes());
        self.block.extend((stamp as u32).to_le_bytes());
        self.block.extend(captured.to_le_bytes());
        self.block.extend(original.to_le_bytes());
        self.block.extend(header.emit());
        self.block.extend(&self.frame);
        pad(&mut self.block);
        option(&mut self.block, EPB_FLAGS, &direction.to_le_bytes());
        option(&mut self.block, END_OF_OPTIONS, &[]);
        self.try_write(ENHANCED_PACKET);
    }

    fn try_write(&mut self, kind: u32) {
        if self.error.is_none()
            && let Err(error) = self.write(kind)
        {
            self.error = Some(error.kind());
        }
    }

    /// Writes `block` as the body of one block: type and length before it, the length again behind it.
    fn write(&mut self, kind: u32) -> io::Result<()> {
        let len = (self.block.len() as u32 + 12).to_le_bytes();
        self.dirty = true;
        self.file.write_all(&kind.to_le_bytes())?;
        self.file.write_all(&len)?;
        self.file.write_all(&self.block)?;
        self.file.write_all(&len)
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // Whoever wants to know asked before.
        let _ = self.file.flush();
    }
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;

const BYTE_ORDER_MAGIC: u32 = 0x1a2b_3c4d;
const VERSION_MAJOR: u16 = 1;
const VERSION_MINOR: u16 = 0;

const END_OF_OPTIONS: u16 = 0;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const SHB_USERAPPL: u16 = 4;
const EPB_FLAGS: u16 = 2;
const IF_TSRESOL: u16 = 9;
/// `if_tsresol`: ten to the power of minus nine.
const NANOSECONDS: u8 = 9;

fn option(block: &mut Vec<u8>, code: u16, value: &[u8]) {
    let value = value.get(..value.len().min(usize::from(u16::MAX))).unwrap_or_default();
    block.extend(code.to_le_bytes());
    block.extend((value.len() as u16).to_le_bytes());
    block.extend(value);
    pad(block);
}

fn pad(block: &mut Vec<u8>) {
    block.resize(block.len().next_multiple_of(4), 0);
}
