//! What the images have in common: a console, a command line, and an exit code that both ends agree upon.
#![no_std]

use core::fmt;
use core::str::FromStr;

use sidecore_firmware::{Arguments, Connection, Console, Endpoint, Error, LinkError, Message, Remote};

/// Runs an image as a program: connects, opens the console, reads the command line, and tells the main side the exit
/// code. An error is printed and makes the exit code 1.
///
/// # Errors
/// There is no console to print errors on.
pub fn program(
    remote: Remote<'_>,
    body: impl FnOnce(&Connection<'_>, &mut Console<'_, '_>, &Line<'_>) -> Result<i32, Error>,
) -> Result<i32, Error> {
    let connection = remote.connect()?;
    let mut console = connection.console().wait()?;
    let mut memory = [0; 1024];
    let line = Line(console.arguments(&mut memory).wait()?);
    let code = match body(&connection, &mut console, &line) {
        Ok(code) => code,
        Err(error) => {
            console.print_error(format_args!("{error}\n")).wait()?;
            1
        }
    };
    console.exit(code).wait()?;
    Ok(code)
}

/// An image's command line.
#[derive(Clone, Copy, Debug)]
pub struct Line<'b>(Arguments<'b>);

impl<'b> Line<'b> {
    /// The argument at this position, the first being 0; empty where there is none.
    pub fn at(&self, position: usize) -> &'b [u8] {
        self.0.iter().nth(position).unwrap_or_default()
    }

    /// All arguments.
    pub fn iter(&self) -> impl Iterator<Item = &'b [u8]> {
        self.0.iter()
    }

    /// The argument at this position as a number, `default` where there is none; `None` where it is no number.
    pub fn number<T: FromStr>(&self, position: usize, default: T) -> Option<T> {
        match self.at(position) {
            [] => Some(default),
            argument => str::from_utf8(argument).ok()?.parse().ok(),
        }
    }
}

/// Says how an image is called; gives the exit code for having called it otherwise, as shells have it.
///
/// # Errors
/// The link is down.
pub fn usage(console: &mut Console<'_, '_>, text: &str) -> Result<i32, Error> {
    console.print_error(format_args!("usage: {text}\n")).wait()?;
    Ok(2)
}

/// Sends a message back to where it came from: copies it from the buffer that it came in to the one that it goes in.
///
/// # Errors
/// It is longer than the buffers in this direction, or the link is down.
pub fn send_back(endpoint: &Endpoint<'_, '_>, message: &Message<'_, '_>) -> Result<(), Error> {
    let mut answer = endpoint.reserve_to(message.src()).wait()?;
    let mut piece = [0; 256];
    let mut at = 0;
    while at < message.len() {
        let len = piece.len().min(message.len() - at);
        let Some(piece) = piece.get_mut(..len) else { return Err(LinkError::Closed.into()) };
        message.read(at, piece)?;
        answer.write(at, piece)?;
        at += len;
    }
    answer.send()?;
    Ok(())
}

/// Nanoseconds, displayed as microseconds with two decimals.
#[derive(Clone, Copy, Debug)]
pub struct Micros(pub u64);

impl fmt::Display for Micros {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02} us", self.0 / 1000, self.0 % 1000 / 10)
    }
}
