//! Sends messages back on two rpmsg devices: `rpmsg-echo` on the one, `rpmsg-echo-beside` on the other, for one main side after
//! the other.
#![no_std]
#![no_main]

use core::convert::Infallible;

use sidecore_firmware::{Connection, Either, Error, Remote, Resources, Rpmsg, image, race, trace};

image! { main: main, resources: Resources::DEFAULT.rpmsg_beside(Rpmsg::DEFAULT) }

/// Entries of the second device's rings.
const NUM: usize = Rpmsg::DEFAULT.to_host as usize;

/// The most that a message of the usual size takes.
const SIZE_MAX: usize = 496;

fn main(first: Remote) -> Result<(), Error> {
    first.beside::<NUM, NUM, _>(|mut first, mut second| {
        loop {
            let one = first.connect()?;
            let other = second.connect()?;
            let both = race(serve(&one, "rpmsg-echo"), serve(&other, "rpmsg-echo-beside"));
            let lost = match one.machine().block_on(both) {
                Either::First(Err(error)) | Either::Second(Err(error)) => error,
                Either::First(Ok(never)) | Either::Second(Ok(never)) => match never {},
            };
            trace!("twins: {lost}");
            // One that is up still is asked to be reset, and comes again with the other.
            (first, second) = (one.disconnect(), other.disconnect());
        }
    })
}

async fn serve(connection: &Connection<'_>, service: &str) -> Result<Infallible, Error> {
    let echo = connection.open(service).await?;
    loop {
        let message = echo.receive().await?;
        let mut bytes = [0; SIZE_MAX];
        let (src, bytes) = (message.src(), message.copy_to(&mut bytes)?);
        echo.send_to(src, bytes).await?;
        // Given back once it is answered: whoever dies in between gets it again.
        drop(message);
    }
}
