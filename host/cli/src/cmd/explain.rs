//! `sidecore explain`: what a code in a message stands for.

use std::process::ExitCode;

use serde::Serialize;
use sidecore_remoteproc::codes::Explanation;

use crate::codes;
use crate::failure::{Failure, Outcome};
use crate::output::{lines, print, print_json, table};

/// Explain an error or finding by its code
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The code (E0113, f0102) or its name (elf-segments-overlap)
    #[arg(required_unless_present = "list")]
    code: Option<String>,
    /// List all codes
    #[arg(long, conflicts_with = "code")]
    list: bool,
    /// Print JSON (schema sidecore.explain/1)
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let rows: Vec<&Explanation> = match &args.code {
        Some(wanted) => vec![codes::find(wanted).ok_or_else(|| unknown(wanted))?],
        None => codes::all().collect(),
    };
    if args.json {
        let codes = rows.into_iter().map(Row::of).collect();
        print_json("sidecore.explain/1", &Codes { codes })?;
    } else if args.list {
        let mut table = table(&["code", "name", "what is the matter"]);
        for row in rows {
            table.add_row([&row.code.to_string(), row.name, row.summary]);
        }
        print(&lines(&table))?;
    } else {
        for row in rows {
            let kind = if row.code.to_string().starts_with('F') { "finding" } else { "error" };
            print(&format!("{} ({}), {kind}\n\n{}\n\n{}\n", row.code, row.name, row.summary, row.advice))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn unknown(wanted: &str) -> Failure {
    Failure::new(codes::UNKNOWN_CODE, format!("there is no code {wanted:?}"))
        .because("codes look like E0113 or F0102, names like elf-segments-overlap")
}

#[derive(Serialize)]
struct Codes {
    codes: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    code: String,
    name: &'static str,
    summary: &'static str,
    advice: &'static str,
}

impl Row {
    fn of(row: &Explanation) -> Self {
        Self { code: row.code.to_string(), name: row.name, summary: row.summary, advice: row.advice }
    }
}
