//! The messages of vhost-user as they lie on the socket.
//!
//! A header of 12 bytes (request, flags, bytes of payload), then the payload; all numbers in the machine's own byte
//! order. Source: QEMU `docs/interop/vhost-user.rst`, "Message Specification".

use crate::Fault;

/// Bytes of a header.
pub(crate) const HEADER: usize = 12;

/// The longest payload that is taken, in bytes. The longest that makes sense is a memory table, of 264.
pub(crate) const PAYLOAD_MAX: u32 = 4096;

/// Version 1 of the protocol, in the low two bits of the flags.
const VERSION: u32 = 1;
const VERSION_MASK: u32 = 3;
const REPLY: u32 = 1 << 2;
const NEED_REPLY: u32 = 1 << 3;

/// In the payload of the messages that set doorbells: there is no descriptor.
const NO_FD: u64 = 1 << 8;

/// The header of a message from the front end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) request: u32,
    flags: u32,
    pub(crate) len: u32,
}

impl Header {
    /// Reads a header.
    ///
    /// # Errors
    /// It is of another version, or an answer to nothing, or announces a payload longer than any.
    pub(crate) fn parse(bytes: &[u8; HEADER]) -> Result<Self, Fault> {
        let mut fields = Fields(bytes);
        let header = Self { request: fields.u32(), flags: fields.u32(), len: fields.u32() };
        if header.flags & VERSION_MASK != VERSION || header.flags & REPLY != 0 {
            return Err(Fault::Header { field: "flags", value: header.flags });
        }
        if header.len > PAYLOAD_MAX {
            return Err(Fault::Header { field: "size", value: header.len });
        }
        Ok(header)
    }

    /// Whether the front end wants to know how it went.
    pub(crate) const fn needs_reply(self) -> bool {
        self.flags & NEED_REPLY != 0
    }
}

/// A message to the front end: an answer to `request`, or, with `is_reply` false, one of our own on the channel for them.
pub(crate) fn emit(request: u32, is_reply: bool, payload: &[u8]) -> Vec<u8> {
    let flags = if is_reply { VERSION | REPLY } else { VERSION };
    let mut bytes = Vec::with_capacity(HEADER + payload.len());
    for field in [request, flags, payload.len() as u32] {
        bytes.extend_from_slice(&field.to_ne_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes
}

/// Two numbers of 32 bits as a payload.
pub(crate) fn pair(first: u32, second: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&first.to_ne_bytes());
    bytes[4..].copy_from_slice(&second.to_ne_bytes());
    bytes
}

/// Messages of our own: a ring has used buffers, a ring is broken.
pub(crate) const VRING_CALL: u32 = 4;
pub(crate) const VRING_ERR: u32 = 5;

/// One memory that the front end lends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lending {
    /// Where the guest has it: the addresses in descriptors.
    pub(crate) guest: u64,
    /// Its length in bytes.
    pub(crate) len: u64,
    /// Where the front end has it: the addresses of rings.
    pub(crate) user: u64,
    /// Where it begins in its file.
    pub(crate) offset: u64,
}

/// Where the parts of a ring are, by the front end's addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RingAddresses {
    pub(crate) descriptors: u64,
    pub(crate) used: u64,
    pub(crate) available: u64,
}

/// Which doorbell of a ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bell {
    Kick,
    Call,
    Err,
}

/// What the front end asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    GetFeatures,
    SetFeatures(u64),
    SetOwner,
    ResetOwner,
    SetMemTable(Vec<Lending>),
    SetVringNum { index: u32, num: u32 },
    SetVringAddr { index: u32, flags: u32, addresses: RingAddresses },
    SetVringBase { index: u32, base: u32 },
    GetVringBase { index: u32 },
    SetBell { bell: Bell, index: u32, has_fd: bool },
    GetProtocolFeatures,
    SetProtocolFeatures(u64),
    GetQueueNum,
    SetVringEnable { index: u32, enable: u32 },
    SetBackendReqFd,
    GetConfig { offset: u32, len: u32 },
    SetConfig,
    ResetDevice,
    VringKick { index: u32 },
    GetMaxMemSlots,
    AddMemReg(Lending),
    RemMemReg(Lending),
    SetStatus(u64),
    GetStatus,
}

