//! Trace buffers: text that the firmware writes into its own memory, read without its help.
//!
//! The format is that of Linux' debugfs: text from the beginning of the buffer up to the first NUL. Firmware appends until
//! the buffer is full, and then stops, begins again, or overwrites in a circle; where that is all that is known, a
//! [`Drain`] tells these apart as far as the bytes allow. Firmware of ours goes round in a circle and lets a NUL go ahead
//! of it: text behind the first NUL that reaches to the buffer's end is then the older part.
//!
//! Buffers with [words](Words) in the resource table are the same, and tell besides how much was ever written: a drain gives
//! every byte once, or counts it as lost.
//!
//! The text is the firmware's, so it is escaped: printable characters, line feeds and tabs stand for themselves, all else
//! as `\x1b` or `\u{202e}`. No work exceeds the length of the buffer.

mod counted;
mod drain;
mod find;
mod lines;
mod plain;
mod reader;

use alloc::string::String;

use sidecore_mem::{AddressMap, DeviceAddr, MapError};

pub use drain::{Drain, Look, Lost, Trouble};
pub use find::find;
pub(crate) use find::{name, words};
pub use lines::{Line, Lines};
pub use reader::{Next, Reader};

use plain::{Snapshot, snapshot};

/// A trace buffer in the remote's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceBuffer {
    /// Number of its entry in the resource table.
    pub entry: u32,
    /// Its name, made printable.
    pub name: String,
    /// Device address.
    pub at: DeviceAddr,
    /// Length in bytes.
    pub len: u32,
    /// Where it is counted how much was written, if it is.
    pub words: Option<Words>,
}

/// The words of a trace buffer: [`TraceWords`](sidecore_wire::resource_table::TraceWords) in the loaded table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Words {
    /// Device address of their entry, a multiple of 4.
    pub at: DeviceAddr,
    /// The firmware rings when it is told to.
    pub rings: bool,
}

/// What a trace buffer says now, oldest first, escaped.
///
/// # Errors
/// The buffer is not in one of the memories.
pub fn read_trace<O: Clone, const N: usize>(
    map: &AddressMap<O, N>,
    trace: &TraceBuffer,
) -> Result<String, MapError> {
    let Snapshot { bytes, .. } = snapshot(&map.resolve(trace.at, trace.len as usize)?);
    let mut text = String::new();
    lines::push_text(&mut text, &bytes);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;

    use sidecore_mem::Memory;

    use super::*;

    const AT: DeviceAddr = DeviceAddr(0x1000);

    fn buffer(len: u32) -> (AddressMap<(), 4>, TraceBuffer) {
        let mut map = AddressMap::new();
        map.insert(AT, Box::leak(Box::<Memory<256>>::default()).region()).unwrap();
        (map, TraceBuffer { entry: 0, name: "log".into(), at: AT, len, words: None })
    }

    fn write(map: &AddressMap<(), 4>, at: usize, bytes: &[u8]) {
        map.region(0).unwrap().write(at, bytes).unwrap();
    }

    fn escaped(bytes: &[u8]) -> String {
        let (map, trace) = buffer(256);
        write(&map, 0, bytes);
        read_trace(&map, &trace).unwrap()
    }

    #[test]
    fn a_trace_is_the_text_up_to_the_first_nul() {
        assert_eq!(escaped(b"[    0.000] boot\r\n\tok\n\0stale"), "[    0.000] boot\n\tok\n");
        assert_eq!(escaped(b""), "");
        let (map, trace) = buffer(8);
        write(&map, 0, b"no end in sight");
        assert_eq!(read_trace(&map, &trace).unwrap(), "no end i");
    }

    #[test]
    fn a_trace_cannot_command_the_terminal() {
        assert_eq!(escaped(b"\x1b[2J\x07\x7f\rx \\"), "\\x1b[2J\\x07\\x7f\\x0dx \\\\");
        assert_eq!(escaped("größe 5 µs".as_bytes()), "größe 5 µs");
        assert_eq!(escaped(b"\xff\xc3 \xe2\x82"), "\\xff\\xc3 \\xe2\\x82");
        assert_eq!(escaped("\u{202e}\u{9b}\u{200b}".as_bytes()), "\\u{202e}\\u{9b}\\u{200b}");
    }

    #[test]
    fn a_trace_outside_the_memories_is_an_error() {
        let (map, mut trace) = buffer(257);
        assert!(read_trace(&map, &trace).is_err());
        trace.at = DeviceAddr(0);
        assert_eq!(read_trace(&map, &trace), Err(MapError::Unmapped { address: DeviceAddr(0), len: 257 }));
        assert!(Drain::new(trace).look(&map).is_err());

        let (map, mut trace) = buffer(256);
        trace.words = Some(Words { at: DeviceAddr(AT.0 + 240), rings: true });
        let mut drain = Drain::new(trace);
        assert!(drain.look(&map).is_err() && drain.answer(&map, 1).is_err());
    }
}
