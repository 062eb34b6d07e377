use core::{fmt, ops};

/// What a file is opened for.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u16);

impl Flags {
    /// Read it.
    pub const READ: Flags = Flags(1);
    /// Write it.
    pub const WRITE: Flags = Flags(2);
    /// Make it if it is not there. Only to write.
    pub const CREATE: Flags = Flags(4);
    /// Make it empty. Only to write.
    pub const TRUNCATE: Flags = Flags(8);
    /// Every write goes to its end. Only to write.
    pub const APPEND: Flags = Flags(16);
    /// It must not be there yet. Only to create.
    pub const EXCLUSIVE: Flags = Flags(32);
    /// It is a directory, to be listed. Only to read, and with nothing else.
    pub const DIRECTORY: Flags = Flags(64);

    const NAMES: [(&'static str, Flags); 7] = [
        ("READ", Self::READ),
        ("WRITE", Self::WRITE),
        ("CREATE", Self::CREATE),
        ("TRUNCATE", Self::TRUNCATE),
        ("APPEND", Self::APPEND),
        ("EXCLUSIVE", Self::EXCLUSIVE),
        ("DIRECTORY", Self::DIRECTORY),
    ];

    /// The flags as bits.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The flags of these bits, which may be known to later versions only.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Flags {
        Flags(bits)
    }

    /// These flags and others.
    #[must_use]
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether all of the other flags are among these.
    #[must_use]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether there is no unknown flag and they go together: to read or to write at least, and each with those that
    /// it needs.
    #[must_use]
    pub const fn are_valid(self) -> bool {
        let reads_or_writes = self.has(Self::READ) || self.has(Self::WRITE);
        let changes = Self::CREATE.0 | Self::TRUNCATE.0 | Self::APPEND.0;
        reads_or_writes
            && self.0 < Self::DIRECTORY.0 << 1
            && (self.0 & changes == 0 || self.has(Self::WRITE))
            && (!self.has(Self::EXCLUSIVE) || self.has(Self::CREATE))
            && (!self.has(Self::DIRECTORY) || self.0 == Self::DIRECTORY.0 | Self::READ.0)
    }
}

impl ops::BitOr for Flags {
    type Output = Flags;

    fn bitor(self, other: Flags) -> Flags {
        self.and(other)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        f.write_str("Flags(")?;
        for (name, flag) in Self::NAMES {
            if self.has(flag) {
                f.write_str(if rest == self.0 { "" } else { " | " })?;
                f.write_str(name)?;
                rest &= !flag.0;
            }
        }
        if rest != 0 || self.0 == 0 {
            f.write_str(if rest == self.0 { "" } else { " | " })?;
            write!(f, "{rest:#x}")?;
        }
        f.write_str(")")
    }
}
