//! The archive that a kernel unpacks as its first file system: `cpio`, format `newc`.
//!
//! Source: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`.

/// An archive that grows.
pub(super) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

/// File types and permissions, as in `st_mode`.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CONSOLE: u32 = 0o020_600;

impl Archive {
    /// One with the folders that a first process mounts on, and a console for it to speak on.
    pub(super) fn new() -> Self {
        let mut archive = Self { bytes: Vec::new(), entries: 0 };
        for folder in ["dev", "proc", "sys"] {
            archive.entry(folder, FOLDER, (0, 0), &[]);
        }
        archive.entry("dev/console", CONSOLE, (5, 1), &[]);
        archive
    }

    /// Adds a folder, whose parents are there.
    pub(super) fn folder(&mut self, path: &str) {
        self.entry(path, FOLDER, (0, 0), &[]);
    }

    /// Adds an executable file.
    pub(super) fn add(&mut self, path: &str, content: &[u8]) {
        self.entry(path, PROGRAM, (0, 0), content);
    }

    /// The whole archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, path: &str, mode: u32, (major, minor): (u32, u32), content: &[u8]) {
        self.entries += 1;
        let size = u32::try_from(content.len()).expect("files of an archive are shorter than 4 GiB");
        let name = u32::try_from(path.len() + 1).expect("as are paths");
        // Number, mode, user, group, links, time, size, device, device of a node, length of the name, checksum.
        let fields = [self.entries, mode, 0, 0, 1, 0, size, 0, 0, major, minor, name, 0];
        self.bytes.extend_from_slice(b"070701");
        fields.iter().for_each(|field| self.bytes.extend_from_slice(format!("{field:08x}").as_bytes()));
        self.bytes.extend_from_slice(path.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_as_the_kernel_s_documentation_has_them() {
        let mut archive = Archive { bytes: Vec::new(), entries: 0 };
        archive.add("init", b"hello");
        // The head of 110 bytes and the name are padded together.
        let expected = concat!(
            "07070100000001000081ed00000000000000000000000100000000000000050000000000000000",
            "00000000000000000000000500000000init\0\0hello\0\0\0"
        );
        assert_eq!(String::from_utf8(archive.bytes).expect("text"), expected);
    }

    #[test]
    fn an_archive_ends_with_its_trailer() {
        let bytes = Archive::new().finish();
        let text = String::from_utf8(bytes).expect("text");
        assert!(text.len().is_multiple_of(4) && text.trim_end_matches('\0').ends_with("TRAILER!!!"));
        assert_eq!(text.matches("070701").count(), 5);
    }
}
