//! Where a remote's memories lie on a board.

use sidecore_mem::{DeviceAddr, MapError};
use sidecore_remoteproc::{BackendError, Memory};

use super::board::{Board, Span};
use crate::room::find_room_within;

/// Gives memories without an address one in the board's window, and checks the rest; none lies where `others` do. Nothing
/// is changed if one is refused.
pub(super) fn place(
    board: &Board,
    memories: &mut [Memory],
    others: Vec<(u64, u64)>,
) -> Result<(), BackendError> {
    let mut taken = others;
    for memory in memories.iter() {
        check(board, memory)?;
        let Some(at) = memory.at else { continue };
        let overlap = |(other, len): &&(u64, u64)| at.0 < other + len && *other < at.0 + memory.len;
        if let Some(&(other, _)) = taken.iter().find(overlap) {
            let error = MapError::Overlaps { start: at, len: memory.len, other: DeviceAddr(other) };
            return Err(BackendError::Memory { name: memory.name.clone(), error });
        }
        taken.push((at.0, memory.len));
    }
    let pool = board.pool();
    let mut placed = Vec::new();
    for memory in memories.iter().filter(|memory| memory.at.is_none()) {
        let at =
            find_room_within(pool.at, pool.end(), &taken, memory.len, memory.align, 0).ok_or_else(|| {
                refuse(memory, format!("no room for it is left in the window of {} ({pool})", board.name))
            })?;
        taken.push((at, memory.len));
        placed.push(DeviceAddr(at));
    }
    let unplaced = memories.iter_mut().filter(|memory| memory.at.is_none());
    unplaced.zip(placed).for_each(|(memory, at)| memory.at = Some(at));
    Ok(())
}

/// What can be said against a memory by itself.
fn check(board: &Board, memory: &Memory) -> Result<(), BackendError> {
    if memory.len == 0 {
        return Err(refuse(memory, "a memory needs at least one byte"));
    }
    if !memory.align.is_power_of_two() {
        return Err(refuse(memory, format!("its alignment {:#x} is no power of two", memory.align)));
    }
    let Some(at) = memory.at else { return Ok(()) };
    let holds = |span: Span| span.holds(at.0, memory.len);
    if holds(board.pool()) || board.image_memories().any(|(_, span)| holds(span)) {
        return Ok(());
    }
    let list = |(name, span): (&str, Span)| format!("{name} {span}");
    let has: Vec<String> = board.image_memories().chain([("window", board.pool())]).map(list).collect();
    Err(refuse(memory, format!("{} has no such memory; it has {}", board.name, has.join(", "))))
}

fn refuse(memory: &Memory, reason: impl Into<String>) -> BackendError {
    let Memory { name, at, len, .. } = memory;
    BackendError::MemoryRefused { name: name.clone(), at: *at, len: *len, reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use sidecore_remoteproc::Access;

    use super::*;

    fn memory(at: Option<u64>, len: u64) -> Memory {
        let access = Access::ReadWrite;
        Memory { name: "m".into(), at: at.map(DeviceAddr), len, align: 4096, access }
    }

    fn refused(memories: &mut [Memory]) -> String {
        place(&Board::find("mps2-an386").unwrap(), memories, Vec::new()).unwrap_err().to_string()
    }

    #[test]
    fn memories_are_placed_in_the_window_behind_the_page_and_what_lies_there() {
        let board = Board::find("mps2-an386").unwrap();
        let mut memories = [memory(Some(0x2180_1000), 0x1000), memory(None, 0x1800), memory(None, 1)];
        place(&board, &mut memories, Vec::new()).unwrap();
        let at: Vec<_> = memories.iter().map(|memory| memory.at.unwrap().0).collect();
        assert_eq!(at, [0x2180_1000, 0x2180_2000, 0x2180_4000]);
        let whole = || [memory(Some(0), 0x100), memory(Some(0x2100_0000), 0x80_0000)];
        place(&board, &mut whole(), Vec::new()).unwrap();
        let beside = || vec![(0x2120_0000, 0x1000)];
        assert!(place(&board, &mut whole(), beside()).unwrap_err().to_string().contains("overlaps"));
    }

    #[test]
    fn what_the_board_does_not_have_is_refused_by_name() {
        assert!(refused(&mut [memory(Some(0x2180_0000), 4)]).contains("mps2-an386 has no such memory"));
        assert!(refused(&mut [memory(Some(0x5000_0000), 4)]).contains("ssram1 0x0..0x400000"));
        assert!(refused(&mut [memory(Some(u64::MAX), 4)]).contains("no such memory"));
        assert!(refused(&mut [memory(Some(0), 4), memory(Some(2), 4)]).contains("overlaps"));
        assert!(refused(&mut [memory(None, 1 << 40)]).contains("no room"));
        assert!(refused(&mut [memory(None, 0)]).contains("at least one byte"));
        assert!(refused(&mut [Memory { align: 3, ..memory(None, 1) }]).contains("power of two"));
    }
}
