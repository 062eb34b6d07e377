//! The address space of a remote while it is planned: who wants which addresses, and which memories that makes.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sidecore_mem::DeviceAddr;

use super::error::{Fault, PlanError};
use crate::codes;
use crate::finding::Finding;
use crate::firmware::Segment;
use crate::{Access, Limits, MAX_MEMORIES, Memory};

/// Fixed stretches with their exact bounds, and memories that the backend may place.
#[derive(Default)]
pub(super) struct Space {
    fixed: Vec<Stretch>,
    floating: Vec<Floating>,
}

/// A place in the remote's address space: known already, or in a memory that is still to be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spot {
    Fixed(u32),
    /// The beginning of the floating memory with this number.
    Floating(usize),
}

/// What a fixed stretch is for; says what it may share its bytes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Segment,
    /// May hold whole segments, rings, buffers and traces.
    Carveout,
    /// A ring or buffers: shares its bytes with nothing but the carveout around it.
    Exclusive,
    /// A trace: lies in a segment, a carveout, or where nothing else is.
    Trace,
}

/// How early in the remote's address map a floating memory stands; lookups scan from the front.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Buffers,
    Ring,
    Other,
}

/// `start` to `last`, both included, so that a stretch may reach the very top of the address space.
struct Stretch {
    name: String,
    start: u64,
    last: u64,
    access: Access,
    purpose: Purpose,
}

struct Floating {
    name: String,
    len: u64,
    align: u64,
    rank: Rank,
}

impl Space {
    /// The segments of the firmware, whose bounds the ELF parser has checked.
    pub(super) fn new(segments: &[Segment<'_>]) -> Space {
        let fixed = segments.iter().map(|segment| Stretch {
            name: segment.name.clone(),
            start: segment.at.0,
            last: segment.at.0.saturating_add(segment.memsz - 1),
            access: segment.access(),
            purpose: Purpose::Segment,
        });
        Space { fixed: fixed.collect(), floating: Vec::new() }
    }

    /// Takes `len` bytes (at least 1) at a 32-bit address.
    pub(super) fn fix(&mut self, name: &str, at: u32, len: u64, purpose: Purpose) -> Result<Spot, Fault> {
        let start = u64::from(at);
        let last = start.saturating_add(len - 1);
        if last > u64::from(u32::MAX) {
            return Err(Fault::Wraps { at: start, len });
        }
        let stretch = Stretch { name: name.into(), start, last, access: Access::ReadWrite, purpose };
        for other in &self.fixed {
            stretch.check(other)?;
        }
        self.fixed.push(stretch);
        Ok(Spot::Fixed(at))
    }

    /// Whether a segment or carveout holds all of what was fixed last.
    pub(super) fn is_last_held(&self) -> bool {
        self.fixed.last().is_some_and(|last| self.is_held(last))
    }

    /// Whether the stretch lies in the memory of another and needs none of its own.
    fn is_held(&self, stretch: &Stretch) -> bool {
        let holds = |other: &Stretch| {
            matches!(other.purpose, Purpose::Segment | Purpose::Carveout) && other.holds(stretch)
        };
        matches!(stretch.purpose, Purpose::Exclusive | Purpose::Trace) && self.fixed.iter().any(holds)
    }

    /// Takes `len` bytes wherever the backend will place them.
    pub(super) fn float(&mut self, name: String, len: u64, align: u64, rank: Rank) -> Spot {
        self.floating.push(Floating { name, len, align, rank });
        Spot::Floating(self.floating.len() - 1)
    }

    /// The memories that all of this makes, buffers and rings first, and which of them each floating one is.
    ///
    /// Stretches that share a granule (the backend's page) become one memory, and so do segments that touch and agree
    /// in their access.
    pub(super) fn memories(
        mut self,
        granule: u64,
        limits: &Limits,
        findings: &mut Vec<Finding>,
    ) -> Result<(Vec<Memory>, Vec<usize>), PlanError> {
        let mut order: Vec<usize> = (0..self.floating.len()).collect();
        order.sort_by_key(|&index| self.floating[index].rank);
        let early = order.iter().filter(|&&index| self.floating[index].rank < Rank::Other).count();

        let held: Vec<bool> = self.fixed.iter().map(|stretch| self.is_held(stretch)).collect();
        let fixed = core::mem::take(&mut self.fixed).into_iter().zip(held);
        let fixed = fixed.filter(|(_, held)| !held).map(|(stretch, _)| stretch).collect();
        let fixed = merge(fixed, granule, findings);
        let mut memories = Vec::new();
        let mut numbers = alloc::vec![0; self.floating.len()];
        let mut push_floating = |memories: &mut Vec<Memory>, index: usize| {
            let floating = &self.floating[index];
            numbers[index] = memories.len();
            memories.push(Memory {
                name: floating.name.clone(),
                at: None,
                len: floating.len.checked_next_multiple_of(granule).unwrap_or(u64::MAX),
                align: floating.align.max(granule),
                access: Access::ReadWrite,
            });
        };
        order[..early].iter().for_each(|&index| push_floating(&mut memories, index));
        memories.extend(fixed);
        order[early..].iter().for_each(|&index| push_floating(&mut memories, index));

        let mut total = 0_u64;
        for memory in &memories {
            total = total.saturating_add(memory.len);
            if total > limits.memory {
                let (name, len, limit) = (memory.name.clone(), memory.len, limits.memory);
                return Err(PlanError::MemoryLimit { name, len, limit });
            }
        }
        if memories.len() > MAX_MEMORIES {
            return Err(PlanError::TooManyMemories { count: memories.len(), limit: MAX_MEMORIES });
        }
        Ok((memories, numbers))
    }
}

impl Stretch {
    /// Whether this stretch, which is new, may be where it is beside one that is there already.
    fn check(&self, other: &Stretch) -> Result<(), Fault> {
        if self.last < other.start || other.last < self.start {
            return Ok(());
        }
        let at = self.start;
        let last = self.last;
        let (name, other_at, other_last) = (other.name.clone(), other.start, other.last);
        let overlaps = || Fault::Overlaps { at, last, other: name.clone(), other_at, other_last };
        let straddles = || Fault::Straddles { at, last, other: name.clone(), other_at, other_last };
        match (self.purpose, other.purpose) {
            (Purpose::Carveout, Purpose::Segment) if self.holds(other) => Ok(()),
            (Purpose::Exclusive, Purpose::Carveout)
            | (Purpose::Trace, Purpose::Carveout | Purpose::Segment) => {
                if other.holds(self) {
                    Ok(())
                } else {
                    Err(straddles())
                }
            }
            (Purpose::Trace, Purpose::Trace) => Ok(()),
            _ => Err(overlaps()),
        }
    }

