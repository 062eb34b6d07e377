//! The hand-over page of the sandbox: one page of shared memory between the main side's warden and boot stub, which
//! fill it before the remote starts, and the firmware.
//!
//! Our own layout, 4096 bytes. All words are little endian and naturally aligned, so that each can be loaded and
//! stored at once while both sides run; the words that one side writes and the other polls lie on cache lines of their
//! own (64 bytes). Each constant is an offset in bytes from the beginning of the page, which begins on a page boundary.
//!
//! | bytes | who writes | what |
//! | --- | --- | --- |
//! | 0..64 | boot stub, before the start | what the firmware must know |
//! | 64..128 | main side | whether it sleeps |
//! | 128..192 | remote | whether it sleeps |
//! | 192..256 | remote | watchdog; on boards, how far it is |
//! | 256..1024 | remote | panic record |
//! | 1024..2072 | boot stub, before the start | what the warden gave the remote |
//! | 2080..2124 | remote | on boards, what the processor says about a fault |
//!
//! The main side believes nothing that it reads back from this page; the panic record above all is an allegation.

use crate::{
    Fault, Malformed,
    bytes::{put, u32_at, u64_at},
    layout::{Kind, Record, field},
};

/// Bytes of the page.
pub const SIZE: usize = 4096;

/// `u32`: [`MAGIC_VALUE`].
pub const MAGIC: usize = 0;
/// What [`MAGIC`] holds: the bytes `PBCS`, read as a word.
pub const MAGIC_VALUE: u32 = 0x5343_4250;
/// `u32`: version of this layout, [`VERSION_VALUE`].
pub const VERSION: usize = 4;
/// What [`VERSION`] holds.
pub const VERSION_VALUE: u32 = 1;
/// `u64`: device address of the resource table; 0 if the image has none.
pub const TABLE_DA: usize = 8;
/// `u32`: bytes of the resource table.
pub const TABLE_LEN: usize = 16;
/// `u64`: frequency of the time-stamp counter in Hz; 0 if unknown.
pub const TICK_HZ: usize = 24;
/// `u32`: CPUs on which the remote may run. With 1 nobody spins, for the peer cannot run meanwhile.
pub const CPU_COUNT: usize = 32;
/// `i32`: number of the descriptor that the remote reads to be woken up.
pub const DOORBELL_IN: usize = 36;
/// `i32`: number of the descriptor that the remote writes to wake the main side up.
pub const DOORBELL_OUT: usize = 40;
/// `i32`: number of the descriptor that the remote writes to wake the reader of its traces up, who may be another than the
/// main side; 0 if there is none.
pub const TRACE_BELL: usize = 44;

/// `u32`: not zero while the main side sleeps, or is about to, and wants the doorbell. The main side sets it, then
/// looks for work once more, then sleeps.
pub const HOST_ASLEEP: usize = 64;
/// `u32`: the same for the remote.
pub const REMOTE_ASLEEP: usize = 128;

/// `u32`: the firmware promises to count [`WATCHDOG_COUNT`] up at least once in so many milliseconds; 0 while it
/// promises nothing.
pub const WATCHDOG_PERIOD_MS: usize = 192;
/// `u32`: the firmware counts it up, modulo 2^32.
pub const WATCHDOG_COUNT: usize = 196;

/// `u32`: how far the remote is: one of the `STATE_` values. Written by remotes that nobody watches as closely as a
/// process: those on boards, where the page lies at an address that the board fixes.
pub const STATE: usize = 200;
/// Nothing of the firmware has run yet.
pub const STATE_RESET: u32 = 0;
/// The firmware runs, and hears its doorbell.
pub const STATE_UP: u32 = 1;
/// It ended, with the code at [`EXIT_CODE`].
pub const STATE_ENDED: u32 = 2;
/// It crashed: there is a panic record, or what the processor says at [`FAULT`], or both.
pub const STATE_CRASHED: u32 = 3;
/// `i32`: the exit code.
pub const EXIT_CODE: usize = 204;

/// `u32`: how many main sides there have been: counted up when one attaches. 0 where nobody counts.
pub const MAIN_SIDES: usize = 208;
/// `u32`: not zero while there is none: the last one let the remote go, or died. The doorbell is rung when it changes.
pub const MAIN_SIDE_GONE: usize = 212;

