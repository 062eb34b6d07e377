//! How much a firmware image may ask for.

/// How much a firmware image may ask for. What lies above is an error that names the limit, so that a hostile image
/// costs neither time nor memory worth mentioning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most segments with memory. Shipped firmware has fewer than fifty.
    pub segments: u32,
    /// Most section headers.
    pub sections: u32,
    /// Most entries of the resource table; never more than
    /// [`Table::MAX_ENTRIES`](sidecore_wire::resource_table::Table::MAX_ENTRIES).
    pub entries: u32,
    /// Most rings of all devices together.
    pub rings: u32,
    /// Most bytes of all memories together: segments, carveouts, rings, buffers and traces.
    pub memory: u64,
}

impl Limits {
    /// 128 segments, 65536 sections, 64 entries, 64 rings, 256 MiB.
    pub const DEFAULT: Limits =
        Limits { segments: 128, sections: 65536, entries: 64, rings: 64, memory: 256 << 20 };
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
