//! The contract of the daemon's D-Bus interface: names, paths, errors, proxies.
//!
//! The daemon is [`NAME`] on the system's bus, or on a session's for one user alone. Its objects are under [`ROOT`], which
//! has an `org.freedesktop.DBus.ObjectManager`. The major version is in the name: within it there are only additions.
//!
//! Data never crosses the bus: methods that open something answer with a descriptor.

pub mod action;
pub mod proxy;

use zbus::OwnedObjectPath;

/// The bus name.
pub const NAME: &str = "org.sidecore.Sidecore1";

/// The object that everything is under: [`MANAGER`] and the object manager.
pub const ROOT: &str = "/org/sidecore/Sidecore1";

/// Interface of [`ROOT`]: makes remotes.
pub const MANAGER: &str = "org.sidecore.Sidecore1.Manager";

/// Interface of a remote processor.
pub const PROCESSOR: &str = "org.sidecore.Sidecore1.Processor";

/// Interface of a remote processor, too: its firmware.
pub const FIRMWARE: &str = "org.sidecore.Sidecore1.Firmware";

/// Interface of a remote processor, too: its traces.
pub const TRACE: &str = "org.sidecore.Sidecore1.Trace";

/// Interface of an endpoint that a client has open.
pub const ENDPOINT: &str = "org.sidecore.Sidecore1.Endpoint";

/// Interface of work that takes longer than a call.
pub const JOB: &str = "org.sidecore.Sidecore1.Job";

/// The number that stands for any address, and for the peer that writes first.
pub const ADDRESS_ANY: u32 = u32::MAX;

/// The object of the remote with this name.
///
/// As systemd escapes names: letters and digits stand for themselves, every other byte, and a digit at the beginning, is `_`
/// and two hexadecimal digits; nothing at all is `_`.
#[must_use]
pub fn processor_path(name: &str) -> OwnedObjectPath {
    let mut path = format!("{ROOT}/processors/");
    if name.is_empty() {
        path.push('_');
    }
    for (at, byte) in name.bytes().enumerate() {
        let stands = byte.is_ascii_alphabetic() || at > 0 && byte.is_ascii_digit();
        if stands {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("_{byte:02x}"));
        }
    }
    OwnedObjectPath::try_from(path).expect("only letters, digits and underscores are behind the root")
}

/// What a method answers in place of a result: `org.sidecore.Sidecore1.Error.<Name>`, with what, why and what to do next in
/// its message.
#[derive(Debug, zbus::DBusError)]
#[zbus(prefix = "org.sidecore.Sidecore1.Error")]
pub enum Error {
    /// The bus itself.
    #[zbus(error)]
    ZBus(zbus::Error),
    /// There is a remote of that name already.
    NameTaken(String),
    /// The firmware cannot be run.
    BadFirmware(String),
    /// The options have a key that is not known, or a value of the wrong type.
    BadOption(String),
    /// The remote does not allow it in the state that it is in.
    WrongState(String),
    /// The service was not announced in time.
    NotAnnounced(String),
    /// There is no room for more.
    NoRoom(String),
    /// There is no remote of that name, or none of that kind.
    NotFound(String),
    /// Another client has it to itself.
    Leased(String),
    /// The kind of remote cannot do that.
    Unsupported(String),
    /// The caller may not do that; the message names the polkit action that is asked for.
    NotAuthorized(String),
    /// The remote refused, for the reason that it gives.
    Failed(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_systemd_does_it_and_no_two_are_equal() {
        let escaped = |name: &str| processor_path(name).as_str()[ROOT.len() + 12..].to_owned();
        assert_eq!(escaped("radio"), "radio");
        assert_eq!(escaped("r5f-0.a"), "r5f_2d0_2ea");
        assert_eq!(escaped("0"), "_30");
        assert_eq!(escaped("_"), "_5f");
        assert_eq!(escaped(""), "_");
        assert_eq!(escaped("größe"), "gr_c3_b6_c3_9fe");
    }
}
