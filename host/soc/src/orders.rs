//! What Linux' `stm32_rproc` orders of a coprocessor: registers of the system controller and of the reset.

use sidecore_os::Registers;

/// The register of the system controller by which Linux says start and stop, and is answered.
const POWER: usize = 0x14;
/// Its values: Linux writes the first two, we make the others of them.
const START: u32 = 0;
const STOP: u32 = 1;
const STARTED: u32 = 2;
const STOPPED: u32 = 3;

/// The registers by which firmware that runs already tells Linux so: where its table lies, and the state of the core.
const TABLE_AT: usize = 0x144;
const CORE: usize = 0x148;
/// The core runs.
const CORE_RUNS: u32 = 2;

#[derive(Debug)]
pub(crate) struct Orders {
    system: Registers,
    reset: Registers,
}

/// What is to be done, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ordered {
    /// The coprocessor is reset: it stops.
    pub(crate) reset: bool,
    pub(crate) then: Option<Order>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Start,
    Stop,
}

impl Orders {
    pub(crate) fn new(system: Registers, reset: Registers) -> Self {
        system.store(POWER, STOPPED);
        Self { system, reset }
    }

    /// Says that the coprocessor runs already, with its resource table at this address of its own.
    pub(crate) fn say_running(&self, table: u32) {
        self.system.store(TABLE_AT, table);
        self.system.store(CORE, CORE_RUNS);
        self.system.store(POWER, STARTED);
    }

    /// Takes Linux' orders, and acknowledges them.
    pub(crate) fn take(&self) -> Ordered {
        // Power first, then reset: Linux resets, then starts, and a start must not be undone by the reset before it.
        let power = self.system.load(POWER);
        let reset = self.reset.load(0) & 1 != 0;
        if reset {
            // It clears itself.
            self.reset.store(0, 0);
        }
        let then = match power {
            START if self.system.replace(POWER, START, STARTED) => Some(Order::Start),
            STOP if self.system.replace(POWER, STOP, STOPPED) => Some(Order::Stop),
            _ => None,
        };
        Ordered { reset, then }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soc::tests::memory;

    fn orders() -> (Orders, Registers, Registers) {
        let memory = memory(0x2000);
        let registers = |at| Registers::new(&memory, at, 0x1000).unwrap();
        let (system, reset) = (registers(0), registers(0x1000));
        (Orders::new(system.clone(), reset.clone()), system, reset)
    }

    #[test]
    fn orders_are_taken_once_and_acknowledged() {
        let (orders, system, reset) = orders();
        let nothing = Ordered { reset: false, then: None };
        assert_eq!((orders.take(), system.load(POWER)), (nothing, STOPPED));
        system.store(POWER, START);
        assert_eq!(orders.take(), Ordered { reset: false, then: Some(Order::Start) });
        assert_eq!((orders.take(), system.load(POWER)), (nothing, STARTED));
        // Linux resets before it stops.
        reset.store(0, 1);
        system.store(POWER, STOP);
        assert_eq!(orders.take(), Ordered { reset: true, then: Some(Order::Stop) });
        assert_eq!((system.load(POWER), reset.load(0)), (STOPPED, 0));
    }

    #[test]
    fn a_start_comes_behind_the_reset_before_it() {
        let (orders, system, reset) = orders();
        system.store(POWER, START);
        orders.take();
        // Stopped and started again between two looks.
        reset.store(0, 1);
        system.store(POWER, START);
        assert_eq!(orders.take(), Ordered { reset: true, then: Some(Order::Start) });
    }

    #[test]
    fn one_that_runs_already_is_not_started() {
        let (orders, system, _) = orders();
        orders.say_running(0x5000_1000);
        assert_eq!((system.load(TABLE_AT), system.load(CORE)), (0x5000_1000, CORE_RUNS));
        assert_eq!(orders.take(), Ordered { reset: false, then: None });
    }
}
