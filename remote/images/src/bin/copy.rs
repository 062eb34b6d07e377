//! Copies a file of the main side: `copy FROM TO`, both beneath directories that its user has granted.
#![no_std]
#![no_main]

use sidecore_firmware::{Error, Files, Flags, Handle, Remote, image};
use sidecore_images::{program, usage};

image! { main: main }

fn main(remote: Remote) -> Result<i32, Error> {
    program(remote, |connection, console, line| {
        let ([_, ..], [_, ..]) = (line.at(0), line.at(1)) else {
            return usage(console, "copy FROM TO");
        };
        let mut files = connection.files().wait()?;
        let from = files.open(line.at(0), Flags::READ).wait()?;
        let to = files.open(line.at(1), Flags::WRITE | Flags::CREATE | Flags::TRUNCATE).wait()?;
        let len = copy(&mut files, from, to)?;
        files.close(to).wait()?;
        files.close(from).wait()?;
        console.print(format_args!("{len} bytes copied\n")).wait()?;
        Ok(0)
    })
}

/// Copies all of a file, piece by piece; gives its length.
fn copy(files: &mut Files, from: Handle, to: Handle) -> Result<u64, Error> {
    let mut memory = [0; 512];
    let mut at = 0;
    loop {
        let len = files.read(from, at, &mut memory).wait()?;
        let Some(piece @ [_, ..]) = memory.get(..len) else { return Ok(at) };
        files.write(to, at, piece).wait()?;
        at += len as u64;
    }
}