/// `u32`: bytes of the panic record, written after the record itself; 0 if there is none.
pub const PANIC_LEN: usize = 256;
/// The panic record, UTF-8 text `file:line: message`, up to [`PANIC_TEXT_END`]. An allegation of the firmware.
pub const PANIC_TEXT: usize = 260;
/// Where the room for the panic record ends.
pub const PANIC_TEXT_END: usize = 1024;

/// `u64`: the address just above the remote's stack.
pub const STACK_TOP: usize = 1024;
/// `u64`: bytes of the remote's stack, without its guard.
pub const STACK_SIZE: usize = 1032;
/// `u32`: memories that were mapped for the remote, this page and the stack not counted.
pub const MEMORIES_COUNT: usize = 1040;
/// The memories that the remote may read and write, in [`MEMORIES_MAX`] places of [`MEMORY_SIZE`] bytes: device address
/// `u64` and length in bytes `u64`. A length of 0 ends the list.
pub const MEMORIES: usize = 1048;
/// Bytes of each place of [`MEMORIES`].
pub const MEMORY_SIZE: usize = 16;
/// Places of [`MEMORIES`].
pub const MEMORIES_MAX: usize = 64;

/// What the processor says about a fault of the firmware, [`FAULT_WORDS`] words of type `u64`: program counter, stack
/// pointer, return address, cause (CFSR, `mcause`, ESR; on a Cortex-R the status register of the abort, and the
/// exception's vector in the upper half) and faulting address; what a processor does not say is 0.
pub const FAULT: usize = 2080;
/// Words of [`FAULT`].
pub const FAULT_WORDS: usize = 5;
/// Vector of a Cortex-R's exceptions: an instruction that it does not know (Arm ARM for v7, table B1-3).
pub const VECTOR_UNDEFINED: u64 = 0x04;
/// Vector of a Cortex-R's exceptions: an instruction that cannot be fetched.
pub const VECTOR_PREFETCH_ABORT: u64 = 0x0c;
/// Vector of a Cortex-R's exceptions: data that cannot be accessed.
pub const VECTOR_DATA_ABORT: u64 = 0x10;
/// `u32`: not zero where [`FAULT`] was written.
pub const FAULT_VALID: usize = FAULT + 8 * FAULT_WORDS;

/// The page as data: every word of it.
pub const LAYOUT: Record = Record {
    name: "sandbox_page",
    text: "the hand-over page of the sandbox, our own",
    size: SIZE,
    fields: &[
        field("magic", MAGIC, Kind::U32),
        field("version", VERSION, Kind::U32),
        field("table_da", TABLE_DA, Kind::U64),
        field("table_len", TABLE_LEN, Kind::U32),
        field("tick_hz", TICK_HZ, Kind::U64),
        field("cpu_count", CPU_COUNT, Kind::U32),
        field("doorbell_in", DOORBELL_IN, Kind::I32),
        field("doorbell_out", DOORBELL_OUT, Kind::I32),
        field("trace_bell", TRACE_BELL, Kind::I32),
        field("host_asleep", HOST_ASLEEP, Kind::U32),
        field("remote_asleep", REMOTE_ASLEEP, Kind::U32),
        field("watchdog_period_ms", WATCHDOG_PERIOD_MS, Kind::U32),
        field("watchdog_count", WATCHDOG_COUNT, Kind::U32),
        field("state", STATE, Kind::U32),
        field("exit_code", EXIT_CODE, Kind::I32),
        field("main_sides", MAIN_SIDES, Kind::U32),
        field("main_side_gone", MAIN_SIDE_GONE, Kind::U32),
        field("panic_len", PANIC_LEN, Kind::U32),
        field("panic_text", PANIC_TEXT, Kind::Bytes(PANIC_TEXT_END - PANIC_TEXT)),
        field("stack_top", STACK_TOP, Kind::U64),
        field("stack_size", STACK_SIZE, Kind::U64),
        field("memories_count", MEMORIES_COUNT, Kind::U32),
        field("memories", MEMORIES, Kind::Bytes(MEMORY_SIZE * MEMORIES_MAX)),
        field("fault", FAULT, Kind::Bytes(8 * FAULT_WORDS)),
        field("fault_valid", FAULT_VALID, Kind::U32),
    ],
};

