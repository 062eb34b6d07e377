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
    /// The value is too small.
    TooSmall {
        /// Least permitted value.
        min: u64,
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
            Fault::OutOfRange { min, max } => write!(f, "must be between {min} and {max}"),
            Fault::TooSmall { min } => write!(f, "must be at least {min}"),
            Fault::Truncated { needed, present } => {
                write!(f, "needs {needed} bytes, but there are {present}")
            }
            Fault::Unsupported { supported } => write!(f, "only {supported} ({supported:#x}) is supported"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::format;

    use super::*;

    #[test]
    fn malformed_names_the_field_its_value_and_the_rule() {
        let cases = [
            (
                Fault::Overlap { entry: 2, needed: 56, present: 48 },
                "needs 56 bytes, but entry 2 begins after 48",
            ),
            (Fault::OutOfRange { min: 11, max: 16 }, "must be between 11 and 16"),
            (Fault::TooSmall { min: 24 }, "must be at least 24"),
            (Fault::Truncated { needed: 28, present: 27 }, "needs 28 bytes, but there are 27"),
            (Fault::Unsupported { supported: 1 }, "only 1 (0x1) is supported"),
        ];
        for (fault, text) in cases {
            let malformed = Malformed { field: "offset", value: 20, fault };
            assert_eq!(format!("{malformed}"), format!("offset is 20 (0x14): {text}"));
        }
    }
}
