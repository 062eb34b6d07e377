//! `cargo xtask layers`: who imports whom, and where unsafe code may stand.

mod edges;
mod unsafety;

use std::path::Path;

use anyhow::{Result, bail};
use clap::ArgMatches;

use self::edges::Edge;
use super::{Chore, none};
use crate::{
    report::{Report, Step},
    source,
};

pub(crate) const CHORE: Chore = Chore {
    name: "layers",
    about: "Check that crates import only what lies below them, and that unsafe code stands at its addresses",
    arguments: none,
    run: |_: &ArgMatches, report| {
        steps(report);
        Ok(())
    },
};

pub(super) fn steps(report: &mut Report) {
    report.step("layers", check);
}

fn check(_: &mut Step) -> Result<()> {
    let (mut crates, mut imports, mut wrong) = (0, 0, Vec::new());
    for manifest in source::workspaces() {
        for package in source::metadata(manifest)?.packages {
            let folder = package.folder();
            crates += 1;
            // One without imports stands on a floor too.
            wrong.extend(edges::room(folder).err());
            for dependency in &package.dependencies {
                let Some(path) = &dependency.path else { continue };
                imports += 1;
                let edge =
                    Edge { from: folder, to: source::from_root(path), kind: dependency.kind.as_deref() };
                wrong.extend(edges::check(&edge).err());
            }
            wrong.extend(unsafety::check_crate(folder, &source::toml(&folder.join("Cargo.toml"))?).err());
        }
    }
    for file in source::rust_files()? {
        wrong.extend(unsafety::check_file(&file, &source::read(&file)?).err());
    }
    let workspace = source::toml(Path::new("Cargo.toml"))?;
    wrong.extend(unsafety::check_workspace(&workspace).err());

    for what in &wrong {
        println!("error: {what}");
    }
    if !wrong.is_empty() {
        bail!("{} of the rules of xtask/src/chore/layers are broken", wrong.len());
    }
    println!("{crates} crates with {imports} imports of each other, all downwards");
    Ok(())
}