/// What the boot stub writes into a fresh page; all else in it begins as zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct HandOver {
    /// See [`TABLE_DA`].
    pub table_da: u64,
    /// See [`TABLE_LEN`].
    pub table_len: u32,
    /// See [`TICK_HZ`].
    pub tick_hz: u64,
    /// See [`CPU_COUNT`].
    pub cpu_count: u32,
    /// See [`DOORBELL_IN`].
    pub doorbell_in: i32,
    /// See [`DOORBELL_OUT`].
    pub doorbell_out: i32,
    /// See [`TRACE_BELL`].
    pub trace_bell: i32,
    /// See [`STACK_TOP`].
    pub stack_top: u64,
    /// See [`STACK_SIZE`].
    pub stack_size: u64,
    /// See [`MEMORIES_COUNT`].
    pub memories_count: u32,
}

impl HandOver {
    /// Bytes of the page.
    pub const SIZE: usize = SIZE;

    /// Reads a page.
    ///
    /// # Errors
    /// The magic or the version is not that of this layout.
    pub const fn parse(bytes: &[u8; SIZE]) -> Result<HandOver, Malformed> {
        let magic = u32_at::<MAGIC, _>(bytes);
        if magic != MAGIC_VALUE {
            let fault = Fault::Unsupported { supported: MAGIC_VALUE as u64 };
            return Err(Malformed { field: "magic", value: magic as u64, fault });
        }
        let version = u32_at::<VERSION, _>(bytes);
        if version != VERSION_VALUE {
            let fault = Fault::Unsupported { supported: VERSION_VALUE as u64 };
            return Err(Malformed { field: "version", value: version as u64, fault });
        }
        Ok(HandOver {
            table_da: u64_at::<TABLE_DA, _>(bytes),
            table_len: u32_at::<TABLE_LEN, _>(bytes),
            tick_hz: u64_at::<TICK_HZ, _>(bytes),
            cpu_count: u32_at::<CPU_COUNT, _>(bytes),
            doorbell_in: u32_at::<DOORBELL_IN, _>(bytes).cast_signed(),
            doorbell_out: u32_at::<DOORBELL_OUT, _>(bytes).cast_signed(),
            trace_bell: u32_at::<TRACE_BELL, _>(bytes).cast_signed(),
            stack_top: u64_at::<STACK_TOP, _>(bytes),
            stack_size: u64_at::<STACK_SIZE, _>(bytes),
            memories_count: u32_at::<MEMORIES_COUNT, _>(bytes),
        })
    }

