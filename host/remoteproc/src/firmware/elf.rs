//! The headers of an ELF file, both classes read by one path: bounds checked, nothing judged yet.

use alloc::vec::Vec;
use core::mem::size_of;

use object::LittleEndian;
use object::elf::{FileHeader32, FileHeader64, PN_XNUM, SHN_UNDEF, SHN_XINDEX};
use object::pod::Pod;
use object::read::ReadRef;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use super::error::{Field, FirmwareError, Header};
use super::{Class, Machine};
use crate::Limits;

/// Everything that the headers say. Numbers are widened; nothing but the tables' bounds has been checked.
pub(super) struct Headers<'a> {
    pub(super) machine: Machine,
    pub(super) file_type: u16,
    pub(super) flags: u32,
    pub(super) entry: u64,
    /// `e_ehsize`, and what it should be.
    pub(super) header_size: (u16, u16),
    pub(super) programs: Vec<Program>,
    pub(super) sections: Vec<Section<'a>>,
}

pub(super) struct Program {
    pub(super) number: u32,
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) vaddr: u64,
    pub(super) paddr: u64,
    pub(super) filesz: u64,
    pub(super) memsz: u64,
    pub(super) align: u64,
}

pub(super) struct Section<'a> {
    pub(super) number: u32,
    /// The name's first bytes, at most [`NAME_LIMIT`] of them.
    pub(super) name: &'a [u8],
    pub(super) kind: u32,
    pub(super) flags: u64,
    pub(super) addr: u64,
    pub(super) offset: u64,
    pub(super) size: u64,
}

/// Longer section names are cut: a search for the end of each in a string table without NULs would be quadratic.
const NAME_LIMIT: usize = 64;

const EV_CURRENT: u8 = 1;

/// Reads the headers of a little-endian ELF file of either class.
pub(super) fn read<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Headers<'a>, FirmwareError> {
    let Some((&found, rest)) = bytes.split_first_chunk::<4>() else {
        return Err(short(bytes, 16));
    };
    if &found != b"\x7fELF" {
        return Err(FirmwareError::NotElf { found });
    }
    let &[class, order, version, ..] = rest else {
        return Err(short(bytes, 16));
    };
    if order != 1 {
        return Err(FirmwareError::ByteOrder { value: order });
    }
    if version != EV_CURRENT {
        return Err(FirmwareError::Version { field: field("e_ident[EI_VERSION]"), value: version.into() });
    }
    match class {
        1 => read_class::<FileHeader32<LittleEndian>>(bytes, Class::Elf32, limits),
        2 => read_class::<FileHeader64<LittleEndian>>(bytes, Class::Elf64, limits),
        value => Err(FirmwareError::Class { value }),
    }
}

fn read_class<'a, H>(bytes: &'a [u8], class: Class, limits: &Limits) -> Result<Headers<'a>, FirmwareError>
where
    H: FileHeader<Endian = LittleEndian>,
{
    let expected = size_of::<H>();
    let header: &H = bytes.read_at(0).map_err(|()| short(bytes, expected as u64))?;
    let version = header.e_version(LittleEndian);
    if version != u32::from(EV_CURRENT) {
        return Err(FirmwareError::Version { field: field("e_version"), value: version });
    }
    Ok(Headers {
        machine: Machine { number: header.e_machine(LittleEndian).0, class },
        file_type: header.e_type(LittleEndian).0,
        flags: header.e_flags(LittleEndian).0,
        entry: header.e_entry(LittleEndian).into(),
        header_size: (header.e_ehsize(LittleEndian), expected as u16),
        programs: programs(bytes, header)?,
        sections: sections(bytes, header, limits)?,
    })
}

fn programs<H>(bytes: &[u8], header: &H) -> Result<Vec<Program>, FirmwareError>
where
    H: FileHeader<Endian = LittleEndian>,
{
    let mut count = u32::from(header.e_phnum(LittleEndian));
    if count == u32::from(PN_XNUM) {
        count = first_section(bytes, header)?.sh_info(LittleEndian);
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    entry_size::<H::ProgramHeader>("e_phentsize", header.e_phentsize(LittleEndian))?;
    let table = table::<H::ProgramHeader>(bytes, "e_phoff", header.e_phoff(LittleEndian).into(), count)?;
    let programs = table.iter().zip(0..).map(|(program, number)| Program {
        number,
        kind: program.p_type(LittleEndian).0,
        flags: program.p_flags(LittleEndian).0,
        offset: program.p_offset(LittleEndian).into(),
        vaddr: program.p_vaddr(LittleEndian).into(),
        paddr: program.p_paddr(LittleEndian).into(),
        filesz: program.p_filesz(LittleEndian).into(),
        memsz: program.p_memsz(LittleEndian).into(),
        align: program.p_align(LittleEndian).into(),
    });
    Ok(programs.collect())
}

fn sections<'a, H>(bytes: &'a [u8], header: &H, limits: &Limits) -> Result<Vec<Section<'a>>, FirmwareError>
where
    H: FileHeader<Endian = LittleEndian>,
{
    let offset: u64 = header.e_shoff(LittleEndian).into();
    if offset == 0 {
        return Ok(Vec::new());
    }
    let mut count = u32::from(header.e_shnum(LittleEndian));
    if count == 0 {
        let extended: u64 = first_section(bytes, header)?.sh_size(LittleEndian).into();
        count = u32::try_from(extended).unwrap_or(u32::MAX);
    }
    if count > limits.sections {
        let limit = limits.sections;
        return Err(FirmwareError::TooMany {
            field: field("e_shnum"),
            value: count,
            what: "more sections",
            limit,
        });
    }
    if count == 0 {
        return Ok(Vec::new());
    }
    entry_size::<H::SectionHeader>("e_shentsize", header.e_shentsize(LittleEndian))?;
    let table = table::<H::SectionHeader>(bytes, "e_shoff", offset, count)?;
    let names = section_names(bytes, header, table)?;

    let mut sections = Vec::with_capacity(table.len());
    for (section, number) in table.iter().zip(0..) {
        sections.push(Section {
            number,
            name: name(names, section.sh_name(LittleEndian), number)?,
            kind: section.sh_type(LittleEndian).0,
            flags: section.sh_flags(LittleEndian).0,
            addr: section.sh_addr(LittleEndian).into(),
            offset: section.sh_offset(LittleEndian).into(),
            size: section.sh_size(LittleEndian).into(),
        });
    }
    Ok(sections)
}

