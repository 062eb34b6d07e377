//! From a remote's addresses to regions.

#![allow(unsafe_code)]

use core::fmt;

use crate::raw::Raw;
use crate::{DeviceAddr, Region, Span};

/// One stretch of a remote's address space and the region that holds its bytes.
#[derive(Clone, Debug)]
pub struct Window<O = ()> {
    /// Address of the region's first byte as the remote (or a virtqueue descriptor) names it.
    pub start: DeviceAddr,
    /// The bytes.
    pub region: Region<O>,
}

impl<O> Window<O> {
    /// Where in the window the `len` bytes at `address` begin, if all of them lie in it.
    #[inline(always)]
    fn offset(&self, address: DeviceAddr, len: usize) -> Option<usize> {
        // An address below the window wraps to a huge offset, which no region is long enough for.
        let offset = usize::try_from(address.0.wrapping_sub(self.start.0)).ok()?;
        let end = offset.checked_add(len)?;
        (end <= self.region.len()).then_some(offset)
    }

    /// The first of the `len` bytes at `address`, if all of them lie in the window.
    #[inline(always)]
    fn raw(&self, address: DeviceAddr, len: usize) -> Option<Raw> {
        let offset = self.offset(address, len)?;
        // SAFETY: the offset is answered only where it lies in the region.
        Some(unsafe { self.region.raw().advance(offset) })
    }
}

/// The windows of a remote's address space that we can reach: the only way from an address to a region.
///
/// At most `N` windows that do not overlap. Looking an address up is a scan of the windows in the order in
/// which they were inserted: put the one that messages live in first.
#[derive(Clone, Debug)]
pub struct AddressMap<O = (), const N: usize = 8> {
    windows: [Option<Window<O>>; N],
}

/// Where an address was found: the window's number and the offset into its region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Number of the window, in the order of insertion.
    pub window: u16,
    /// Offset from the start of the window's region, in bytes.
    pub offset: usize,
}

impl<O, const N: usize> Default for AddressMap<O, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<O, const N: usize> AddressMap<O, N> {
    /// A map with no window.
    pub const fn new() -> Self {
        Self { windows: [const { None }; N] }
    }

    /// Adds a window.
    ///
    /// # Errors
    /// The window wraps around the address space, overlaps one that is there, or is one too many.
    pub fn insert(&mut self, start: DeviceAddr, region: Region<O>) -> Result<(), MapError> {
        let len = region.len() as u64;
        // The last byte, not the end: a window may reach up to the very top of the address space.
        let last = start.checked_add(len.saturating_sub(1)).ok_or(MapError::Wraps { start, len })?;
        for window in self.windows() {
            let other = DeviceAddr(window.start.0 + (window.region.len() as u64).saturating_sub(1));
            if start <= other && window.start <= last && len > 0 && !window.region.is_empty() {
                return Err(MapError::Overlaps { start, len, other: window.start });
            }
        }
        let slot =
            self.windows.iter_mut().find(|slot| slot.is_none()).ok_or(MapError::Full { capacity: N })?;
        *slot = Some(Window { start, region });
        Ok(())
    }

    /// Finds the `len` bytes at `address`, all of them in one window.
    ///
    /// # Errors
    /// No single window holds them all.
    pub fn locate(&self, address: DeviceAddr, len: usize) -> Result<Located, MapError> {
        let mut windows = self.windows().zip(0..);
        let found = windows.find_map(|(window, number)| {
            Some(Located { window: number, offset: window.offset(address, len)? })
        });
        found.ok_or(MapError::Unmapped { address, len })
    }

    /// Finds the `len` bytes at `address`, all of them in one window, and borrows them.
    #[cfg_attr(target_pointer_width = "64", inline(always))]
    #[cfg_attr(not(target_pointer_width = "64"), inline(never))]
    pub fn find(&self, address: DeviceAddr, len: usize) -> Option<Span<'_>> {
        // The first window by itself: it is where messages live, and the others stay out of their way.
        let first = self.windows.first()?.as_ref()?;
        // The length is the caller's on either way, so that what was checked of it stays known.
        let raw = first.raw(address, len).or_else(|| self.raw_behind(address, len));
        // SAFETY: a window answers only where all the bytes lie in its region.
        raw.map(|raw| unsafe { Span::new(raw, len) })
    }

    #[cold]
    fn raw_behind(&self, address: DeviceAddr, len: usize) -> Option<Raw> {
        self.windows().skip(1).find_map(|window| window.raw(address, len))
    }

    /// Where a span that this map found lies, as plain data; `None` for another map's.
    pub fn place_of(&self, span: &Span<'_>) -> Option<Located> {
        let mut windows = self.windows().zip(0..);
        windows.find_map(|(window, number)| {
            Some(Located { window: number, offset: window.region.offset_of(span)? })
        })
    }

    /// The `len` bytes at a place that was found earlier; `None` where the place is another map's.
    #[inline(always)]
    pub fn span(&self, place: Located, len: usize) -> Option<Span<'_>> {
        self.region(place.window)?.span(place.offset, len)
    }

    /// The region of the window with this number.
    #[inline(always)]
    pub fn region(&self, window: u16) -> Option<&Region<O>> {
        self.windows.get(usize::from(window))?.as_ref().map(|window| &window.region)
    }

    /// All windows, in the order of insertion.
    pub fn windows(&self) -> impl Iterator<Item = &Window<O>> {
        self.windows.iter().flatten()
    }
}

