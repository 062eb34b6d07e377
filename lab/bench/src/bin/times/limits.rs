//! What the machine allows: no ring, no message, only lines that go from one processor to the other.

use std::hint::black_box;

use anyhow::Result;

use crate::clock::{self, Chunks};
use crate::shared::{Shared, Side, spin};

const FLAG_THERE: usize = 0;
const FLAG_BACK: usize = 256;
const PAYLOAD_THERE: usize = 1024;
const PAYLOAD_BACK: usize = 4096;

/// A word that goes to and fro. Nanoseconds for one of the two ways.
pub(crate) fn line(shared: &Shared) -> Result<Option<f64>> {
    let word = shared.field.word::<u16>(FLAG_THERE)?;
    word.store(0);
    shared.meet();
    let mut turn = 0_u16;
    let round_trip = match shared.side {
        Side::Host => Some(clock::round_trips(|| {
            turn = turn.wrapping_add(2);
            word.store_release(turn.wrapping_sub(1));
            spin(|| (word.load_acquire() == turn).then_some(()));
        })),
        Side::Remote => {
            for _ in 0..Chunks::ROUND_TRIPS {
                turn = turn.wrapping_add(2);
                spin(|| (word.load_acquire() == turn.wrapping_sub(1)).then_some(()));
                word.store_release(turn);
            }
            None
        }
    };
    Ok(round_trip.map(|both| both / 2.0))
}

/// A payload copied in, a flag, a payload copied out; and the same back. Nanoseconds for both ways.
pub(crate) fn copy(shared: &Shared, size: usize) -> Result<Option<f64>> {
    let field = &shared.field;
    let (there, back) = (field.word::<u16>(FLAG_THERE)?, field.word::<u16>(FLAG_BACK)?);
    let (payload_there, payload_back) = (field.slice(PAYLOAD_THERE, size)?, field.slice(PAYLOAD_BACK, size)?);
    there.store(0);
    back.store(0);
    shared.meet();
    let mut bytes = vec![7; size];
    let mut turn = 0_u16;
    Ok(match shared.side {
        Side::Host => Some(clock::round_trips(|| {
            turn = turn.wrapping_add(1);
            // The slices are of this size.
            let _ = payload_there.write(0, &bytes);
            there.store_release(turn);
            spin(|| (back.load_acquire() == turn).then_some(()));
            let _ = payload_back.read(0, &mut bytes);
            black_box(&mut bytes);
        })),
        Side::Remote => {
            for _ in 0..Chunks::ROUND_TRIPS {
                turn = turn.wrapping_add(1);
                spin(|| (there.load_acquire() == turn).then_some(()));
                let _ = payload_there.read(0, &mut bytes);
                black_box(&mut bytes);
                let _ = payload_back.write(0, &bytes);
                back.store_release(turn);
            }
            None
        }
    })
}
