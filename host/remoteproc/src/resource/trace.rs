//! Trace: a buffer in which the firmware writes text.
//!
//! It usually lies in the firmware's own `.bss`. One that lies nowhere gets a memory of its own, and one without an
//! address is placed, its `da` written back.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use sidecore_mem::DeviceAddr;
use sidecore_wire::resource_table::{self as wire, ADDR_ANY, Located};

use super::error::{Fault, Place, PlanError};
use super::space::{Purpose, Rank, Spot};
use super::{Building, Placing};
use crate::codes;
use crate::finding::Finding;
use crate::trace::{self, TraceBuffer, Words};

/// A trace buffer that is still to be placed.
#[derive(Clone, Debug)]
pub(super) struct Planned {
    located: Located<wire::Trace>,
    name: String,
    spot: Spot,
    words: Option<Words>,
}

impl Planned {
    pub(super) fn new(
        located: Located<wire::Trace>,
        number: usize,
        words: Option<Words>,
        building: &mut Building<'_>,
        findings: &mut Vec<Finding>,
    ) -> Result<Planned, PlanError> {
        let wire::Trace { da, len, .. } = located.entry;
        let place = |field| Place { entry: located.index, kind: "trace", ring: None, field };
        let limit = building.options.limits.memory;
        if len == 0 {
            return Err(place("len").with(0, Fault::Zero));
        }
        if u64::from(len) > limit {
            return Err(place("len").with(len.into(), Fault::TooLarge { needed: len.into(), limit }));
        }
        let name = trace::name(&located.entry.name, number);
        if da == ADDR_ANY {
            let spot = building.space.float(name.clone(), len.into(), 1, Rank::Other);
            return Ok(Planned { located, name, spot, words });
        }
        let spot = building.space.fix(&name, da, len.into(), Purpose::Trace);
        let spot = spot.map_err(|fault| place("da").with(da.into(), fault))?;
        if !building.space.is_last_held() {
            let text = format!("entry {}: {len:#x} bytes at {da:#x} ({name})", located.index);
            findings.push(Finding::warning(codes::TRACE_OUTSIDE, text));
        }
        Ok(Planned { located, name, spot, words })
    }

    pub(super) fn place(&self, placing: &mut Placing<'_>) -> Result<TraceBuffer, PlanError> {
        let Located { index: entry, offset, entry: trace } = self.located;
        let da = placing.address(self.spot, trace.len.into())?;
        placing.write(offset, &wire::Trace { da, ..trace }.emit());
        let (name, at) = (self.name.clone(), DeviceAddr(da.into()));
        Ok(TraceBuffer { entry, name, at, len: trace.len, words: self.words })
    }
}
