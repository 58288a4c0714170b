//! The rules of AXI4 that the hardware's memory port keeps, watched in each cycle, and the narrower ones that `docs/integrate.md`
//! promises: aligned INCR bursts of at most 8 beats of at most 8 bytes, one write at a time, one read per id, the same attributes
//! for all.

use crate::verilated::ports::axi::{BUFFERABLE, INCR};
use crate::verilated::ports::{AxiIn, AxiOut};
use pasidon_rtl::design::Design;
use std::collections::VecDeque;
use std::ops::Range;

/// Beats of the hardware's longest burst: a device context.
pub const MOST_BEATS: usize = 8;

/// What a design's memory port may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// Bits of a physical address.
    pub address_width: u32,
    /// There are exclusive accesses, and writes have ids.
    pub exclusive: bool,
}

impl Rules {
    /// Those of a design.
    pub fn of(design: &Design) -> Rules {
        Rules { address_width: design.pas, exclusive: design.walks_write() }
    }
}

/// An address as it was accepted.
#[derive(Clone, Copy)]
struct Accepted {
    what: &'static str,
    id: u64,
    address: u64,
    len: u64,
    size: u64,
    kind: u64,
    exclusive: bool,
    attributes: (u64, u64, u64),
}

/// A write under way.
struct Write {
    address: u64,
    size: u64,
    beats: u64,
    taken: u64,
}

/// Watches one memory port, and keeps the first rule that it sees broken.
pub struct AxiChecker {
    rules: Rules,
    last: (AxiOut, AxiIn),
    /// Ids of the reads under way.
    reads: Vec<u64>,
    /// The write whose data is expected.
    write: Option<Write>,
    /// A write has not been answered.
    unanswered: bool,
    /// Write data whose address has not been accepted yet: strobes, and whether it was the last.
    early: VecDeque<(u64, bool)>,
    /// Exclusive reads that an exclusive write may follow: id and address.
    exclusive_reads: Vec<(u64, u64)>,
    /// Where writes may go, if that is known.
    pub writable: Option<Vec<Range<u64>>>,
    violation: Option<String>,
}

impl AxiChecker {
    /// Nothing is under way.
    pub fn new(rules: Rules) -> AxiChecker {
        AxiChecker {
            rules,
            last: Default::default(),
            reads: Vec::new(),
            write: None,
            unanswered: false,
            early: VecDeque::new(),
            exclusive_reads: Vec::new(),
            writable: None,
            violation: None,
        }
    }

    /// What the port may do.
    pub fn rules(&self) -> Rules {
        self.rules
    }

    /// The first rule that was broken, with its cycle.
    pub fn violation(&self) -> Option<&str> {
        self.violation.as_deref()
    }

    /// Looks at one cycle: what the hardware shows, and what memory answers in it.
    #[inline]
    pub fn cycle(&mut self, now: u64, out: &AxiOut, input: &AxiIn) {
        let (before, answer) = &self.last;
        let waited = before.arvalid & !answer.arready
            | before.awvalid & !answer.awready
            | before.wvalid & !answer.wready;
        if waited & 1 != 0 {
            self.check_stable(now, out);
        }
        if (out.arvalid | out.awvalid | out.wvalid | input.rvalid | input.bvalid) & 1 != 0 {
            self.transfers(now, out, input);
        }
        self.last = (*out, *input);
    }

    /// What is transferred at the coming edge. Answers come first: an id is free in the cycle of its last data.
    fn transfers(&mut self, now: u64, out: &AxiOut, input: &AxiIn) {
        if input.rvalid & input.rlast & out.rready & 1 != 0 {
            self.reads.retain(|id| *id != input.rid);
        }
        if input.bvalid & out.bready & 1 != 0 {
            self.unanswered = false;
        }
        if out.wvalid & input.wready & 1 != 0 {
            self.data(now, out.wstrb, out.wlast & 1 != 0);
        }
        if out.awvalid & input.awready & 1 != 0 {
            self.write_address(now, out);
        }
        if out.arvalid & input.arready & 1 != 0 {
            self.read_address(now, out);
        }
    }

    fn read_address(&mut self, now: u64, out: &AxiOut) {
        let burst = Accepted {
            what: "read",
            id: out.arid,
            address: out.araddr,
            len: out.arlen,
            size: out.arsize,
            kind: out.arburst,
            exclusive: out.arlock & 1 != 0,
            attributes: (out.arcache, out.arprot, out.arqos),
        };
        self.check_burst(now, &burst);
        if self.reads.contains(&burst.id) {
            self.violate(now, format!("two reads under way have the id {}", burst.id));
        }
        self.reads.push(burst.id);
        if burst.exclusive {
            self.exclusive_reads.retain(|(id, _)| *id != burst.id);
            self.exclusive_reads.push((burst.id, burst.address));
        }
    }

