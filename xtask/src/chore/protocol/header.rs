//! The C header of all layouts, and a C program that tries it on the golden bytes.

mod golden;

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};
use sidecore_wire::{
    features::REGISTRY,
    layout::{ALL, CONSTANTS, Field, Kind, Record},
};

use super::{Made, judge};
use crate::{report::Step, source};

/// The header, named from the root of the tree.
const HEADER: &str = "common/wire/include/sidecore_wire.h";

/// The compilers, each with what makes it as strict as it gets.
const COMPILERS: &[(&str, &[&str])] = &[
    ("cc", &["-x", "c", "-std=c99", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Werror"]),
    (
        "c++",
        &["-x", "c++", "-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Wconversion", "-Wshadow", "-Werror"],
    ),
];

pub(super) fn check(step: &mut Step, made: Made) -> Result<()> {
    made.file(step, HEADER, &header())?;
    let folder = source::target_directory(source::MAIN)?.join("protocol");
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    let program = folder.join("golden.c");
    fs::write(&program, golden::program()?).with_context(|| program.display().to_string())?;
    for (compiler, flags) in COMPILERS {
        if Command::new(compiler).arg("--version").output().is_err() {
            step.not_run(format!("there is no {compiler}"));
            continue;
        }
        let binary = folder.join(format!("golden-{compiler}"));
        let include = source::root().join(Path::new(HEADER).parent().expect("it lies in a folder"));
        let built = step.run(
            Command::new(compiler).args(*flags).arg("-I").arg(include).arg("-o").arg(&binary).arg(&program),
        );
        match built.and_then(|()| step.run(&mut Command::new(&binary))) {
            Ok(()) => step.passes(),
            Err(error) => step.fails(format_args!("{error:#}")),
        }
    }
    judge(step)
}

/// The whole header.
fn header() -> String {
    let mut text = String::from(HEAD);
    for constant in CONSTANTS {
        text += &format!(
            "/* {} */\n#define SIDECORE_{} UINT32_C({:#x})\n",
            constant.text, constant.name, constant.value
        );
    }
    text += "\n/* Feature bits. */\n";
    for row in REGISTRY {
        text += &format!("/* {} */\n#define SIDECORE_{} (UINT64_C(1) << {})\n", row.text, row.name, row.bit);
    }
    text += HELPERS;
    for record in ALL {
        text += &offsets(record);
        if record.is_whole() {
            text += &structure(record);
            text += &functions(record);
        }
    }
    text + TAIL
}

/// Length and offsets of a layout.
fn offsets(record: &Record) -> String {
    let upper = record.name.to_uppercase();
    let mut text =
        format!("\n/* {}. */\n#define SIDECORE_{upper}_SIZE {}\n", capital(record.text), record.size);
    for field in record.fields {
        text += &format!("#define SIDECORE_{upper}_{}_AT {}\n", field.name.to_uppercase(), field.at);
    }
    text
}

/// A struct with the fields of a layout, and what must hold of it.
fn structure(record: &Record) -> String {
    let Record { name, size, fields, .. } = record;
    let overlays = is_natural(record);
    let note = match overlays {
        true => "As it lies in memory, on a little endian processor.",
        false => "Not as it lies in memory: there, fields are not aligned.",
    };
    let mut text = format!("\n/* {note} */\nstruct sidecore_{name} {{\n");
    for Field { name, kind, .. } in *fields {
        text += &match kind {
            Kind::Bytes(count) => format!("    uint8_t {name}[{count}];\n"),
            _ => format!("    {} {name};\n", c_type(*kind)),
        };
    }
    text += "};\n\n";
    let upper = name.to_uppercase();
    let mut end = "0".to_owned();
    for field in *fields {
        let at = format!("SIDECORE_{upper}_{}_AT", field.name.to_uppercase());
        text += &assert(&format!("{name}_{}_follows", field.name), &format!("{at} == {end}"));
        if overlays {
            let offset = format!("offsetof(struct sidecore_{name}, {})", field.name);
            text += &assert(&format!("{name}_{}_overlays", field.name), &format!("{offset} == {at}"));
        }
        end = format!("{at} + {}", field.kind.size());
    }
    text += &assert(&format!("{name}_ends"), &format!("SIDECORE_{upper}_SIZE == {end}"));
    if overlays {
        text += &assert(&format!("{name}_is_as_long"), &format!("sizeof(struct sidecore_{name}) == {size}"));
    }
    text
}

/// The functions that read and write a layout.
fn functions(record: &Record) -> String {
    let Record { name, fields, .. } = record;
    let upper = name.to_uppercase();
    let at = |field: &Field| format!("SIDECORE_{upper}_{}_AT", field.name.to_uppercase());
    let mut text = format!(
        "\nstatic inline void sidecore_{name}_parse(struct sidecore_{name} *to, const uint8_t *from)\n{{\n"
    );
    for field in *fields {
        let (name, at) = (field.name, at(field));
        text += &match field.kind {
            Kind::Bytes(count) => format!("    sidecore_copy(to->{name}, from + {at}, {count});\n"),
            kind => format!("    to->{name} = sidecore_get_{}(from + {at});\n", short(kind)),
        };
    }
    text += &format!(
        "}}\n\nstatic inline void sidecore_{name}_emit(const struct sidecore_{name} *from, uint8_t *to)\n{{\n"
    );
    for field in *fields {
        let (name, at) = (field.name, at(field));
        text += &match field.kind {
            Kind::Bytes(count) => format!("    sidecore_copy(to + {at}, from->{name}, {count});\n"),
            kind => format!("    sidecore_put_{}(to + {at}, from->{name});\n", short(kind)),
        };
    }
    text + "}\n"
}

/// Whether a compiler lays the fields out as they lie in memory.
fn is_natural(record: &Record) -> bool {
    let align = |kind: Kind| if matches!(kind, Kind::Bytes(_)) { 1 } else { kind.size() };
    let most = record.fields.iter().map(|field| align(field.kind)).max().unwrap_or(1);
    let aligned = record.fields.iter().all(|field| field.at.is_multiple_of(align(field.kind)));
    aligned && record.size.is_multiple_of(most)
}

fn assert(name: &str, condition: &str) -> String {
    format!("SIDECORE_ASSERT({name}, {condition});\n")
}

fn short(kind: Kind) -> &'static str {
    match kind {
        Kind::Bytes(_) | Kind::U8 => "u8",
        Kind::I32 => "i32",
        Kind::U16 => "u16",
        Kind::U32 => "u32",
        Kind::U64 => "u64",
    }
}

fn c_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Bytes(_) | Kind::U8 => "uint8_t",
        Kind::I32 => "int32_t",
        Kind::U16 => "uint16_t",
        Kind::U32 => "uint32_t",
        Kind::U64 => "uint64_t",
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

const HEAD: &str = r#"/*
 * The layouts of sidecore's protocol, for C99 and C++11. Made by `cargo xtask protocol --write`.
 *
 * All layouts are little endian and packed. For each there is its length, the offset of each field, a struct in the
 * processor's own order, and two functions: `parse` reads the bytes, `emit` writes them, at any alignment and on any
 * processor. What lies in shared memory is copied first and then parsed from the copy: the peer may change it meanwhile.
 */
#ifndef SIDECORE_WIRE_H
#define SIDECORE_WIRE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Fails to compile unless the condition holds. */
#define SIDECORE_ASSERT(name, condition) typedef char sidecore_assert_##name[(condition) ? 1 : -1]

"#;

const HELPERS: &str = r#"
static inline void sidecore_copy(uint8_t *to, const uint8_t *from, size_t count)
{
    size_t i;
    for (i = 0; i < count; i++) {
        to[i] = from[i];
    }
}

static inline uint8_t sidecore_get_u8(const uint8_t *from)
{
    return from[0];
}

static inline uint16_t sidecore_get_u16(const uint8_t *from)
{
    return (uint16_t)(from[0] | from[1] << 8);
}

static inline uint32_t sidecore_get_u32(const uint8_t *from)
{
    return sidecore_get_u16(from) | (uint32_t)sidecore_get_u16(from + 2) << 16;
}

static inline uint64_t sidecore_get_u64(const uint8_t *from)
{
    return sidecore_get_u32(from) | (uint64_t)sidecore_get_u32(from + 4) << 32;
}

static inline void sidecore_put_u8(uint8_t *to, uint8_t value)
{
    to[0] = value;
}

static inline void sidecore_put_u16(uint8_t *to, uint16_t value)
{
    to[0] = (uint8_t)(value & 0xff);
    to[1] = (uint8_t)(value >> 8);
}

static inline void sidecore_put_u32(uint8_t *to, uint32_t value)
{
    sidecore_put_u16(to, (uint16_t)(value & 0xffff));
    sidecore_put_u16(to + 2, (uint16_t)(value >> 16));
}

static inline void sidecore_put_u64(uint8_t *to, uint64_t value)
{
    sidecore_put_u32(to, (uint32_t)(value & 0xffffffff));
    sidecore_put_u32(to + 4, (uint32_t)(value >> 32));
}

/*
 * A split ring of `num` descriptors: where its parts begin, in bytes from its own beginning. The descriptors are at 0.
 * `num` is a power of two from 1 to 32768, `align` one from 4 on.
 */

/* The available part: flags, index 2 bytes behind, slots 4 bytes behind. */
static inline uint32_t sidecore_ring_available(uint32_t num)
{
    return 16 * num;
}

/* Where the driver says at which used index it wants a notification. */
static inline uint32_t sidecore_ring_used_event(uint32_t num)
{
    return sidecore_ring_available(num) + 4 + 2 * num;
}

/* The used part: flags, index 2 bytes behind, slots 4 bytes behind. */
static inline uint32_t sidecore_ring_used(uint32_t num, uint32_t align)
{
    return (sidecore_ring_used_event(num) + 2 + (align - 1)) & ~(align - 1);
}

/* Where the device says at which available index it wants a notification. */
static inline uint32_t sidecore_ring_available_event(uint32_t num, uint32_t align)
{
    return sidecore_ring_used(num, align) + 4 + 8 * num;
}

/* Bytes of the whole ring. */
static inline uint32_t sidecore_ring_size(uint32_t num, uint32_t align)
{
    return sidecore_ring_available_event(num, align) + 2;
}

/* Whether an index that moved from `before` to `now` passed `event`, so that a notification is wanted. */
static inline int sidecore_need_event(uint16_t event, uint16_t now, uint16_t before)
{
    return (uint16_t)(now - event - 1) < (uint16_t)(now - before);
}
"#;

const TAIL: &str = r#"
#ifdef __cplusplus
}
#endif

