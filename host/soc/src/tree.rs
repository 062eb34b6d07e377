//! The machine's device tree, as a blob (Devicetree Specification 0.4, chapter 5).

/// The machine as Linux is to see it: QEMU's `virt`, with what an STM32MP1 has beside it, and a coprocessor whose addresses
/// are `shift` above Linux'. QEMU adds the command line and the initial file system.
#[must_use]
pub fn tree(shift: u32) -> Vec<u8> {
    let mut tree = Tree::default();
    tree.node("", |root| {
        root.cells(2, 2);
        root.text("compatible", &["linux,dummy-virt"]);
        root.text("model", &["sidecore-soc"]);
        root.words("interrupt-parent", &[GIC]);
        root.node("chosen", |node| node.text("stdout-path", &["/pl011@9000000"]));
        board(root);
        reserved(root);
        controllers(root);
        coprocessor(root, shift);
    });
    tree.finish()
}

/// Names of nodes that others refer to.
const GIC: u32 = 1;
const CLOCK: u32 = 2;
const SYSTEM: u32 = 3;
const RESET: u32 = 4;
const MAILBOX: u32 = 5;
const CODE: u32 = 6;
const VRING0: u32 = 7;
const VRING1: u32 = 8;
const BUFFERS: u32 = 9;

/// What QEMU has.
fn board(root: &mut Tree) {
    root.node("memory@40000000", |node| {
        node.text("device_type", &["memory"]);
        node.words("reg", &[0, 0x4000_0000, 0, 0x2000_0000]);
    });
    root.node("cpus", |cpus| {
        cpus.cells(1, 0);
        cpus.node("cpu@0", |node| {
            node.text("device_type", &["cpu"]);
            node.text("compatible", &["arm,cortex-a15"]);
            node.words("reg", &[0]);
        });
    });
    root.node("psci", |node| {
        node.text("compatible", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
        node.text("method", &["hvc"]);
    });
    root.node("timer", |node| {
        node.text("compatible", &["arm,armv7-timer"]);
        node.flag("always-on");
        node.words("interrupts", &[1, 13, 0x104, 1, 14, 0x104, 1, 11, 0x104, 1, 10, 0x104]);
    });
    root.node("intc@8000000", |node| {
        node.text("compatible", &["arm,cortex-a15-gic"]);
        node.words("#interrupt-cells", &[3]);
        node.flag("interrupt-controller");
        node.words("reg", &[0, 0x0800_0000, 0, 0x1_0000, 0, 0x0801_0000, 0, 0x1_0000]);
        node.words("phandle", &[GIC]);
    });
    root.node("clock", |node| {
        node.text("compatible", &["fixed-clock"]);
        node.words("#clock-cells", &[0]);
        node.words("clock-frequency", &[24_000_000]);
        node.words("phandle", &[CLOCK]);
    });
    root.node("pl011@9000000", |node| {
        node.text("compatible", &["arm,pl011", "arm,primecell"]);
        node.words("reg", &[0, 0x0900_0000, 0, 0x1000]);
        node.words("interrupts", &[0, 1, 4]);
        node.words("clocks", &[CLOCK, CLOCK]);
        node.text("clock-names", &["uartclk", "apb_pclk"]);
    });
}

/// Memory that is none of Linux': the coprocessor's, and the one that stands in for registers.
fn reserved(root: &mut Tree) {
    root.node("reserved-memory", |memory| {
        memory.cells(2, 2);
        memory.flag("ranges");
        let pools = [
            // The page behind it is the coprocessor's alone.
            ("mcuram@50000000", 0x5000_0000, 0xf_f000, CODE),
            ("vdev0vring0@50100000", 0x5010_0000, 0x8000, VRING0),
            ("vdev0vring1@50108000", 0x5010_8000, 0x8000, VRING1),
            ("vdev0buffer@50110000", 0x5011_0000, 0x8_0000, BUFFERS),
        ];
        for (name, at, len, phandle) in pools {
            memory.node(name, |node| {
                node.text("compatible", &["shared-dma-pool"]);
                node.words("reg", &[0, at, 0, len]);
                node.flag("no-map");
                node.words("phandle", &[phandle]);
            });
        }
        let others = [
            ("page@500ff000", 0x500f_f000, 0x1000),
            ("registers@50200000", 0x5020_0000, 0x10_0000),
            // The device tree of a coprocessor that is another QEMU's.
            ("tree@50e00000", 0x50e0_0000, 0x20_0000),
        ];
        for (name, at, len) in others {
            memory.node(name, |node| {
                node.words("reg", &[0, at, 0, len]);
                node.flag("no-map");
            });
        }
    });
}

/// The system controller, the reset and the mailbox.
fn controllers(root: &mut Tree) {
    root.node("syscon@50200000", |node| {
        node.text("compatible", &["syscon"]);
        node.words("reg", &[0, 0x5020_0000, 0, 0x1000]);
        node.words("phandle", &[SYSTEM]);
    });
    root.node("reset@50210000", |node| {
        node.text("compatible", &["snps,dw-high-reset"]);
        node.words("reg", &[0, 0x5021_0000, 0, 0x1000]);
        node.words("#reset-cells", &[1]);
        node.words("phandle", &[RESET]);
    });
    root.node("mailbox@50220000", |node| {
        node.text("compatible", &["st,stm32mp1-ipcc"]);
        node.words("reg", &[0, 0x5022_0000, 0, 0x400]);
        node.words("#mbox-cells", &[1]);
        node.words("st,proc-id", &[0]);
        node.words("interrupts", &[0, 200, 1, 0, 201, 1]);
        node.text("interrupt-names", &["rx", "tx"]);
        node.words("clocks", &[CLOCK]);
        node.words("phandle", &[MAILBOX]);
    });
}

/// The coprocessor, with the same memory, in its own eyes `shift` above.
fn coprocessor(root: &mut Tree, shift: u32) {
    root.node("soc", |soc| {
        soc.text("compatible", &["simple-bus"]);
        soc.cells(1, 1);
        soc.words("ranges", &[0x4000_0000, 0, 0x4000_0000, 0x2000_0000]);
        soc.node("mlahb", |bus| {
            bus.text("compatible", &["simple-bus"]);
            bus.cells(1, 1);
            bus.flag("ranges");
            bus.words("dma-ranges", &[0x5000_0000 + shift, 0x5000_0000, 0x100_0000]);
            bus.node("m4@50000000", |node| {
                node.text("compatible", &["st,stm32mp1-m4"]);
                node.words("reg", &[0x5000_0000, 0x10_0000]);
                node.words("resets", &[RESET, 0]);
                node.words("interrupts", &[0, 202, 1]);
                node.words("st,syscfg-tz", &[SYSTEM, 0, 1]);
                node.words("st,syscfg-holdboot", &[SYSTEM, 0x10c, 1]);
                // Two bits in place of one: by the second one the start is acknowledged, so that no stop and start in
                // quick succession goes by unseen.
                node.words("st,syscfg-pdds", &[SYSTEM, 0x14, 3]);
                node.words("st,syscfg-rsc-tbl", &[SYSTEM, 0x144, u32::MAX]);
                node.words("st,syscfg-m4-state", &[SYSTEM, 0x148, u32::MAX]);
                node.words("mboxes", &[MAILBOX, 0, MAILBOX, 1, MAILBOX, 2, MAILBOX, 3]);
                node.text("mbox-names", &["vq0", "vq1", "shutdown", "detach"]);
                node.words("memory-region", &[CODE, VRING0, VRING1, BUFFERS]);
            });
        });
    });
}

/// A tree that is written from its root on.
#[derive(Default)]
struct Tree {
    structure: Vec<u8>,
    strings: Vec<u8>,
}

impl Tree {
    fn node(&mut self, name: &str, content: impl FnOnce(&mut Self)) {
        self.word(1);
        self.structure.extend_from_slice(name.as_bytes());
        self.structure.push(0);
        self.pad();
        content(self);
        self.word(2);
    }

    fn property(&mut self, name: &str, value: &[u8]) {
        let at = self.strings.len();
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.word(3);
        self.word(length(value.len()));
        self.word(length(at));
        self.structure.extend_from_slice(value);
        self.pad();
    }

    fn words(&mut self, name: &str, words: &[u32]) {
        let value: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        self.property(name, &value);
    }

    fn text(&mut self, name: &str, words: &[&str]) {
        let value: Vec<u8> = words.iter().flat_map(|word| word.bytes().chain([0])).collect();
        self.property(name, &value);
    }

    fn flag(&mut self, name: &str) {
        self.property(name, &[]);
    }

    fn cells(&mut self, address: u32, size: u32) {
        self.words("#address-cells", &[address]);
        self.words("#size-cells", &[size]);
    }

    fn word(&mut self, word: u32) {
        self.structure.extend_from_slice(&word.to_be_bytes());
    }

    fn pad(&mut self) {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.word(9);
        // The header, an empty table of reserved memory, the structure, the strings.
        let structure = 40 + 16_usize;
        let strings = structure + self.structure.len();
        let header = [
            0xd00d_feed,
            length(strings + self.strings.len()),
            length(structure),
            length(strings),
            40,
            17,
            16,
            0,
            length(self.strings.len()),
            length(self.structure.len()),
        ];
        let mut blob: Vec<u8> = header.iter().flat_map(|word: &u32| word.to_be_bytes()).collect();
        blob.resize(structure, 0);
        blob.extend_from_slice(&self.structure);
        blob.extend_from_slice(&self.strings);
        blob
    }
}

fn length(len: usize) -> u32 {
    u32::try_from(len).expect("this tree is short")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(blob: &[u8], at: usize) -> u32 {
        u32::from_be_bytes(blob[at..at + 4].try_into().unwrap())
    }

    /// Walks the structure; how many nodes, and the depth at its end.
    fn walk(blob: &[u8]) -> (u32, i32) {
        let (mut at, strings) = (word(blob, 8) as usize, word(blob, 12) as usize);
        let (mut nodes, mut depth) = (0, 0);
        loop {
            let token = word(blob, at);
            at += 4;
            match token {
                1 => {
                    (nodes, depth) = (nodes + 1, depth + 1);
                    at =
                        (at + blob[at..].iter().position(|byte| *byte == 0).unwrap() + 1).next_multiple_of(4);
                }
                2 => depth -= 1,
                3 => {
                    let (len, name) = (word(blob, at) as usize, word(blob, at + 4) as usize);
                    assert!(blob[strings + name..].contains(&0) && blob[strings + name] != 0);
                    at = (at + 8 + len).next_multiple_of(4);
                }
                9 => return (nodes, depth),
                other => panic!("{other} at {at:#x}"),
            }
        }
    }

    #[test]
    fn the_blob_is_one_tree_from_its_header_to_its_end() {
        let blob = tree(0x4000_0000);
        assert_eq!((word(&blob, 0), word(&blob, 4) as usize), (0xd00d_feed, blob.len()));
        assert_eq!(word(&blob, 12) + word(&blob, 32), word(&blob, 4));
        assert_eq!(word(&blob, 8) + word(&blob, 36), word(&blob, 12));
        assert_eq!(walk(&blob), (24, 0));
    }
}
