//! The CPU's side of the register port: one access at a time.

use crate::model::ports::{AxilIn, AxilOut};

/// A register access under way.
#[derive(Clone, Copy, Debug, Default)]
struct Access {
    write: bool,
    offset: u64,
    data: u64,
    strobes: u64,
    address_taken: bool,
    data_taken: bool,
}

/// Master of the AXI4-Lite port.
#[derive(Debug, Default)]
pub struct AxiLite {
    access: Option<Access>,
    answer: Option<(u64, u64)>,
    /// Cycles before an address and before data is offered, and before a response that is there is taken.
    delays: [u8; 3],
}

impl AxiLite {
    /// Starts a read of the aligned doubleword that holds `offset`.
    pub fn start_read(&mut self, offset: u32) {
        self.answer = None;
        self.access = Some(Access { offset: u64::from(offset), ..Access::default() });
    }

    /// Starts a write; `data` and `strobes` are those of the 64-bit bus.
    pub fn start_write(&mut self, offset: u32, data: u64, strobes: u8) {
        self.answer = None;
        let (offset, strobes) = (u64::from(offset), u64::from(strobes));
        self.access = Some(Access { write: true, offset, data, strobes, ..Access::default() });
    }

    /// The access just started takes its time: cycles before its address and before its data is offered, and cycles before its
    /// response, once that is there, is taken.
    pub fn hesitate(&mut self, delays: [u8; 3]) {
        self.delays = delays;
    }

    /// The answer of the access, (data, response), once it is there; taken once.
    pub fn take_answer(&mut self) -> Option<(u64, u64)> {
        self.answer.take()
    }

    /// Gives up the access under way.
    pub fn abandon(&mut self) {
        self.access = None;
    }

    /// One cycle.
    #[inline]
    pub fn cycle(&mut self, out: &AxilOut, input: &mut AxilIn) {
        let Some(access) = &mut self.access else { return };
        let [address_waits, data_waits, response_waits] = self.delays.map(|left| left != 0);
        let waits = [address_waits, data_waits, response_waits && (out.bvalid | out.rvalid) & 1 != 0];
        self.delays.iter_mut().zip(waits).for_each(|(left, waits)| *left -= u8::from(waits));
        (input.bready, input.rready) = (u64::from(!response_waits), u64::from(!response_waits));
        input.awvalid = u64::from(access.write && !access.address_taken && !address_waits);
        input.wvalid = u64::from(access.write && !access.data_taken && !data_waits);
        input.arvalid = u64::from(!access.write && !access.address_taken && !address_waits);
        (input.awaddr, input.araddr) = (access.offset, access.offset);
        (input.wdata, input.wstrb) = (access.data, access.strobes);
        access.address_taken |= input.awvalid & out.awready | input.arvalid & out.arready != 0;
        access.data_taken |= input.wvalid & out.wready != 0;
        if response_waits {
            return;
        }
        if access.write && out.bvalid != 0 {
            self.answer = Some((0, out.bresp));
        } else if !access.write && out.rvalid != 0 {
            self.answer = Some((out.rdata, out.rresp));
        }
        if self.answer.is_some() {
            self.access = None;
            // The response is taken at this edge; a next access starts after it.
            (input.awvalid, input.wvalid, input.arvalid) = (0, 0, 0);
        }
    }
}
