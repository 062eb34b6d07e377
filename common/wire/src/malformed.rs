use core::{error, fmt};

/// Bytes that came from outside break the rules of their layout; says which field, its value, and the rule.
///
/// Wrong *arguments* of a caller have errors of their own ([`NameError`](crate::name_service::NameError),
/// [`LayoutError`](crate::split::LayoutError)), so the type tells who is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// The field's name in the specification.
    pub field: &'static str,
    /// What the bytes say, widened.
    pub value: u64,
    /// The rule that the value breaks.
    pub fault: Fault,
}

/// The rule that a malformed field breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// What the field describes runs into a neighbour.
    Overlap {
        /// Index of the neighbour.
        entry: u32,
        /// Bytes that the field asks for.
        needed: u64,
        /// Bytes before the neighbour begins.
        present: u64,
    },
    /// The value is outside its permitted range.
    OutOfRange {
        /// Least permitted value.
        min: u64,
        /// Greatest permitted value.
        max: u64,
    },
    /// The bytes end before what the field describes.
    Truncated {
        /// Bytes that the field asks for.
        needed: u64,
        /// Bytes that there are.
        present: u64,
    },
    /// One value is known, and this is another.
    Unsupported {
        /// The known value.
        supported: u64,
    },
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} ({:#x}): {}", self.field, self.value, self.value, self.fault)
    }
}

impl error::Error for Malformed {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Overlap { entry, needed, present } => {
                write!(f, "needs {needed} bytes, but entry {entry} begins after {present}")
            }
            Fault::OutOfRange { min, max } if min == max => write!(f, "must be {min}"),
            Fault::OutOfRange { min, max } => write!(f, "must be between {min} and {max}"),
            Fault::Truncated { needed, present } => {
                write!(f, "needs {needed} bytes, but there are {present}")
            }
            Fault::Unsupported { supported } => write!(f, "only {supported} ({supported:#x}) is supported"),
        }
    }
}
