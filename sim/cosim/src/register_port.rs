//! The CPU's side of the register port: one access at a time that is waited for, and others around it that nobody waits for.

use crate::verilated::ports::{AxilIn, AxilOut};
use std::collections::VecDeque;

/// An access under way.
#[derive(Clone, Copy, Debug)]
struct RegisterAccess {
    offset: u64,
    data: u64,
    strobes: u64,
    /// Its answer is waited for.
    awaited: bool,
}

/// Accesses of one direction, in order. Addresses and data of later ones may be taken before earlier ones are answered.
#[derive(Debug, Default)]
struct Channel {
    accesses: VecDeque<RegisterAccess>,
    addresses_taken: usize,
    data_taken: usize,
}

impl Channel {
    fn answered(&mut self) -> bool {
        self.addresses_taken = self.addresses_taken.saturating_sub(1);
        self.data_taken = self.data_taken.saturating_sub(1);
        self.accesses.pop_front().is_some_and(|access| access.awaited)
    }
}

/// Master of the AXI4-Lite port.
#[derive(Debug, Default)]
pub struct RegisterPort {
    reads: Channel,
    writes: Channel,
    answer: Option<(u64, u64)>,
    /// Cycles before an address and before data is offered, and before a response that is there is taken.
    delays: [u8; 3],
    /// Read data that was shown and not taken.
    held: Option<(u64, u64)>,
    violation: Option<&'static str>,
}

