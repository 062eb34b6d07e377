//! Which traces a resource table has, and where the words of each are.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sidecore_mem::DeviceAddr;
use sidecore_wire::resource_table::{ADDR_ANY, Entry, FixedName, Table, TraceWords};

use super::{TraceBuffer, Words};
use crate::text::escape;

/// The trace buffers of a loaded table, `bytes` being a private copy of what lies at `at`. Entries that are of no use are
/// left out.
#[must_use]
pub fn find(bytes: &[u8], at: DeviceAddr) -> Vec<TraceBuffer> {
    let Ok(table) = Table::parse(bytes) else { return Vec::new() };
    let (words, _) = words(table, Some(at));
    let traces = table.entries().flatten().filter_map(|located| match located.entry {
        Entry::Trace(trace) if trace.len > 0 && trace.da != ADDR_ANY => Some((located.index, trace)),
        _ => None,
    });
    let buffer =
        |(number, (entry, trace)): (usize, (u32, sidecore_wire::resource_table::Trace))| TraceBuffer {
            entry,
            name: name(&trace.name, number),
            at: DeviceAddr(trace.da.into()),
            len: trace.len,
            words: words.get(&entry).copied(),
        };
    traces.enumerate().map(buffer).collect()
}

/// What a trace is called: as its entry says, made printable, or by its number among the traces.
pub(crate) fn name(name: &FixedName, number: usize) -> String {
    let name = escape(name.as_bytes(), FixedName::SIZE);
    if name.is_empty() { format!("trace{number}") } else { name }
}

/// Where the words of each trace are, by the number of the trace's entry, in a table that lies at `at`; and what is wrong
/// with those that are of no use.
pub(crate) fn words(table: Table<'_>, at: Option<DeviceAddr>) -> (BTreeMap<u32, Words>, Vec<String>) {
    let lens: BTreeMap<u32, u32> = table
        .entries()
        .flatten()
        .filter_map(|located| match located.entry {
            Entry::Trace(trace) => Some((located.index, trace.len)),
            _ => None,
        })
        .collect();
    let (mut found, mut faults) = (BTreeMap::new(), Vec::new());
    for located in table.entries().flatten() {
        let Entry::Vendor { kind, bytes } = located.entry else { continue };
        let index = located.index;
        let words = match TraceWords::parse(kind, bytes) {
            Ok(Some(words)) => words,
            Ok(None) => continue,
            Err(malformed) => {
                faults.push(format!("entry {index}: {malformed}"));
                continue;
            }
        };
        let trace = words.trace;
        let fault = match (lens.get(&trace), at) {
            (None, _) => format!("trace is {trace}, which is no trace"),
            (Some(&len), _) if !TraceWords::can_count(len) => {
                format!("trace is {trace}, whose len {len} is no power of two up to {}", TraceWords::MAX_LEN)
            }
            _ if found.contains_key(&trace) => format!("trace is {trace}, which has words already"),
            (_, None) => "the table is not loaded".into(),
            (_, Some(at)) => match at.checked_add(located.offset.into()) {
                Some(at) if at.0 % 4 == 0 => {
                    found.insert(trace, Words { at, rings: words.flags & TraceWords::RINGS != 0 });
                    continue;
                }
                _ => format!("offset is {}, which is no multiple of 4", located.offset),
            },
        };
        faults.push(format!("entry {index}: {fault}"));
    }
    (found, faults)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use sidecore_wire::features::VENDOR_ENTRY_TYPE;
    use sidecore_wire::resource_table::{Builder, Trace};

    use super::*;

    const AT: DeviceAddr = DeviceAddr(0x1000);

    fn table(fill: impl FnOnce(&mut Builder<'_>)) -> Vec<u8> {
        let mut bytes = vec![0; 1024];
        let mut builder = Builder::new(&mut bytes, 8).unwrap();
        fill(&mut builder);
        builder.finish().to_vec()
    }

    fn trace(builder: &mut Builder<'_>, da: u32, len: u32) {
        builder.trace(&Trace { da, len, ..Trace::default() }).unwrap();
    }

    fn entry(builder: &mut Builder<'_>, trace: u32, flags: u32) -> u32 {
        let words = TraceWords { trace, flags, ..TraceWords::default() }.emit();
        builder.entry(VENDOR_ENTRY_TYPE, &words[4..]).unwrap()
    }

    #[test]
    fn words_are_found_wherever_their_entry_is() {
        let mut offsets = Vec::new();
        let bytes = table(|builder| {
            offsets.push(entry(builder, 1, TraceWords::RINGS));
            trace(builder, 0x2000, 64);
            trace(builder, 0x3000, 128);
            offsets.push(entry(builder, 2, 0));
            trace(builder, 0x4000, 100);
            trace(builder, ADDR_ANY, 64);
        });
        let words = |offset: u32, rings| Some(Words { at: DeviceAddr(AT.0 + u64::from(offset)), rings });
        let found = find(&bytes, AT);
        let found: Vec<_> = found.iter().map(|trace| (trace.entry, &*trace.name, trace.words)).collect();
        assert_eq!(
            found,
            [
                (1, "trace0", words(offsets[0], true)),
                (2, "trace1", words(offsets[1], false)),
                (4, "trace2", None)
            ]
        );
    }

    #[test]
    fn words_that_lie_are_named_and_the_trace_is_plain() {
        type Case = (fn(&mut Builder<'_>), &'static str);
        let cases: [Case; 6] = [
            (|b| _ = entry(b, 0, 0), "entry 1: trace is 0, which is no trace"),
            (|b| _ = entry(b, 7, 0), "entry 1: trace is 7, which is no trace"),
            (|b| _ = entry(b, u32::MAX, 0), "entry 1: trace is 4294967295, which is no trace"),
            (|b| _ = b.entry(VENDOR_ENTRY_TYPE, &[1, 0, 0, 0, 0, 0]), "entry 1: length is 6"),
            (|b| _ = b.entry(VENDOR_ENTRY_TYPE, &[1, 0]), "entry 1: length is 2"),
            (|b| trace(b, 0x2000, 96), "entry 2: trace is 1, whose len 96 is no power of two"),
        ];
        for (fill, expected) in cases {
            let bytes = table(|builder| {
                builder.entry(200, b"someone's").unwrap();
                fill(builder);
                if expected.starts_with("entry 2") {
                    entry(builder, 1, 0);
                }
            });
            let (words, faults) = words(Table::parse(&bytes).unwrap(), Some(AT));
            assert!(words.is_empty());
            let fault = faults.first().cloned().unwrap_or_default();
            assert!(fault.starts_with(expected) && faults.len() == 1, "{faults:?}");
        }
        // Twice; the first one counts.
        let bytes = table(|builder| {
            trace(builder, 0x2000, 64);
            entry(builder, 0, 1);
            entry(builder, 0, 0);
        });
        let (words, faults) = words(Table::parse(&bytes).unwrap(), Some(AT));
        assert!(words[&0].rings);
        assert_eq!(faults, ["entry 2: trace is 0, which has words already"]);
    }

    #[test]
    fn words_of_a_table_that_is_nowhere_or_askew_are_not_used() {
        let bytes = table(|builder| {
            trace(builder, 0x2000, 64);
            entry(builder, 0, 1);
        });
        for at in [None, Some(DeviceAddr(0x1002)), Some(DeviceAddr(u64::MAX - 3))] {
            let (words, faults) = words(Table::parse(&bytes).unwrap(), at);
            assert_eq!((words.len(), faults.len()), (0, 1));
        }
    }
}
