//! What is on the bus: one file an interface.

pub(crate) mod endpoint;
pub(crate) mod firmware;
pub(crate) mod job;
pub(crate) mod manager;
pub(crate) mod processor;
pub(crate) mod trace;

use std::collections::HashMap;

use sidecore_dbus::Error;
use zbus::OwnedVariant;

use crate::keeper::protocol::{Ask, Kind, Refusal};
use crate::remote::Remote;

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

/// The number behind a key, of either width; `default` where there is none, and `most` at most.
pub(crate) fn number(options: &Options, key: &str, default: u64, most: u64) -> Result<u64, Error> {
    let Some(value) = options.get(key) else { return Ok(default) };
    let narrow = || u32::try_from(value.clone()).map(u64::from);
    let bad = |_| Error::BadOption(format!("{key} is no unsigned number"));
    let number = u64::try_from(value.clone()).or_else(|_| narrow()).map_err(bad)?;
    if number > most {
        return Err(Error::BadOption(format!("{key} is {number}: {most} at most")));
    }
    Ok(number)
}

/// Whether a key is there and true.
pub(crate) fn flag(options: &Options, key: &str) -> Result<bool, Error> {
    let bad = |_| Error::BadOption(format!("{key} is neither true nor false"));
    options.get(key).map_or(Ok(false), |value| bool::try_from(value.clone()).map_err(bad))
}

/// The texts behind a key.
pub(crate) fn texts(options: &Options, key: &str) -> Result<Vec<String>, Error> {
    let bad = |_| Error::BadOption(format!("{key} is no list of texts"));
    let texts = options.get(key).map(|value| Vec::<String>::try_from(value.clone()).map_err(bad));
    texts.transpose().map(Option::unwrap_or_default)
}

/// Nobody has a lease of it, or has one no more where whoever asks does not care.
pub(crate) async fn check_free(remote: &Remote, options: &Options) -> Result<(), Error> {
    let ask = if flag(options, "force")? { Ask::BreakLeases } else { Ask::CheckFree };
    remote.tell(ask).await.map_err(error)
}

pub(crate) fn error(refusal: Refusal) -> Error {
    let why = refusal.why;
    match refusal.kind {
        Kind::BadFirmware => Error::BadFirmware(why),
        Kind::WrongState => Error::WrongState(why),
        Kind::NotAnnounced => Error::NotAnnounced(why),
        Kind::NoRoom => Error::NoRoom(why),
        Kind::NotFound => Error::NotFound(why),
        Kind::Leased => Error::Leased(why),
        Kind::Unsupported => Error::Unsupported(why),
        Kind::Failed => Error::Failed(why),
    }
}
