//! Reading a buffer to the end of its firmware, with nothing told twice and nothing missed in silence.

use alloc::vec::Vec;
use core::fmt;

use sidecore_mem::{AddressMap, MapError, Region};
use sidecore_wire::resource_table::TraceWords;

use super::TraceBuffer;
use super::counted::Counted;
use super::plain::{Change, Plain};

/// Drains a trace buffer: looks at it again and again, and gives what is new and how much was missed.
///
/// Reading changes nothing, so any number of drains may look at the same buffer. One of them at most
/// [answers](Self::answer).
#[derive(Clone, Debug)]
pub struct Drain {
    trace: TraceBuffer,
    way: Way,
}

#[derive(Clone, Debug)]
enum Way {
    Plain(Plain),
    Counted(Counted),
}

/// What is new in a trace buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The bytes, in their order.
    pub bytes: Vec<u8>,
    /// What was missed just before them.
    pub lost: Lost,
    /// What the firmware did wrong.
    pub trouble: Option<Trouble>,
}

/// How much of a trace was overwritten before it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Nothing.
    Nothing,
    /// So many bytes, exactly.
    Bytes(u64),
    /// Something, perhaps: the buffer has no words that would tell.
    Unknown,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Nothing => f.write_str("nothing lost"),
            Lost::Bytes(1) => f.write_str("1 byte lost"),
            Lost::Bytes(bytes) => write!(f, "{bytes} bytes lost"),
            Lost::Unknown => f.write_str("something may be lost"),
        }
    }
}

/// A rule of the words that firmware broke. What is told at this look may be anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The number of bytes that were ever written became less.
    WentBack {
        /// What it was.
        from: u32,
        /// What it is.
        to: u32,
    },
    /// Fewer bytes were begun than ended.
    ClaimsLess {
        /// Bytes that were ended.
        total: u32,
        /// Bytes that were begun.
        claimed: u32,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::WentBack { from, to } => write!(f, "the trace's total went back from {from} to {to}"),
            Trouble::ClaimsLess { total, claimed } => {
                write!(f, "the trace's claimed is {claimed}, less than its total of {total}")
            }
        }
    }
}

impl Drain {
    /// Drains a buffer from the first byte that its firmware wrote.
    #[must_use]
    pub fn new(trace: TraceBuffer) -> Drain {
        let way = match trace.words {
            Some(_) => Way::Counted(Counted::default()),
            None => Way::Plain(Plain::default()),
        };
        Drain { trace, way }
    }

    /// The buffer.
    #[must_use]
    pub fn trace(&self) -> &TraceBuffer {
        &self.trace
    }

    /// Whether losses are counted exactly.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.trace.words.is_some()
    }

    /// Whether the firmware rings when it is [told](Self::answer) to; otherwise whoever drains looks from time to time.
    #[must_use]
    pub fn rings(&self) -> bool {
        self.trace.words.is_some_and(|words| words.rings)
    }

    /// Looks at the buffer once more. Takes time and memory linear in the buffer's length, whatever is in it.
    ///
    /// The count of a loss is exact as long as less than 2^31 bytes are written between two looks.
    ///
    /// # Errors
    /// The buffer or its words are not in one of the memories.
    pub fn look<O: Clone, const N: usize>(&mut self, map: &AddressMap<O, N>) -> Result<Look, MapError> {
        let buffer = map.resolve(self.trace.at, self.trace.len as usize)?;
        match &mut self.way {
            Way::Counted(counted) => {
                let words = words(&self.trace, map)?;
                Ok(counted.look(&buffer, &words).expect("buffer and words are as long as they were resolved"))
            }
            Way::Plain(plain) => {
                let (bytes, lost) = match plain.look(&buffer) {
                    Change::Nothing => (Vec::new(), Lost::Nothing),
                    Change::Appended(bytes) | Change::Wrapped(bytes) => (bytes, Lost::Nothing),
                    Change::Rewritten(bytes) => (bytes, Lost::Unknown),
                };
                Ok(Look { bytes, lost, trouble: None })
            }
        }
    }

    /// Tells the firmware that all was read that the last look gave, and that it shall ring once `wake` bytes are unread (0
    /// for never). True where so many are unread already: it will not ring for them. Does nothing to a buffer without words.
    ///
    /// # Errors
    /// The words are not in one of the memories.
    pub fn answer<O: Clone, const N: usize>(
        &self,
        map: &AddressMap<O, N>,
        wake: u32,
    ) -> Result<bool, MapError> {
        match &self.way {
            Way::Counted(counted) => {
                let words = words(&self.trace, map)?;
                Ok(counted.answer(&words, wake).expect("the words are as long as they were resolved"))
            }
            Way::Plain(_) => Ok(false),
        }
    }
}

fn words<O: Clone, const N: usize>(
    trace: &TraceBuffer,
    map: &AddressMap<O, N>,
) -> Result<Region<O>, MapError> {
    let at = trace.words.map_or(trace.at, |words| words.at);
    map.resolve(at, TraceWords::SIZE)
}
