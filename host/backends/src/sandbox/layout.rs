//! Where a remote's memories lie: in its address space and in the shared memory.

use sidecore_mem::{DeviceAddr, MapError};
use sidecore_remoteproc::{Access, BackendError, Memory};
use sidecore_wire::sandbox as page;

use super::protocol::{Plan, Span};
use crate::room::find_room;

/// Least address: what the system keeps unmapped by default (`vm.mmap_min_addr`), so that null pointers fault.
const LEAST: u64 = 0x1_0000;
/// End of the addresses that images may be linked to: below it nothing of the boot stub ever lies, on x86_64 as on
/// aarch64 with its 39-bit address spaces.
const END: u64 = 1 << 38;
/// Memories that a plan may have; the address map has two windows more, for the hand-over page and the stack.
const MAX_MEMORIES: usize = sidecore_remoteproc::MAX_MEMORIES - 2;
/// Bytes on either side of the stack that stay unmapped.
const GUARD: u64 = 64 << 10;

/// What a layout has to keep to.
pub(super) struct Limits {
    /// Bytes of a page, a power of two.
    pub(super) page: u64,
    /// Bytes in all.
    pub(super) total: u64,
    /// Bytes of the stack.
    pub(super) stack: u64,
}

/// Places memories that have no address, and says which pages hold what. Memories may share a page if the remote may
/// do the same with both.
///
/// # Errors
/// A memory is refused, by name, with the reason. Nothing is changed then.
pub(super) fn lay_out(memories: &mut [Memory], limits: &Limits) -> Result<Plan, BackendError> {
    let mut spans = Vec::new();
    for memory in memories.iter() {
        check(memory, limits)?;
    }
    join_fixed(memories, limits, &mut spans)?;
    let mut addresses = Vec::new();
    for memory in memories.iter().filter(|memory| memory.at.is_none()) {
        let len = round_up(memory.len, limits.page);
        let at = room(&spans, len, memory.align.max(limits.page), 0)
            .ok_or_else(|| refuse(memory, "no room for it is left below 4 GiB"))?;
        spans.push(new_span(memory.name.clone(), at, len, memory.access));
        addresses.push(DeviceAddr(at));
    }
    if spans.len() > MAX_MEMORIES {
        let name = memories.last().map(|memory| memory.name.clone()).unwrap_or_default();
        return Err(BackendError::Memory { name, error: MapError::Full { capacity: MAX_MEMORIES } });
    }
    let own = |name: &str, len, guard, spans: &mut Vec<Span>| {
        let len = round_up(len, limits.page);
        let memory =
            Memory { name: name.to_owned(), at: None, len, align: limits.page, access: Access::ReadWrite };
        let at = room(spans, len, limits.page, round_up(guard, limits.page));
        let at = at.ok_or_else(|| refuse(&memory, "no room for it is left below 4 GiB"))?;
        spans.push(new_span(memory.name, at, len, memory.access));
        Ok::<_, BackendError>(())
    };
    own("hand-over page", page::SIZE as u64, 0, &mut spans)?;
    own("stack", limits.stack.max(limits.page), GUARD, &mut spans)?;
    let total = assign_offsets(&mut spans, limits)?;
    let stack = spans.pop().expect("pushed above");
    let hand_over = spans.pop().expect("pushed above");

    let unplaced = memories.iter_mut().filter(|memory| memory.at.is_none());
    unplaced.zip(addresses).for_each(|(memory, at)| memory.at = Some(at));
    Ok(Plan { total, memories: spans, hand_over, stack, guard: round_up(GUARD, limits.page) })
}

/// What can be said against a memory by itself.
fn check(memory: &Memory, limits: &Limits) -> Result<(), BackendError> {
    if memory.len == 0 {
        return Err(refuse(memory, "a memory needs at least one byte"));
    }
    if !memory.align.is_power_of_two() {
        return Err(refuse(memory, &format!("its alignment {:#x} is no power of two", memory.align)));
    }
    if memory.access == Access::ReadWriteExecute {
        let reason = "the sandbox maps no memory that is both writable and executable; \
                      put code and data in segments of their own";
        return Err(refuse(memory, reason));
    }
    if memory.len > limits.total {
        return Err(refuse(memory, &format!("it alone exceeds the limit of {:#x} bytes", limits.total)));
    }
    let Some(at) = memory.at else { return Ok(()) };
    let end = at.checked_add(memory.len).ok_or_else(|| BackendError::Memory {
        name: memory.name.clone(),
        error: MapError::Wraps { start: at, len: memory.len },
    })?;
    if at.0 < LEAST {
        let reason = format!("the system maps nothing below {LEAST:#x}; link the image higher");
        return Err(refuse(memory, &reason));
    }
    if end.0 > END {
        return Err(refuse(memory, &format!("the sandbox has no addresses beyond {END:#x}")));
    }
    Ok(())
}

