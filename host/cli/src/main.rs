//! The `sidecore` command.
fn main() {}
