//! The firmware that a command is given: a file, or an image that this program carries.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use sidecore_backends::qemu::{Beside, Board};
use sidecore_remoteproc::{Firmware, FirmwareError};

use crate::failure::{Failure, printable};
use crate::{builtin, codes};

/// Bytes that a firmware file may have, debug information included.
const MAX: u64 = 1 << 30;

/// Exit codes that tell why a program was not run, as shells and podman have them.
pub(crate) const CANNOT_RUN: u8 = 126;
pub(crate) const NOT_FOUND: u8 = 127;

/// A firmware file's bytes, and what to call it.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) bytes: Cow<'static, [u8]>,
}

impl Image {
    /// A file where `name` has a slash or there is such a file; a built-in image otherwise.
    pub(crate) fn open(name: &OsStr) -> Result<Self, Failure> {
        let path = Path::new(name);
        let is_path = name.as_bytes().contains(&b'/') || path.exists();
        match name.to_str().and_then(builtin::find).filter(|_| !is_path) {
            Some(image) => Ok(Self { name: image.name.to_owned(), bytes: Cow::Borrowed(image.bytes) }),
            None => Self::read(path, is_path),
        }
    }

    fn read(path: &Path, is_path: bool) -> Result<Self, Failure> {
        let what = format!("cannot read {}", path.display());
        let file = File::open(path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => not_found(path, is_path),
            _ => unreadable(&what, &error),
        })?;
        let mut bytes = Vec::new();
        match file.take(MAX + 1).read_to_end(&mut bytes) {
            Ok(len) if len as u64 > MAX => Err(Failure::new(codes::IMAGE_TOO_LARGE, what)
                .because("it has more than 1 GiB")
                .status(CANNOT_RUN)),
            Ok(_) => {
                let name = path.file_name().map_or_else(|| "firmware".into(), OsStr::to_string_lossy);
                Ok(Self { name: printable(&name), bytes: bytes.into() })
            }
            Err(error) => Err(unreadable(&what, &error)),
        }
    }

    /// Takes the file apart.
    pub(crate) fn firmware(&self) -> Result<Firmware<'_>, Failure> {
        Firmware::parse(&self.bytes).map_err(|error| self.refused(&error))
    }

    /// The image for a board's other core.
    pub(crate) fn beside(&self, board: &Board) -> Result<Beside, Failure> {
        let firmware = self.firmware()?;
        let checked = firmware.check_machine(&[board.machine()]);
        checked.map_err(|error| self.refused_by(&error, board))?;
        Ok(Beside::new(&firmware))
    }

    /// The file is firmware for another machine than this board.
    pub(crate) fn refused_by(&self, error: &FirmwareError, board: &Board) -> Failure {
        let build = if builtin::find(&self.name).is_some_and(|image| image.bytes == &*self.bytes) {
            format!(
                "; the built-in images are for this machine: for {} take one built for {}",
                board.name, board.target
            )
        } else {
            String::new()
        };
        self.refused(error).because(format!("{error}{build}"))
    }

    /// The file is no firmware that can be used.
    pub(crate) fn refused(&self, error: &FirmwareError) -> Failure {
        Failure::new(error.code(), format!("cannot use {} as firmware", self.name))
            .because(error)
            .status(CANNOT_RUN)
    }
}

fn not_found(path: &Path, is_path: bool) -> Failure {
    let failure =
        Failure::new(codes::IMAGE_NOT_FOUND, format!("there is no {}", path.display())).status(NOT_FOUND);
    if is_path {
        return failure.because("no such file");
    }
    let names: Vec<_> = builtin::IMAGES.iter().map(|image| image.name).collect();
    let built_in = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    failure.because(format!("no file of that name here, and no built-in image (built in: {built_in})"))
}

fn unreadable(what: &str, error: &std::io::Error) -> Failure {
    Failure::new(codes::IMAGE_UNREADABLE, what).because(error).status(CANNOT_RUN)
}
