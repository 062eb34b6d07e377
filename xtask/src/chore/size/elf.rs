//! The sections and symbols of an image: ELF of 32 bits, little endian.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};

/// What an image consists of.
pub(super) struct Image {
    /// Bytes that it takes of each kind of memory.
    pub(super) text: u64,
    pub(super) ram: u64,
    /// Bytes of each symbol.
    pub(super) symbols: BTreeMap<String, u64>,
}

const SHF_WRITE: u32 = 1;
const SHF_ALLOC: u32 = 2;
const SHT_SYMTAB: u32 = 2;
const SHT_NOTE: u32 = 7;
const SHT_NOBITS: u32 = 8;

impl Image {
    /// Reads an image.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| path.display().to_string())?;
        Self::parse(&bytes).with_context(|| format!("{} is no image of 32 bits", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        if bytes.get(..6) != Some(b"\x7fELF\x01\x01") {
            bail!("it begins with other bytes");
        }
        let (start, size, count) = (word(bytes, 32)?, half(bytes, 46)?, half(bytes, 48)?);
        let sections: Vec<Section> =
            (0..count).map(|number| Section::parse(bytes, start + size * number)).collect::<Result<_>>()?;

        let mut image = Self { text: 0, ram: 0, symbols: BTreeMap::new() };
        for section in &sections {
            if section.kind == SHT_SYMTAB {
                let names = sections.get(section.link as usize).context("symbols without names")?;
                image.read_symbols(bytes, section, names)?;
            }
            if section.flags & SHF_ALLOC == 0 || section.kind == SHT_NOTE {
                continue;
            }
            let size = u64::from(section.size);
            let is_written = section.flags & SHF_WRITE != 0;
            // What is written and begins with a value is in both: the value has to come from somewhere.
            image.text += if section.kind == SHT_NOBITS { 0 } else { size };
            image.ram += if is_written { size } else { 0 };
        }
        Ok(image)
    }

    fn read_symbols(&mut self, bytes: &[u8], table: &Section, names: &Section) -> Result<()> {
        for at in (table.offset..table.offset.saturating_add(table.size)).step_by(16) {
            let name = (names.offset + word(bytes, at)?) as usize;
            let name = bytes.get(name..).context("a name outside of the file")?;
            let name = name.split(|&byte| byte == 0).next().unwrap_or_default();
            self.symbols.insert(String::from_utf8_lossy(name).into_owned(), word(bytes, at + 8)?.into());
        }
        Ok(())
    }

    /// Symbols that firmware without a panic path and without a heap does not have.
    pub(super) fn forbidden(&self) -> impl Iterator<Item = &str> {
        self.symbols.keys().map(String::as_str).filter(|name| is_forbidden(name))
    }
}

/// Whether a symbol belongs to panicking (all of which is in one module of `core`) or to a heap.
fn is_forbidden(symbol: &str) -> bool {
    ["4core9panicking", "rust_begin_unwind", "__rust_alloc", "__rg_alloc", "5alloc"]
        .iter()
        .any(|part| symbol.contains(part))
}

/// A section header, as far as it is of use.
struct Section {
    kind: u32,
    flags: u32,
    offset: u32,
    size: u32,
    link: u32,
}

impl Section {
    fn parse(bytes: &[u8], at: u32) -> Result<Self> {
        let word = |field| word(bytes, at + field);
        Ok(Self { kind: word(4)?, flags: word(8)?, offset: word(16)?, size: word(20)?, link: word(24)? })
    }
}

fn word(bytes: &[u8], at: u32) -> Result<u32> {
    let bytes = bytes.get(at as usize..).and_then(|rest| rest.first_chunk());
    Ok(u32::from_le_bytes(*bytes.context("it ends too early")?))
}

fn half(bytes: &[u8], at: u32) -> Result<u32> {
    Ok(word(bytes, at)? & 0xFFFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_of_panics_and_heaps_are_known() {
        for symbol in [
            "_ZN4core9panicking9panic_fmt17h0123456789abcdefE",
            "_RNvNtCs1234_4core9panicking18panic_bounds_check",
            "_RNvCs5678_7___rustc17rust_begin_unwind",
            "__rust_alloc",
        ] {
            assert!(is_forbidden(symbol), "{symbol}");
        }
        assert!(!is_forbidden("_ZN14sidecore_rpmsg5small15Remote$LT$N$GT$4send17h0123456789abcdefE"));
    }

    #[test]
    fn what_is_no_image_is_refused() {
        assert!(Image::parse(b"").is_err());
        assert!(Image::parse(b"\x7fELF\x02\x01").is_err());
        let mut header = [0_u8; 52];
        header[..6].copy_from_slice(b"\x7fELF\x01\x01");
        assert!(Image::parse(&header).is_ok_and(|image| image.text == 0 && image.symbols.is_empty()));
        header[48] = 1;
        header[32] = 200;
        assert!(Image::parse(&header).is_err());
    }
}