/// Requests that this device knows: number, name, bytes of payload at least.
const KNOWN: &[(u32, &str, usize)] = &[
    (1, "GET_FEATURES", 0),
    (2, "SET_FEATURES", 8),
    (3, "SET_OWNER", 0),
    (4, "RESET_OWNER", 0),
    (5, "SET_MEM_TABLE", 8),
    (8, "SET_VRING_NUM", 8),
    (9, "SET_VRING_ADDR", 40),
    (10, "SET_VRING_BASE", 8),
    (11, "GET_VRING_BASE", 8),
    (12, "SET_VRING_KICK", 8),
    (13, "SET_VRING_CALL", 8),
    (14, "SET_VRING_ERR", 8),
    (15, "GET_PROTOCOL_FEATURES", 0),
    (16, "SET_PROTOCOL_FEATURES", 8),
    (17, "GET_QUEUE_NUM", 0),
    (18, "SET_VRING_ENABLE", 8),
    (21, "SET_BACKEND_REQ_FD", 0),
    (24, "GET_CONFIG", 12),
    (25, "SET_CONFIG", 12),
    (34, "RESET_DEVICE", 0),
    (35, "VRING_KICK", 8),
    (36, "GET_MAX_MEM_SLOTS", 0),
    (37, "ADD_MEM_REG", 40),
    (38, "REM_MEM_REG", 40),
    (39, "SET_STATUS", 8),
    (40, "GET_STATUS", 0),
];

/// The name of a request, for people.
pub(crate) fn name(number: u32) -> &'static str {
    KNOWN.iter().find(|row| row.0 == number).map_or("an unknown request", |row| row.1)
}

impl Request {
    /// Reads a message. More payload than there should be is left alone: User-Mode Linux always sends a memory table
    /// with room for two.
    ///
    /// # Errors
    /// The request is unknown, or its payload too short.
    pub(crate) fn parse(number: u32, payload: &[u8]) -> Result<Self, Fault> {
        let row = KNOWN.iter().find(|row| row.0 == number).ok_or(Fault::Unknown { number })?;
        let (_, request, wanted) = *row;
        let len = payload.len();
        if len < wanted {
            return Err(Fault::Payload { request, len, wanted });
        }
        let mut fields = Fields(payload);
        let parsed = match number {
            1 => Self::GetFeatures,
            2 => Self::SetFeatures(fields.u64()),
            3 => Self::SetOwner,
            4 => Self::ResetOwner,
            5 => {
                let count = fields.u32() as usize;
                let _padding = fields.u32();
                let wanted = count.saturating_mul(32).saturating_add(8);
                if len < wanted {
                    return Err(Fault::Payload { request, len, wanted });
                }
                Self::SetMemTable((0..count).map(|_| fields.lending()).collect())
            }
            8 => Self::SetVringNum { index: fields.u32(), num: fields.u32() },
            9 => {
                let (index, flags) = (fields.u32(), fields.u32());
                let (descriptors, used, available) = (fields.u64(), fields.u64(), fields.u64());
                Self::SetVringAddr { index, flags, addresses: RingAddresses { descriptors, used, available } }
            }
            10 => Self::SetVringBase { index: fields.u32(), base: fields.u32() },
            11 => Self::GetVringBase { index: fields.u32() },
            12..=14 => {
                let value = fields.u64();
                let bell = [Bell::Kick, Bell::Call, Bell::Err][number as usize - 12];
                Self::SetBell { bell, index: (value & 0xff) as u32, has_fd: value & NO_FD == 0 }
            }
            15 => Self::GetProtocolFeatures,
            16 => Self::SetProtocolFeatures(fields.u64()),
            17 => Self::GetQueueNum,
            18 => Self::SetVringEnable { index: fields.u32(), enable: fields.u32() },
            21 => Self::SetBackendReqFd,
            24 => Self::GetConfig { offset: fields.u32(), len: fields.u32() },
            25 => Self::SetConfig,
            34 => Self::ResetDevice,
            35 => Self::VringKick { index: fields.u32() },
            36 => Self::GetMaxMemSlots,
            37 | 38 => {
                let _padding = fields.u64();
                let lending = fields.lending();
                if number == 37 { Self::AddMemReg(lending) } else { Self::RemMemReg(lending) }
            }
            39 => Self::SetStatus(fields.u64()),
            40 => Self::GetStatus,
            _ => return Err(Fault::Unknown { number }),
        };
        Ok(parsed)
    }
}