    fn holds(&self, other: &Stretch) -> bool {
        self.start <= other.start && other.last <= self.last
    }
}

/// Memories of whole granules, by address.
fn merge(mut stretches: Vec<Stretch>, granule: u64, findings: &mut Vec<Finding>) -> Vec<Memory> {
    stretches.sort_by_key(|stretch| stretch.start);
    let mut merged: Vec<Merged> = Vec::new();
    for stretch in stretches {
        let next = Merged::new(stretch, granule);
        match merged.last_mut() {
            Some(last) if last.takes(&next) => last.join(next),
            _ => merged.push(next),
        }
    }
    merged.into_iter().map(|memory| memory.finish(findings)).collect()
}

/// A memory in the making.
struct Merged {
    start: u64,
    last: u64,
    access: Access,
    segments_only: bool,
    widened: bool,
    parts: Vec<String>,
}

impl Merged {
    fn new(stretch: Stretch, granule: u64) -> Merged {
        Merged {
            start: stretch.start & !(granule - 1),
            last: stretch.last | (granule - 1),
            access: stretch.access,
            segments_only: stretch.purpose == Purpose::Segment,
            widened: false,
            parts: alloc::vec![stretch.name],
        }
    }

    /// Whether the next one, which does not begin before this one, becomes part of it.
    fn takes(&self, next: &Merged) -> bool {
        let alike = self.segments_only && next.segments_only && self.access == next.access;
        next.start <= self.last || (alike && next.start - 1 == self.last)
    }

    fn join(&mut self, next: Merged) {
        let access = self.access.union(next.access);
        self.widened |= access != self.access || access != next.access;
        self.access = access;
        self.last = self.last.max(next.last);
        self.segments_only &= next.segments_only;
        self.parts.extend(next.parts);
    }

    fn finish(self, findings: &mut Vec<Finding>) -> Memory {
        let parts = self.parts.len();
        let mut name = self.parts[..parts.min(NAMED_PARTS)].join("+");
        if parts > NAMED_PARTS {
            name.push_str(&format!("+{} more", parts - NAMED_PARTS));
        }
        let at = DeviceAddr(self.start);
        if self.widened {
            let text =
                format!("{name} share pages at {at}, but not their access: all of it is {}", self.access);
            findings.push(Finding::warning(codes::ACCESS_WIDENED, text));
        }
        let len = (self.last - self.start).saturating_add(1);
        Memory { name, at: Some(at), len, align: 1, access: self.access }
    }
}

/// A memory is named after so many of its parts at most.
const NAMED_PARTS: usize = 3;