    fn write_address(&mut self, now: u64, out: &AxiOut) {
        let burst = Accepted {
            what: "write",
            id: out.awid,
            address: out.awaddr,
            len: out.awlen,
            size: out.awsize,
            kind: out.awburst,
            exclusive: out.awlock & 1 != 0,
            attributes: (out.awcache, out.awprot, out.awqos),
        };
        self.check_burst(now, &burst);
        if self.unanswered {
            self.violate(now, "a write was issued before the one before it was answered".into());
        }
        if !self.rules.exclusive && burst.id != 0 {
            self.violate(now, format!("a write has the id {}, where all have 0", burst.id));
        }
        if burst.exclusive {
            let known = self.exclusive_reads.iter().position(|read| *read == (burst.id, burst.address));
            if known.map(|index| self.exclusive_reads.swap_remove(index)).is_none() {
                let what = "an exclusive write without an exclusive read of its id and address";
                self.violate(now, format!("{what}, at {:#x}", burst.address));
            }
        }
        let end = burst.address.saturating_add((burst.len + 1) << burst.size.min(3));
        let allowed = |range: &Range<u64>| range.start <= burst.address && end <= range.end;
        if self.writable.as_ref().is_some_and(|ranges| !ranges.iter().any(allowed)) {
            self.violate(now, format!("a write to {:#x}, where nothing is to be written", burst.address));
        }
        self.unanswered = true;
        self.write = Some(Write { address: burst.address, size: burst.size, beats: burst.len + 1, taken: 0 });
        while self.write.is_some()
            && let Some((strobes, last)) = self.early.pop_front()
        {
            self.data(now, strobes, last);
        }
    }

    fn data(&mut self, now: u64, strobes: u64, last: bool) {
        let Some(write) = &mut self.write else {
            self.early.push_back((strobes, last));
            if self.early.len() > MOST_BEATS {
                self.violate(now, "write data without an address".into());
            }
            return;
        };
        let size = write.size.min(3);
        let address = write.address.wrapping_add(write.taken << size);
        write.taken += 1;
        let ends = write.taken == write.beats;
        let lanes = ((1u64 << (1 << size)) - 1) << (address & 7);
        if ends {
            self.write = None;
        }
        if last != ends {
            self.violate(now, format!("WLAST does not match AWLEN in a write near {address:#x}"));
        } else if strobes & !lanes != 0 {
            self.violate(now, format!("strobes lie outside the beat in a write near {address:#x}"));
        }
    }

    fn check_burst(&mut self, now: u64, burst: &Accepted) {
        let Accepted { address, len, size, .. } = *burst;
        let bytes = (len + 1) << size.min(3);
        let problem = if size > 3 {
            "has beats of more than 8 bytes"
        } else if burst.kind != INCR {
            "is not INCR"
        } else if address & ((1 << size) - 1) != 0 {
            "is not aligned"
        } else if len as usize >= MOST_BEATS {
            "is longer than any structure"
        } else if address >> 12 != address.saturating_add(bytes - 1) >> 12 {
            "crosses 4 KiB"
        } else if address.checked_shr(self.rules.address_width).unwrap_or(0) != 0 {
            "has more address bits than the design"
        } else if burst.exclusive && len != 0 {
            "is exclusive and has several beats"
        } else if burst.exclusive && !self.rules.exclusive {
            "is exclusive, and the design makes no exclusive accesses"
        } else if burst.attributes != (BUFFERABLE, 0, 0) {
            "has other attributes (cache, prot, qos) than all others"
        } else {
            return;
        };
        self.violate(now, format!("a {} burst at {address:#x} of {} beats {problem}", burst.what, len + 1));
    }

    /// What is valid and not taken stays as it is. (AXI4, "Handshake process".)
    fn check_stable(&mut self, now: u64, out: &AxiOut) {
        let (last, input) = &self.last;
        let waits = |valid: u64, ready: u64| valid & !ready & 1 == 1;
        let read = |o: &AxiOut| {
            let ids = (o.arrcid, o.armcid);
            (o.arvalid, o.arid, o.araddr, o.arlen, o.arsize, o.arburst, o.arlock, ids)
        };
        let write = |o: &AxiOut| {
            let ids = (o.awrcid, o.awmcid);
            (o.awvalid, o.awid, o.awaddr, o.awlen, o.awsize, o.awburst, o.awlock, ids)
        };
        let data = |o: &AxiOut| (o.wvalid, o.wdata, o.wstrb, o.wlast);
        let changed = if waits(last.arvalid, input.arready) && read(last) != read(out) {
            "AR"
        } else if waits(last.awvalid, input.awready) && write(last) != write(out) {
            "AW"
        } else if waits(last.wvalid, input.wready) && data(last) != data(out) {
            "W"
        } else {
            return;
        };
        self.violate(now, format!("{changed} changed while it waited"));
    }

