//! The interfaces on the bus are the ones that are written down, which the package brings along for whoever generates code.

use std::fs::File;
use std::path::Path;

use zbus::fdo::IntrospectableProxy;
use zbus::{Fd, OwnedObjectPath};

use crate::house::{Bus, Client, Options};

const PLACE: &str = "system/usr/share/dbus-1/interfaces";

impl Client {
    async fn interfaces(&self, path: &str) -> Vec<(String, String)> {
        let object =
            IntrospectableProxy::builder(&self.0).destination(sidecore_dbus::NAME).path(path.to_owned());
        let text = object.build().await.unwrap().introspect().await.unwrap();
        let ours =
            text.split("\n  <interface name=\"").filter(|piece| piece.starts_with(sidecore_dbus::NAME));
        let ours = ours.map(|piece| {
            let name = piece.split('"').next().unwrap().to_owned();
            let end = piece.find("\n  </interface>").unwrap();
            (name, format!("<node>\n  <interface name=\"{}\n  </interface>\n</node>\n", &piece[..end]))
        });
        ours.collect()
    }
}

/// `SIDECORE_BLESS=1 cargo test -p sidecored contract` writes them anew, for a look at what changed.
#[tokio::test]
async fn every_interface_is_as_it_is_written_down() {
    let bus = Bus::new("contract").await;
    let client = bus.client().await;
    let path = client.start("radio").await;
    let _socket = client.open(&path).await;
    let core = File::create_new(bus.place.join("core")).unwrap();
    let processor = client.processor(&path).await;
    let job: OwnedObjectPath = processor.call("Dump", &(Fd::from(&core), Options::new())).await.unwrap();
    let endpoint = format!("{}/endpoints/1", path.as_str());
    let place = Path::new(env!("CARGO_MANIFEST_DIR")).join(PLACE);
    let mut names = Vec::new();
    for path in [sidecore_dbus::ROOT, path.as_str(), &endpoint, job.as_str()] {
        for (name, found) in client.interfaces(path).await {
            let file = place.join(format!("{name}.xml"));
            if std::env::var_os("SIDECORE_BLESS").is_some() {
                std::fs::create_dir_all(&place).unwrap();
                std::fs::write(&file, &found).unwrap();
            }
            let written = std::fs::read_to_string(&file).unwrap_or_default();
            assert_eq!(
                found, written,
                "{name}: major versions change nothing, and additions are written down"
            );
            names.push(format!("{name}.xml"));
        }
    }
    names.sort();
    let files = std::fs::read_dir(&place).unwrap().flatten();
    let mut files: Vec<_> = files.map(|file| file.file_name().into_string().unwrap()).collect();
    files.sort();
    assert_eq!(names, files);
    for interface in [
        sidecore_dbus::MANAGER,
        sidecore_dbus::PROCESSOR,
        sidecore_dbus::FIRMWARE,
        sidecore_dbus::TRACE,
        sidecore_dbus::ENDPOINT,
        sidecore_dbus::JOB,
    ] {
        assert!(names.contains(&format!("{interface}.xml")), "{interface}");
    }
}
