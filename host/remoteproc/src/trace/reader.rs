//! All the traces of a remote, read by the one who looks after it.

use alloc::string::String;
use alloc::vec::Vec;

use sidecore_mem::AddressMap;

use super::{Drain, Line, Lines, Lost, TraceBuffer};

/// The reader of a remote's traces: gives their lines, and says when to look again.
///
/// Firmware that can ring is told how far the reader is and when to ring, so that nobody looks while nothing is written:
/// at the first byte after a pause, and from then on whenever half of the buffer is full. There is one reader at a time.
#[derive(Clone, Debug, Default)]
pub struct Reader(Vec<Followed>);

#[derive(Clone, Debug)]
struct Followed {
    drain: Drain,
    lines: Lines,
}

/// When a [`Reader`] is to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Next {
    /// When the remote rings, and not before.
    WhenRung,
    /// When it rings, and from time to time: firmware that does not ring may have written something.
    Sometimes,
    /// When it rings, and in a moment: the firmware is writing.
    Soon,
}

/// How often a buffer is read in a row that fills faster than it is read.
const ROUNDS: usize = 16;

impl Reader {
    /// The reader of these buffers, from their first byte on.
    pub fn new(traces: impl IntoIterator<Item = TraceBuffer>) -> Reader {
        let followed = |trace| Followed { lines: Lines::of(&trace), drain: Drain::new(trace) };
        Reader(traces.into_iter().map(followed).collect())
    }

    /// Looks at all buffers once more: gives each line that is complete to `take`, with the name of its trace. Buffers that
    /// are in no memory are left out.
    pub fn look<O: Clone, const N: usize>(
        &mut self,
        map: &AddressMap<O, N>,
        mut take: impl FnMut(&str, Line),
    ) -> Next {
        let looks = self.0.iter_mut().filter_map(|followed| followed.look(map, &mut take));
        looks.max().unwrap_or(Next::WhenRung)
    }

    /// Looks for the last time: the firmware has ended. Lines that are not complete are given, too.
    pub fn end<O: Clone, const N: usize>(
        &mut self,
        map: &AddressMap<O, N>,
        mut take: impl FnMut(&str, Line),
    ) {
        self.look(map, &mut take);
        for Followed { drain, lines } in &mut self.0 {
            lines.end().into_iter().for_each(|line| take(&drain.trace().name, line));
        }
    }

    /// The names of the traces.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.0.iter().map(|followed| &followed.drain.trace().name)
    }
}

impl Followed {
    /// None if the buffer is in no memory.
    fn look<O: Clone, const N: usize>(
        &mut self,
        map: &AddressMap<O, N>,
        take: &mut impl FnMut(&str, Line),
    ) -> Option<Next> {
        let rings = self.drain.rings();
        for _ in 0..ROUNDS {
            let look = self.drain.look(map).ok()?;
            let quiet = look.bytes.is_empty() && look.lost == Lost::Nothing && look.trouble.is_none();
            let name = &self.drain.trace().name;
            self.lines.take(look).into_iter().for_each(|line| take(name, line));
            let wake = match (rings, quiet) {
                (false, _) => 0,
                (true, true) => 1,
                (true, false) => self.drain.trace().len / 2,
            };
            if !self.drain.answer(map, wake).ok()? {
                return Some(match wake {
                    0 => Next::Sometimes,
                    1 => Next::WhenRung,
                    _ => Next::Soon,
                });
            }
        }
        Some(Next::Soon)
    }
}

#[cfg(test)]
mod tests {
    use alloc::boxed::Box;
    use alloc::string::ToString as _;

    use sidecore_mem::{DeviceAddr, Memory, Region};
    use sidecore_wire::resource_table::TraceWords;

    use super::*;
    use crate::trace::Words;

    const AT: DeviceAddr = DeviceAddr(0x1000);
    const WORDS: DeviceAddr = DeviceAddr(0x1040);

    struct Bench {
        map: AddressMap<(), 1>,
        memory: Region,
        total: usize,
    }

    impl Bench {
        fn new() -> Self {
            let memory = Box::leak(Box::<Memory<128>>::default()).region();
            let mut map = AddressMap::new();
            map.insert(AT, memory.clone()).unwrap();
            Self { map, memory, total: 0 }
        }

        fn trace(words: Option<bool>) -> TraceBuffer {
            let words = words.map(|rings| Words { at: WORDS, rings });
            TraceBuffer { entry: 0, name: "log".into(), at: AT, len: 64, words }
        }

        fn write(&mut self, text: &str) {
            for byte in text.bytes() {
                self.memory.store(self.total % 64, byte).unwrap();
                self.total += 1;
            }
            for at in [TraceWords::CLAIMED_AT, TraceWords::TOTAL_AT] {
                self.memory.store(64 + at, self.total as u32).unwrap();
            }
        }

        fn wake(&self) -> u32 {
            self.memory.load(64 + TraceWords::WAKE_AT).unwrap()
        }
    }

    fn look(reader: &mut Reader, bench: &Bench) -> (Vec<String>, Next) {
        let mut lines = Vec::new();
        let next = reader.look(&bench.map, |name, line| lines.push(alloc::format!("{name}: {line}")));
        (lines, next)
    }

    #[test]
    fn firmware_that_rings_is_asked_to_and_nobody_looks_meanwhile() {
        let mut bench = Bench::new();
        let mut reader = Reader::new([Bench::trace(Some(true))]);
        assert_eq!(look(&mut reader, &bench), ([].into(), Next::WhenRung));
        assert_eq!(bench.wake(), 1, "at the first byte");
        bench.write("one\ntw");
        assert_eq!(look(&mut reader, &bench), (["log: one".to_string()].into(), Next::Soon));
        assert_eq!(bench.wake(), 32, "at half of the buffer");
        bench.write("o\n");
        assert_eq!(look(&mut reader, &bench), (["log: two".to_string()].into(), Next::Soon));
        assert_eq!(look(&mut reader, &bench), ([].into(), Next::WhenRung));
        bench.write("the end");
        let mut last = Vec::new();
        reader.end(&bench.map, |_, line| last.push(line.to_string()));
        assert_eq!(last, ["the end"]);
        assert!(reader.names().eq(["log"]));
    }

    #[test]
    fn firmware_that_does_not_ring_is_looked_at_and_what_it_overwrote_is_counted() {
        let mut bench = Bench::new();
        let mut reader = Reader::new([Bench::trace(Some(false))]);
        assert_eq!(look(&mut reader, &bench), ([].into(), Next::Sometimes));
        (0..30).for_each(|_| bench.write("1234\n"));
        let (lines, next) = look(&mut reader, &bench);
        assert_eq!((&*lines[0], lines.len(), next), ("log: -- 87 bytes lost --", 1 + 13, Next::Sometimes));
        assert_eq!(bench.wake(), 0);
        let mut reader = Reader::new([Bench::trace(None)]);
        assert_eq!(look(&mut reader, &bench).1, Next::Sometimes);
    }

    #[test]
    fn a_trace_in_no_memory_is_left_out() {
        let bench = Bench::new();
        let nowhere = TraceBuffer { at: DeviceAddr(0), ..Bench::trace(Some(true)) };
        assert_eq!(look(&mut Reader::new([nowhere]), &bench), ([].into(), Next::WhenRung));
    }
}
