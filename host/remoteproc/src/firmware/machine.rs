use core::fmt;

/// What kind of processor a firmware image is for: ELF machine number and class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Machine {
    /// ELF `e_machine`.
    pub number: u16,
    /// ELF `EI_CLASS`.
    pub class: Class,
}

impl Machine {
    /// Arm in 32-bit state: Cortex-M, Cortex-R, Cortex-A.
    pub const ARM: Machine = Machine { number: 40, class: Class::Elf32 };
    /// Arm in 64-bit state.
    pub const AARCH64: Machine = Machine { number: 183, class: Class::Elf64 };
    /// RISC-V with 32-bit registers.
    pub const RISCV32: Machine = Machine { number: 243, class: Class::Elf32 };
    /// RISC-V with 64-bit registers.
    pub const RISCV64: Machine = Machine { number: 243, class: Class::Elf64 };
    /// x86 in 64-bit mode.
    pub const X86_64: Machine = Machine { number: 62, class: Class::Elf64 };

    /// The machine that this code is compiled for, where it has a name here.
    pub const NATIVE: Option<Machine> = if cfg!(target_arch = "x86_64") {
        Some(Machine::X86_64)
    } else if cfg!(target_arch = "aarch64") {
        Some(Machine::AARCH64)
    } else if cfg!(target_arch = "riscv64") {
        Some(Machine::RISCV64)
    } else if cfg!(target_arch = "riscv32") {
        Some(Machine::RISCV32)
    } else if cfg!(target_arch = "arm") {
        Some(Machine::ARM)
    } else {
        None
    };

    /// What the machine is called, if it has a name here.
    #[must_use]
    pub fn name(self) -> Option<&'static str> {
        NAMES.iter().find(|(number, _)| *number == self.number).map(|(_, name)| *name)
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}), {}", self.number, self.name().unwrap_or("unknown"), self.class)
    }
}

/// Whether an ELF file has 32-bit or 64-bit headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// ELFCLASS32.
    Elf32,
    /// ELFCLASS64.
    Elf64,
}

impl Class {
    /// The highest address that a file of this class can name.
    #[must_use]
    pub const fn last_address(self) -> u64 {
        match self {
            Class::Elf32 => u32::MAX as u64,
            Class::Elf64 => u64::MAX,
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Elf32 => "32-bit",
            Class::Elf64 => "64-bit",
        })
    }
}

/// Machines that are met as remotes, and those that people give by mistake.
const NAMES: &[(u16, &str)] = &[
    (3, "x86"),
    (4, "m68k"),
    (8, "MIPS"),
    (20, "PowerPC"),
    (21, "PowerPC 64"),
    (22, "s390"),
    (40, "Arm"),
    (42, "SuperH"),
    (45, "ARC"),
    (62, "x86-64"),
    (83, "AVR"),
    (92, "OpenRISC"),
    (93, "ARCompact"),
    (94, "Xtensa"),
    (105, "MSP430"),
    (106, "Blackfin"),
    (113, "Nios II"),
    (140, "TI C6000"),
    (141, "TI C2000"),
    (144, "TI PRU"),
    (164, "Hexagon"),
    (183, "AArch64"),
    (185, "AVR32"),
    (189, "MicroBlaze"),
    (195, "ARCv2"),
    (243, "RISC-V"),
    (247, "BPF"),
    (252, "C-SKY"),
    (258, "LoongArch"),
];

#[cfg(test)]
mod tests {
    use alloc::string::ToString;

    use super::*;

    #[test]
    fn machines_are_named() {
        assert_eq!(Machine::AARCH64.to_string(), "183 (AArch64), 64-bit");
        assert_eq!(Machine { number: 999, class: Class::Elf32 }.to_string(), "999 (unknown), 32-bit");
        assert_eq!(Class::Elf32.last_address(), 0xffff_ffff);
    }
}
