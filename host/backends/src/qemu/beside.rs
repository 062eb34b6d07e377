//! The other core of a board: an image of its own, beside the first one's.

use sidecore_mem::DeviceAddr;
use sidecore_remoteproc::{BackendError, Firmware};

use super::board::{Board, Sibling, Span};

/// An image for the other core of a board.
#[derive(Clone, Debug, PartialEq)]
pub struct Beside {
    entry: DeviceAddr,
    /// What is loaded where, and how many bytes of memory that takes.
    segments: Vec<(DeviceAddr, Vec<u8>, u64)>,
}

impl Beside {
    /// The image in this firmware file. It must be for the machine of the board, too.
    #[must_use]
    pub fn new(firmware: &Firmware<'_>) -> Self {
        let segments = firmware.segments().iter();
        let segments = segments.map(|segment| (segment.at, segment.bytes.to_vec(), segment.memsz)).collect();
        Self { entry: firmware.entry(), segments }
    }

    /// What is to be loaded where.
    pub(super) fn loads(&self) -> impl Iterator<Item = (DeviceAddr, &[u8])> {
        self.segments.iter().map(|(at, bytes, _)| (*at, &**bytes))
    }

    /// Where its core begins.
    pub(super) fn entry(&self) -> DeviceAddr {
        self.entry
    }

    /// The memories that are its own, and its core's window: nothing of the first core's may lie there.
    pub(super) fn taken(&self, board: &Board) -> Result<Vec<(u64, u64)>, BackendError> {
        let sibling = sibling(board)?;
        let spans: Vec<Span> = match sibling.is_machine() {
            true => vec![board.ram],
            false => board.image_memories().map(|(_, span)| span).collect(),
        };
        for (at, _, len) in &self.segments {
            let holds = |span: &Span| span.holds(at.0, *len) && !overlap(*at, *len, board.window);
            if !spans.iter().any(holds) {
                let reason = format!("the other core of {} has no such memory for images", board.name);
                let name = "segment of the image beside".to_owned();
                return Err(BackendError::MemoryRefused { name, at: Some(*at), len: *len, reason });
            }
        }
        let taken = self.segments.iter().map(|(at, _, len)| (at.0, *len));
        Ok(taken.chain([(sibling.window.at, sibling.window.len)]).collect())
    }

    /// The board with both of its cores under way, where they are of one machine.
    pub(super) fn join(&self, mut board: Board) -> Result<Board, BackendError> {
        let sibling = sibling(&board)?.clone();
        if let Some(cpu) = sibling.cpu {
            let loader = format!("loader,addr={:#x},cpu-num={cpu}", self.entry.0);
            board.emulator.arguments.extend(["-device".to_owned(), loader]);
        }
        board.emulator.commands.extend(sibling.commands);
        Ok(board)
    }
}

fn sibling(board: &Board) -> Result<&Sibling, BackendError> {
    board.sibling.as_ref().ok_or(BackendError::Unsupported { operation: "run an image beside another" })
}

fn overlap(at: DeviceAddr, len: u64, span: Span) -> bool {
    at.0 < span.end() && span.at < at.0.saturating_add(len)
}

impl Board {
    /// The second machine on the same memory, where the other core is one.
    pub(super) fn second_machine(&self) -> Option<(Self, u8)> {
        let sibling = self.sibling.as_ref()?;
        let cable = sibling.cable?;
        let mut second = self.clone();
        second.name.push_str("-1");
        second.window = sibling.window;
        second.console = None;
        second.emulator.arguments.clone_from(&sibling.arguments);
        Some((second, cable.line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(at: u64) -> Beside {
        Beside { entry: DeviceAddr(at), segments: vec![(DeviceAddr(at), vec![1, 2], 16)] }
    }

    #[test]
    fn an_image_beside_has_its_memories_and_its_window_to_itself() {
        let board = Board::find("mps2-an386").unwrap();
        let taken = beside(0x2120_0000).taken(&board).unwrap();
        assert_eq!(taken, [(0x2120_0000, 16), (0x21c0_0000, 0x40_0000)]);
        for nowhere in [0, 0x2180_0000, 0x5000_0000] {
            let refused = beside(nowhere).taken(&board).unwrap_err().to_string();
            assert!(refused.contains("the other core of mps2-an386"), "{refused}");
        }
        let board = Board::find("riscv32-virt").unwrap();
        assert!(matches!(beside(0x8000_0000).taken(&board), Err(BackendError::Unsupported { .. })));
    }

    #[test]
    fn the_second_core_is_told_of_as_the_board_says() {
        let r5 = beside(0x20_0000).join(Board::find("zcu102-r5").unwrap()).unwrap();
        assert!(r5.emulator.arguments.contains(&"loader,addr=0x200000,cpu-num=5".to_owned()));
        assert_eq!(r5.emulator.commands.len(), 2);
        assert!(r5.second_machine().is_none());
        let (m4, line) = Board::find("mps2-an386").unwrap().second_machine().unwrap();
        assert_eq!((&*m4.name, m4.window.at, line), ("mps2-an386-1", 0x21c0_0000, 2));
    }
}
