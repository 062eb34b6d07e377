//! What makes a crate a firmware image.

use core::fmt;

use sidecore_mem::Region;
use sidecore_virtio::transport::table;

use crate::connection::Storage;
use crate::platform::{Native, Platform};
use crate::remote::Base;
use crate::trace::{TRACE, Trace, trace_line};
use crate::{Error, Machine, Remote, Resources};

/// Makes the crate a firmware image: its entry point, resource table, trace buffer and panic handler.
///
/// `main` is the function that the firmware consists of: it takes a [`Remote`] and returns an [`Outcome`].
/// `resources` is a constant [`Resources`], by default [`Resources::DEFAULT`].
///
/// ```text
/// #![no_std]
/// #![no_main]
/// #![forbid(unsafe_code)]
///
/// use sidecore_firmware::{Remote, image, trace};
///
/// image! { main: main }
///
/// fn main(_remote: Remote) {
///     trace!("up and running");
/// }
/// ```
#[macro_export]
macro_rules! image {
    (main: $main:path $(,)?) => {
        $crate::image! { main: $main, resources: $crate::Resources::DEFAULT }
    };
    (main: $main:path, resources: $resources:expr $(,)?) => {
        const _: () = {
            use $crate::__image::{
                FILLED, Image, Memory, Native, Outcome, Platform, StaticTable, TRACE_WORDS, Trace, panic,
            };

            const RESOURCES: $crate::Resources = $resources;
            const TABLE_LEN: usize = RESOURCES.table_len();
            const BEFORE: usize = RESOURCES.trace_address_at();
            const AFTER: usize = TABLE_LEN - BEFORE - FILLED;

            static TRACE_MEMORY: Memory<{ RESOURCES.trace_len() }> = Memory::new();
            static TRACE: Trace = Trace::new(
                || TRACE_MEMORY.region(),
                || TABLE.region().slice(RESOURCES.trace_words_at(), TRACE_WORDS).ok(),
                <Native as Platform>::alert,
            );

            #[used]
            #[unsafe(link_section = ".resource_table")]
            static TABLE: StaticTable<BEFORE, AFTER> =
                StaticTable::new(RESOURCES.table::<TABLE_LEN>(), &TRACE_MEMORY);

            static IMAGE: Image = Image::new::<{ RESOURCES.to_host() }, { RESOURCES.to_remote() }>(
                RESOURCES,
                || TABLE.region(),
                &TRACE,
                run_image,
            );

            // A function with a name, which traces of crashes show: most of the image is compiled into it.
            fn run_image(remote: $crate::Remote<'_>) -> i32 {
                Outcome::code($main(remote))
            }

            $crate::__entry!(|platform| IMAGE.run(platform));

            #[panic_handler]
            fn on_panic(info: &::core::panic::PanicInfo<'_>) -> ! {
                panic::<Native>(info)
            }
        };
    };
}

/// Makes the crate firmware that uses nothing of the SDK but its platform, and is as small as can be: no resource table,
/// no trace, nothing said about a panic.
///
/// `main` is handed the [`Native`] platform and returns the exit code.
#[macro_export]
macro_rules! bare {
    (main: $main:path $(,)?) => {
        $crate::__entry!($main);

        #[panic_handler]
        fn on_panic(_: &::core::panic::PanicInfo<'_>) -> ! {
            <$crate::platform::Native as $crate::platform::Platform>::halt("")
        }
    };
}

/// An image's statics, as its entry needs them.
#[derive(Clone, Copy)]
pub struct Image {
    rpmsg_at: Option<usize>,
    /// Where the buffer for frames of `defmt` is, and how long.
    #[cfg(feature = "defmt")]
    defmt_at: Option<(usize, usize, usize)>,
    table: fn() -> Region,
    trace: &'static Trace,
    run: fn(&Image, Native) -> i32,
    main: fn(Remote<'_>) -> i32,
}

impl Image {
    /// Puts the parts together; the numbers are those of the rings' entries.
    pub const fn new<const TO_HOST: usize, const TO_REMOTE: usize>(
        resources: Resources,
        table: fn() -> Region,
        trace: &'static Trace,
        main: fn(Remote<'_>) -> i32,
    ) -> Self {
        Self {
            rpmsg_at: resources.rpmsg_at(),
            #[cfg(feature = "defmt")]
            defmt_at: resources.defmt_at(),
            table,
            trace,
            run: run::<TO_HOST, TO_REMOTE>,
            main,
        }
    }

    /// Runs the image on its platform; gives the exit code.
    pub fn run(&self, platform: Native) -> i32 {
        TRACE.publish(self.trace);
        #[cfg(feature = "defmt")]
        if let Some((trace_at, words_at, len)) = self.defmt_at {
            let place = crate::platform::defmt::Place { trace_at, words_at, len };
            // Without a buffer frames go nowhere.
            let _ = crate::platform::defmt::begin(&platform, &(self.table)(), place);
        }
        (self.run)(self, platform)
    }
}

fn run<const TO_HOST: usize, const TO_REMOTE: usize>(image: &Image, platform: Native) -> i32 {
    let table = (image.table)();
    start::<_, _, TO_HOST, TO_REMOTE>(&Machine::new(platform), &table, image.rpmsg_at, image.main)
}

/// Hands `main` a remote whose resource table has its rpmsg device at this offset.
pub(crate) fn start<P: Platform, T, const TO_HOST: usize, const TO_REMOTE: usize>(
    machine: &Machine<P>,
    table: &Region,
    rpmsg_at: Option<usize>,
    main: impl for<'s> FnOnce(Remote<'s, P>) -> T,
) -> T {
    let vdev = match rpmsg_at {
        Some(at) => table::Device::new(table, at).map_err(Error::Device),
        None => Err(Error::NoDevice),
    };
    let storage = Storage::<P, TO_HOST, TO_REMOTE>::new();
    let Storage { cancelled, slots, mail } = &storage;
    main(Remote::new(Base { machine, table, vdev: &vdev, cancelled, slots, mail }))
}

/// What an image's `main` may return: its exit code, nothing (0), or an error, which is traced and makes the exit
/// code 1.
pub trait Outcome {
    /// The exit code.
    fn code(self) -> i32;
}

impl Outcome for i32 {
    fn code(self) -> i32 {
        self
    }
}

impl Outcome for () {
    fn code(self) -> i32 {
        0
    }
}

impl<T: Outcome, E: fmt::Display> Outcome for Result<T, E> {
    fn code(self) -> i32 {
        match self {
            Ok(outcome) => outcome.code(),
            Err(error) => {
                trace_line(format_args!("error: {error}"));
                1
            }
        }
    }
}
