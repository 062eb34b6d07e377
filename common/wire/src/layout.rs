//! The layouts as data, for whoever needs them in another language: the C header is made of this.
//!
//! Each layout is stated once: its offsets are the constants that `parse` and `emit` use.

use crate::{
    config::{Epochs, RpmsgConfig},
    features::VENDOR_ENTRY_TYPE,
    name_service::{self, Announcement, Name},
    resource_table::{
        self as table, Carveout, Devmem, FixedName, Trace, TraceWords, VdevHeader, Vring, vdev, vendor,
    },
    rpmsg::{self, Header},
    sandbox,
    split::{self, Descriptor, UsedElement},
    status::Status,
};

/// One layout of fixed length: little endian, packed, offsets in bytes from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name, in lower case with underscores.
    pub name: &'static str,
    /// What it is, in half a sentence.
    pub text: &'static str,
    /// Its length in bytes.
    pub size: usize,
    /// Its fields, by offset.
    pub fields: &'static [Field],
}

impl Record {
    /// Whether the fields are all that there is: no byte lies between them.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let end = self.fields.iter().try_fold(0, |end, field| (field.at == end).then_some(field.end()));
        end == Some(self.size)
    }
}

/// One field of a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the specification, in lower case with underscores.
    pub name: &'static str,
    /// Its offset in bytes.
    pub at: usize,
    /// What it holds.
    pub kind: Kind,
}

impl Field {
    /// Where it ends, in bytes from the beginning of the layout.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.at + self.kind.size()
    }
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes, this many of them.
    Bytes(usize),
    /// A signed number of 4 bytes.
    I32,
    /// A number of 2 bytes.
    U16,
    /// A number of 4 bytes.
    U32,
    /// A number of 8 bytes.
    U64,
    /// A number of one byte.
    U8,
}

impl Kind {
    /// Its length in bytes.
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Kind::Bytes(count) => count,
            Kind::U8 => 1,
            Kind::U16 => 2,
            Kind::I32 | Kind::U32 => 4,
            Kind::U64 => 8,
        }
    }
}

/// A number that a layout's fields may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constant {
    /// Its name, in upper case with underscores.
    pub name: &'static str,
    /// The number, of at most 32 bits.
    pub value: u32,
    /// What it means, in half a sentence.
    pub text: &'static str,
}

/// Every layout of this crate.
pub const ALL: &[Record] = &[
    Header::LAYOUT,
    Announcement::LAYOUT,
    Descriptor::LAYOUT,
    UsedElement::LAYOUT,
    table::Header::LAYOUT,
    Carveout::LAYOUT,
    Devmem::LAYOUT,
    Trace::LAYOUT,
    TraceWords::LAYOUT,
    VdevHeader::LAYOUT,
    Vring::LAYOUT,
    RpmsgConfig::LAYOUT,
    Epochs::LAYOUT,
    sandbox::LAYOUT,
];

/// The numbers that go with the layouts. Feature bits have a [registry](crate::features::REGISTRY) of their own.
pub const CONSTANTS: &[Constant] = &[
    constant("ADDR_ANY", rpmsg::ADDR_ANY, "any address, or one to be chosen"),
    constant("NAME_SERVICE_ADDR", rpmsg::NAME_SERVICE_ADDR, "where announcements are sent to"),
    constant("FIRST_DYNAMIC_ADDR", rpmsg::FIRST_DYNAMIC_ADDR, "least address that is given out on demand"),
    constant("DEFAULT_BUFFER_SIZE", rpmsg::DEFAULT_BUFFER_SIZE as u32, "bytes of a buffer, header included"),
    constant("NAME_SIZE", Name::SIZE as u32, "bytes of a service's name, the NUL included"),
    constant("NS_CREATE", name_service::CREATE, "flags of an announcement: the service came"),
    constant("NS_DESTROY", name_service::DESTROY, "flags of an announcement: the service went"),
    constant("DESC_NEXT", split::DESC_NEXT as u32, "flag of a descriptor: the chain goes on"),
    constant("DESC_WRITE", split::DESC_WRITE as u32, "flag of a descriptor: the device may write the buffer"),
    constant("DESC_INDIRECT", split::DESC_INDIRECT as u32, "flag of a descriptor: the buffer is a table"),
    constant("AVAIL_NO_INTERRUPT", split::AVAIL_NO_INTERRUPT as u32, "the driver wants no notification"),
    constant("USED_NO_NOTIFY", split::USED_NO_NOTIFY as u32, "the device wants no notification"),
    constant("STATUS_ACKNOWLEDGE", Status::ACKNOWLEDGE.0 as u32, "the driver has seen the device"),
    constant("STATUS_DRIVER", Status::DRIVER.0 as u32, "the driver knows how to drive it"),
    constant("STATUS_DRIVER_OK", Status::DRIVER_OK.0 as u32, "rings may be used"),
    constant("STATUS_FEATURES_OK", Status::FEATURES_OK.0 as u32, "features are chosen"),
    constant("STATUS_NEEDS_RESET", Status::NEEDS_RESET.0 as u32, "only a reset helps the device"),
    constant("STATUS_FAILED", Status::FAILED.0 as u32, "the driver has given the device up"),
    constant("TABLE_VERSION", table::Header::VERSION, "version of the resource table"),
    constant("ENTRY_CARVEOUT", Carveout::KIND, "type of a carveout entry"),
    constant("ENTRY_DEVMEM", Devmem::KIND, "type of a devmem entry"),
    constant("ENTRY_TRACE", Trace::KIND, "type of a trace entry"),
    constant("ENTRY_VDEV", VdevHeader::KIND, "type of a vdev entry"),
    constant("ENTRY_VENDOR_FIRST", vendor::START, "least type of a vendor's entry"),
    constant("ENTRY_VENDOR_LAST", vendor::END, "greatest type of a vendor's entry"),
    constant("ENTRY_OWN", VENDOR_ENTRY_TYPE, "type of sidecore's own entries, a kind behind it"),
    constant("KIND_TRACE_WORDS", TraceWords::KIND, "kind of an own entry: the words of a trace buffer"),
    constant("TRACE_WORDS_RINGS", TraceWords::RINGS, "flag of those: the remote rings as the word wake says"),
    constant("ENTRY_NAME_SIZE", FixedName::SIZE as u32, "bytes of an entry's name"),
    constant("ID_RPMSG", vdev::ID_RPMSG, "virtio id of an rpmsg device"),
    constant("RPMSG_CONFIG_VERSION", RpmsgConfig::VERSION as u32, "version of the rpmsg configuration"),
    constant("SANDBOX_MAGIC", sandbox::MAGIC_VALUE, "magic of the sandbox's page"),
    constant("SANDBOX_VERSION", sandbox::VERSION_VALUE, "version of the sandbox's page"),
];

const fn constant(name: &'static str, value: u32, text: &'static str) -> Constant {
    Constant { name, value, text }
}

/// A field, for the tables of the layouts.
pub(crate) const fn field(name: &'static str, at: usize, kind: Kind) -> Field {
    Field { name, at, kind }
}

#[cfg(test)]
mod tests;
