//! Firmware for the tests, instruction by instruction, for x86_64 and aarch64.

/// Code under construction. Scratch registers are the only state between instructions that matters, and no method
/// keeps any.
#[derive(Clone, Default)]
pub struct Code(Vec<u8>);

/// A place to jump back to.
#[derive(Clone, Copy)]
pub struct Label(usize);

impl Code {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }

    pub fn here(&self) -> Label {
        Label(self.0.len())
    }

    /// Bytes so far: how far a crash at this place is from the entry.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn exit(self, code: u32) -> Self {
        self.call(nr::EXIT_GROUP, [code.into(), 0, 0])
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(target_arch = "x86_64")]
pub mod nr {
    pub const READ: u32 = 0;
    pub const WRITE: u32 = 1;
    pub const CLOSE: u32 = 3;
    pub const POLL: u32 = 7;
    pub const GETPID: u32 = 39;
    pub const EXIT_GROUP: u32 = 231;
    pub const OPENAT: u32 = 257;
    pub const FUTEX: u32 = 202;
}

#[cfg(target_arch = "x86_64")]
impl Code {
    /// A system call with up to three arguments that fit 32 bits.
    pub fn call(self, number: u32, arguments: [u64; 3]) -> Self {
        let [a, b, c] = arguments.map(|argument| u32::try_from(argument).unwrap().to_le_bytes());
        self.raw(&[0xbf])
            .raw(&a) // mov edi, a
            .raw(&[0xbe])
            .raw(&b) // mov esi, b
            .raw(&[0xba])
            .raw(&c) // mov edx, c
            .raw(&[0xb8])
            .raw(&number.to_le_bytes()) // mov eax, number
            .raw(&[0x0f, 0x05]) // syscall
    }

    /// Writes a 32-bit word to an address below 2 GiB.
    pub fn store(self, at: u64, value: u32) -> Self {
        self.raw(&[0xc7, 0x04, 0x25]).raw(&address(at)).raw(&value.to_le_bytes()) // mov dword ptr [at], value
    }

    /// Copies a 32-bit word.
    pub fn copy(self, from: u64, to: u64) -> Self {
        self.raw(&[0x8b, 0x04, 0x25])
            .raw(&address(from)) // mov eax, [from]
            .raw(&[0x89, 0x04, 0x25])
            .raw(&address(to)) // mov [to], eax
    }

    /// Adds one to a 32-bit word.
    pub fn increment(self, at: u64) -> Self {
        self.raw(&[0xff, 0x04, 0x25]).raw(&address(at)) // inc dword ptr [at]
    }

    /// Reads the word at any address, for its fault.
    pub fn read_far(self, at: u64) -> Self {
        self.raw(&[0x48, 0xb8])
            .raw(&at.to_le_bytes()) // mov rax, at
            .raw(&[0x8b, 0x00]) // mov eax, [rax]
    }

    pub fn fence(self) -> Self {
        self.raw(&[0x0f, 0xae, 0xf0]) // mfence
    }

    /// Goes on at the label.
    pub fn jump(self, to: Label) -> Self {
        let distance = i32::try_from(to.0 as i64 - (self.0.len() + 5) as i64).unwrap();
        self.raw(&[0xe9]).raw(&distance.to_le_bytes()) // jmp to
    }

    /// Goes on at the label if the word is zero.
    pub fn jump_if_zero(self, at: u64, to: Label) -> Self {
        let code = self.raw(&[0x83, 0x3c, 0x25]).raw(&address(at)).raw(&[0]); // cmp dword ptr [at], 0
        let distance = i32::try_from(to.0 as i64 - (code.0.len() + 6) as i64).unwrap();
        code.raw(&[0x0f, 0x84]).raw(&distance.to_le_bytes()) // je to
    }

    /// Leaves out what `code` appends if the word is zero.
    pub fn unless_zero(self, at: u64, then: impl FnOnce(Self) -> Self) -> Self {
        let mut code = self.raw(&[0x83, 0x3c, 0x25]).raw(&address(at)).raw(&[0]); // cmp dword ptr [at], 0
        code = code.raw(&[0x0f, 0x84, 0, 0, 0, 0]); // je behind
        let begin = code.0.len();
        code = then(code);
        let distance = u32::try_from(code.0.len() - begin).unwrap();
        code.0[begin - 4..begin].copy_from_slice(&distance.to_le_bytes());
        code
    }

    /// Jumps to an address.
    pub fn go_to(self, at: u64) -> Self {
        self.raw(&[0x48, 0xb8]).raw(&at.to_le_bytes()).raw(&[0xff, 0xe0]) // mov rax, at; jmp rax
    }

    /// The trap of a panic.
    pub fn trap(self) -> Self {
        self.raw(&[0x0f, 0x0b]) // ud2
    }

    /// An instruction for kernels alone.
    pub fn privileged(self) -> Self {
        self.raw(&[0xf4]) // hlt
    }

    /// Stores every register's 64 bits from `to` on: rax rcx rdx rbx rsp rbp rsi rdi r8..r15, then the flags and xmm0.
    pub fn dump(mut self, to: u64) -> Self {
        for register in 0..16_u8 {
            let at = address(to + 8 * u64::from(register));
            let rex = if register < 8 { 0x48 } else { 0x4c };
            self = self.raw(&[rex, 0x89, 0x04 | (register & 7) << 3, 0x25]).raw(&at); // mov [at], register
        }
        self.raw(&[0x9c, 0x8f, 0x04, 0x25])
            .raw(&address(to + 128)) // pushfq; pop [to + 128]
            .raw(&[0x0f, 0x11, 0x04, 0x25])
            .raw(&address(to + 136)) // movups [to + 136], xmm0
    }
}

#[cfg(target_arch = "x86_64")]
fn address(at: u64) -> [u8; 4] {
    u32::try_from(at).ok().filter(|at| *at < 1 << 31).expect("an address below 2 GiB").to_le_bytes()
}
