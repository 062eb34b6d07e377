//! The program of the book: it talks with a service of a remote, by whichever way there is.
//!
//! ```text
//! client [REMOTE [SERVICE [MESSAGE]]]
//! ```
//!
//! Without a remote it lists those that there are.

use std::env;
use std::process::ExitCode;
use std::time::Duration;

use sidecore_client::{Client, Error, OpenOptions, Result};

const SOON: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    // A program that starts sandboxes itself is also what executes them.
    sidecore_client::hook();
    let arguments: Vec<String> = env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error[{}]: {error}", error.code());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    let client = Client::connect()?;
    let Some(remote) = arguments.first() else {
        println!("{}:", client.way());
        for info in client.processors()? {
            println!("{} {} ({})", info.name, info.state, info.kind);
        }
        return Ok(());
    };
    let service = arguments.get(1).map_or("rpmsg-echo", String::as_str);
    let message = arguments.get(2).map_or("hello", String::as_str);

    let processor = client.processor(remote)?;
    let endpoint = processor.open(service, OpenOptions::new().timeout(SOON))?;
    endpoint.send(message.as_bytes(), SOON)?;
    match endpoint.receive(SOON) {
        Ok(answer) => println!("{}", String::from_utf8_lossy(&answer)),
        // It is no answer, and no trouble either.
        Err(Error::TimedOut { waited }) => println!("nothing within {} s", waited.as_secs()),
        Err(error) => return Err(error),
    }
    Ok(())
}
