//! Sends every message on the channel `rpmsg-echo` back as `echo` does, and never sleeps: what a message costs where both
//! ends look at memory.
#![no_std]
#![no_main]

use sidecore_firmware::{Connection, Endpoint, Error, Event, LinkError, Remote, image, trace};

image! { main: main }

/// How often a look is taken whether the main side is still there, in looks.
const LOOKS: u32 = 4096;

fn main(mut remote: Remote) -> Result<(), Error> {
    loop {
        let connection = remote.connect()?;
        let ended = serve(&connection);
        trace!("busy: {}", Error::from(ended));
        remote = connection.disconnect();
    }
}

fn serve(connection: &Connection) -> LinkError {
    let endpoint = match connection.open("rpmsg-echo").wait() {
        Ok(endpoint) => endpoint,
        Err(_) => return LinkError::Closed,
    };
    let mut looks = 0_u32;
    loop {
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS) {
            // Through the connection, which feeds the watchdog and knows whether it is up.
            match endpoint.receive().now() {
                Some(Ok(message)) => answer(&endpoint, &message),
                Some(Err(error)) => return error,
                None => {}
            }
        }
        match connection.rpmsg().poll() {
            Ok(Some(Event::Message(message))) => answer(&endpoint, &message),
            Ok(_) => core::hint::spin_loop(),
            Err(error) => return error,
        }
    }
}

/// Copies a message from the buffer in which it came to the one in which it goes back.
fn answer(endpoint: &Endpoint, message: &sidecore_firmware::Message) {
    match message.len() {
        0..=64 => reply::<64>(endpoint, message),
        _ => reply::<496>(endpoint, message),
    }
}

#[inline(always)]
fn reply<const ROOM: usize>(endpoint: &Endpoint, message: &sidecore_firmware::Message) {
    let mut bytes = [0; ROOM];
    // What is refused is longer than any message of the usual size, or has nobody to go to.
    if let Ok(bytes) = message.copy_to(&mut bytes) {
        let _ = endpoint.connection().rpmsg().send_to(message.endpoint(), message.src(), bytes);
    }
}