/// Turns the memories that have an address into spans of whole pages, in the order in which they were given.
fn join_fixed(memories: &[Memory], limits: &Limits, spans: &mut Vec<Span>) -> Result<(), BackendError> {
    let fixed = |memory: &Memory| memory.at.map(|at| (at.0, at.0 + memory.len));
    for (number, memory) in memories.iter().enumerate() {
        let Some((start, end)) = fixed(memory) else { continue };
        for other in &memories[..number] {
            let Some((other_start, other_end)) = fixed(other) else { continue };
            if start < other_end && other_start < end {
                let error = MapError::Overlaps {
                    start: DeviceAddr(start),
                    len: memory.len,
                    other: DeviceAddr(other_start),
                };
                return Err(BackendError::Memory { name: memory.name.clone(), error });
            }
        }
        let (first, last) = (start & !(limits.page - 1), round_up(end, limits.page));
        let mut joined = new_span(memory.name.clone(), first, last - first, memory.access);
        // Sharing is not transitive by itself: one memory may bridge two that were apart.
        while let Some(index) = spans.iter().position(|span| overlap(span, &joined)) {
            let span = spans.remove(index);
            if span.access != memory.access {
                let reason = format!(
                    "it shares a page of {:#x} bytes with {:?}, which the remote may use differently ({:?}, not {:?}); \
                     align both to pages",
                    limits.page, span.name, span.access, memory.access
                );
                return Err(refuse(memory, &reason));
            }
            let end = (span.at + span.len).max(joined.at + joined.len);
            let at = span.at.min(joined.at);
            joined = new_span(format!("{}+{}", span.name, joined.name), at, end - at, memory.access);
        }
        spans.push(joined);
    }
    Ok(())
}

fn room(spans: &[Span], len: u64, align: u64, guard: u64) -> Option<u64> {
    let taken: Vec<_> = spans.iter().map(|span| (span.at, span.len)).collect();
    find_room(&taken, len, align, guard)
}

fn assign_offsets(spans: &mut [Span], limits: &Limits) -> Result<u64, BackendError> {
    let mut total = 0_u64;
    for span in spans {
        span.offset = total;
        total = total.saturating_add(span.len);
        if total > limits.total {
            let reason = format!("all memories together exceed the limit of {:#x} bytes", limits.total);
            return Err(BackendError::MemoryRefused {
                name: span.name.clone(),
                at: Some(DeviceAddr(span.at)),
                len: span.len,
                reason,
            });
        }
    }
    Ok(total)
}

fn overlap(a: &Span, b: &Span) -> bool {
    a.at < b.at + b.len && b.at < a.at + a.len
}

/// Both are far below 2^64: lengths by the limit, addresses by `END`.
fn round_up(value: u64, page: u64) -> u64 {
    value.saturating_add(page - 1) & !(page - 1)
}

/// Names come from firmware, and have to fit in messages.
fn new_span(mut name: String, at: u64, len: u64, access: Access) -> Span {
    name.truncate(name.floor_char_boundary(64));
    Span { name, at, offset: 0, len, access }
}

