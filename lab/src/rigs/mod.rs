//! What tests are built on: shared memory, rings and doorbells that go away with the test.

mod doorbell;
mod memory;
mod split;
mod vdev;

pub use doorbell::Doorbell;
pub use memory::{Heap, Shared, shared};
pub use split::{DATA_ADDR, Split};
pub use vdev::{Host, Remote, Shape, Vdev};
