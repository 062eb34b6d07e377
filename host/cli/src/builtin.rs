//! The firmware images that the command carries with it, so that it has something to run on any machine.
//!
//! `build.rs` builds them. Where it found no sandbox to build them for there are none.

/// A firmware image that is part of this program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// What it is called on the command line.
    pub(crate) name: &'static str,
    /// What it does, in a line for help texts.
    pub(crate) summary: &'static str,
    /// The ELF file, aligned to 16 bytes.
    pub(crate) bytes: &'static [u8],
}

/// The built-in image of this name.
pub(crate) fn find(name: &str) -> Option<&'static Image> {
    IMAGES.iter().find(|image| image.name == name)
}

macro_rules! images {
    ($($name:literal: $summary:literal,)*) => {
        /// All built-in images, in the order in which help texts list them. Empty where there is no sandbox.
        #[cfg(builtin_images)]
        pub(crate) const IMAGES: &[Image] = &[$({
            const FILE: &Aligned<[u8]> =
                &Aligned(*include_bytes!(concat!(env!("SIDECORE_IMAGES"), "/", $name)));
            Image { name: $name, summary: $summary, bytes: &FILE.0 }
        },)*];

        /// All built-in images: none, for there is no sandbox here.
        #[cfg(not(builtin_images))]
        pub(crate) const IMAGES: &[Image] = &[];
    };
}

images! {
    "hello": "greets whoever is named on the command line",
    "echo": "sends every message on the channel rpmsg-echo back",
    "ping": "measures round trips that the remote begins",
    "crash": "ends in the way that it is told: fault, panic, hang, ...",
    "locks": "takes spinlocks, and dies with them where it is told to",
    "storm": "floods the main side with messages or announcements",
    "cat": "prints its input",
    "copy": "copies a file between granted directories",
    "matmul": "multiplies matrices and prints a checksum",
}

/// Bytes that a reader of ELF files may look at in place.
#[cfg(builtin_images)]
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(builtin_images)]
    #[test]
    fn every_image_is_an_executable_for_this_machine_with_a_name_of_its_own() {
        for (number, image) in IMAGES.iter().enumerate() {
            assert!(image.bytes.starts_with(b"\x7fELF\x02\x01\x01"), "{}: no ELF64 file", image.name);
            assert_eq!(image.bytes.as_ptr().addr() % 16, 0, "{}: misaligned", image.name);
            let machine: u16 = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
            assert_eq!(image.bytes[16..20], [2, 0, machine as u8, 0], "{}: type, machine", image.name);
            assert!(!image.summary.is_empty(), "{}: no summary", image.name);
            assert!(IMAGES[..number].iter().all(|other| other.name != image.name), "{}: twice", image.name);
            assert_eq!(find(image.name).unwrap().bytes, image.bytes);
        }
        assert!(find("hello").is_some());
    }

    /// Type and flags of every program header of an ELF64 file.
    #[cfg(builtin_images)]
    fn segments(image: &Image) -> Vec<(u32, u32)> {
        let word = |at: usize| u32::from_le_bytes(image.bytes[at..at + 4].try_into().unwrap());
        let (first, count) = (word(32) as usize, usize::from(image.bytes[56]));
        (0..count).map(|number| (word(first + 56 * number), word(first + 56 * number + 4))).collect()
    }

    #[cfg(builtin_images)]
    #[test]
    fn every_image_has_a_segment_for_each_kind_of_access_and_needs_no_other_program() {
        const LOAD: u32 = 1;
        const NOTE: u32 = 4;
        for image in IMAGES {
            let (loaded, others): (Vec<_>, Vec<_>) =
                segments(image).into_iter().partition(|(kind, _)| *kind == LOAD);
            let access: Vec<u32> = loaded.into_iter().map(|(_, flags)| flags & 7).collect();
            assert_eq!(access, [5, 4, 6], "{}: read and execute, read, read and write", image.name);
            assert!(others.iter().all(|(kind, _)| *kind == NOTE), "{}: {others:?}", image.name);
            assert!(!others.is_empty(), "{}: no build id", image.name);
        }
    }

    #[test]
    fn an_unknown_image_is_none() {
        assert!(find("no-such-image").is_none());
    }
}