/// The rest of a payload. What is not there reads as 0; lengths have been checked before.
struct Fields<'p>(&'p [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *first
    }

    fn u32(&mut self) -> u32 {
        u32::from_ne_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_ne_bytes(self.take())
    }

    fn lending(&mut self) -> Lending {
        Lending { guest: self.u64(), len: self.u64(), user: self.u64(), offset: self.u64() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u64]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn every_request_is_read_from_exactly_as_many_bytes_as_the_table_says() {
        for (number, name, len) in KNOWN.iter().copied() {
            assert!(Request::parse(number, &vec![0; len]).is_ok(), "{name}");
            if len > 0 {
                let fault = Fault::Payload { request: name, len: len - 1, wanted: len };
                assert_eq!(Request::parse(number, &vec![0; len - 1]), Err(fault));
            }
        }
        for number in (0..100).filter(|number| KNOWN.iter().all(|row| row.0 != *number)) {
            assert_eq!(Request::parse(number, &[0; 64]), Err(Fault::Unknown { number }));
        }
    }

    #[test]
    fn a_memory_table_may_be_longer_than_its_count_and_never_shorter() {
        let one = Lending { guest: 1, len: 2, user: 3, offset: 4 };
        let table = |count: u32| [pair(count, 0).to_vec(), words(&[1, 2, 3, 4, 0, 0, 0, 0])].concat();
        assert_eq!(Request::parse(5, &table(1)), Ok(Request::SetMemTable(vec![one])));
        let wanted = 8 + 32 * 3;
        assert_eq!(
            Request::parse(5, &table(3)),
            Err(Fault::Payload { request: "SET_MEM_TABLE", len: 72, wanted })
        );
        assert!(matches!(Request::parse(5, &table(u32::MAX)), Err(Fault::Payload { len: 72, .. })));
    }

    #[test]
    fn fields_are_where_the_protocol_has_them() {
        let addresses = RingAddresses { descriptors: 0x1000, used: 0x3000, available: 0x2000 };
        let payload = [pair(1, 0).to_vec(), words(&[0x1000, 0x3000, 0x2000, u64::MAX])].concat();
        assert_eq!(Request::parse(9, &payload), Ok(Request::SetVringAddr { index: 1, flags: 0, addresses }));
        let bell = |bell, has_fd| Ok(Request::SetBell { bell, index: 1, has_fd });
        assert_eq!(Request::parse(12, &words(&[1])), bell(Bell::Kick, true));
        assert_eq!(Request::parse(13, &words(&[0x101])), bell(Bell::Call, false));
        let lending = Lending { guest: 1, len: 2, user: 3, offset: 4 };
        assert_eq!(Request::parse(37, &words(&[0, 1, 2, 3, 4])), Ok(Request::AddMemReg(lending)));
    }

    #[test]
    fn headers_of_other_versions_answers_and_endless_payloads_are_refused() {
        let header = |flags: u32, len: u32| {
            let mut bytes = [0; HEADER];
            bytes[..4].copy_from_slice(&1_u32.to_ne_bytes());
            bytes[4..].copy_from_slice(&pair(flags, len));
            Header::parse(&bytes)
        };
        assert!(!header(1, 0).unwrap().needs_reply());
        assert!(header(9, PAYLOAD_MAX).unwrap().needs_reply());
        for flags in [0, 2, 3, 5] {
            assert_eq!(header(flags, 0), Err(Fault::Header { field: "flags", value: flags }));
        }
        assert_eq!(header(1, u32::MAX), Err(Fault::Header { field: "size", value: u32::MAX }));
        assert_eq!(emit(11, true, &pair(1, 7))[..8], [pair(11, 5)].concat()[..]);
    }
}