    fn violate(&mut self, now: u64, what: String) {
        self.violation.get_or_insert_with(|| format!("cycle {now}: {what}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: Rules = Rules { address_width: 40, exclusive: true };

    fn read() -> AxiOut {
        AxiOut { arvalid: 1, araddr: 0x1000, arsize: 3, arburst: 1, arcache: BUFFERABLE, ..AxiOut::default() }
    }

    fn write() -> AxiOut {
        let address = AxiOut {
            awvalid: 1,
            awaddr: 0x1008,
            awsize: 3,
            awburst: 1,
            awcache: BUFFERABLE,
            ..AxiOut::default()
        };
        AxiOut { wvalid: 1, wlast: 1, wstrb: 0xff, ..address }
    }

    const READY: AxiIn = AxiIn {
        awready: 1,
        wready: 1,
        bid: 0,
        bresp: 0,
        bvalid: 0,
        arready: 1,
        rid: 0,
        rdata: 0,
        rresp: 0,
        rlast: 0,
        rvalid: 0,
        rpoison: 0,
    };

    /// What the checker says of these cycles.
    fn seen(rules: Rules, cycles: &[(AxiOut, AxiIn)]) -> String {
        let mut checker = AxiChecker::new(rules);
        checker.writable.get_or_insert_default().push(0x1000..0x1010);
        cycles.iter().enumerate().for_each(|(now, (out, input))| checker.cycle(now as u64, out, input));
        checker.violation().unwrap_or("").to_string()
    }

    #[test]
    fn each_rule_is_watched() {
        let of = |change: fn(&mut AxiOut), base: AxiOut| {
            let mut out = base;
            change(&mut out);
            seen(RULES, &[(out, READY)])
        };
        let plain = Rules { exclusive: false, ..RULES };
        let answered = AxiIn { bvalid: 1, ..READY };
        let idle = AxiOut { bready: 1, rready: 1, ..AxiOut::default() };
        let data = AxiIn { rvalid: 1, rlast: 1, ..READY };
        assert_eq!(
            seen(
                RULES,
                &[
                    (read(), READY),
                    (idle, data),
                    (read(), READY),
                    (write(), READY),
                    (idle, answered),
                    (write(), READY)
                ]
            ),
            ""
        );
        let exclusive = [AxiOut { arlock: 1, araddr: 0x1008, ..read() }, AxiOut { awlock: 1, ..write() }];
        assert_eq!(seen(RULES, &exclusive.map(|out| (out, READY))), "");
        for (said, expected) in [
            (of(|o| o.arsize = 4, read()), "more than 8 bytes"),
            (of(|o| o.arburst = 0, read()), "is not INCR"),
            (of(|o| o.araddr = 0x1004, read()), "is not aligned"),
            (of(|o| o.arlen = 8, read()), "longer than any structure"),
            (of(|o| (o.araddr, o.arlen) = (0x1ff8, 1), read()), "crosses 4 KiB"),
            (of(|o| o.araddr = 1 << 40, read()), "more address bits"),
            (of(|o| o.arcache = 0, read()), "other attributes"),
            (of(|o| (o.arlock, o.arlen) = (1, 1), read()), "several beats"),
            (of(|o| o.wlast = 0, write()), "WLAST does not match"),
            (of(|o| (o.awsize, o.wstrb) = (2, 0x1f), write()), "strobes lie outside"),
            (of(|o| o.awlock = 1, write()), "without an exclusive read"),
            (of(|o| o.awaddr = 0x1010, write()), "nothing is to be written"),
            (seen(plain, &[(exclusive[0], READY)]), "makes no exclusive accesses"),
            (seen(plain, &[(AxiOut { awid: 1, ..write() }, READY)]), "has the id 1"),
            (seen(RULES, &[(read(), READY), (read(), READY)]), "two reads under way have the id 0"),
            (seen(RULES, &[(write(), READY), (write(), READY)]), "before the one before it was answered"),
            (seen(RULES, &[(AxiOut { awvalid: 0, ..write() }, READY); 9]), "write data without an address"),
            (
                seen(RULES, &[(read(), AxiIn::default()), (AxiOut { araddr: 0x1008, ..read() }, READY)]),
                "AR changed",
            ),
            (
                seen(RULES, &[(read(), AxiIn::default()), (AxiOut { arrcid: 1, ..read() }, READY)]),
                "AR changed",
            ),
            (
                seen(RULES, &[(write(), AxiIn::default()), (AxiOut { awaddr: 0x1000, ..write() }, READY)]),
                "AW changed",
            ),
            (
                seen(RULES, &[(write(), AxiIn::default()), (AxiOut { awmcid: 1, ..write() }, READY)]),
                "AW changed",
            ),
            (
                seen(RULES, &[(write(), AxiIn::default()), (AxiOut { wdata: 1, ..write() }, READY)]),
                "W changed",
            ),
        ] {
            assert!(said.contains(expected), "{expected}: {said:?}");
        }
    }

    #[test]
    fn data_may_come_before_its_address() {
        let data = AxiOut { awvalid: 0, ..write() };
        let address = AxiOut { wvalid: 0, ..write() };
        assert_eq!(seen(RULES, &[(data, READY), (address, READY)]), "");
        let late = AxiOut { wlast: 0, ..data };
        assert!(seen(RULES, &[(late, READY), (address, READY)]).contains("WLAST"));
    }
}
