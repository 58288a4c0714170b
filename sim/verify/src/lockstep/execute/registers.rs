//! Registers: reads, writes, the directory with the invalidation that software owes after a change of it, the debug interface, and
//! the counters.

use super::super::op::{Ask, Word};
use super::Executor;
use crate::engine::{Engine, EngineError};
use pasidon_spec::command::Command;
use pasidon_spec::ddt::iommu_mode;
use pasidon_spec::registers::{
    self, Register, cqcsr, cqh, ddtp, event, fctl, fqcsr, iocountinh, iohpmctr, iohpmcycles, iohpmevt,
    tr_req_ctl, tr_req_iova, tr_response,
};

impl Executor<'_> {
    pub(super) fn write(&mut self, offset: u16, bytes: u8, value: u64) -> Result<(), EngineError> {
        let touches = |register: &Register| offset & !7 == register.offset & !7;
        if touches(&ddtp::REG) {
            return self.set_directory(offset, bytes, value);
        }
        if touches(&fctl::REG) && !self.is_off() {
            // Software must not.
            return Ok(());
        }
        if touches(&iohpmcycles::REG) {
            self.cycles_known = iocountinh::CY.is_set(self.golden(&iocountinh::REG)) && bytes == 8;
        }
        let was_on = self.is_set(&cqcsr::REG, cqcsr::CQON);
        self.failed &= !touches(&cqcsr::REG);
        self.both.write_register(offset, bytes, value)?;
        if !was_on {
            let is_on = self.is_set(&cqcsr::REG, cqcsr::CQON);
            self.head = if is_on { 0 } else { self.golden(&cqh::REG) };
        }
        if touches(&iocountinh::REG) && !iocountinh::CY.is_set(self.golden(&iocountinh::REG)) {
            self.cycles_known = false;
        }
        self.settle()
    }

    /// Whether the mode is Off and all queues are.
    fn is_off(&mut self) -> bool {
        ddtp::IOMMU_MODE.get(self.golden(&ddtp::REG)) == 0
            && !self.is_set(&cqcsr::REG, cqcsr::CQON)
            && !self.is_set(&fqcsr::REG, fqcsr::FQON)
    }

    /// A change of the directory, with the invalidation that software owes after it.
    fn set_directory(&mut self, offset: u16, bytes: u8, value: u64) -> Result<(), EngineError> {
        self.both.write_register(offset, bytes, value)?;
        if offset == ddtp::REG.offset {
            self.drains.iter_mut().for_each(|due| *due += 1);
        }
        self.settle()?;
        self.owes |= self.directory;
        self.pay()?;
        self.directory |= ddtp::IOMMU_MODE.get(self.golden(&ddtp::REG)) >= iommu_mode::LVL1;
        Ok(())
    }

    /// Invalidates everything if software owes it; false if it could not, so that the hardware may use another directory's entries.
    pub(super) fn pay(&mut self) -> Result<bool, EngineError> {
        if self.owes {
            let all = [
                Command::IodirInvalDdt { did: None },
                Command::IotinvalVma { gscid: None, pscid: None, range: None },
                Command::IotinvalGvma { guest: None },
            ];
            let words: Vec<[Word; 2]> = all.iter().map(|c| c.encode().map(Word)).collect();
            self.owes = !self.invalidate(&words)?;
        }
        Ok(!self.owes)
    }

    /// Whether a register is the same in both, as far as the specification defines its value.
    fn is_exact(&mut self, register: &Register, index: u8) -> bool {
        match register.offset {
            o if o == iohpmcycles::REG.offset => self.cycles_known,
            o if o == iohpmctr::REG.offset => {
                let selector = self
                    .both
                    .model()
                    .golden_mut()
                    .read_register(iohpmevt::REG.offset_of(index), iohpmevt::REG.bytes);
                // How often tables are walked depends on the caches.
                iohpmevt::EVENT_ID.get(selector) < event::TLB_MISS
            }
            o if o == tr_response::REG.offset => false,
            _ => true,
        }
    }

    pub(super) fn read(&mut self, offset: u16, bytes: u8) -> Result<(), EngineError> {
        for register in registers::ALL {
            for index in 0..register.count {
                let start = register.offset_of(index);
                let overlaps =
                    start < offset + u16::from(bytes) && offset < start + u16::from(register.bytes);
                if overlaps && !self.is_exact(register, index) {
                    return Ok(());
                }
            }
        }
        self.both.compare_register(offset, bytes, "value").map(|_| ())
    }

    pub(super) fn compare_registers(&mut self) -> Result<(), EngineError> {
        self.settle()?;
        for register in registers::ALL {
            // All of a large array only now and then.
            for index in 0..register.count {
                if self.is_exact(register, index) {
                    self.both.compare_register(register.offset_of(index), register.bytes, register.name)?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn debug(&mut self, iova: u64, control: u64) -> Result<(), EngineError> {
        let there = self.golden(&registers::capabilities::REG);
        // What old values might give is not followed through this interface.
        if !registers::capabilities::DBG.is_set(there) || self.both.remembers() || !self.pay()? {
            return Ok(());
        }
        self.both.write_register(tr_req_iova::REG.offset, 8, iova)?;
        self.both.write_register(tr_req_ctl::REG.offset, 8, control)?;
        self.settle()?;
        self.both.compare_register(tr_req_ctl::REG.offset, 8, "tr_req_ctl")?;
        let fault = tr_response::FAULT.is_set(self.golden(&tr_response::REG));
        self.coverage.count(format!("debug translation/{}", if fault { "fault" } else { "success" }));
        if !fault {
            self.both.compare_register(tr_response::REG.offset, 8, "tr_response")?;
        } else {
            // The other fields have no meaning.
            let rtl = self.both.rtl().read_register(tr_response::REG.offset, 8)?;
            if !tr_response::FAULT.is_set(rtl) {
                self.both.compare_register(tr_response::REG.offset, 8, "tr_response")?;
            }
        }
        Ok(())
    }

    /// A request that finds nothing in any cache, and the events that it causes.
    pub(super) fn count(
        &mut self,
        commands: &[[Word; 2]],
        selectors: &[Word],
        ask: Ask,
    ) -> Result<(), EngineError> {
        if !self.pay()? || !self.invalidate(commands)? {
            return Ok(());
        }
        self.both.forget_all();
        for (index, selector) in (0..).zip(selectors) {
            self.both.write_register(iohpmctr::REG.offset_of(index), iohpmctr::REG.bytes, 0)?;
            self.both.write_register(iohpmevt::REG.offset_of(index), iohpmevt::REG.bytes, selector.0)?;
        }
        self.requests(&[ask])?;
        for index in 0..selectors.len() as u8 {
            let offset = iohpmctr::REG.offset_of(index);
            let count = self.both.compare_register(offset, iohpmctr::REG.bytes, iohpmctr::REG.name)?;
            self.coverage.count(format!("counted/{}", if count == 0 { "nothing" } else { "something" }));
        }
        Ok(())
    }
}
