use proptest::{collection::vec, prelude::*};
use std::vec::Vec;

/// Any `N` bytes. (Proptest's own arrays end at 32.)
pub(crate) fn bytes<const N: usize>() -> impl Strategy<Value = [u8; N]> {
    vec(any::<u8>(), N).prop_map(|bytes| bytes.try_into().unwrap())
}

/// Bytes written as hexadecimal digits, with blanks and comments behind `#`.
pub(crate) fn golden(text: &str) -> Vec<u8> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap());
    let digits: Vec<u8> = lines
        .flat_map(str::chars)
        .filter(|c| !c.is_whitespace())
        .map(|c| u8::try_from(c.to_digit(16).expect("a hexadecimal digit")).unwrap())
        .collect();
    let (pairs, rest) = digits.as_chunks();
    assert_eq!(rest, [], "two digits a byte");
    pairs.iter().map(|&[high, low]| high << 4 | low).collect()
}