fn refuse(memory: &Memory, reason: &str) -> BackendError {
    BackendError::MemoryRefused {
        name: memory.name.clone(),
        at: memory.at,
        len: memory.len,
        reason: reason.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    fn memory(name: &str, at: Option<u64>, len: u64, access: Access) -> Memory {
        Memory { name: name.to_owned(), at: at.map(DeviceAddr), len, align: 16, access }
    }

    fn try_lay_out(memories: &mut [Memory]) -> Result<Plan, BackendError> {
        lay_out(memories, &Limits { page: PAGE, total: 1 << 20, stack: 1 << 16 })
    }

    fn reason(memories: &mut [Memory]) -> String {
        try_lay_out(memories).expect_err("a refusal").to_string()
    }

    #[test]
    fn memories_without_an_address_are_placed_around_those_with_one() {
        let mut memories = [
            memory("ring0", None, 0x1801, Access::ReadWrite),
            memory("text", Some(0x1000_0000), 0x1000, Access::ReadExecute),
            memory("table", Some(0x2000_3000), 0x1000, Access::ReadWrite),
            memory("ring1", None, 0x2000, Access::ReadWrite),
        ];
        let plan = try_lay_out(&mut memories).unwrap();
        assert_eq!(memories[0].at, Some(DeviceAddr(0x2000_0000)));
        assert_eq!(memories[3].at, Some(DeviceAddr(0x2000_4000)), "the page between is too small");
        assert_eq!(plan.hand_over.at, 0x2000_2000);
        assert!(plan.stack.at >= 0x2000_6000 + GUARD);
        assert_eq!(plan.total, plan.spans().map(|span| span.len).sum::<u64>());
        let mut offsets: Vec<_> = plan.spans().map(|span| (span.offset, span.len)).collect();
        offsets.sort_unstable();
        assert!(offsets.windows(2).all(|pair| pair[0].0 + pair[0].1 == pair[1].0), "{offsets:?}");
    }

    #[test]
    fn alignment_is_kept_however_large() {
        let mut memories = [memory("a", None, 1, Access::Read), memory("b", None, 1, Access::Read)];
        memories[1].align = 1 << 30;
        try_lay_out(&mut memories).unwrap();
        assert_eq!(memories[1].at, Some(DeviceAddr(0x4000_0000)));
        memories[1].at = None;
        memories[1].align = 1 << 63;
        assert!(reason(&mut memories).contains("no room"));
        assert_eq!(memories[1].at, None);
    }

    #[test]
    fn memories_that_overlap_are_refused_by_name() {
        let mut memories = [
            memory("one", Some(0x3000_0000), 0x100, Access::ReadWrite),
            memory("two", Some(0x3000_00ff), 0x100, Access::ReadWrite),
        ];
        let text = reason(&mut memories);
        assert!(text.contains("\"two\"") && text.contains("0x30000000"), "{text}");
    }

    #[test]
    fn memories_share_a_page_only_if_they_may_be_used_alike() {
        let mut memories = [
            memory("one", Some(0x3000_0000), 0x100, Access::ReadWrite),
            memory("far", Some(0x3000_1f00), 0x200, Access::ReadWrite),
            memory("bridge", Some(0x3000_0100), 0x1000, Access::ReadWrite),
        ];
        let plan = try_lay_out(&mut memories).unwrap();
        assert_eq!(plan.memories.len(), 1);
        assert_eq!((plan.memories[0].at, plan.memories[0].len), (0x3000_0000, 0x3000));
        memories[2].access = Access::Read;
        let text = reason(&mut memories);
        assert!(text.contains("\"bridge\"") && text.contains("shares a page"), "{text}");
    }

    #[test]
    fn what_no_process_can_map_is_refused_with_the_reason() {
        let refused = |at, len, access| reason(&mut [memory("m", at, len, access)]);
        assert!(refused(None, 0, Access::Read).contains("at least one byte"));
        assert!(refused(Some(0), 16, Access::Read).contains("below 0x10000"));
        assert!(refused(Some(END), 16, Access::Read).contains("beyond"));
        assert!(refused(Some(u64::MAX - 7), 16, Access::Read).contains("wraps"));
        assert!(refused(None, 16, Access::ReadWriteExecute).contains("both writable and executable"));
        assert!(refused(None, u64::MAX, Access::Read).contains("exceeds the limit"));
        assert!(refused(None, 1 << 20, Access::Read).contains("together exceed"));
        let mut odd = [memory("m", None, 16, Access::Read)];
        odd[0].align = 24;
        assert!(reason(&mut odd).contains("no power of two"));
    }

    #[test]
    fn one_memory_too_many_is_refused() {
        let mut memories: Vec<_> =
            (0..=MAX_MEMORIES as u64).map(|n| memory("m", None, 16 + n, Access::Read)).collect();
        assert!(reason(&mut memories).contains(&format!("more than {MAX_MEMORIES}")));
        memories.pop();
        assert!(try_lay_out(&mut memories).is_ok());
    }

    #[test]
    fn the_top_of_the_placeable_addresses_is_used_but_not_passed() {
        let (from, to) = (0x2000_0000, 1 << 32);
        let mut memories = [memory("low", Some(from), to - from - 0x10_0000, Access::Read)];
        let limits = Limits { page: PAGE, total: 1 << 33, stack: 1 << 16 };
        let plan = lay_out(&mut memories, &limits).unwrap();
        assert!(plan.stack.at + plan.stack.len + plan.guard <= to);
        let limits = Limits { stack: 1 << 20, ..limits };
        assert!(lay_out(&mut memories, &limits).unwrap_err().to_string().contains("stack"));
    }
}
