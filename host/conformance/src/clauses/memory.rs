//! Memory: layout, owners, order.

use sidecore_rpmsg::Header;

use crate::as_host::{AsHost, OURS, TO_REMOTE};
use crate::as_remote::AsRemote;
use crate::clause::{Row, host, host_at, pattern, refused, remote, stays_down, watched};
use crate::peer::Role::{Host, Remote};
use crate::verdict::{Claim as _, Outcome, Stop};

pub(super) const ROWS: &[Row] = &[
    remote("MEM-1", "reads and writes little endian", |peer| peer.up().map(drop)),
    host("MEM-1", "reads and writes little endian", |peer| {
        peer.up()?;
        peer.serve(1).map(drop)
    }),
    remote("MEM-2", "takes device addresses", |peer| {
        let to = peer.up()?;
        peer.echo(to, b"addressed").claim("a message at a device address")
    }),
    watched("MEM-2", "gives device addresses", Host),
    remote("MEM-3", "refuses a buffer that lies in no shared memory", buffer_is_nowhere),
    host_at(
        "MEM-3",
        "refuses a ring that lies in no shared memory",
        |table| table.rings[1].da = 0x7FFF_F000,
        |peer| stays_down(peer, "a ring at 0x7ffff000, where there is no memory"),
    ),
    watched("MEM-4", "writes nothing but its own", Remote),
    host("MEM-4", "writes nothing but its own", |peer| {
        peer.up()?;
        peer.serve(3)?;
        peer.check_ours();
        match peer.watch.seen("MEM-4").broken {
            Some(why) => Err(Stop::Deviates(why)),
            None => Ok(()),
        }
    }),
    remote("MEM-6", "relies on nothing that it wrote into the host's memory", scribble),
    remote("MEM-7", "shows nothing before it is whole", |peer| {
        let to = peer.up()?;
        for turn in 0..200_u16 {
            let len = usize::from(turn) % (peer.max_payload() + 1);
            peer.echo(to, &pattern(len, turn as u8)).claim("a message was not whole")?;
        }
        Ok(())
    }),
    host("MEM-7", "shows nothing before it is whole", |peer| {
        peer.up()?;
        peer.serve(20).map(drop)
    }),
];

fn buffer_is_nowhere(peer: &mut AsHost<'_>) -> Outcome {
    let to = peer.up()?;
    peer.send_descriptor(|descriptor| descriptor.addr = 0xFFFF_FFFF_0000)?;
    refused(peer, to, "a buffer at 0xffffffff0000")
}

/// Writes over the reserved word of a message for as long as the remote has it.
fn scribble(peer: &mut AsHost<'_>) -> Outcome {
    let to = peer.up()?;
    peer.watch.look_away();
    for turn in 0..100_u32 {
        let head = peer.free_buffer()?;
        let at = peer.place(TO_REMOTE, head) + 8;
        let index = peer.rings[TO_REMOTE].used_index();
        let before = peer.ground.load(index);
        let header = Header { src: OURS, dst: to, reserved: 0, len: 4, flags: 0 };
        peer.put(&header, b"mine", 20)?;
        peer.publish(TO_REMOTE);
        peer.kick(TO_REMOTE);
        for _ in 0..20_000 {
            peer.ground.write(at, &(turn * 0x0001_0001 + 0x0007_0007).to_le_bytes());
            if peer.ground.load(index) != before {
                break;
            }
        }
        let answer = peer.receive_within(OURS, 10 * peer.pace);
        let answer = answer.claim("after the reserved word of a message was written over")?;
        if answer.is_none() {
            return Err(Stop::Deviates("fell silent when the reserved word was written over".to_owned()));
        }
    }
    Ok(())
}

/// Brings a host's link up, where a test wants no more.
pub(super) fn host_is_up(peer: &mut AsRemote<'_>) -> Outcome {
    peer.up()?;
    peer.serve(1).map(drop)
}

#[cfg(test)]
mod tests {
    use crate::clauses::{HIDDEN, rows};

    #[test]
    fn a_clause_has_one_row_for_a_role_and_is_not_hidden_as_well() {
        let all: Vec<_> = rows().map(|row| (row.clause, row.peer)).collect();
        for (at, row) in all.iter().enumerate() {
            assert!(!all[..at].contains(row), "{row:?} twice");
            assert!(HIDDEN.iter().all(|(hidden, _)| *hidden != row.0), "{row:?} is hidden");
        }
    }
}
