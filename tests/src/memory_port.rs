//! Memory behind the design's AXI4 port, with random back-pressure on every channel, and the rules of AXI4 checked in
//! every cycle.

use crate::rig::Pressure;
use pasidon_sim::machine::{Dram, Memory, Random, Timing};
use pasidon_sim::model::ports::{AxiIn, AxiOut};
use pasidon_spec::memory::Failure;
use std::ops::Range;

/// An accepted read burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The cycle in which its address was accepted.
    pub cycle: u64,
    /// Its address.
    pub address: u64,
    /// Its beats of 8 bytes.
    pub beats: u64,
}

/// The memory port.
pub struct MemoryPort {
    dram: Dram,
    failures: Vec<(Range<u64>, Failure)>,
    last: (AxiOut, AxiIn),
    /// A beat or response is on offer and may not be taken back.
    shown: [bool; 2],
    /// Reads accepted since the list was last cleared.
    pub reads: Vec<Read>,
    /// Write bursts accepted, (address, bytes), since the list was last cleared.
    pub writes: Vec<(u64, u64)>,
    /// Where the hardware may write.
    pub writable: Vec<Range<u64>>,
    /// Write data beats still owed, per burst in order.
    owed: i64,
    /// Bits of a physical address: the design makes no others.
    pas: u32,
}

impl MemoryPort {
    /// Idle memory behind a design with `pas` bits of physical address.
    pub fn new(timing: Timing, pas: u32) -> MemoryPort {
        MemoryPort {
            dram: Dram::new(timing),
            failures: Vec::new(),
            last: Default::default(),
            shown: [false; 2],
            reads: Vec::new(),
            writes: Vec::new(),
            writable: Vec::new(),
            owed: 0,
            pas,
        }
    }

    /// Changes the timing.
    pub fn set_timing(&mut self, timing: Timing) {
        self.dram.set_timing(timing);
    }

    /// The timing.
    pub fn timing(&self) -> Timing {
        self.dram.timing()
    }

    /// Makes accesses to `range` fail.
    pub fn inject(&mut self, range: Range<u64>, failure: Failure) {
        self.failures.push((range.clone(), failure));
        self.dram.inject(range, failure);
    }

    /// Ends all failures.
    pub fn heal(&mut self) {
        self.failures.clear();
        self.dram.heal();
    }

    /// The failures injected.
    pub fn failures(&self) -> &[(Range<u64>, Failure)] {
        &self.failures
    }

    /// One cycle.
    ///
    /// # Panics
    /// If the design broke a rule of AXI4, or wrote where it must not.
    #[inline]
    pub fn cycle(
        &mut self,
        now: u64,
        out: &AxiOut,
        input: &mut AxiIn,
        memory: &mut Memory,
        random: &mut Random,
        pressure: &Pressure,
    ) {
        self.check_stable(now, out);
        for (valid, address) in [(out.arvalid, out.araddr), (out.awvalid, out.awaddr)] {
            assert!(
                valid == 0 || address >> self.pas == 0,
                "cycle {now}: {address:#x} has more than {} bits",
                self.pas
            );
        }
        let mut stall = |chance: u8| chance != 0 && random.below(256) < u64::from(chance);
        let hold =
            [stall(pressure.address_stall), stall(pressure.address_stall), stall(pressure.address_stall)];
        let hide = [!self.shown[0] && stall(pressure.data_gap), !self.shown[1] && stall(pressure.data_gap)];
        // What memory does not see does not happen.
        let mut seen = *out;
        seen.arvalid &= u64::from(!hold[0]);
        seen.awvalid &= u64::from(!hold[1]);
        seen.wvalid &= u64::from(!hold[2]);
        seen.rready &= u64::from(!hide[0]);
        seen.bready &= u64::from(!hide[1]);
        self.dram.cycle(now, &seen, input, memory);
        input.arready &= u64::from(!hold[0]);
        input.awready &= u64::from(!hold[1]);
        input.wready &= u64::from(!hold[2]);
        input.rvalid &= u64::from(!hide[0]);
        input.bvalid &= u64::from(!hide[1]);
        if input.rvalid == 0 {
            (input.rdata, input.rid, input.rlast) = (random.word(), random.below(32), random.below(2));
            (input.rresp, input.rpoison) = (random.below(4), random.below(2));
        }
        if input.bvalid == 0 {
            (input.bid, input.bresp) = (random.below(32), random.below(4));
        }
        self.shown = [input.rvalid & !out.rready & 1 == 1, input.bvalid & !out.bready & 1 == 1];
        if out.arvalid & input.arready != 0 {
            self.reads.push(Read { cycle: now, address: out.araddr, beats: out.arlen + 1 });
            assert!(out.arid < 32, "cycle {now}: read id {} is wider than 5 bits", out.arid);
            assert_eq!(out.araddr & ((1 << out.arsize) - 1), 0, "cycle {now}: unaligned read");
        }
        if out.awvalid & input.awready != 0 {
            let bytes = (out.awlen + 1) << out.awsize;
            self.writes.push((out.awaddr, bytes));
            self.owed += out.awlen as i64 + 1;
            assert!(out.awid < 32, "cycle {now}: write id {} is wider than 5 bits", out.awid);
            let allowed = |range: &Range<u64>| range.start <= out.awaddr && out.awaddr + bytes <= range.end;
            assert!(
                self.writable.iter().any(allowed),
                "cycle {now}: write of {bytes} bytes at {:#x}, where there is no fault queue and no fence asked for it",
                out.awaddr
            );
        }
        if out.wvalid & input.wready != 0 {
            self.owed -= 1;
            assert!(self.owed >= 0, "cycle {now}: write data without an address");
        }
        if let Some(violation) = self.dram.violation() {
            panic!("cycle {now}: AXI4: {violation}");
        }
        self.last = (*out, *input);
    }

    /// What is valid and not taken stays as it is. (AXI4, "Handshake process".)
    #[inline]
    fn check_stable(&self, now: u64, out: &AxiOut) {
        let (last, input) = &self.last;
        if last.arvalid & !input.arready & 1 == 1 {
            let address = |o: &AxiOut| (o.arvalid, o.arid, o.araddr, o.arlen, o.arsize, o.arburst);
            assert_eq!(address(last), address(out), "cycle {now}: AR changed while it waited");
        }
        if last.awvalid & !input.awready & 1 == 1 {
            let address = |o: &AxiOut| (o.awvalid, o.awid, o.awaddr, o.awlen, o.awsize, o.awburst);
            assert_eq!(address(last), address(out), "cycle {now}: AW changed while it waited");
        }
        if last.wvalid & !input.wready & 1 == 1 {
            let data = |o: &AxiOut| (o.wvalid, o.wdata, o.wstrb, o.wlast);
            assert_eq!(data(last), data(out), "cycle {now}: W changed while it waited");
        }
    }
}