impl<O: Clone, const N: usize> AddressMap<O, N> {
    /// The `len` bytes at `address` as a region.
    ///
    /// # Errors
    /// No single window holds them all.
    pub fn resolve(&self, address: DeviceAddr, len: usize) -> Result<Region<O>, MapError> {
        let located = self.locate(address, len)?;
        let unmapped = MapError::Unmapped { address, len };
        self.region(located.window).ok_or(unmapped)?.slice(located.offset, len).map_err(|_| unmapped)
    }
}

/// Why an address map refused a window or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapError {
    /// The bytes lie in no window, or in more than one.
    Unmapped {
        /// First byte asked for.
        address: DeviceAddr,
        /// Number of bytes asked for.
        len: usize,
    },
    /// The window overlaps one that is there.
    Overlaps {
        /// Start of the refused window.
        start: DeviceAddr,
        /// Its length in bytes.
        len: u64,
        /// Start of the window that is there.
        other: DeviceAddr,
    },
    /// The window leaves the 64-bit address space.
    Wraps {
        /// Start of the refused window.
        start: DeviceAddr,
        /// Its length in bytes.
        len: u64,
    },
    /// The map holds as many windows as it can.
    Full {
        /// How many that is.
        capacity: usize,
    },
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unmapped { address, len } => write!(f, "{len} bytes at {address} lie in no mapped memory"),
            Self::Overlaps { start, len, other } => {
                write!(f, "memory at {start} of {len:#x} bytes overlaps the memory at {other}")
            }
            Self::Wraps { start, len } => write!(f, "memory at {start} of {len:#x} bytes wraps around"),
            Self::Full { capacity } => write!(f, "more than {capacity} memories"),
        }
    }
}

impl core::error::Error for MapError {}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    extern crate std;
    use std::boxed::Box;

    use super::*;
    use crate::Memory;

    fn region(len: usize) -> Region {
        let memory: &'static Memory<256> = Box::leak(Box::default());
        memory.region().slice(0, len).expect("at most 256 bytes")
    }

    #[test]
    fn an_address_is_found_in_the_window_that_holds_all_its_bytes() {
        let mut map = AddressMap::<_, 2>::new();
        map.insert(DeviceAddr(0x1000), region(0x100)).unwrap();
        map.insert(DeviceAddr(0x1100), region(0x100)).unwrap();
        assert_eq!(map.locate(DeviceAddr(0x10f0), 16), Ok(Located { window: 0, offset: 0xf0 }));
        assert_eq!(map.locate(DeviceAddr(0x1100), 16), Ok(Located { window: 1, offset: 0 }));
        let across = map.locate(DeviceAddr(0x10f8), 16);
        assert_eq!(across, Err(MapError::Unmapped { address: DeviceAddr(0x10f8), len: 16 }));
        assert!(map.locate(DeviceAddr(0xfff), 1).is_err());
        assert!(map.locate(DeviceAddr(u64::MAX), usize::MAX).is_err());
        assert!(map.resolve(DeviceAddr(0x1008), 8).unwrap().load::<u64>(0).is_ok());
    }

    #[test]
    fn a_found_span_can_be_put_aside_as_a_place_and_found_again() {
        let mut map = AddressMap::<_, 3>::new();
        map.insert(DeviceAddr(0x1000), region(0x80)).unwrap();
        map.insert(DeviceAddr(0x2000), region(0x80)).unwrap();
        for (address, window) in [(0x1008, 0), (0x2010, 1)] {
            let span = map.find(DeviceAddr(address), 8).unwrap();
            span.write(0, b"whatever").unwrap();
            let place = map.place_of(&span).unwrap();
            assert_eq!(place, Located { window, offset: address as usize % 0x1000 });
            assert_eq!(map.span(place, 8).unwrap().read_array(0), Some(*b"whatever"));
        }
        assert!(map.find(DeviceAddr(0x207c), 8).is_none());
        assert_eq!(map.place_of(&region(8).span(0, 8).unwrap()), None);
    }

    #[test]
    fn a_window_that_overlaps_wraps_or_is_one_too_many_is_refused() {
        let mut map = AddressMap::<_, 2>::new();
        map.insert(DeviceAddr(0x1000), region(0x100)).unwrap();
        let over = map.insert(DeviceAddr(0x10ff), region(0x10));
        assert_eq!(
            over,
            Err(MapError::Overlaps { start: DeviceAddr(0x10ff), len: 16, other: DeviceAddr(0x1000) })
        );
        assert!(matches!(map.insert(DeviceAddr(u64::MAX - 7), region(16)), Err(MapError::Wraps { .. })));
        map.insert(DeviceAddr(u64::MAX - 15), region(16)).unwrap();
        assert_eq!(map.locate(DeviceAddr(u64::MAX), 1), Ok(Located { window: 1, offset: 15 }));
        assert_eq!(map.insert(DeviceAddr(0), region(16)), Err(MapError::Full { capacity: 2 }));
    }
}
