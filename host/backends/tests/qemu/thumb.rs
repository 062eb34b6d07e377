//! Firmware for Cortex-M, instruction by instruction (Armv7-M ARM, A7.7), so that no compiler is needed.

/// Where images of the an386 lie, the page, and what else the test firmware uses of the window.
pub const IMAGE: u64 = 0x2100_0000;
pub const PAGE: u32 = 0x2180_0000;
pub const SHARED: u32 = 0x2190_0000;
/// UART1, the mailbox, and its registers.
pub const UART: u32 = 0x4000_5000;
pub const DATA: u32 = 0;
pub const CTRL: u32 = 8;
pub const INTSTATUS: u32 = 12;

/// A vector table of 32 words, then code.
#[derive(Clone)]
pub struct Firmware {
    base: u64,
    vectors: [u32; 32],
    code: Vec<u8>,
}

/// A place to jump back to.
#[derive(Clone, Copy)]
pub struct Label(usize);

const VECTORS: usize = 32 * 4;

impl Firmware {
    /// Code for this address; every fault ends in a core that sleeps.
    pub fn at(base: u64) -> Self {
        let mut firmware = Self { base, vectors: [0; 32], code: Vec::new() };
        firmware.vectors[0] = 0x2170_0000;
        firmware.vectors[1] = firmware.address() | 1;
        firmware
    }

    pub fn entry(&self) -> u64 {
        u64::from(self.vectors[1])
    }

    pub fn finish(&self) -> Vec<u8> {
        let vectors = self.vectors.iter().flat_map(|word| word.to_le_bytes());
        vectors.chain(self.code.iter().copied()).collect()
    }

    /// The vector's handler begins here.
    pub fn vector(mut self, number: usize) -> Self {
        self.vectors[number] = self.address() | 1;
        self
    }

    /// The vector leads to nothing.
    pub fn no_vector(mut self, number: usize) -> Self {
        self.vectors[number] = 0xffff_fff1;
        self
    }

    pub fn here(&self) -> Label {
        Label(self.code.len())
    }

    pub fn address(&self) -> u32 {
        u32::try_from(self.base as usize + VECTORS + self.code.len()).unwrap()
    }

    pub fn constant(self, register: u16, value: u32) -> Self {
        let move_half = |firmware: Self, opcode: u16, half: u16| {
            let (imm4, i, imm3, imm8) = (half >> 12, half >> 11 & 1, half >> 8 & 7, half & 0xff);
            firmware.half(opcode | i << 10 | imm4).half(imm3 << 12 | register << 8 | imm8)
        };
        let low = move_half(self, 0xf240, value as u16);
        move_half(low, 0xf2c0, (value >> 16) as u16)
    }

    /// Writes a word; uses r0 and r1.
    pub fn store(self, at: u32, value: u32) -> Self {
        self.constant(0, at).constant(1, value).half(0x6001) // str r1, [r0]
    }

    /// Copies a word; uses r0 and r1.
    pub fn copy(self, from: u32, to: u32) -> Self {
        self.constant(0, from).half(0x6801).constant(0, to).half(0x6001) // ldr r1, [r0]; str r1, [r0]
    }

    /// Adds one to a word; uses r0 and r1.
    pub fn increment(self, at: u32) -> Self {
        self.constant(0, at).half(0x6801).half(0x3101).half(0x6001) // ldr r1, [r0]; adds r1, #1; str r1, [r0]
    }

    /// Goes on at the label.
    pub fn jump(self, to: Label) -> Self {
        let distance = to.0 as i32 - (self.code.len() as i32 + 4);
        self.half(0xe000 | (distance >> 1) as u16 & 0x7ff)
    }

    /// Waits until this bit of the word is set; uses r0 and r1.
    pub fn until(self, at: u32, bit: u16) -> Self {
        let code = self.constant(0, at);
        let shift = 31 - bit;
        code.half(0x6801).half(shift << 6 | 1 << 3 | 1).half(0xd5fc) // ldr r1, [r0]; lsls r1, r1, #shift; bpl
    }

    pub fn sleep(self) -> Self {
        self.half(0xbf30) // wfi
    }

    pub fn undefined(self) -> Self {
        self.half(0xde00) // udf #0
    }

    pub fn give_back(self) -> Self {
        self.half(0x4770) // bx lr
    }

    /// Opens the mailbox, with the receive interrupt, and says so.
    pub fn up(self) -> Self {
        self.store(UART + 16, 16).store(UART + CTRL, 0b1011).store(0xe000_e100, 1 << 2).state(1)
    }

    /// Says how it is.
    pub fn state(self, state: u32) -> Self {
        self.store(PAGE + 200, state).store(UART + DATA, 0xff)
    }

    pub fn half(mut self, opcode: u16) -> Self {
        self.code.extend_from_slice(&opcode.to_le_bytes());
        self
    }
}
