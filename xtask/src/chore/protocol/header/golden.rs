//! The C program that reads the golden bytes, compares what it read with the golden values, and writes them again.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use sidecore_wire::{
    layout::{ALL, Record},
    split::{Layout, need_event},
};

use super::super::read;

/// The golden bytes, named from the root of the tree.
const GOLDEN: &str = "common/wire/golden/layouts.txt";

/// Rings whose offsets are compared.
const RINGS: &[(u16, u32)] = &[(1, 4), (2, 4096), (8, 16), (16, 4), (64, 64), (256, 4096), (32768, 65536)];

/// Indices around which events are compared.
const INDICES: &[u16] = &[0, 1, 2, 0x7FFF, 0x8000, 0xFFFD, 0xFFFF];

pub(super) fn program() -> Result<String> {
    let mut body = String::new();
    let golden = read(GOLDEN)?;
    let records = records(&golden)?;
    for (name, fields) in &records {
        record(&mut body, name, fields)?;
    }
    let tried = |layout: &Record| records.iter().any(|(name, _)| *name == layout.name);
    if let Some(layout) = ALL.iter().find(|layout| layout.is_whole() && !tried(layout)) {
        bail!("{GOLDEN} has no {}", layout.name);
    }
    for &(num, align) in RINGS {
        let layout = Layout::new(num, align).context("a ring to compare")?;
        for (function, value) in [
            (format!("available({num})"), layout.available_flags()),
            (format!("used_event({num})"), layout.used_event()),
            (format!("used({num}, {align})"), layout.used_flags()),
            (format!("available_event({num}, {align})"), layout.available_event()),
            (format!("size({num}, {align})"), layout.size()),
        ] {
            writeln!(body, "    CHECK(sidecore_ring_{function} == UINT32_C({value}));")?;
        }
    }
    for (&event, &now, &before) in
        INDICES.iter().flat_map(|a| INDICES.iter().flat_map(move |b| INDICES.iter().map(move |c| (a, b, c))))
    {
        let wanted = i32::from(need_event(event, now, before));
        writeln!(body, "    CHECK(sidecore_need_event({event}, {now}, {before}) == {wanted});")?;
    }
    Ok(format!("{HEAD}{body}{TAIL}"))
}

/// A field of a golden record: its name, its value if that is a number, and its bytes in hexadecimal.
type Field<'a> = (&'a str, Option<u64>, Vec<&'a str>);

/// The golden records: each name with its fields.
fn records(text: &str) -> Result<Vec<(&str, Vec<Field<'_>>)>> {
    let mut records: Vec<(&str, Vec<Field<'_>>)> = Vec::new();
    for line in text.lines().filter_map(|line| line.split('#').next()) {
        let mut words = line.split_whitespace();
        let Some(name) = words.next() else { continue };
        if !line.starts_with(' ') {
            records.push((name, Vec::new()));
            continue;
        }
        let (_, fields) = records.last_mut().context("a field before the first layout")?;
        let value = words.next().with_context(|| format!("{name} has no value"))?;
        fields.push((name, value.parse().ok(), words.collect()));
    }
    Ok(records)
}

/// The block that tries one record.
fn record(body: &mut String, name: &str, fields: &[Field<'_>]) -> Result<()> {
    let bytes: Vec<String> =
        fields.iter().flat_map(|(_, _, bytes)| bytes.iter().map(|byte| format!("0x{byte}"))).collect();
    let size = format!("SIDECORE_{}_SIZE", name.to_uppercase());
    writeln!(body, "    {{\n        static const uint8_t golden[] = {{ {} }};", bytes.join(", "))?;
    // One byte further than the compiler would align it.
    writeln!(body, "        uint8_t bytes[{size} + 1];\n        struct sidecore_{name} value;")?;
    writeln!(body, "        CHECK(sizeof golden == {size});")?;
    writeln!(body, "        memcpy(bytes + 1, golden, sizeof golden);")?;
    writeln!(body, "        sidecore_{name}_parse(&value, bytes + 1);")?;
    let mut at = 0;
    for (field, value, bytes) in fields {
        match value {
            Some(value) => writeln!(body, "        CHECK(value.{field} == UINT64_C({value}));")?,
            None => writeln!(
                body,
                "        CHECK(memcmp(value.{field}, golden + {at}, sizeof value.{field}) == 0);\n        \
                 CHECK(sizeof value.{field} == {});",
                bytes.len()
            )?,
        }
        at += bytes.len();
    }
    writeln!(body, "        memset(bytes, 0xa5, sizeof bytes);")?;
    writeln!(body, "        sidecore_{name}_emit(&value, bytes + 1);")?;
    writeln!(body, "        CHECK(memcmp(bytes + 1, golden, sizeof golden) == 0);")?;
    writeln!(body, "        CHECK(bytes[0] == 0xa5);\n    }}")?;
    Ok(())
}

const HEAD: &str = r#"#include "sidecore_wire.h"

#include <stdio.h>
#include <string.h>

static int failures;

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            printf("line %d: %s\n", __LINE__, #condition); \
            failures++; \
        } \
    } while (0)

int main(void)
{
"#;

const TAIL: &str = "    return failures != 0;\n}\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_with_their_fields() {
        let text = "# why\none\n    a  1  01 00 # here\n    b  -  02\n\ntwo\n";
        let expected =
            vec![("one", vec![("a", Some(1), vec!["01", "00"]), ("b", None, vec!["02"])]), ("two", vec![])];
        assert_eq!(records(text).unwrap(), expected);
        assert!(records("    a 1 01\n").is_err());
    }

    #[test]
    fn every_golden_byte_is_in_the_program() {
        let program = program().unwrap();
        assert!(program.contains("{ 0x01, 0x04, 0x00, 0x00, 0x35,"));
        assert!(program.contains("CHECK(value.dfeatures == UINT64_C(805306371));"));
        assert!(program.contains("CHECK(sidecore_ring_size(256, 4096) == UINT32_C(10246));"));
    }
}
