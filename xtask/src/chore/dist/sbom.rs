//! The bill of materials: what is linked into the programs, as CycloneDX 1.5.
//!
//! Cargo says what it links: normal dependencies with the features that each program is built with, without procedural
//! macros, which only help the compiler. The firmware images that `sidecore` carries are a program of their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Dist, PROGRAMS, words};
use crate::source;

/// The workspace of the images, and the package whose programs are carried.
const IMAGES: (&str, &str) = ("remote/images/Cargo.toml", "sidecore-images");

/// Something that is linked in.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Library {
    pub(super) name: String,
    pub(super) version: String,
    /// As an SPDX expression.
    pub(super) license: String,
    /// Whether it is from this tree.
    is_own: bool,
}

impl Library {
    fn reference(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// All that is linked in from elsewhere, in order.
pub(super) fn libraries(dist: &Dist) -> Result<Vec<Library>> {
    Ok(Materials::new(dist)?.edges.into_keys().filter(|library| !library.is_own).collect())
}

/// The bill.
pub(super) fn bill(dist: &Dist) -> Result<String> {
    let materials = Materials::new(dist)?;
    let checksums = checksums()?;
    let mut components = Vec::new();
    let mut dependencies = Vec::new();
    for (library, needs) in &materials.edges {
        let kind = if materials.roots.contains(library) { "application" } else { "library" };
        let mut component = json!({
            "type": kind,
            "bom-ref": library.reference(),
            "name": library.name,
            "version": library.version,
            "licenses": [{ "expression": library.license }],
            "purl": library.reference(),
        });
        if let Some(sum) = checksums.get(&(library.name.clone(), library.version.clone())) {
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sum }]);
        }
        components.push(component);
        let needs: Vec<_> = needs.iter().map(Library::reference).collect();
        dependencies.push(json!({ "ref": library.reference(), "dependsOn": needs }));
    }
    // The compiler brings its library along.
    let compiler = words(Command::new("rustc").arg("--version"))?;
    let version = compiler.split(' ').nth(1).context("rustc has a version")?;
    components.push(json!({
        "type": "library",
        "bom-ref": "rust-std",
        "name": "rust-std",
        "version": version,
        "licenses": [{ "expression": "MIT OR Apache-2.0" }],
    }));
    let roots = materials.roots.iter().map(Library::reference);
    let roots: Vec<_> = roots.chain(["rust-std".to_owned()]).collect();
    dependencies.push(json!({ "ref": "sidecore", "dependsOn": roots }));
    let bill: Value = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "timestamp": words(Command::new("date").args([
                "--utc", "+%Y-%m-%dT%H:%M:%SZ", &format!("--date=@{}", dist.epoch),
            ]))?,
            "component": {
                "type": "application", "bom-ref": "sidecore", "name": "sidecore", "version": dist.version,
                "licenses": [{ "expression": "Apache-2.0 OR MIT" }],
            },
            "tools": { "components": [{ "type": "application", "name": "cargo xtask dist" }] },
        },
        "components": components,
        "dependencies": dependencies,
    });
    Ok(serde_json::to_string_pretty(&bill)? + "\n")
}

/// What there is, and what each needs.
struct Materials {
    roots: BTreeSet<Library>,
    edges: BTreeMap<Library, BTreeSet<Library>>,
}

impl Materials {
    fn new(dist: &Dist) -> Result<Self> {
        let mut materials = Self { roots: BTreeSet::new(), edges: BTreeMap::new() };
        for (manifest, package) in PROGRAMS.map(|program| (source::MAIN, program)).into_iter().chain([IMAGES])
        {
            // Each on its own, as it is built: together they would have each other's features.
            let mut cargo = source::cargo();
            cargo.args(["tree", "--locked", "--edges=normal,no-proc-macro", "--prefix=depth"]);
            cargo.args(["--format=|{p}|{l}|", "--manifest-path", manifest, "--package", package]);
            let tree = words(cargo.args(["--target", &dist.target]))?;
            materials.read(&tree).with_context(|| format!("cargo tree of {package}"))?;
        }
        Ok(materials)
    }

    /// Reads a tree, a line an edge: `depth|name vVERSION (PATH)|LICENSE|`.
    fn read(&mut self, tree: &str) -> Result<()> {
        let mut above: Vec<Library> = Vec::new();
        for line in tree.lines().filter(|line| !line.is_empty()) {
            let mut parts = line.split('|');
            let mut next = || parts.next().with_context(|| format!("no tree's line: {line}"));
            let (depth, package, license) = (next()?.parse::<usize>()?, next()?, next()?);
            let mut words = package.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            let version = words.next().and_then(|version| version.strip_prefix('v'));
            let version = version.with_context(|| format!("no version: {line}"))?.to_owned();
            // `/` is how it was written before there were expressions.
            let license = license.replace('/', " OR ");
            let library = Library { name, version, license, is_own: words.next().is_some() };
            above.truncate(depth);
            match above.last() {
                Some(parent) => drop(self.edges.entry(parent.clone()).or_default().insert(library.clone())),
                None => drop(self.roots.insert(library.clone())),
            }
            self.edges.entry(library.clone()).or_default();
            above.push(library);
        }
        Ok(())
    }
}

/// The checksums of what comes from elsewhere, by name and version.
fn checksums() -> Result<BTreeMap<(String, String), String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Locked>,
    }
    #[derive(Deserialize)]
    struct Locked {
        name: String,
        version: String,
        checksum: Option<String>,
    }
    let mut checksums = BTreeMap::new();
    for manifest in [source::MAIN, IMAGES.0] {
        let lock: Lock = source::toml(&Path::new(manifest).with_extension("lock"))?;
        let packages = lock.package.into_iter();
        checksums.extend(packages.filter_map(|found| Some(((found.name, found.version), found.checksum?))));
    }
    Ok(checksums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_of_cargo_s_becomes_edges() {
        let mut materials = Materials { roots: BTreeSet::new(), edges: BTreeMap::new() };
        let tree = "0|top v1.0.0 (/src/top)|MIT|\n1|a v2.0.0|MIT/Apache-2.0|\n2|b v3.0.0|MIT|\n1|b v3.0.0|MIT| (*)\n";
        materials.read(tree).expect("a tree");
        let shown: Vec<_> = materials
            .edges
            .iter()
            .map(|(library, needs)| {
                (&*library.name, needs.iter().map(|need| &*need.name).collect::<Vec<_>>())
            })
            .collect();
        assert_eq!(shown, [("a", vec!["b"]), ("b", vec![]), ("top", vec!["a", "b"])]);
        assert_eq!(materials.roots.iter().map(|root| &*root.name).collect::<Vec<_>>(), ["top"]);
        let own: Vec<_> = materials.edges.keys().map(|library| (library.is_own, &*library.license)).collect();
        assert_eq!(own, [(false, "MIT OR Apache-2.0"), (false, "MIT"), (true, "MIT")]);
        assert!(materials.read("nonsense").is_err());
    }
}
