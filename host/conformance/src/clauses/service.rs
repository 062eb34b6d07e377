//! Services, as far as a remote that wants one shows how it goes about.

use std::time::{Duration, Instant};

use crate::as_host::{AsHost, OURS, Start};
use crate::clause::{Row, remote};
use crate::verdict::{Claim as _, Outcome, Stop, deviates, must, not_shown};

const CONSOLE: &str = "sidecore-console";
/// The least that a remote has to take.
const LONGEST_MIN: u16 = 32;
/// More than a program says that is asked nothing.
const PLENTY: u64 = 1 << 20;

pub(super) const ROWS: &[Row] = &[
    remote("SERVICE-1", "says nothing on a service's channel before the main side's hello", |peer| {
        let addr = console(peer)?;
        let end = Instant::now() + 4 * peer.pace;
        while Instant::now() < end {
            peer.turn("nothing came")?;
        }
        if let Some(frame) = peer.unread(addr) {
            return deviates(format!("sent {:02x?} before the main side's hello", frame.payload));
        }
        hello(peer, addr, &greeting(1, PLENTY)).claim("after a hello that came late").map(drop)
    }),
    remote("SERVICE-2", "answers a hello with its own, and speaks the lower version", |peer| {
        let addr = console(peer)?;
        let version = hello(peer, addr, &greeting(9, PLENTY)).claim("a hello of version 9")?.0;
        must((1..=9).contains(&version), || format!("its hello has version {version}"))?;
        output(peer, PLENTY, 3 * peer.pace).map(drop)
    }),
    remote("SERVICE-3", "reads longer hellos, and no other message of another length", |peer| {
        let addr = console(peer)?;
        let mut long = greeting(1, 0);
        long.extend([0xEE; 8]);
        hello(peer, addr, &long).claim("a hello that is 8 bytes longer")?;
        let mut limit = limit(PLENTY);
        limit.push(0);
        peer.send(OURS, addr, &limit)?;
        let said = output(peer, 0, 3 * peer.pace)?;
        must(said == 0, || "took a limit that is a byte too long".to_owned())?;
        says_something(peer, addr)
    }),
    remote("SERVICE-4", "takes messages of 32 bytes at least", |peer| {
        let addr = console(peer)?;
        let longest = hello(peer, addr, &greeting(1, PLENTY))?.1;
        must(longest >= LONGEST_MIN, || {
            format!("its hello says that its longest message has {longest} bytes")
        })
    }),
    remote("SERVICE-5", "changes nothing for a message without a meaning", |peer| {
        let addr = console(peer)?;
        hello(peer, addr, &greeting(1, 0))?;
        for message in [&[][..], &[0xFF, 0], &[0x02, 1, b'x'], &[0x82], &[0x84, 0, 0], &[0x85, 0, 0, 0, 9]] {
            peer.send(OURS, addr, message)?;
        }
        let said = output(peer, 0, 3 * peer.pace)?;
        must(said == 0, || "took a message without a meaning for a limit".to_owned())?;
        says_something(peer, addr)
    }),
    remote("SERVICE-6", "says no more than the limit allows, which never falls", |peer| {
        let addr = console(peer)?;
        hello(peer, addr, &greeting(1, 0))?;
        let mut said = 0;
        for (told, allowed) in [(None, 0), (Some(4), 4), (Some(2), 4), (Some(4), 4), (Some(9), 9)] {
            if let Some(told) = told {
                peer.send(OURS, addr, &limit(told))?;
            }
            said += output(peer, allowed - said, 3 * peer.pace)?;
        }
        says_something(peer, addr)
    }),
];

/// Brings the link up and answers where the remote wants to be served a console.
fn console(peer: &mut AsHost<'_>) -> Result<u32, Stop> {
    peer.start(&Start::default());
    let end = Instant::now() + 5 * peer.pace;
    while Instant::now() < end {
        peer.turn("nothing was announced")?;
        let wanted = peer.services.iter().find(|service| service.name.as_str() == Some(CONSOLE));
        if let Some(wanted) = wanted {
            return Ok(wanted.addr);
        }
    }
    not_shown(format!("it announces no {CONSOLE}"))
}

/// The main side's hello: no arguments, and so much output.
fn greeting(version: u16, limit: u64) -> Vec<u8> {
    let mut bytes = vec![0x81, 0];
    bytes.extend(version.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(limit.to_le_bytes());
    bytes.extend(0_u32.to_le_bytes());
    bytes
}

fn limit(limit: u64) -> Vec<u8> {
    let mut bytes = vec![0x82, 0, 0, 0, 0, 0, 0, 0];
    bytes.extend(limit.to_le_bytes());
    bytes
}

/// Says hello and answers the version and the longest message of the remote's hello, which has to come before anything
/// else.
fn hello(peer: &mut AsHost<'_>, addr: u32, greeting: &[u8]) -> Result<(u16, u16), Stop> {
    peer.send(OURS, addr, greeting)?;
    let Some(frame) = peer.receive_within(OURS, 10 * peer.pace)? else {
        return not_shown("the hello was not answered");
    };
    match frame.payload[..] {
        [1, _, low, high, first, second, ..] => {
            Ok((u16::from_le_bytes([low, high]), u16::from_le_bytes([first, second])))
        }
        _ => deviates(format!("answered a hello with {:02x?}", frame.payload)),
    }
}

/// How many bytes of output come within a time, of which `allowed` may.
fn output(peer: &mut AsHost<'_>, allowed: u64, time: Duration) -> Result<u64, Stop> {
    let mut said = 0;
    let end = Instant::now() + time;
    while let Some(frame) = peer.receive_within(OURS, end.saturating_duration_since(Instant::now()))? {
        match frame.payload[..] {
            [2, 1 | 2, ref bytes @ ..] => said += bytes.len() as u64,
            [3 | 4, ..] => {}
            // The exit code, behind which nothing comes.
            [5, ..] => return Ok(said),
            _ => return deviates(format!("sent {:02x?}, which has no meaning", frame.payload)),
        }
        must(said <= allowed, || format!("sent {said} bytes of output where the limit leaves {allowed}"))?;
    }
    Ok(said)
}

/// Lifts the limit: a remote that has something to say does.
fn says_something(peer: &mut AsHost<'_>, addr: u32) -> Outcome {
    peer.send(OURS, addr, &limit(PLENTY))?;
    match output(peer, PLENTY, 5 * peer.pace)? {
        0 => not_shown("it has nothing to say"),
        _ => Ok(()),
    }
}
