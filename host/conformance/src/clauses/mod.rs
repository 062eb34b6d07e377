//! The clauses, a file for each chapter of the book.

mod error;
mod feature;
mod memory;
mod message;
mod name_service;
mod notification;
mod reset;
mod ring;
mod service;
mod start;
mod table;

use crate::clause::Row;

/// All rows, in the order of the book's chapters.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    [
        memory::ROWS,
        table::ROWS,
        ring::ROWS,
        start::ROWS,
        feature::ROWS,
        message::ROWS,
        name_service::ROWS,
        notification::ROWS,
        reset::ROWS,
        error::ROWS,
        service::ROWS,
    ]
    .into_iter()
    .flatten()
}

/// Clauses that cannot be shown from outside, and why.
pub const HIDDEN: &[(&str, &str)] = &[
    ("MEM-5", "that a value was copied before it was checked shows in a race alone"),
    ("MEM-8", "how wide an access is cannot be seen by who reads the result"),
    ("MEM-9", "the memory is coherent here"),
    ("MEM-10", "the memory is coherent here"),
    ("TRACE-1", "is about text in the remote's memory, which a peer of the link need not see"),
    ("TRACE-2", "is about text in the remote's memory, which a peer of the link need not see"),
    ("TRACE-3", "is about text in the remote's memory, which a peer of the link need not see"),
    ("TRACE-4", "is about text in the remote's memory, which a peer of the link need not see"),
    ("TRACE-5", "is about text in the remote's memory, which a peer of the link need not see"),
    ("TRACE-6", "is about text in the remote's memory, which a peer of the link need not see"),
    ("TRACE-7", "is about text in the remote's memory, which a peer of the link need not see"),
    ("TRACE-8", "is about text in the remote's memory, which a peer of the link need not see"),
    ("TRACE-9", "is about text in the remote's memory, which a peer of the link need not see"),
    ("FEATURE-5", "what a host cannot do without is known to it alone"),
    ("FEATURE-10", "is about the assignment of numbers"),
    ("RESET-10", "is about starting a remote, and not on the wire"),
    ("RESET-14", "needs a host that dies when it is told to: `cargo xtask kill`"),
    ("RESET-15", "needs a host that dies when it is told to: `cargo xtask kill`"),
    ("RESET-16", "needs a host that dies when it is told to: `cargo xtask kill`"),
    ("ERROR-4", "how much is done at a stretch cannot be seen from outside"),
    ("SERVICE-7", "is about main sides, which start those that they serve; ours is held to golden dialogues"),
    ("SERVICE-8", "is about main sides, which start those that they serve; ours is held to golden dialogues"),
    ("SERVICE-9", "is about main sides, which start those that they serve; ours is held to golden dialogues"),
];
