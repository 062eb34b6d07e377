//! Boards: machines that QEMU has, and how firmware and main side share them. One TOML file each, all of it data.

use serde::Deserialize;
use sidecore_remoteproc::firmware::Machine;
use sidecore_wire::sandbox as page;

/// A machine that can be a remote, as its file in `boards/` describes it.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Board {
    /// What it is called, on the command line too.
    pub name: String,
    /// What it is, in one line.
    pub summary: String,
    /// The Rust target that firmware for it is built for.
    pub target: String,
    /// The kind of core.
    pub core: Core,
    /// Which emulator has it, and how that is told.
    pub emulator: Emulator,
    /// The machine's RAM: a file that the main side maps, too.
    pub ram: Span,
    /// The part of the RAM that is not for images: the board page first, and behind it room for rings and buffers.
    pub window: Span,
    /// Memories that the main side cannot map; images are put there through the debug port.
    #[serde(default)]
    pub memory: Vec<Named>,
    /// The serial line that is the mailbox: one byte is a ring of the bell, either way.
    pub mailbox: Line,
    /// The serial line that is the machine's own console, where it has one to spare.
    pub console: Option<Line>,
    /// How the core finds its first instruction.
    pub start: Start,
    /// The board's other core, where it has one that firmware can be written for.
    pub sibling: Option<Sibling>,
}

/// Another core of the same kind, that shares the RAM: of the same machine, or another machine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Sibling {
    /// The part of the window that is its own: its page first, and behind it the memory between the two.
    pub window: Span,
    /// Its number, where the emulator sets the program counter of each.
    pub cpu: Option<u32>,
    /// Commands (QMP) besides those for the first core.
    #[serde(default)]
    pub commands: Vec<Command>,
    /// It is another machine: the serial line of each at which the two are joined.
    pub cable: Option<Line>,
    /// The other machine's arguments, in place of the first one's.
    #[serde(default)]
    pub arguments: Vec<String>,
}

impl Sibling {
    /// Whether it is a machine of its own.
    pub(super) const fn is_machine(&self) -> bool {
        self.cable.is_some()
    }
}

/// How an emulator is told to be a board.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Emulator {
    /// The program's name.
    pub program: String,
    /// The package that has it, on Debian and its relatives.
    pub package: String,
    /// The argument of `-M`, to which the RAM is added.
    pub machine: String,
    /// Arguments besides.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// Commands (QMP) that are carried out once the image is there, before the core is reset and let run.
    #[serde(default)]
    pub commands: Vec<Command>,
    /// Which process of the debug port is the core, from 1, where the machine has cores of several kinds (a process
    /// each; QEMU, "GDB usage", debugging multicore machines).
    #[serde(default)]
    pub debug_process: Option<u32>,
}

/// A command for an emulator.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Command {
    /// Its name.
    pub execute: String,
    /// Its arguments.
    #[serde(default)]
    pub arguments: serde_json::Map<String, serde_json::Value>,
}

/// The kinds of core, as far as it matters which.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Core {
    /// Arm's microcontrollers, versions 6-M to 8-M.
    CortexM,
    /// Arm's 32-bit cores with a traditional exception model.
    CortexR,
    /// Arm's 64-bit cores.
    Aarch64,
    /// RISC-V with 32-bit registers.
    Riscv32,
}

/// Some addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Span {
    /// Device address of the first byte.
    pub at: u64,
    /// Length in bytes.
    pub len: u64,
}

/// A memory with a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Named {
    /// What the machine's manual calls it.
    pub name: String,
    /// Device address of the first byte.
    pub at: u64,
    /// Length in bytes.
    pub len: u64,
}

/// A serial line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Line {
    /// Its number among the machine's serial lines, from 0.
    pub line: u8,
}

/// How a core finds its first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Start {
    /// In the vector table at this address, whose second word is the entry point (Armv7-M architecture, B1.5.3).
    Vectors(u64),
    /// It begins at this address, whatever the image says.
    At(u64),
    /// The emulator sets the program counter of this CPU at each reset.
    Cpu(u32),
}

/// The files of all boards, in the order in which help texts list them.
const FILES: &[(&str, &str)] = &[
    ("mps2-an386", include_str!("../../boards/mps2-an386.toml")),
    ("mps2-an521", include_str!("../../boards/mps2-an521.toml")),
    ("riscv32-virt", include_str!("../../boards/riscv32-virt.toml")),
    ("aarch64-virt", include_str!("../../boards/aarch64-virt.toml")),
    ("zcu102-r5", include_str!("../../boards/zcu102-r5.toml")),
];

/// Serial lines that a machine may have.
const LINES: u8 = 8;

impl Board {
    /// All boards that this program knows by itself.
    pub fn all() -> impl Iterator<Item = Self> {
        FILES.iter().map(|(name, text)| {
            Self::parse(text).unwrap_or_else(|error| panic!("the built-in board {name} is broken: {error}"))
        })
    }

