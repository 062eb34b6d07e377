//! What inspect shows, as text for people.

use std::fmt::Write as _;

use super::view::{Placed, Row, Table, View, What};
use crate::output::{lines, size, table};

pub(super) fn render(view: &View) -> String {
    let mut text = String::new();
    for (title, value) in head(view) {
        line(&mut text, format_args!("{title:<12} {value}"));
    }
    section(&mut text, "Segments");
    text.push_str(&segments(view));
    if let Some(table) = &view.resource_table {
        let place = table.address.map_or_else(|| "not loaded".to_owned(), |at| format!("loaded to {at:#x}"));
        let Table { version, size, .. } = table;
        section(&mut text, &format!("Resource table, version {version}, {size:#x} bytes, {place}"));
        table.entries.iter().for_each(|row| entry(&mut text, row));
    }
    if let Some(memories) = view.memories.as_ref().filter(|memories| !memories.is_empty()) {
        section(&mut text, "Memory map");
        text.push_str(&memory_map(memories));
    }
    section(&mut text, "Findings");
    if view.findings.is_empty() {
        text.push_str("none\n");
    }
    for finding in &view.findings {
        line(&mut text, format_args!("{}[{}]: {}", finding.severity, finding.code, finding.text));
    }
    text
}

fn head(view: &View) -> Vec<(&'static str, String)> {
    let machine = view.machine_name.unwrap_or("unknown");
    let here = if view.runs_here { "runs here" } else { "does not run on this machine" };
    let mut rows = vec![
        ("Firmware", format!("{} ({})", view.name, size(view.size as u64))),
        ("Class", format!("{}, little endian", view.class)),
        ("Machine", format!("{machine} ({}), {here}", view.machine)),
        ("Entry point", format!("{:#x}", view.entry)),
    ];
    if view.flags != 0 {
        rows.push(("Flags", format!("{:#x}", view.flags)));
    }
    rows.extend(view.build_id.clone().map(|id| ("Build id", id)));
    rows.extend(view.interpreter.clone().map(|path| ("Interpreter", path)));
    rows
}

fn segments(view: &View) -> String {
    let mut table = table(&["header", "name", "address", "runs at", "memory", "file", "access", "align"]);
    for segment in &view.segments {
        let elsewhere = segment.runs_at != segment.address;
        table.add_row([
            segment.header.to_string(),
            segment.name.clone(),
            format!("{:#x}", segment.address),
            if elsewhere { format!("{:#x}", segment.runs_at) } else { "same".to_owned() },
            format!("{:#x}", segment.memory_size),
            format!("{:#x}", segment.file_size),
            segment.access.clone(),
            format!("{:#x}", segment.align),
        ]);
    }
    lines(&table)
}

fn entry(text: &mut String, row: &Row) {
    let index = row.index;
    match &row.what {
        What::Carveout { name, address, size: len, flags, .. } => {
            let flags = if *flags == 0 { String::new() } else { format!(", flags {flags:#x}") };
            line(
                text,
                format_args!(
                    "{index:>3}  carveout {name}: {} {}{flags}",
                    size(u64::from(*len)),
                    at(*address)
                ),
            );
        }
        What::Devmem { name, address, physical_address, size: len, .. } => {
            let (size, at) = (size(u64::from(*len)), at(*address));
            line(
                text,
                format_args!("{index:>3}  devmem {name}: {size} {at}, physically at {physical_address:#x}"),
            );
        }
        What::Trace { name, address, size: len } => {
            line(text, format_args!("{index:>3}  trace {name}: {} {}", size(u64::from(*len)), at(*address)));
        }
        What::Vdev { id, device, notify_id, feature_names, config, buffers, rings, .. } => {
            let device = device.unwrap_or("unknown device");
            let notify = notify(*notify_id);
            line(
                text,
                format_args!(
                    "{index:>3}  vdev {device} (virtio id {id}), features: {feature_names}, {notify}"
                ),
            );
            for (number, ring) in rings.iter().enumerate() {
                line(
                    text,
                    format_args!(
                        "       ring {number}: {} descriptors, alignment {:#x}, {}, {}",
                        ring.descriptors,
                        ring.align,
                        at(ring.address),
                        self::notify(ring.notify_id)
                    ),
                );
            }
            if let Some(buffers) = buffers {
                line(
                    text,
                    format_args!(
                        "       buffers: {} bytes from the remote, {} bytes to it",
                        buffers.from_remote, buffers.to_remote
                    ),
                );
            } else if !config.is_empty() {
                line(text, format_args!("       configuration: {} bytes, {config}", config.len() / 2));
            }
        }
        What::TraceWords { trace, rings } => {
            let rings = if *rings { ", rings" } else { "" };
            line(text, format_args!("{index:>3}  words of the trace of entry {trace}{rings}"));
        }
        What::Vendor { kind, size } => {
            line(text, format_args!("{index:>3}  a vendor's, type {kind}: {size} bytes"));
        }
        What::Unknown { kind } => line(text, format_args!("{index:>3}  unknown, type {kind}")),
        What::Malformed { reason } => line(text, format_args!("{index:>3}  malformed: {reason}")),
    }
}

fn memory_map(memories: &[Placed]) -> String {
    let mut sorted: Vec<&Placed> = memories.iter().collect();
    sorted.sort_by_key(|memory| (memory.address.is_none(), memory.address));
    let mut table = table(&["from", "to", "size", "access", "name"]);
    for memory in sorted {
        let (from, to) = match memory.address {
            Some(from) => (format!("{from:#x}"), format!("{:#x}", from.saturating_add(memory.size - 1))),
            None => ("anywhere".to_owned(), String::new()),
        };
        table.add_row([from, to, size(memory.size), memory.access.clone(), memory.name.clone()]);
    }
    lines(&table)
}

fn at(address: Option<u32>) -> String {
    address.map_or_else(|| "anywhere".to_owned(), |at| format!("at {at:#x}"))
}

fn notify(id: Option<u32>) -> String {
    id.map_or_else(|| "any notify id".to_owned(), |id| format!("notify id {id}"))
}

fn section(text: &mut String, title: &str) {
    line(text, format_args!("\n{title}"));
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string cannot fail");
}
