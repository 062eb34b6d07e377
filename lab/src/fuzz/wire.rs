//! The small layouts of messages: a header, an announcement, a configuration space.

use sidecore_wire::config::RpmsgConfig;
use sidecore_wire::name_service::{Announcement, Name};
use sidecore_wire::rpmsg::Header;

/// Reads the bytes as each layout in turn. What was read and is written again says the same.
pub fn wire(bytes: &[u8]) {
    if let Some(header) = bytes.first_chunk() {
        assert_eq!(&Header::parse(header).emit(), header);
    }
    if let Some(announced) = bytes.first_chunk() {
        let announcement = Announcement::parse(announced);
        assert_eq!(Announcement::parse(&announcement.emit()), announcement);
        name(&announcement.name);
    }
    match RpmsgConfig::parse(bytes) {
        Ok(config) => {
            assert!(usize::from(config.size) <= bytes.len());
            assert_eq!(config.emit()[..], bytes[..RpmsgConfig::SIZE]);
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn name(name: &Name) {
    let bytes = name.as_bytes();
    assert!(bytes.len() <= Name::MAX_LEN && !bytes.contains(&0));
    let text = name.to_string();
    assert!(!text.contains(char::is_control), "{text:?} would reach a terminal");
    match name.as_str() {
        Some(valid) => assert_eq!(Name::new(valid).as_ref(), Ok(name)),
        None => assert!(!name.is_valid()),
    }
}
