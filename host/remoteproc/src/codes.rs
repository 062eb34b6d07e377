//! The registry of error and finding codes: what `sidecore explain CODE` knows.
//!
//! Every error of sidecore carries a [`Code`] that never changes its meaning: `E0113` in a message, a log, a D-Bus
//! error or a test is the same condition for good. Errors are `E`, findings (things that are odd but no obstacle) are
//! `F`; the first two digits tell the part:
//!
//! | range | part |
//! | --- | --- |
//! | `E01`, `F01` | the firmware file |
//! | `E02`, `F02` | the resource table and the memories that come of it |
//! | `E03` | the life cycle of a remote |
//! | `E04` | what executes the firmware (backends) |
//! | `E05` and up | other crates, which declare their own with [`codes!`](crate::codes!) |

use core::fmt;

/// A code that stands for one condition for good; displays as `E0113`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Code {
    kind: char,
    number: u16,
}

impl Code {
    /// The error with this number, at most 9999.
    #[must_use]
    pub const fn error(number: u16) -> Code {
        Code { kind: 'E', number }
    }

    /// The finding with this number, at most 9999.
    #[must_use]
    pub const fn finding(number: u16) -> Code {
        Code { kind: 'F', number }
    }

    /// The row of this crate's [`TABLE`] that explains the code; none for the codes of other crates.
    #[must_use]
    pub fn explanation(self) -> Option<&'static Explanation> {
        TABLE.iter().find(|row| row.code == self)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:04}", self.kind, self.number)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What there is to say about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The code.
    pub code: Code,
    /// Its name: lower-case words with hyphens, as stable as the code.
    pub name: &'static str,
    /// What is the matter, in one sentence.
    pub summary: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

