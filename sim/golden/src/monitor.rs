//! The performance monitor. (Sections "Performance-monitoring counter inhibits (iocountinh)" to "Performance-monitoring event selectors
//! (iohpmevt1-31)".)

use pasidon_spec::registers::{event, iocountinh, iohpmcycles, iohpmevt};

/// Events whose number depends on what is cached: misses and walks.
const OF_CACHES: u64 = !0 << event::TLB_MISS;

use super::Golden;
use super::context::Ids;

/// The events that can be filtered by PSCID and GSCID (`IDT` 1).
const BY_ADDRESS_SPACE: [u64; 3] = [event::TLB_MISS, event::FIRST_STAGE_WALKS, event::SECOND_STAGE_WALKS];

/// The low bits of an id that `DMASK` leaves out: up to and including its lowest 0.
fn ignored(id: u64) -> u64 {
    id ^ (id + 1)
}

/// Whether a counter with this selector counts `event`, met by a transaction with these ids.
fn counts(selector: u64, event: u64, ids: &Ids) -> bool {
    let by_space = iohpmevt::IDT.is_set(selector);
    if iohpmevt::EVENT_ID.get(selector) != event || (by_space && !BY_ADDRESS_SPACE.contains(&event)) {
        return false;
    }
    let (process, device) =
        if by_space { (ids.pscid, ids.gscid.map(u32::from)) } else { (ids.process_id, Some(ids.device_id)) };
    let wanted = iohpmevt::DID_GSCID.get(selector);
    let compared = if iohpmevt::DMASK.is_set(selector) { !ignored(wanted) } else { u64::MAX };
    let process_matches = !iohpmevt::PV_PSCV.is_set(selector)
        || process.is_some_and(|id| u64::from(id) == iohpmevt::PID_PSCID.get(selector));
    let device_matches = !iohpmevt::DV_GSCV.is_set(selector)
        || device.is_some_and(|id| (u64::from(id) ^ wanted) & compared & iohpmevt::DID_GSCID.max() == 0);
    process_matches && device_matches
}

impl Golden {
    /// Counts an event. What no counter waits for costs one comparison.
    #[inline]
    pub(super) fn count(&mut self, event: u64, ids: impl FnOnce() -> Ids) {
        if self.counted_events >> event & 1 != 0 {
            self.count_slowly(event, &ids());
        }
    }

    #[cold]
    fn count_slowly(&mut self, event: u64, ids: &Ids) {
        let most = u64::MAX >> (64 - u32::from(self.parameters.hpm_counter_bits));
        for index in 0..usize::from(self.parameters.hpm_counters) {
            let inhibited = iocountinh::HPM.get(self.registers.iocountinh) >> index & 1 == 1;
            if inhibited || !counts(self.registers.iohpmevt[index], event, ids) {
                continue;
            }
            let counter = &mut self.registers.iohpmctr[index];
            *counter = counter.wrapping_add(1) & most;
            if *counter == 0 && !iohpmevt::OF.is_set(self.registers.iohpmevt[index]) {
                self.registers.iohpmevt[index] |= iohpmevt::OF.mask();
                self.interrupts.overflow = true;
            }
        }
        if self.interrupts.overflow {
            self.update_interrupts();
        }
    }

    /// Works out which events any counter waits for, after a write of a selector or of the inhibits.
    pub(super) fn select_events(&mut self) {
        self.counted_events = 0;
        for index in 0..usize::from(self.parameters.hpm_counters) {
            if iocountinh::HPM.get(self.registers.iocountinh) >> index & 1 == 0 {
                self.counted_events |= 1 << iohpmevt::EVENT_ID.get(self.registers.iohpmevt[index]);
            }
        }
        // "Do not count" is no event.
        self.counted_events &= !1;
        if self.follows_counts {
            self.counted_events &= !OF_CACHES;
        }
    }

    /// Counts clock cycles in `iohpmcycles`.
    pub(super) fn count_cycles(&mut self, cycles: u64) {
        if !self.parameters.hpm_cycles || !self.counts_cycles() || self.follows_counts {
            return;
        }
        let bits = u32::from(self.parameters.hpm_cycle_bits);
        let count = u128::from(iohpmcycles::COUNTER.get(self.registers.iohpmcycles)) + u128::from(cycles);
        let wrapped = count >> bits != 0;
        let kept = (count & ((1 << bits) - 1)) as u64;
        self.registers.iohpmcycles = iohpmcycles::COUNTER.set(self.registers.iohpmcycles, kept);
        if wrapped && !iohpmcycles::OF.is_set(self.registers.iohpmcycles) {
            self.registers.iohpmcycles |= iohpmcycles::OF.mask();
            self.interrupts.overflow = true;
            self.update_interrupts();
        }
    }

    /// Whether `iohpmcycles` is not inhibited.
    fn counts_cycles(&self) -> bool {
        !iocountinh::CY.is_set(self.registers.iocountinh)
    }

    /// From now on, the specification's choices in counting are those of another implementation: clock cycles, misses and walks are
    /// not counted here but [given](Golden::give_count).
    pub fn follow_counts(&mut self) {
        self.follows_counts = true;
        self.select_events();
    }

    /// The counters whose values must be given, as in `iocountovf`: bit 0 is `iohpmcycles`, bit `i` is `iohpmctr` `i`.
    pub fn followed_counts(&self) -> u64 {
        if !self.follows_counts {
            return 0;
        }
        let selectors = &self.registers.iohpmevt[..usize::from(self.parameters.hpm_counters)];
        let of_caches = |selector: &u64| OF_CACHES >> iohpmevt::EVENT_ID.get(*selector) & 1;
        let cycles = u64::from(self.parameters.hpm_cycles && self.counts_cycles());
        selectors.iter().enumerate().fold(cycles, |word, (i, selector)| word | of_caches(selector) << (i + 1))
    }

    /// A counter, numbered as in `iocountovf`, has this value in the implementation that is followed.
    pub fn give_count(&mut self, counter: usize, count: u64) {
        let registers = &mut self.registers;
        match counter.checked_sub(1) {
            None => {
                registers.iohpmcycles =
                    iohpmcycles::COUNTER.set(registers.iohpmcycles, iohpmcycles::COUNTER.get(count));
            }
            Some(index) => registers.iohpmctr[index] = count,
        }
    }

    /// These counters, numbered as in `iocountovf`, have overflowed in the implementation that is followed.
    pub fn give_overflows(&mut self, overflows: u64) {
        let new = overflows & !self.overflows() & self.followed_counts();
        if new & 1 != 0 {
            self.registers.iohpmcycles |= iohpmcycles::OF.mask();
        }
        for (index, selector) in self.registers.iohpmevt.iter_mut().enumerate() {
            if new >> (index + 1) & 1 != 0 {
                *selector |= iohpmevt::OF.mask();
            }
        }
        if new != 0 {
            self.interrupts.overflow = true;
            self.update_interrupts();
        }
    }

    /// The value of `iocountovf`: the overflow bits of all counters.
    pub(super) fn overflows(&self) -> u64 {
        let of = |selector: &u64| u64::from(iohpmevt::OF.is_set(*selector));
        let cycles = u64::from(iohpmcycles::OF.is_set(self.registers.iohpmcycles));
        self.registers.iohpmevt.iter().enumerate().fold(cycles, |word, (i, evt)| word | of(evt) << (i + 1))
    }
}
