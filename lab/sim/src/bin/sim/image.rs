//! An ELF file with a resource table of one rpmsg device.

use object::elf;
use object::endian::Endianness;
use object::write::elf::{FileHeader, ProgramHeader, SectionHeader, Writer};
use sidecore_wire::features::F_NS;
use sidecore_wire::resource_table::{ADDR_ANY, Builder, VdevHeader, Vring, vdev};

/// Descriptors of a ring.
pub(crate) const NUM: u16 = 4;

pub(crate) fn image() -> Vec<u8> {
    let mut room = [0; 256];
    let mut builder = Builder::new(&mut room, 1).expect("there is room");
    let header =
        VdevHeader { id: vdev::ID_RPMSG, dfeatures: F_NS as u32, num_of_vrings: 2, ..VdevHeader::default() };
    let ring = Vring { da: ADDR_ANY, align: 64, num: NUM.into(), notifyid: ADDR_ANY, pa: 0 };
    builder.vdev(&header, &[ring, ring], &[]).expect("there is room");
    let table = builder.finish().to_vec();

    let mut bytes = Vec::new();
    let mut writer = Writer::new(Endianness::Little, false, &mut bytes);
    writer.reserve_file_header();
    writer.reserve_program_headers(1);
    let at = writer.reserve(table.len() as u64, 16);
    writer.reserve_null_section_index();
    let name = writer.add_section_name(b".resource_table");
    writer.reserve_section_index();
    writer.reserve_shstrtab_section_index();
    writer.reserve_shstrtab().expect("a short name");
    writer.reserve_section_headers();

    let (os_abi, abi_version, e_flags) = (elf::ELFOSABI_NONE, 0, elf::FileFlags(0));
    let e_entry = 0x1000_0000;
    let file =
        FileHeader { os_abi, abi_version, e_type: elf::ET_EXEC, e_machine: elf::EM_ARM, e_entry, e_flags };
    writer.write_file_header(&file).expect("a small file");
    writer.write_align_program_headers();
    let (p_vaddr, p_filesz) = (0x1000_0000, table.len() as u64);
    writer.write_program_header(&ProgramHeader {
        p_type: elf::PT_LOAD,
        p_flags: elf::PF_R | elf::PF_W,
        p_offset: at,
        p_vaddr,
        p_paddr: p_vaddr,
        p_filesz,
        p_memsz: p_filesz,
        p_align: 16,
    });
    writer.write_align(16);
    writer.write(&table);
    writer.write_shstrtab();
    writer.write_null_section_header();
    writer.write_section_header(&SectionHeader {
        sh_name: writer.section_name_offset(Some(name)),
        sh_type: elf::SHT_PROGBITS,
        sh_flags: elf::SHF_ALLOC | elf::SHF_WRITE,
        sh_addr: p_vaddr,
        sh_offset: at,
        sh_size: p_filesz,
        sh_link: 0,
        sh_info: 0,
        sh_addralign: 4,
        sh_entsize: 0,
    });
    writer.write_shstrtab_section_header();
    bytes
}