    /// A fresh page.
    #[must_use]
    pub const fn emit(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        put::<MAGIC, _, _>(&mut bytes, MAGIC_VALUE.to_le_bytes());
        put::<VERSION, _, _>(&mut bytes, VERSION_VALUE.to_le_bytes());
        put::<TABLE_DA, _, _>(&mut bytes, self.table_da.to_le_bytes());
        put::<TABLE_LEN, _, _>(&mut bytes, self.table_len.to_le_bytes());
        put::<TICK_HZ, _, _>(&mut bytes, self.tick_hz.to_le_bytes());
        put::<CPU_COUNT, _, _>(&mut bytes, self.cpu_count.to_le_bytes());
        put::<DOORBELL_IN, _, _>(&mut bytes, self.doorbell_in.to_le_bytes());
        put::<DOORBELL_OUT, _, _>(&mut bytes, self.doorbell_out.to_le_bytes());
        put::<TRACE_BELL, _, _>(&mut bytes, self.trace_bell.to_le_bytes());
        put::<STACK_TOP, _, _>(&mut bytes, self.stack_top.to_le_bytes());
        put::<STACK_SIZE, _, _>(&mut bytes, self.stack_size.to_le_bytes());
        put::<MEMORIES_COUNT, _, _>(&mut bytes, self.memories_count.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::bytes;

    const HAND_OVER: HandOver = HandOver {
        table_da: 0x1122_3344_5566_7788,
        table_len: 0x0102_0304,
        tick_hz: 2_600_000_000,
        cpu_count: 2,
        doorbell_in: 3,
        doorbell_out: -4,
        trace_bell: 5,
        stack_top: 0x7FFF_0000_0000,
        stack_size: 0x4_0000,
        memories_count: 5,
    };

    #[test]
    fn hand_over_matches_golden_bytes() {
        let mut golden = [0; SIZE];
        golden[..48].copy_from_slice(&[
            0x50, 0x42, 0x43, 0x53, // magic
            0x01, 0x00, 0x00, 0x00, // version
            0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // table_da
            0x04, 0x03, 0x02, 0x01, // table_len
            0x00, 0x00, 0x00, 0x00, //
            0x00, 0xDA, 0xF8, 0x9A, 0x00, 0x00, 0x00, 0x00, // tick_hz
            0x02, 0x00, 0x00, 0x00, // cpu_count
            0x03, 0x00, 0x00, 0x00, // doorbell_in
            0xFC, 0xFF, 0xFF, 0xFF, // doorbell_out
            0x05, 0x00, 0x00, 0x00, // trace_bell
        ]);
        golden[1024..1044].copy_from_slice(&[
            0x00, 0x00, 0x00, 0x00, 0xFF, 0x7F, 0x00, 0x00, // stack_top
            0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00, // stack_size
            0x05, 0x00, 0x00, 0x00, // memories_count
        ]);
        let page = HAND_OVER.emit();
        let differing = (0..SIZE).find(|&at| page[at] != golden[at]);
        assert_eq!(differing, None);
        assert_eq!(HandOver::parse(&golden), Ok(HAND_OVER));
    }

    #[test]
    fn hand_over_refuses_a_foreign_page() {
        let error = |field, value, supported| {
            Err(Malformed { field, value, fault: Fault::Unsupported { supported } })
        };
        assert_eq!(HandOver::parse(&[0; SIZE]), error("magic", 0, 0x5343_4250));
        let mut page = HAND_OVER.emit();
        page[VERSION] = 2;
        assert_eq!(HandOver::parse(&page), error("version", 2, 1));
    }

    /// Offset and width of every word, in order.
    const WORDS: &[(usize, usize)] = &[
        (MAGIC, 4),
        (VERSION, 4),
        (TABLE_DA, 8),
        (TABLE_LEN, 4),
        (TICK_HZ, 8),
        (CPU_COUNT, 4),
        (DOORBELL_IN, 4),
        (DOORBELL_OUT, 4),
        (TRACE_BELL, 4),
        (HOST_ASLEEP, 4),
        (REMOTE_ASLEEP, 4),
        (WATCHDOG_PERIOD_MS, 4),
        (WATCHDOG_COUNT, 4),
        (PANIC_LEN, 4),
        (PANIC_TEXT, PANIC_TEXT_END - PANIC_TEXT),
        (STACK_TOP, 8),
        (STACK_SIZE, 8),
        (MEMORIES_COUNT, 4),
        (MEMORIES, MEMORY_SIZE * MEMORIES_MAX),
    ];

    #[test]
    fn words_are_aligned_and_apart() {
        for &(offset, width) in WORDS.iter().filter(|&&(offset, _)| offset != PANIC_TEXT) {
            assert_eq!(offset % width.min(8), 0, "the word at {offset}");
        }
        for window in WORDS.windows(2) {
            let [(offset, width), (next, _)] = [window[0], window[1]];
            assert!(offset + width <= next, "the words at {offset} and {next}");
        }
        let &(last, width) = WORDS.last().unwrap();
        assert!(last + width <= SIZE);
    }

    #[test]
    fn words_of_different_writers_are_on_different_cache_lines() {
        let line = |offset| offset / 64;
        let writers = [TRACE_BELL, HOST_ASLEEP, REMOTE_ASLEEP, WATCHDOG_COUNT, PANIC_LEN].map(line);
        assert!(writers.is_sorted_by(|a, b| a < b));
        assert!(line(PANIC_TEXT_END - 1) < line(STACK_TOP));
    }

    proptest! {
        #[test]
        fn hand_over_is_total(page in bytes::<SIZE>()) {
            prop_assert_eq!(HandOver::parse(&page).is_ok(), page.starts_with(b"PBCS\x01\0\0\0"));
        }

        #[test]
        fn hand_over_round_trips(words: (u64, u32, u64, u32, i32, i32, i32, u64, u64, u32)) {
            let (table_da, table_len, tick_hz, cpu_count, doorbell_in, doorbell_out, trace_bell, ..) = words;
            let (.., stack_top, stack_size, memories_count) = words;
            let hand_over = HandOver {
                table_da,
                table_len,
                tick_hz,
                cpu_count,
                doorbell_in,
                doorbell_out,
                trace_bell,
                stack_top,
                stack_size,
                memories_count,
            };
            prop_assert_eq!(HandOver::parse(&hand_over.emit()), Ok(hand_over));
        }
    }
}
