//! Firmware that asks for a debugger's help, on a board.

use crate::bench::{Place, sidecore};

/// An image for the an386, instruction by instruction: it writes "Hi!" and ends with code 42, both by semihosting.
fn hi() -> Vec<u8> {
    let (base, header): (u32, u32) = (0x2100_0000, 84);
    let mut image: Vec<u8> = [0x2170_0000, base + 0x41].into_iter().flat_map(u32::to_le_bytes).collect();
    image.resize(0x40, 0);
    // movs r0, #4; ldr r1, 0x50; bkpt 0xab; movs r0, #0x20; ldr r1, 0x54; bkpt 0xab; b .; nop
    let code: [u16; 8] = [0x2004, 0x4903, 0xbeab, 0x2020, 0x4902, 0xbeab, 0xe7fe, 0xbf00];
    image.extend(code.into_iter().flat_map(u16::to_le_bytes));
    image.extend([base + 0x58, base + 0x60].into_iter().flat_map(u32::to_le_bytes));
    image.extend(b"Hi!\n\0\0\0\0");
    image.extend([0x2_0026_u32, 42].into_iter().flat_map(u32::to_le_bytes));

    let mut file = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x28\0".to_vec();
    let len = image.len() as u32;
    // The file header, from the version on, and the only program header.
    for word in [1, base + 0x41, 52, 0, 0x0500_0000, 52 | 32 << 16, 1 | 40 << 16, 0] {
        file.extend(word.to_le_bytes());
    }
    for word in [1, header, base, base, len, len, 7, 4] {
        file.extend(word.to_le_bytes());
    }
    file.extend(image);
    file
}

#[test]
fn semihosting_is_answered_where_it_is_wanted_and_named_where_it_is_not() {
    if std::process::Command::new("qemu-system-arm").arg("--version").output().is_err() {
        eprintln!(
            "not run: semihosting: qemu-system-arm: not installed; on Debian and Ubuntu: apt install qemu-system-arm"
        );
        return;
    }
    let place = Place::new();
    let image = place.write("hi.elf", hi());
    let run = |options: &[&str]| {
        let output = sidecore().args(["run", "--on", "qemu:mps2-an386"]).args(options).arg(&image).output();
        let output = output.unwrap();
        (output.status.code(), output.stdout, String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(run(&["--semihosting"]), (Some(42), b"Hi!\n".to_vec(), String::new()));

    let (code, stdout, stderr) = run(&[]);
    assert_eq!((code, stdout.len()), (Some(133), 0), "{stderr}");
    assert!(
        stderr.contains("what looks like a semihosting call, which nobody answers, at pc 0x21000044"),
        "{stderr}"
    );
    assert!(stderr.contains("next: --semihosting answers such calls"), "{stderr}");
}

#[test]
fn there_is_no_semihosting_in_the_sandbox() {
    let output = sidecore().args(["run", "--semihosting", "hello"]).output().unwrap();
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("the sandbox has none"), "{output:?}");
}
