//! Offers the channels that Linux' own drivers look for: `rpmsg-raw` and `rpmsg-tty`, beside `rpmsg-echo`, all of which send
//! every message back; `rpmsg-discard`, which takes them; and `rpmsg-crash`, which crashes at any.
#![no_std]
#![no_main]

use sidecore_firmware::{Connection, Error, Misbehaviour, Remote, image, trace};
use sidecore_images::send_back;

image! { main: main }

fn main(mut remote: Remote) -> Result<(), Error> {
    trace!("drivers: up");
    loop {
        let connection = remote.connect()?;
        match serve(&connection) {
            Err(Error::Link(error)) => trace!("drivers: {error}"),
            other => other?,
        }
        remote = connection.disconnect();
    }
}

fn serve(connection: &Connection) -> Result<(), Error> {
    let open = |name| connection.open(name).wait();
    let echoes = [open("rpmsg-raw")?, open("rpmsg-tty")?, open("rpmsg-echo")?];
    let _discard = open("rpmsg-discard")?;
    let crash = open("rpmsg-crash")?;
    loop {
        let message = connection.receive().wait()?;
        let to = message.endpoint().addr();
        if to == crash.addr() {
            connection.machine().misbehave(Misbehaviour::IllegalInstruction);
        }
        if let Some(echo) = echoes.iter().find(|echo| echo.addr() == to) {
            send_back(echo, &message)?;
        }
    }
}