/// The string table that holds the sections' names; none if the file has none.
fn section_names<'a, H>(
    bytes: &'a [u8],
    header: &H,
    table: &[H::SectionHeader],
) -> Result<Option<&'a [u8]>, FirmwareError>
where
    H: FileHeader<Endian = LittleEndian>,
{
    let index = header.e_shstrndx(LittleEndian);
    let index = if index == SHN_UNDEF {
        return Ok(None);
    } else if index == SHN_XINDEX {
        first_section(bytes, header)?.sh_link(LittleEndian)
    } else {
        index.0.into()
    };
    let limit = table.len() as u64;
    let section = usize::try_from(index).ok().and_then(|index| table.get(index));
    let section = section.ok_or(FirmwareError::Names { field: field("e_shstrndx"), value: index, limit })?;
    let (offset, size) = (section.sh_offset(LittleEndian).into(), section.sh_size(LittleEndian).into());
    range(bytes, Field { name: "sh_offset", of: Header::Section(index) }, offset, size).map(Some)
}

fn name(names: Option<&[u8]>, at: u32, section: u32) -> Result<&[u8], FirmwareError> {
    let Some(names) = names else { return Ok(&[]) };
    if at == 0 {
        return Ok(&[]);
    }
    let rest = names.get(at as usize..).filter(|rest| !rest.is_empty());
    let rest = rest.ok_or(FirmwareError::Names {
        field: Field { name: "sh_name", of: Header::Section(section) },
        value: at,
        limit: names.len() as u64,
    })?;
    let rest = &rest[..rest.len().min(NAME_LIMIT)];
    let len = rest.iter().position(|&byte| byte == 0).unwrap_or(rest.len());
    Ok(&rest[..len])
}

/// Section header 0, in which counts stand that are too large for the file header.
fn first_section<'a, H>(bytes: &'a [u8], header: &H) -> Result<&'a H::SectionHeader, FirmwareError>
where
    H: FileHeader<Endian = LittleEndian>,
{
    entry_size::<H::SectionHeader>("e_shentsize", header.e_shentsize(LittleEndian))?;
    let first = table::<H::SectionHeader>(bytes, "e_shoff", header.e_shoff(LittleEndian).into(), 1)?;
    Ok(&first[0])
}

fn entry_size<T>(name: &'static str, value: u16) -> Result<(), FirmwareError> {
    let expected = size_of::<T>() as u16;
    if value == expected {
        return Ok(());
    }
    Err(FirmwareError::EntrySize { field: field(name), value, expected })
}

/// `count` headers at `offset`.
fn table<'a, T: Pod>(
    bytes: &'a [u8],
    name: &'static str,
    offset: u64,
    count: u32,
) -> Result<&'a [T], FirmwareError> {
    let needed = offset.saturating_add(size_of::<T>() as u64 * u64::from(count));
    bytes.read_slice_at(offset, count as usize).map_err(|()| FirmwareError::Truncated {
        field: field(name),
        value: offset,
        needed,
        len: bytes.len() as u64,
    })
}

/// The `size` bytes at `offset`, which `of` names.
pub(super) fn range(bytes: &[u8], of: Field, offset: u64, size: u64) -> Result<&[u8], FirmwareError> {
    let end = offset.checked_add(size);
    let range = end.and_then(|end| {
        let (start, end) = (usize::try_from(offset).ok()?, usize::try_from(end).ok()?);
        bytes.get(start..end)
    });
    range.ok_or(FirmwareError::Truncated {
        field: of,
        value: offset,
        needed: end.unwrap_or(u64::MAX),
        len: bytes.len() as u64,
    })
}

fn short(bytes: &[u8], needed: u64) -> FirmwareError {
    FirmwareError::TooShort { needed, len: bytes.len() as u64 }
}

const fn field(name: &'static str) -> Field {
    Field { name, of: Header::File }
}
