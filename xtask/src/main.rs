//! The chores, which are also the CI.
fn main() {}
