//! Recordings, read back by somebody else's parser.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use crate::bench::{SOON, Vdev, echo, events, processor};
use pcap_parser::traits::PcapReaderIterator as _;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, PcapNGOption, PcapNGReader};
use sidecore_processor::{Capture, Event, Options};
use sidecore_rpmsg::Header;
use sidecore_wire::features::F_NS;

#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>, Option<usize>);

impl Write for File {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut file = self.0.lock().unwrap();
        if self.1.is_some_and(|room| file.len() + bytes.len() > room) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A recorded frame: interface, direction, time stamp, header, payload.
#[derive(Debug, PartialEq)]
struct Frame {
    interface: u32,
    direction: u32,
    stamp: u64,
    header: Header,
    payload: Vec<u8>,
}

/// Interfaces by name, and all frames.
fn parse(file: &[u8]) -> (Vec<String>, Vec<Frame>) {
    let (mut interfaces, mut frames) = (Vec::new(), Vec::new());
    let mut reader = PcapNGReader::new(1 << 16, file).unwrap();
    loop {
        match reader.next() {
            Ok((consumed, block)) => {
                match block {
                    PcapBlockOwned::NG(Block::InterfaceDescription(block)) => {
                        assert_eq!((block.linktype, block.if_tsresol), (Linktype(147), 9));
                        interfaces.push(String::from_utf8(value(&block.options, 2)).unwrap());
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                        let (header, payload) =
                            block.data[..block.caplen as usize].split_first_chunk().unwrap();
                        assert_eq!(block.caplen, block.origlen);
                        frames.push(Frame {
                            interface: block.if_id,
                            direction: u32::from_le_bytes(value(&block.options, 2)[..].try_into().unwrap()),
                            stamp: u64::from(block.ts_high) << 32 | u64::from(block.ts_low),
                            header: Header::parse(header),
                            payload: payload.to_vec(),
                        });
                    }
                    _ => {}
                }
                reader.consume(consumed);
            }
            Err(PcapError::Eof) => return (interfaces, frames),
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{error:?}"),
        }
    }
}

fn value(options: &[PcapNGOption<'_>], code: u16) -> Vec<u8> {
    let option = options.iter().find(|option| option.code.0 == code).expect("the option is there");
    option.value[..option.len as usize].to_vec()
}

#[test]
fn every_frame_is_recorded_with_its_device_direction_and_time() {
    let file = File::default();
    let capture = Capture::new(file.clone()).unwrap();
    let options = Options { capture: Some(capture), ..Options::new("sim") };
    let vdevs = [Vdev::rpmsg(F_NS), Vdev::rpmsg(F_NS)];
    let mut processor = processor(&vdevs, options, echo("echo"));
    processor.start().unwrap();
    processor.wait(Some(SOON));
    for service in processor.services() {
        let endpoint = processor.open_service(&service).unwrap();
        let payload = vec![service.device as u8; 7 + service.device as usize];
        processor.send(endpoint, &payload, SOON).unwrap();
        drop(processor.receive(endpoint, Some(SOON)).unwrap());
    }
    processor.stop().unwrap();
    drop(processor);
    let (interfaces, frames) = parse(&file.0.lock().unwrap());
    assert_eq!(interfaces, ["sim/vdev0", "sim/vdev1"]);
    let seen: Vec<_> = frames
        .iter()
        .map(|frame| {
            (frame.interface, frame.direction, frame.header.src, frame.header.dst, frame.payload.len())
        })
        .collect();
    let announced = |device| (device, 1, 1024, 53, 40);
    let sent = |device, len| (device, 2, 1024, 1024, len);
    let answered = |device, len| (device, 1, 1024, 1024, len);
    assert_eq!(seen, [announced(0), announced(1), sent(0, 7), answered(0, 7), sent(1, 8), answered(1, 8)]);
    assert!(frames[0].payload.starts_with(b"echo\0"));
    assert_eq!(frames[5].payload, [1; 8]);
    assert!(frames.is_sorted_by_key(|frame| frame.stamp));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    assert!(now - frames[0].stamp < 60_000_000_000);
}

#[test]
fn a_full_disk_ends_the_recording_and_not_the_traffic() {
    let file = File(Arc::default(), Some(500));
    let capture = Capture::new(file.clone()).unwrap();
    let options = Options { capture: Some(capture.clone()), ..Options::new("sim") };
    let mut processor = processor(&[Vdev::rpmsg(F_NS)], options, echo("echo"));
    processor.start().unwrap();
    let endpoint = processor.open("echo", SOON).unwrap();
    for _ in 0..20 {
        processor.send(endpoint, &[1; 100], SOON).unwrap();
        drop(processor.receive(endpoint, Some(SOON)).unwrap());
    }
    assert_eq!(capture.error(), Some(io::ErrorKind::StorageFull));
    processor.stop().unwrap();
    let ended = Event::CaptureEnded { error: io::ErrorKind::StorageFull };
    assert_eq!(events(&processor).iter().filter(|event| **event == ended).count(), 1);
    assert!(Capture::new(File(Arc::default(), Some(3))).is_err());
}
