//! What makes a crate a firmware image.

use sidecore_mem::Region;

use crate::platform::Native;
use crate::trace::{TRACE, Trace};
use crate::{Remote, Resources};

/// Makes the crate a firmware image: its entry point, resource table, trace buffer and panic handler.
///
/// `main` is the function that the firmware consists of, `fn(Remote) -> i32`; what it returns is the exit code.
/// `resources` is a constant [`Resources`], by default [`Resources::DEFAULT`].
///
/// ```ignore
/// #![no_std]
/// #![no_main]
/// #![forbid(unsafe_code)]
///
/// use sidecore_firmware::{Remote, image, trace};
///
/// image! { main: main }
///
/// fn main(_remote: Remote) -> i32 {
///     trace!("up and running");
///     0
/// }
/// ```
#[macro_export]
macro_rules! image {
    (main: $main:path $(,)?) => {
        $crate::image! { main: $main, resources: $crate::Resources::DEFAULT }
    };
    (main: $main:path, resources: $resources:expr $(,)?) => {
        const _: () = {
            use $crate::__image::{FILLED, Image, Memory, Native, StaticTable, Trace, panic};

            const RESOURCES: $crate::Resources = $resources;
            const TABLE_LEN: usize = RESOURCES.table_len();
            const BEFORE: usize = RESOURCES.trace_address_at();
            const AFTER: usize = TABLE_LEN - BEFORE - FILLED;

            static TRACE_MEMORY: Memory<{ RESOURCES.trace_len() }> = Memory::new();
            static TRACE: Trace = Trace::new(|| TRACE_MEMORY.region());

            #[used]
            #[unsafe(link_section = ".resource_table")]
            static TABLE: StaticTable<BEFORE, AFTER> =
                StaticTable::new(RESOURCES.table::<TABLE_LEN>(), &TRACE_MEMORY);

            static IMAGE: Image = Image::new(RESOURCES, || TABLE.region(), &TRACE, $main);

            $crate::__entry!(IMAGE);

            #[panic_handler]
            fn on_panic(info: &::core::panic::PanicInfo<'_>) -> ! {
                panic::<Native>(info)
            }
        };
    };
}

/// An image's statics, as its entry needs them.
#[derive(Clone, Copy)]
pub struct Image {
    #[expect(dead_code)]
    rpmsg_at: Option<usize>,
    #[expect(dead_code)]
    table: fn() -> Region,
    trace: &'static Trace,
    main: fn(Remote) -> i32,
}

impl Image {
    /// Puts the parts together.
    pub const fn new(
        resources: Resources,
        table: fn() -> Region,
        trace: &'static Trace,
        main: fn(Remote) -> i32,
    ) -> Self {
        Self { rpmsg_at: resources.rpmsg_at(), table, trace, main }
    }

    /// Runs the image on its platform; gives the exit code.
    pub(crate) fn run(&'static self, platform: Native) -> i32 {
        TRACE.publish(self.trace);
        (self.main)(Remote::new(platform))
    }
}
