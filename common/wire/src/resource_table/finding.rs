use core::{fmt, iter};

use super::{Entry, FixedName, Located, Table};

/// Something odd in a table that can be read all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which entry, from 0; none for the table's header.
    pub entry: Option<u32>,
    /// The field's name in the specification.
    pub field: &'static str,
    /// Its value.
    pub value: u64,
    /// What is odd about it, and who minds.
    pub text: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { entry, field, value, text } = self;
        if let Some(entry) = entry {
            write!(f, "entry {entry}: ")?;
        }
        write!(f, "{field} is {value} ({value:#x}): {text}")
    }
}

impl<'a> Table<'a> {
    /// What is odd but legible, in the order of the entries: reserved words that are not zero, offsets that are not
    /// multiples of 4, names without a NUL. Malformed entries are not judged again; see [`entries`](Self::entries).
    pub fn findings(&self) -> impl Iterator<Item = Finding> + use<'a> {
        let [first, second] = self.header().reserved;
        let header = [reserved(None, first.into()), reserved(None, second.into())];
        let offsets = self.offsets().map(|(index, offset)| unaligned(index, offset));
        let entries = self.entries().filter_map(Result::ok).flat_map(|located| of_entry(&located));
        iter::empty().chain(header).chain(offsets).chain(entries).flatten()
    }
}

fn unaligned(index: u32, offset: u32) -> Option<Finding> {
    (!offset.is_multiple_of(4)).then_some(Finding {
        entry: Some(index),
        field: "offset",
        value: offset.into(),
        text: "not a multiple of 4; firmware that accesses its table by words may fault",
    })
}

fn of_entry(located: &Located<Entry<'_>>) -> [Option<Finding>; 2] {
    let index = Some(located.index);
    match &located.entry {
        Entry::Carveout(entry) => [reserved(index, entry.reserved.into()), unterminated(index, &entry.name)],
        Entry::Devmem(entry) => [reserved(index, entry.reserved.into()), unterminated(index, &entry.name)],
        Entry::Trace(entry) => [reserved(index, entry.reserved.into()), unterminated(index, &entry.name)],
        Entry::Vdev(entry) => [reserved(index, u16::from_le_bytes(entry.reserved).into()), None],
        Entry::Vendor { .. } | Entry::Unknown { .. } => [None, None],
    }
}

fn reserved(entry: Option<u32>, value: u64) -> Option<Finding> {
    let text = "not zero; Linux refuses it";
    (value != 0).then_some(Finding { entry, field: "reserved", value, text })
}

fn unterminated(entry: Option<u32>, name: &FixedName) -> Option<Finding> {
    (!name.is_terminated()).then_some(Finding {
        entry,
        field: "name",
        value: FixedName::SIZE as u64,
        text: "no NUL within its bytes; readers in C run past its end",
    })
}