/// Finds the row for a code (`E0113`, `e113`) or a name (`elf-segments-overlap`) in the tables of several crates.
#[must_use]
pub fn find(tables: &[&'static [Explanation]], wanted: &str) -> Option<&'static Explanation> {
    let code = parse(wanted);
    let rows = tables.iter().copied().flatten();
    let mut hits = rows.filter(|row| code == Some(row.code) || row.name.eq_ignore_ascii_case(wanted));
    hits.next()
}

/// Reads a code as people type it: either case, zeros in front optional.
fn parse(text: &str) -> Option<Code> {
    let digits = text.get(1..).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    let number = digits.parse().ok()?;
    match text.as_bytes().first()? {
        b'E' | b'e' => Some(Code::error(number)),
        b'F' | b'f' => Some(Code::finding(number)),
        _ => None,
    }
}

/// Declares the codes of a crate: a constant for each, and the `TABLE` of their explanations.
///
/// ```
/// sidecore_remoteproc::codes! {
///     error 9901 NOT_TODAY "not-today" "The answer is no." "Ask tomorrow.";
/// }
/// assert_eq!(NOT_TODAY.to_string(), "E9901");
/// assert_eq!(TABLE[0].name, "not-today");
/// ```
#[macro_export]
macro_rules! codes {
    ($($kind:ident $number:literal $constant:ident $name:literal $summary:literal $advice:literal;)*) => {
        $(
            #[doc = $summary]
            pub const $constant: $crate::codes::Code = $crate::codes::Code::$kind($number);
        )*

        /// Every code of this crate, explained.
        pub const TABLE: &[$crate::codes::Explanation] = &[$(
            $crate::codes::Explanation {
                code: $constant,
                name: $name,
                summary: $summary,
                advice: $advice,
            },
        )*];
    };
}

codes! {
    error 101 ELF_NOT_ELF "elf-not-elf"
        "The file does not begin as an ELF file does."
        "Give the ELF file that the linker wrote; a raw binary, a hex file or an archive has no addresses to load it to.";
    error 102 ELF_TRUNCATED "elf-truncated"
        "The file ends before something that one of its headers describes."
        "Copy or download the file again, and compare its length with the original's.";
    error 103 ELF_CLASS "elf-class"
        "The file is neither 32-bit nor 64-bit ELF."
        "Byte 4 of the file is damaged; build or copy the firmware again.";
    error 104 ELF_BYTE_ORDER "elf-byte-order"
        "The file is not little endian."
        "Build the firmware for a little-endian target: every format that the two sides share is little endian.";
    error 105 ELF_VERSION "elf-version"
        "The file has a version of ELF that nobody has defined."
        "The header is damaged; build or copy the firmware again.";
    error 106 ELF_TYPE "elf-type"
        "The file is ELF, but nothing that can be loaded and run."
        "Link it: relocatable objects and core dumps are not firmware.";
    error 107 ELF_MACHINE "elf-machine"
        "The firmware is for another kind of processor than the remote is."
        "Build it for the machine that the message names, or choose another remote.";
    error 108 ELF_NO_SEGMENTS "elf-no-segments"
        "The file holds nothing to load."
        "Firmware needs at least one PT_LOAD program header with memory; look at the linker script.";
    error 109 ELF_ENTRY_SIZE "elf-entry-size"
        "The headers of the file are not as long as its class prescribes."
        "The header is damaged, or a tool wrote it wrongly; build or copy the firmware again.";
    error 110 ELF_TOO_MANY "elf-too-many"
        "The file has more of something than the limit allows."
        "Merge sections in the linker script, or raise the limit if the file can be trusted.";
    error 111 ELF_SEGMENT_SIZE "elf-segment-size"
        "A segment holds more bytes in the file than it takes in memory."
        "p_filesz must not exceed p_memsz; the file is damaged or its linker is broken.";
    error 112 ELF_SEGMENT_WRAPS "elf-segment-wraps"
        "A segment runs past the end of the remote's address space."
        "Look at the load addresses in the linker script.";
    error 113 ELF_SEGMENTS_OVERLAP "elf-segments-overlap"
        "Two segments would be loaded over each other."
        "Compare p_paddr and p_memsz of the two (readelf -lW): often .bss was given a load address in the middle of \
         another section.";
    error 114 ELF_SEGMENT_ALIGN "elf-segment-align"
        "A segment's alignment is no power of two."
        "p_align is damaged, or the linker is broken.";
    error 115 ELF_ENTRY "elf-entry"
        "The entry point lies in no segment."
        "Set ENTRY() in the linker script to a function that is linked in.";
    error 116 ELF_MEMORY "elf-memory"
        "The segments need more memory than the limit allows."
        "A huge .bss or a stray section address does this; raise the memory limit if the firmware really needs it.";
    error 117 ELF_NAMES "elf-names"
        "The section names of the file cannot be found."
        "The section headers are damaged; build the firmware again, or strip all of its section headers.";
    error 118 ELF_TABLE_SECTION "elf-table-section"
        "The section .resource_table has no bytes in the file."
        "Give the table an initial value, and keep it out of .bss and NOLOAD sections.";
    error 119 ELF_INTERPRETER "elf-interpreter"
        "The file wants to be loaded by an interpreter: it is a program of an operating system and not firmware."
        "Link the firmware statically (-static -nostdlib -no-pie) with its own linker script.";

    error 201 TABLE_MALFORMED "table-malformed"
        "The resource table, or one of its entries, cannot be read."
        "Compare the declaration of the table with its layout: version 1, offsets from the beginning of the table, \
         packed entries.";
    error 202 RESOURCE_ZERO "resource-zero"
        "An entry of the resource table asks for nothing at all."
        "Give the field that the message names a value.";
    error 203 RESOURCE_WRAPS "resource-wraps"
        "An entry of the resource table runs past the end of the 32-bit address space."
        "Correct the address or the length.";
    error 204 RESOURCE_TOO_LARGE "resource-too-large"
        "An entry of the resource table asks for more than the limit allows."
        "Correct the length, or raise the memory limit if the firmware really needs it.";
    error 205 RESOURCE_OVERLAPS "resource-overlaps"
        "Two things that the firmware wants at fixed addresses overlap."
        "Move one of them, or let the host place it (address 0xffffffff).";
    error 206 RESOURCE_STRADDLES "resource-straddles"
        "Something that the firmware wants lies partly inside a memory and partly outside."
        "Move it inside, move it out, or enlarge the memory.";
    error 207 RESOURCE_RING "resource-ring"
        "A ring cannot have these dimensions."
        "num must be a power of two from 1 to 32768, align a power of two of at least 4.";
    error 208 RESOURCE_MISALIGNED "resource-misaligned"
        "A ring's fixed address does not fit its alignment."
        "A ring begins on a multiple of its align, and of 16 bytes.";
    error 209 RESOURCE_TOO_MANY "resource-too-many"
        "The resource table has more of something than the limit allows."
        "Ask for less, or raise the limit if the firmware can be trusted.";
    error 210 RESOURCE_TOO_SMALL "resource-too-small"
        "A size that the firmware gives is too small for its purpose."
        "Enlarge it to what the message says.";
    error 211 RESOURCE_ELSEWHERE "resource-elsewhere"
        "A ring has a fixed address, but the carveout of its name has none."
        "Give both the same address, or let the host place both (0xffffffff).";
    error 212 MEMORY_LIMIT "memory-limit"
        "All memories together are larger than the limit allows."
        "Ask for less, or raise the memory limit.";
    error 213 MEMORY_COUNT "memory-count"
        "The remote needs more separate memories than can be mapped."
        "Put segments next to each other in the linker script, and rings and buffers into one carveout.";
    error 214 MEMORY_PLACED_HIGH "memory-placed-high"
        "The backend placed a memory where the resource table cannot name it."
        "Version 1 of the table has 32-bit addresses; this is a fault of the backend.";
    error 301 REFUSED "lifecycle-refused"
        "The remote's state does not allow that."
        "Look at its state; stop it, start it or load firmware first.";
    error 302 NO_FIRMWARE "no-firmware"
        "There is no firmware to start."
        "Load some first.";
    error 303 NO_TRACE "no-trace"
        "The firmware has no such trace buffer, or it cannot be read."
        "inspect shows which trace entries its resource table has.";

    error 304 TABLE_NOT_FOUND "table-not-found"
        "A remote that runs already was to be taken over, and its resource table was not found."
        "Say where it lies, or give the firmware file that the remote runs.";

    error 305 NO_DUMP "core-dump"
        "The remote cannot be dumped."
        "There is something to dump once firmware was loaded; of a remote that was attached to, once it has crashed.";

    error 401 BACKEND_MEMORY "backend-memory"
        "A memory cannot be had where the firmware wants it."
        "Link the firmware at other addresses, or change the entry that asks for the memory.";
    error 402 BACKEND_MEMORY_REFUSED "backend-memory-refused"
        "The backend refuses a memory for a reason of its own."
        "The message has the reason. Writable code is refused where memory protection is; split the segment.";
    error 403 BACKEND_UNREACHABLE "backend-unreachable"
        "Bytes were to be loaded where the remote has no memory."
        "This is a fault of the loader or of the backend; please report it.";
    error 404 BACKEND_STATE "backend-state"
        "The backend was asked for something that does not fit its state."
        "This is a fault of the life cycle or of the backend; please report it.";
    error 405 BACKEND_UNSUPPORTED "backend-unsupported"
        "This kind of remote cannot do that."
        "Use another kind of remote, or do without.";
    error 406 BACKEND_SYSTEM "backend-system"
        "The operating system refused something that the backend needs."
        "The message has the system's reason; doctor checks the usual ones.";
    error 407 BACKEND_EXECUTOR_LOST "backend-executor-lost"
        "The process that executes the remote is gone."
        "Start the remote again; if it goes again, look for who kills it (memory shortage, limits).";
    error 408 BACKEND_EXECUTOR_MISSING "backend-executor-missing"
        "The program that executes such remotes is not installed here, or too old."
        "Install what the message names; `sidecore boards` shows what this machine can run.";

    finding 101 NO_TABLE "no-resource-table"
        "The firmware has no section named .resource_table, so it asks for nothing and offers no device."
        "If it should talk, define a resource table and keep the section from being dropped (KEEP in the script).";
    finding 102 SEGMENT_RWX "segment-rwx"
        "A segment is readable, writable and executable at once."
        "Separate code and data into segments of their own; kinds of remotes with memory protection refuse it.";
    finding 103 SEGMENT_EMPTY "segment-empty"
        "A PT_LOAD program header takes no memory."
        "Harmless; the linker script has an empty section.";
    finding 104 SEGMENT_OFFSET "segment-offset"
        "A segment's place in the file does not fit its alignment."
        "Harmless here, for segments are copied; a system that maps the file would refuse it.";
    finding 105 SEGMENTS_GAP "segments-gap"
        "There is a large gap between segments."
        "Look for a stray section address if that was not intended.";
    finding 106 BSS_LARGE "bss-large"
        "A segment takes much memory that has no bytes in the file."
        "Look for a huge static buffer if that was not intended.";
    finding 107 ENTRY_NOT_EXECUTABLE "entry-not-executable"
        "The entry point lies in a segment that is not executable."
        "Where memory protection is, the remote will crash at its first instruction.";
    finding 108 ENTRY_MISSING "entry-missing"
        "The file has no entry point (e_entry is 0, and nothing is loaded there)."
        "Set ENTRY() in the linker script unless the remote starts at a fixed address anyway.";
    finding 109 LOAD_ADDRESS_MISSING "load-address-missing"
        "All load addresses (p_paddr) are 0, so the segments are loaded to their run addresses (p_vaddr)."
        "Linux would load all of them to 0; have the linker write p_paddr.";
    finding 110 LOADED_ELSEWHERE "loaded-elsewhere"
        "A segment is loaded to another address (p_paddr) than it runs at (p_vaddr)."
        "Fine if the firmware copies it, or runs behind an address translation of its own.";
    finding 111 RUNS_OVERLAP "runs-overlap"
        "Two segments run at the same addresses (overlays)."
        "Fine if the firmware swaps them itself.";
    finding 112 INTERPRETER "interpreter"
        "The file names an interpreter (PT_INTERP), so it will not be loaded as firmware."
        "Link it statically if it is firmware.";
    finding 113 POSITION_INDEPENDENT "position-independent"
        "The file is position independent (ET_DYN), but is loaded at its own addresses without relocation."
        "Link with -no-pie.";
    finding 114 SECTION_OUTSIDE "section-outside"
        "A section that is not needed for loading leaves the file."
        "The file was cut or patched; debuggers may fail on it.";
    finding 115 TABLE_DUPLICATE "table-duplicate"
        "There are several sections named .resource_table; the first counts."
        "Keep one.";
    finding 116 TABLE_NOT_LOADED "table-not-loaded"
        "The resource table is in no loaded segment, so the firmware cannot see what the host writes into it."
        "Place .resource_table in a segment; without that no virtio device of it can be used.";
    finding 117 TABLE_MOVED "table-moved"
        "The resource table is loaded to another address than its section has."
        "Linux looks for it at the section's address; keep the table in a segment that runs where it is loaded.";
    finding 118 NOTE_MALFORMED "note-malformed"
        "A PT_NOTE segment cannot be read."
        "Harmless; the build id is not known.";
    finding 119 HEADER_SIZE "header-size"
        "e_ehsize is not the size that the class prescribes."
        "Harmless; some tool wrote the header by hand.";
    finding 120 NO_SECTIONS "no-sections"
        "The file has no section headers, so a resource table in it cannot be found."
        "Strip symbols only (strip -g), not the section headers.";

    finding 201 TABLE_ODD "table-odd"
        "Something in the resource table is odd but legible."
        "Other loaders may refuse it: correct the table.";
    finding 202 TABLE_ENTRY_MALFORMED "table-entry-malformed"
        "An entry of the resource table cannot be read; the firmware will not be loaded."
        "Compare the entry's declaration with its layout.";
    finding 203 ENTRY_UNKNOWN "entry-unknown"
        "An entry of the resource table has a type that nobody has defined; it is skipped."
        "Fine if the firmware can do without.";
    finding 204 ENTRY_VENDOR "entry-vendor"
        "An entry of the resource table is a vendor's; it is kept, but nothing here acts on it."
        "Fine if the firmware can do without.";
    finding 205 NOTIFY_ID_DUPLICATE "notify-id-duplicate"
        "Two rings have the same notify id; the later one gets another, written back to the table."
        "Fine if the firmware reads its ids from the table; give each ring its own otherwise.";
    finding 206 RING_COUNT "ring-count"
        "A device has another number of rings than usual."
        "Linux refuses more than 2; an rpmsg device needs 2.";
    finding 207 RING_DIMENSIONS "ring-dimensions"
        "A ring cannot have these dimensions; the firmware will not be loaded."
        "num must be a power of two from 1 to 32768, align a power of two of at least 4.";
    finding 208 DEVMEM_NOT_MAPPED "devmem-not-mapped"
        "The firmware asks for a device's registers, which are not mapped for it."
        "Fine where the remote reaches them anyway; otherwise it will fault.";
    finding 209 TRACE_OUTSIDE "trace-outside"
        "A trace buffer lies in no segment and no carveout, so it gets a memory of its own."
        "Fine if that memory exists; otherwise correct the address.";
    finding 210 ACCESS_WIDENED "access-widened"
        "Things with different access share a page, so the remote may do more with them than was meant."
        "Align segments, rings and buffers to pages where memory protection is.";
    finding 211 BUFFER_SIZES "buffer-sizes"
        "An rpmsg device offers its own buffer sizes, but its configuration space does not hold them."
        "Buffers of 512 bytes are used. Give the vdev entry the 11-byte configuration, or do not offer bit 1.";
    finding 212 TRACE_WORDS "trace-words"
        "An entry for the words of a trace buffer is of no use; the buffer is read as plain text."
        "What is lost of it cannot be counted. Compare the entry with the book's chapter on traces.";
    finding 213 EPOCHS "epochs"
        "An rpmsg device offers to acknowledge resets, but its configuration space has no aligned room for the two words."
        "Resets are not acknowledged, and who attaches waits for a fixed time. Let the configuration end with 8 bytes \
         at a multiple of 4, or do not offer bit 16.";
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn codes_and_names_are_unique_and_ordered() {
        for pair in TABLE.windows(2) {
            assert!(pair[0].code < pair[1].code, "{} before {}", pair[0].code, pair[1].code);
        }
        for (index, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..index].iter().all(|other| other.name != row.name), "{} twice", row.name);
            assert!(row.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'), "{}", row.name);
            assert!(row.summary.ends_with('.') && row.advice.ends_with('.'), "{}", row.name);
        }
    }

    #[test]
    fn a_code_is_found_as_people_type_it() {
        let tables = [TABLE];
        for wanted in ["E0113", "e113", "elf-segments-overlap", "Elf-Segments-Overlap"] {
            assert_eq!(find(&tables, wanted).map(|row| row.code), Some(ELF_SEGMENTS_OVERLAP), "{wanted}");
        }
        for wanted in ["", "E", "E+113", "E99999999", "é0113", "G0113", "F0113x"] {
            assert_eq!(find(&tables, wanted), None, "{wanted}");
        }
        assert_eq!(ELF_SEGMENTS_OVERLAP.to_string(), "E0113");
        assert_eq!(SEGMENT_RWX.explanation().map(|row| row.name), Some("segment-rwx"));
        assert_eq!(Code::error(9999).explanation(), None);
    }
}
