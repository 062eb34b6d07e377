//! Names for addresses, from a firmware file's symbol table.

use object::{Object as _, ObjectSymbol as _, SymbolKind};

/// The function that an address lies in, as `name+0x12`; none where the file has no symbols for it.
pub(crate) fn place(elf: &[u8], address: u64) -> Option<String> {
    let file = object::File::parse(elf).ok()?;
    let functions = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let holds = |symbol: &object::Symbol<'_, '_>| {
        // Bit 0 of an Arm function's address says Thumb.
        let start = symbol.address() & !1;
        start <= address && address - start < symbol.size().max(1)
    };
    let symbol = functions.filter(holds).max_by_key(object::ObjectSymbol::address)?;
    let name = format!("{:#}", rustc_demangle::demangle(symbol.name().ok()?));
    let name: String = name.chars().filter(|c| !c.is_control()).take(NAME_MAX).collect();
    match address - (symbol.address() & !1) {
        0 => Some(name),
        offset => Some(format!("{name}+{offset:#x}")),
    }
}

/// Characters of a name that are shown.
const NAME_MAX: usize = 120;