#endif
"#;

#[cfg(test)]
mod tests {
    use super::*;

    const ODD: Record = Record {
        name: "odd",
        text: "an odd one",
        size: 3,
        fields: &[Field { name: "a", at: 0, kind: Kind::U8 }, Field { name: "b", at: 1, kind: Kind::U16 }],
    };

    #[test]
    fn only_what_a_compiler_aligns_alike_is_said_to_overlay() {
        assert!(!is_natural(&ODD));
        assert!(!structure(&ODD).contains("offsetof"));
        let even = Record {
            size: 4,
            fields: &[
                Field { name: "a", at: 0, kind: Kind::Bytes(2) },
                Field { name: "b", at: 2, kind: Kind::U16 },
            ],
            ..ODD
        };
        assert!(is_natural(&even));
        assert!(
            structure(&even).contains("SIDECORE_ASSERT(odd_b_overlays, offsetof(struct sidecore_odd, b) ==")
        );
    }

    #[test]
    fn every_layout_and_number_is_in_the_header() {
        let header = header();
        for record in ALL {
            assert!(header.contains(&format!(
                "#define SIDECORE_{}_SIZE {}\n",
                record.name.to_uppercase(),
                record.size
            )));
            assert_eq!(header.contains(&format!("struct sidecore_{} {{", record.name)), record.is_whole());
        }
        for name in CONSTANTS.iter().map(|constant| constant.name).chain(REGISTRY.iter().map(|row| row.name))
        {
            assert_eq!(header.matches(&format!("#define SIDECORE_{name} ")).count(), 1, "{name}");
        }
    }
}
