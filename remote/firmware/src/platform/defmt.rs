//! The logger of the `defmt` crate: its frames go to a trace buffer of their own.
//!
//! The buffer is placed by whoever loads the image, for the linker fills in one address of a table. A main side that places
//! none gets no frames.

#![allow(unsafe_code)]

use core::cell::UnsafeCell;

use defmt::Encoder;
use sidecore_mem::{AddressMap, DeviceAddr, Region};
use sidecore_wire::resource_table::{ADDR_ANY, TraceWords};

use super::{Native, Platform, Published, SHARED_MAX};
use crate::trace::{Trace, Writer};

/// Where the entries of the buffer are in the table, and how long it is.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Offset of the trace's entry.
    pub trace_at: usize,
    /// Offset of the entry of its words.
    pub words_at: usize,
    /// Bytes of the buffer.
    pub len: usize,
}

/// Takes the buffer that the main side placed, if it did. Called once, before anything logs.
pub(crate) fn begin(platform: &Native, table: &Region, place: Place) -> Option<()> {
    let da: u32 = table.load(place.trace_at + DA_AT).ok()?;
    if da == ADDR_ANY {
        return None;
    }
    let mut map = AddressMap::<(), SHARED_MAX>::new();
    platform.shared(&mut map).ok()?;
    let buffer = map.resolve(DeviceAddr(da.into()), place.len).ok()?;
    let words = table.slice(place.words_at, TraceWords::SIZE).ok()?;
    // SAFETY: nobody looks before the buffer is published, which is next and happens once.
    unsafe { *MEMORY.0.get() = Some((buffer, words)) };
    BUFFER.publish(&FRAMES);
    Some(())
}

/// Offset of the address in a trace's entry, behind its type.
const DA_AT: usize = size_of::<u32>();

static BUFFER: Published<Trace> = Published::new();
static FRAMES: Trace = Trace::new(buffer, words, <Native as Platform>::alert);
static MEMORY: Memory = Memory(UnsafeCell::new(None));

/// The buffer and its words, written before [`BUFFER`] is published and never after.
struct Memory(UnsafeCell<Option<(Region, Region)>>);

// SAFETY: written by one thread before it is shared; see above.
unsafe impl Sync for Memory {}

fn memory() -> Option<&'static (Region, Region)> {
    // SAFETY: it is not written any more once somebody asks, which needs the published buffer.
    unsafe { (*MEMORY.0.get()).as_ref() }
}

fn buffer() -> Region {
    // Never asked before there is one.
    memory().map_or_else(|| Native::halt("defmt: no buffer"), |(buffer, _)| buffer.clone())
}

fn words() -> Option<Region> {
    memory().map(|(_, words)| words.clone())
}

/// A frame in the making.
struct State {
    encoder: Encoder,
    writer: Option<Writer<'static>>,
    is_taken: bool,
}

struct Shared(UnsafeCell<State>);

// SAFETY: one thread of execution uses the SDK, and the handlers of its platforms log nothing; a frame within a frame is
// refused below.
unsafe impl Sync for Shared {}

static STATE: Shared =
    Shared(UnsafeCell::new(State { encoder: Encoder::new(), writer: None, is_taken: false }));

#[defmt::global_logger]
struct Logger;

// SAFETY: between `acquire` and `release` nobody else gets the state: there is one thread, and it is refused a second time.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        // SAFETY: as above; the reference ends with this call.
        let state = unsafe { &mut *STATE.0.get() };
        if core::mem::replace(&mut state.is_taken, true) {
            Native::halt("defmt: a frame within a frame");
        }
        state.writer = BUFFER.get().map(Trace::writer);
        let writer = &mut state.writer;
        state.encoder.start_frame(|bytes| append(writer, bytes));
    }

    unsafe fn flush() {
        // What was written is there already.
    }

    unsafe fn release() {
        // SAFETY: as above.
        let state = unsafe { &mut *STATE.0.get() };
        let writer = &mut state.writer;
        state.encoder.end_frame(|bytes| append(writer, bytes));
        if let Some(writer) = state.writer.take() {
            writer.finish();
        }
        state.is_taken = false;
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: as above.
        let state = unsafe { &mut *STATE.0.get() };
        let writer = &mut state.writer;
        state.encoder.write(bytes, |bytes| append(writer, bytes));
    }
}

fn append(writer: &mut Option<Writer<'static>>, bytes: &[u8]) {
    if let Some(writer) = writer {
        writer.append(bytes);
    }
}
