//! Counters whose values depend on what is cached or on the clock: the golden model takes them over from the hardware.
//! (Section "Performance-monitoring counters": how often tables are walked is not specified.)

use super::Both;
use crate::engine::{Engine, EngineError};
use pasidon_spec::registers::{Register, iocountinh, iocountovf, iohpmctr, iohpmcycles, iohpmevt};

/// Register of a counter, numbered as in `iocountovf`.
fn register_of(counter: usize) -> (&'static Register, u8) {
    match counter.checked_sub(1) {
        None => (&iohpmcycles::REG, 0),
        Some(index) => (&iohpmctr::REG, index as u8),
    }
}

/// Whether the register at `offset` is one of the performance monitor's that software writes.
pub(super) fn is_of_monitor(offset: u16) -> bool {
    let monitor = iohpmcycles::REG.offset..iohpmevt::REG.offset_of(iohpmevt::REG.count - 1) + 8;
    offset & !7 == iocountinh::REG.offset & !7 || monitor.contains(&offset)
}

impl Both {
    /// The counters that are followed now.
    fn followed(&mut self) -> impl Iterator<Item = usize> + use<> {
        let counters = self.model.golden_mut().followed_counts();
        (0..32).filter(move |counter| counters >> counter & 1 != 0)
    }

    /// Whether the register at `offset` is, or is part of, a counter that is followed.
    pub(super) fn is_followed_count(&mut self, offset: u16) -> bool {
        self.followed().any(|counter| {
            let (register, index) = register_of(counter);
            offset & !7 == register.offset_of(index)
        })
    }

    /// What has overflowed in the hardware has overflowed in the golden model.
    pub(super) fn follow_overflows(&mut self) -> Result<(), EngineError> {
        if self.followed().next().is_some() {
            let overflows = self.rtl.read_register(iocountovf::REG.offset, iocountovf::REG.bytes)?;
            self.model.golden_mut().give_overflows(overflows);
            self.model.run();
        }
        Ok(())
    }

    /// Between a write of the [monitor](is_of_monitor) by the hardware and by the golden model: a counter that stops being followed
    /// keeps what it has counted.
    pub(super) fn follow_counts(&mut self) -> Result<(), EngineError> {
        for counter in self.followed() {
            let (register, index) = register_of(counter);
            let count = self.rtl.read_register(register.offset_of(index), register.bytes)?;
            self.model.golden_mut().give_count(counter, count);
        }
        Ok(())
    }
}