    /// The built-in board of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::all().find(|board| board.name == name)
    }

    /// Reads a board's file.
    ///
    /// # Errors
    /// It is no TOML, has fields that are unknown or lacks some, or describes what cannot be; the text says what and
    /// where.
    pub fn parse(text: &str) -> Result<Self, String> {
        let board: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        board.check().map(|()| board)
    }

    /// The machine that images must be for.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        match self.core {
            Core::CortexM | Core::CortexR => Machine::ARM,
            Core::Aarch64 => Machine::AARCH64,
            Core::Riscv32 => Machine::RISCV32,
        }
    }

    /// Where images may lie: each of the board's memories, but for the window.
    pub fn image_memories(&self) -> impl Iterator<Item = (&str, Span)> {
        let named = self.memory.iter().map(|memory| (&*memory.name, Span { at: memory.at, len: memory.len }));
        let (below, above) = (self.window.at - self.ram.at, self.window.end());
        let below = Span { at: self.ram.at, len: below };
        let above = Span { at: above, len: self.ram.end() - above };
        [("ram", below), ("ram", above)].into_iter().filter(|(_, span)| span.len > 0).chain(named)
    }

    /// The part of the window in which the main side places memories.
    pub(super) fn pool(&self) -> Span {
        Span { at: self.window.at + page::SIZE as u64, len: self.window.len - page::SIZE as u64 }
    }

    /// What TOML cannot say.
    fn check(&self) -> Result<(), String> {
        let known = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.name.is_empty() || !self.name.chars().all(known) {
            return Err(format!("name: {:?} is not of letters, digits, `-`, `_` and `.`", self.name));
        }
        let memories = self.memory.iter().map(|memory| (memory.at, memory.len));
        let spans: Vec<_> = memories.chain([(self.ram.at, self.ram.len)]).collect();
        for (number, &(at, len)) in spans.iter().enumerate() {
            let end = at.checked_add(len).filter(|end| len > 0 && *end <= 1 << 32);
            let Some(end) = end else {
                return Err(format!("memory: {len:#x} bytes at {at:#x} do not lie below 4 GiB"));
            };
            if let Some(other) = spans[..number].iter().find(|other| at < other.0 + other.1 && other.0 < end)
            {
                return Err(format!("memory: {at:#x} and {:#x} overlap", other.0));
            }
        }
        if self.ram.len > 1 << 30 || !self.ram.len.is_multiple_of(4096) {
            return Err(format!("ram.len: {:#x} is more than 1 GiB or no multiple of 4096", self.ram.len));
        }
        let end = self.window.at.checked_add(self.window.len);
        let inside = self.window.at >= self.ram.at && end.is_some_and(|end| end <= self.ram.end());
        if !inside || self.window.len < 2 * page::SIZE as u64 || !self.window.at.is_multiple_of(4096) {
            let Span { at, len } = self.window;
            return Err(format!("window: {len:#x} bytes at {at:#x} are not two pages at least of the ram"));
        }
        if let Some(Sibling { window: Span { at, len }, .. }) = self.sibling
            && !(self.window.holds(at, len) && at > self.window.at && at.is_multiple_of(4096) && len >= 8192)
        {
            return Err(format!(
                "sibling.window: {len:#x} bytes at {at:#x} are not two pages at least of the window"
            ));
        }
        let cable = self.sibling.as_ref().and_then(|sibling| sibling.cable);
        let lines: Vec<u8> =
            [Some(self.mailbox), self.console, cable].iter().flatten().map(|line| line.line).collect();
        let twice = |(number, line): (usize, &u8)| *line >= LINES || lines[..number].contains(line);
        if lines.iter().enumerate().any(twice) {
            return Err("mailbox, console, sibling.cable: not different lines below 8".to_owned());
        }
        let program = &self.emulator.program;
        let good = program.starts_with("qemu-system-") || program.starts_with('/');
        if good {
            Ok(())
        } else {
            Err(format!("emulator.program: {program:?} is no qemu-system-…, nor a path"))
        }
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}..{:#x}", self.at, self.end())
    }
}

impl Span {
    /// The address behind the last byte.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.at.saturating_add(self.len)
    }

    /// Whether all of these bytes lie in it.
    #[must_use]
    pub const fn holds(self, at: u64, len: u64) -> bool {
        match at.checked_add(len) {
            Some(end) => self.at <= at && end <= self.end(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = FILES[0].1;

    fn refused(from: &str, to: &str) -> String {
        assert!(TEXT.contains(from), "{from}");
        Board::parse(&TEXT.replace(from, to)).unwrap_err()
    }

    #[test]
    fn every_built_in_board_is_sound_and_named_like_its_file() {
        for (board, (name, _)) in Board::all().zip(FILES) {
            assert_eq!(board.name, *name);
            assert!(!board.summary.is_empty() && !board.summary.contains('\n'));
            assert!(board.image_memories().count() > 0);
        }
        assert_eq!(Board::find("mps2-an386").map(|board| board.core), Some(Core::CortexM));
        assert_eq!(Board::find("no-such-board"), None);
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_field() {
        assert!(refused("name = \"mps2", "nome = \"mps2").contains("nome"));
        assert!(refused("name = \"mps2", "name = \"../mps2").contains("name"));
        assert!(refused("core = \"cortex-m\"", "core = \"z80\"").contains("z80"));
        assert!(refused("at = 0x2180_0000", "at = 0x2280_0000").contains("window"));
        assert!(refused("at = 0x2180_0000", "at = 0xffff_ffff_ffff").contains("window"));
        assert!(refused("at = 0x2100_0000, len", "at = 0xffff_0000, len").contains("4 GiB"));
        assert!(refused("program = \"qemu-", "program = \"rm-").contains("emulator.program"));
        assert!(refused("mailbox = { line = 1 }", "mailbox = { line = 0 }").contains("lines"));
    }
}
