//! `sidecore inspect`: what is in a firmware file, whoever could run it.

use std::ffi::OsString;
use std::process::ExitCode;

use crate::failure::Outcome;
use crate::image::Image;
use crate::output::{print, print_json};

mod text;
mod view;

use view::View;

/// Show what is in a firmware file: segments, resource table, memory map, findings
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Works for ELF firmware of every machine, and also for files that would not be loaded: the findings say why.")]
pub(crate) struct Args {
    /// The firmware: the path of an ELF file, or the name of a built-in image
    #[arg(value_hint = clap::ValueHint::FilePath)]
    image: OsString,
    /// Print JSON (schema sidecore.inspect/1)
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) fn run(args: &Args) -> Outcome {
    let image = Image::open(&args.image)?;
    let firmware = image.firmware()?;
    let view = View::new(&image, &firmware);
    if args.json {
        print_json("sidecore.inspect/1", &view)?;
    } else {
        print(&text::render(&view))?;
    }
    Ok(ExitCode::SUCCESS)
}
