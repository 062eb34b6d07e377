//! What is on the bus: one file an interface.

pub(crate) mod manager;
pub(crate) mod processor;

use std::collections::HashMap;

use sidecore_dbus::Error;
use zbus::OwnedVariant;

use crate::keeper::protocol::{Kind, Refusal};

/// The dictionary that every mutating method ends in.
pub(crate) type Options = HashMap<String, OwnedVariant>;

/// Unknown keys are errors: an option that means nothing would be believed to.
pub(crate) fn check_keys(options: &Options, known: &[&str]) -> Result<(), Error> {
    match options.keys().find(|key| !known.contains(&key.as_str())) {
        None => Ok(()),
        Some(key) if known.is_empty() => {
            Err(Error::BadOption(format!("{key} is no option: there are none here")))
        }
        Some(key) => Err(Error::BadOption(format!("{key} is no option: there are {}", known.join(", ")))),
    }
}

/// The text behind a key.
pub(crate) fn text<'o>(options: &'o Options, key: &str) -> Result<Option<&'o str>, Error> {
    let bad = |_| Error::BadOption(format!("{key} is no text"));
    options.get(key).map(|value| <&str>::try_from(value).map_err(bad)).transpose()
}

pub(crate) fn error(refusal: Refusal) -> Error {
    let why = refusal.why;
    match refusal.kind {
        Kind::BadFirmware => Error::BadFirmware(why),
        Kind::WrongState => Error::WrongState(why),
        Kind::NotAnnounced => Error::NotAnnounced(why),
        Kind::NoRoom => Error::NoRoom(why),
        Kind::Failed => Error::Failed(why),
    }
}
