//! Firmware beside a guest's initial file system: one more archive behind it, which the kernel unpacks, too.
//!
//! Source: the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst` (format `newc`), and
//! `Documentation/driver-api/firmware/fw_search_path.rst`.

/// Where the firmware lies in the guest, as the kernel's command line names it. It is a folder of its own, for an entry of
/// an archive replaces what was there: also a link, as `/lib` may be one.
pub(crate) const PATH: &str = "firmware_class.path=/firmware";

/// What stm32_rproc loads for the coprocessor of our device tree if nobody names a file.
const DEFAULT: &str = "rproc-m4-fw";

/// File types and permissions, as in `st_mode`.
const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;

/// The initial file system with `firmware` in it, as the default and under its own name.
pub(crate) fn with_firmware(mut initrd: Vec<u8>, name: &str, firmware: &[u8]) -> Vec<u8> {
    pad(&mut initrd);
    entry(&mut initrd, 1, "firmware", FOLDER, &[]);
    entry(&mut initrd, 2, &format!("firmware/{DEFAULT}"), FILE, firmware);
    // A name that is a path is none for a file there.
    if !name.is_empty() && name != DEFAULT && !name.contains('/') && !name.trim_matches('.').is_empty() {
        entry(&mut initrd, 3, &format!("firmware/{name}"), FILE, firmware);
    }
    entry(&mut initrd, 4, "TRAILER!!!", 0, &[]);
    initrd
}

fn entry(archive: &mut Vec<u8>, number: u32, path: &str, mode: u32, content: &[u8]) {
    let [size, name] = [content.len(), path.len() + 1].map(|len| u32::try_from(len).unwrap_or(u32::MAX));
    // Number, mode, user, group, links, time, size, device, device of a node, length of the name, checksum.
    let fields = [number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name, 0];
    archive.extend_from_slice(b"070701");
    fields.iter().for_each(|field| archive.extend_from_slice(format!("{field:08x}").as_bytes()));
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    pad(archive);
    archive.extend_from_slice(content);
    pad(archive);
}

fn pad(archive: &mut Vec<u8>) {
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_firmware_is_an_archive_behind_the_other() {
        let archive = with_firmware(b"other".to_vec(), "echo", b"ELF");
        assert!(archive.starts_with(b"other\0\0\x00070701") && archive.len().is_multiple_of(4));
        let text = String::from_utf8(archive).unwrap();
        assert_eq!(text.matches("070701").count(), 4);
        for name in ["\0firmware\0", "firmware/rproc-m4-fw\0", "firmware/echo\0", "TRAILER!!!\0"] {
            assert!(text.contains(name.trim_start_matches('\0')), "{name}");
        }
        // The head of 110 bytes and the name are padded together.
        let file = concat!(
            "07070100000003000081a400000000000000000000000100000000000000030000000000000000",
            "00000000000000000000000e00000000firmware/echo\0ELF\0"
        );
        assert!(text.contains(file));
    }

    #[test]
    fn a_path_is_no_name() {
        for name in ["", "..", "a/b", "rproc-m4-fw"] {
            let archive = String::from_utf8(with_firmware(Vec::new(), name, b"")).unwrap();
            assert_eq!(archive.matches("070701").count(), 3, "{name}");
        }
    }
}
