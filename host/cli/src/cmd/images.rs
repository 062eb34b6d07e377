//! `sidecore images`: the firmware that this program carries.

use std::process::ExitCode;

use serde::Serialize;

use crate::builtin;
use crate::failure::Outcome;
use crate::output::{lines, print, print_json, size, table};

/// List the built-in firmware images
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print JSON (schema sidecore.images/1)
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    if args.json {
        let row = |image: &builtin::Image| Row {
            name: image.name,
            summary: image.summary,
            size: image.bytes.len(),
        };
        let images = builtin::IMAGES.iter().map(row).collect();
        print_json("sidecore.images/1", &Images { images })?;
        return Ok(ExitCode::SUCCESS);
    }
    if builtin::IMAGES.is_empty() {
        print("no built-in images: there is no sandbox for this machine\n")?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut table = table(&["name", "size", "what it does"]);
    for image in builtin::IMAGES {
        table.add_row([image.name, &size(image.bytes.len() as u64), image.summary]);
    }
    print(&lines(&table))?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Serialize)]
struct Images {
    images: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    summary: &'static str,
    /// Bytes of the ELF file.
    size: usize,
}
