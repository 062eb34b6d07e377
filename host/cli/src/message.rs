//! Messages as people type and read them.

use jiff::Timestamp;
use serde::Serialize;
use sidecore_client::{Endpoint, OpenOptions, Processor};

use crate::codes;
use crate::failure::Failure;
use crate::output::{print, print_json_line};
use crate::target::{Target, failed};

/// Where at a remote messages go.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Peer {
    /// The remote's address, in place of a service
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    pub(crate) addr: Option<u32>,
    /// Our own address, where the remote has to know it beforehand
    #[arg(long, value_name = "ADDRESS", value_parser = address)]
    local: Option<u32>,
    /// Number of the device that has the address, where the remote has several
    #[arg(long, value_name = "N", default_value_t = 0)]
    device: u32,
}

/// How messages are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// On a line each, nothing in it that would steer a terminal.
    Text,
    /// Pairs of hexadecimal digits, on a line each.
    Hex,
    /// As they are, one behind the other.
    Raw,
    /// An object on a line each.
    Json,
}

impl Form {
    pub(crate) fn of(hex: bool, raw: bool, json: bool) -> Self {
        match (json, raw, hex) {
            (true, _, _) => Self::Json,
            (_, true, _) => Self::Raw,
            (_, _, true) => Self::Hex,
            _ => Self::Text,
        }
    }

    /// Shows a message; `number` is how many were shown before it.
    pub(crate) fn show(self, from: &From<'_>, number: u64, message: &[u8]) -> Result<(), Failure> {
        match self {
            Self::Text => print(&format!("{}\n", String::from_utf8_lossy(message).escape_debug())),
            Self::Hex => print(&format!("{}\n", hex(message, " "))),
            Self::Raw => crate::terminal::write_through(&mut std::io::stdout().lock(), message)
                .map_err(Failure::output),
            Self::Json => print_json_line(from.schema, &from.object(number, message)),
        }
    }
}

/// Who said it.
pub(crate) struct From<'a> {
    pub(crate) schema: &'static str,
    pub(crate) remote: &'a str,
    /// `None`: an address that was given.
    pub(crate) service: Option<&'a str>,
}

#[derive(Serialize)]
struct Object<'a> {
    time: String,
    remote: &'a str,
    service: Option<&'a str>,
    number: u64,
    bytes: usize,
    hex: String,
    /// Where it is UTF-8.
    text: Option<&'a str>,
}

impl<'a> From<'a> {
    fn object<'m>(&self, number: u64, message: &'m [u8]) -> Object<'m>
    where
        'a: 'm,
    {
        Object {
            time: format!("{:.6}", Timestamp::now()),
            remote: self.remote,
            service: self.service,
            number,
            bytes: message.len(),
            hex: hex(message, ""),
            text: str::from_utf8(message).ok(),
        }
    }
}

impl Peer {
    /// Whether an address stands in the place of a service.
    pub(crate) fn is_given(&self) -> bool {
        self.addr.is_some() || self.local.is_some()
    }

    /// Opens an endpoint for the service, or for the address where that was given.
    pub(crate) fn open(
        &self,
        processor: &Processor,
        target: &Target,
        service: Option<&str>,
        options: OpenOptions,
    ) -> Result<Endpoint, Failure> {
        let opened = match (service, self.addr) {
            (Some(service), _) if self.local.is_none() => processor.open(service, options),
            (Some(_), _) => {
                return Err(usage("--local goes with --addr: services are bound to an address of ours"));
            }
            (None, peer) => processor.open_at(self.device, self.local, peer, options),
        };
        let what = match (service, self.addr) {
            (Some(service), _) => service.to_owned(),
            (None, addr) => format!("address {}", addr.unwrap_or_default()),
        };
        opened.map_err(|error| failed(format!("cannot open {what} of {}", target.id()), &error))
    }
}

/// Arguments that do not go together.
pub(crate) fn usage(why: impl std::fmt::Display) -> Failure {
    Failure::new(codes::USAGE, "the arguments cannot be used").because(why).status(2)
}

/// Reads an address from the command line.
pub(crate) fn address(text: &str) -> Result<u32, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number
        .ok()
        .filter(|addr| *addr != sidecore_dbus::ADDRESS_ANY)
        .ok_or_else(|| "it is no address".to_owned())
}

/// Bytes as pairs of hexadecimal digits.
fn hex(bytes: &[u8], between: &str) -> String {
    let pairs: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(between)
}

/// Reads bytes that are pairs of hexadecimal digits, with blanks or colons between them or not.
pub(crate) fn parse_hex(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut high = None;
    for byte in text {
        let digit = match char::from(*byte).to_digit(16) {
            Some(digit) => digit as u8,
            None if (byte.is_ascii_whitespace() || *byte == b':') && high.is_none() => continue,
            None => return Err(format!("{:?} is no hexadecimal digit of a pair", char::from(*byte))),
        };
        match high.take() {
            None => high = Some(digit),
            Some(high) => bytes.push(high << 4 | digit),
        }
    }
    match high {
        None => Ok(bytes),
        Some(_) => Err("the last hexadecimal digit is no pair".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_as_they_are_written() {
        assert_eq!(parse_hex(b"00ff0A"), Ok(vec![0, 255, 10]));
        assert_eq!(parse_hex(b" 00:ff\t0a\n"), Ok(vec![0, 255, 10]));
        assert_eq!(parse_hex(b""), Ok(vec![]));
        assert_eq!(parse_hex(hex(&[0, 1, 0xab], " ").as_bytes()), Ok(vec![0, 1, 0xab]));
        for bad in [&b"0"[..], b"0 0", b"0x00", b"gg", b"00 0", b"\xff\xff"] {
            assert!(parse_hex(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn addresses_are_decimal_or_hexadecimal_and_never_any() {
        assert_eq!((address("1024"), address("0x400")), (Ok(1024), Ok(1024)));
        for bad in ["", "-1", "0x", "x", "4294967295", "0xffffffff", "4294967296"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
