//! The standard output: tables for people, JSON for programs, and what happens when nobody reads it. And notes beside
//! it.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::failure::Failure;

/// Prints text as it is; styles are dropped where the output is no terminal or the user wants none.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::output)
}

/// Prints one JSON object on a line of its own, with its schema in front.
pub(crate) fn print_json_line(schema: &'static str, body: &impl Serialize) -> Result<(), Failure> {
    let text =
        serde_json::to_string(&Document { schema, body }).map_err(|error| Failure::output(error.into()))?;
    print(&(text + "\n"))
}

/// Prints one JSON document with its schema in front.
pub(crate) fn print_json(schema: &'static str, body: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(&Document { schema, body });
    // Only maps with keys that are no text cannot be written, and there are none.
    let text = text.map_err(|error| Failure::output(error.into()))?;
    print(&format!("{text}\n"))
}

#[derive(Serialize)]
struct Document<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

/// A moment as people read it, in their time zone.
pub(crate) fn moment(time: Timestamp) -> String {
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%dT%H:%M:%S%.6f%:z").to_string()
}

/// Shows text of the firmware's on the standard error, as it is.
pub(crate) fn eprint(text: &str) {
    // A standard error that takes no more is no reason to stop the firmware.
    let _ = anstream::stderr().lock().write_all(text.as_bytes());
}

/// Says something about what is done, on the standard error.
pub(crate) fn note(what: &impl std::fmt::Display) {
    // A standard error that takes no more is no reason to stop the firmware.
    let _ = writeln!(anstream::stderr().lock(), "sidecore: {what}");
}

/// A table for people: as wide as the terminal, no lines but the one below the head.
pub(crate) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(head.iter().map(|title| title.to_uppercase()));
    table
}

/// The table's text, without blanks at the ends of lines.
pub(crate) fn lines(table: &Table) -> String {
    let mut text = String::new();
    for line in table.lines() {
        // The preset has a blank before every column.
        text.push_str(line.strip_prefix(' ').unwrap_or(&line).trim_end());
        text.push('\n');
    }
    text
}

/// A number of bytes as people say it: `64`, `4 KiB`, `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let text = format!("{value:.1}");
    format!("{} {}", text.strip_suffix(".0").unwrap_or(&text), UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_said_as_people_say_them() {
        assert_eq!([0, 1023, 1024, 1536, 1 << 20].map(size), ["0 B", "1023 B", "1 KiB", "1.5 KiB", "1 MiB"]);
        assert_eq!(size(u64::MAX), "16777216 TiB");
    }

    #[test]
    fn tables_have_no_blanks_at_the_end() {
        let mut table = table(&["name", "what"]);
        table.add_row(["a", "b"]).add_row(["long name", ""]);
        assert_eq!(lines(&table), "NAME       WHAT\na          b\nlong name\n");
    }
}