impl RegisterPort {
    /// The first rule of AXI4-Lite that the hardware broke, if there is one.
    pub fn violation(&self) -> Option<&'static str> {
        self.violation
    }

    /// Starts a read of the aligned doubleword that holds `offset`.
    pub fn start_read(&mut self, offset: u32) {
        self.answer = None;
        let offset = u64::from(offset);
        self.reads.accesses.push_back(RegisterAccess { offset, data: 0, strobes: 0, awaited: true });
    }

    /// Starts a write; `data` and `strobes` are those of the 64-bit bus.
    pub fn start_write(&mut self, offset: u32, data: u64, strobes: u8) {
        self.answer = None;
        let (offset, strobes) = (u64::from(offset), u64::from(strobes));
        self.writes.accesses.push_back(RegisterAccess { offset, data, strobes, awaited: true });
    }

    /// Starts another read, whose data nobody looks at.
    pub fn add_read(&mut self, offset: u32) {
        let offset = u64::from(offset);
        self.reads.accesses.push_back(RegisterAccess { offset, data: 0, strobes: 0, awaited: false });
    }

    /// Starts another write, whose response nobody waits for. Its address is offered before earlier writes are answered.
    pub fn add_write(&mut self, offset: u32, data: u64, strobes: u8) {
        let (offset, strobes) = (u64::from(offset), u64::from(strobes));
        self.writes.accesses.push_back(RegisterAccess { offset, data, strobes, awaited: false });
    }

    /// What was just started takes its time: cycles before its address and before its data is offered, and cycles before its
    /// response, once that is there, is taken.
    pub fn hesitate(&mut self, delays: [u8; 3]) {
        self.delays = delays;
    }

    /// The answer of the access, (data, response), once it is there and everything else has been answered; taken once.
    pub fn take_answer(&mut self) -> Option<(u64, u64)> {
        if self.is_idle() { self.answer.take() } else { None }
    }

    /// Gives up the accesses under way.
    pub fn abandon(&mut self) {
        (self.reads, self.writes) = Default::default();
    }

    /// The hardware was reset: accesses under way are given up, and what it had shown need not be shown again. An answer that came
    /// before can still be taken.
    pub fn core_was_reset(&mut self) {
        self.abandon();
        self.held = None;
    }

    /// Whether no access is under way.
    pub fn is_idle(&self) -> bool {
        self.reads.accesses.is_empty() && self.writes.accesses.is_empty()
    }

    /// One cycle.
    #[inline]
    pub fn cycle(&mut self, out: &AxilOut, input: &mut AxilIn) {
        if self.is_idle() {
            (input.awvalid, input.wvalid, input.arvalid) = (0, 0, 0);
            if (out.bvalid | out.rvalid) & 1 != 0 {
                self.violation.get_or_insert("a register access was answered that nobody made");
            }
            return;
        }
        self.check(out);
        let [address_waits, data_waits, response_waits] = self.delays.map(|left| left != 0);
        let waits = [address_waits, data_waits, response_waits && (out.bvalid | out.rvalid) & 1 != 0];
        self.delays.iter_mut().zip(waits).for_each(|(left, waits)| *left -= u8::from(waits));
        (input.bready, input.rready) = (u64::from(!response_waits), u64::from(!response_waits));
        let RegisterPort { reads, writes, answer, .. } = self;
        // What is offered stays until it is taken: delays only count down.
        let address = if address_waits { None } else { writes.accesses.get(writes.addresses_taken) };
        input.awvalid = u64::from(address.is_some());
        input.awaddr = address.map_or(0, |access| access.offset);
        let data = if data_waits { None } else { writes.accesses.get(writes.data_taken) };
        input.wvalid = u64::from(data.is_some());
        (input.wdata, input.wstrb) = data.map_or((0, 0), |access| (access.data, access.strobes));
        let address = if address_waits { None } else { reads.accesses.get(reads.addresses_taken) };
        input.arvalid = u64::from(address.is_some());
        input.araddr = address.map_or(0, |access| access.offset);
        writes.addresses_taken += (input.awvalid & out.awready & 1) as usize;
        writes.data_taken += (input.wvalid & out.wready & 1) as usize;
        reads.addresses_taken += (input.arvalid & out.arready & 1) as usize;
        if response_waits {
            self.held = (out.rvalid & 1 != 0).then_some((out.rdata, out.rresp));
            return;
        }
        self.held = None;
        if out.bvalid & 1 != 0 && writes.answered() {
            *answer = Some((0, out.bresp));
        }
        if out.rvalid & 1 != 0 && reads.answered() {
            *answer = Some((out.rdata, out.rresp));
        }
    }

    /// Responses come after what they answer, and stay until they are taken.
    fn check(&mut self, out: &AxilOut) {
        let read = out.rvalid & 1 != 0;
        let early = out.bvalid & 1 != 0 && self.writes.addresses_taken.min(self.writes.data_taken) == 0
            || read && self.reads.addresses_taken == 0;
        if early {
            self.violation.get_or_insert("a register access was answered before it was taken");
        }
        if self.held.is_some_and(|held| !read || held != (out.rdata, out.rresp)) {
            self.violation.get_or_insert("the answer of a register access changed while it waited");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads the register at 8 from hardware that answers at once, and returns the port with the answer in it.
    fn answered() -> RegisterPort {
        let mut port = RegisterPort::default();
        port.start_read(8);
        let mut input = AxilIn::default();
        port.cycle(&AxilOut { arready: 1, ..AxilOut::default() }, &mut input);
        assert_eq!((input.arvalid, input.araddr), (1, 8));
        port.cycle(&AxilOut { rvalid: 1, rdata: 5, ..AxilOut::default() }, &mut input);
        port
    }

    #[test]
    fn an_answer_survives_a_reset_of_the_hardware_and_an_access_does_not() {
        let mut port = answered();
        port.core_was_reset();
        assert_eq!((port.take_answer(), port.take_answer()), (Some((5, 0)), None));
        port.start_read(8);
        port.core_was_reset();
        assert!(port.is_idle() && port.take_answer().is_none());
        port.cycle(&AxilOut::default(), &mut AxilIn::default());
        assert_eq!(port.violation(), None);
    }

    #[test]
    fn an_answer_that_nobody_asked_for_is_said() {
        let mut port = answered();
        port.cycle(&AxilOut { rvalid: 1, ..AxilOut::default() }, &mut AxilIn::default());
        assert_eq!(port.violation(), Some("a register access was answered that nobody made"));
        let mut port = RegisterPort::default();
        port.start_write(8, 1, 0xff);
        port.cycle(&AxilOut { bvalid: 1, ..AxilOut::default() }, &mut AxilIn::default());
        assert_eq!(port.violation(), Some("a register access was answered before it was taken"));
    }
}
