//! Random accesses to registers: interrupts and their messages, the performance monitor, read-only and reserved places, modes, and
//! queues that move.

use super::super::op::{Op, Word};
use super::super::scene::everything;
use super::super::tables::{RESERVED_PAGES, pick};
use super::{Generator, encoded};
use pasidon_spec::ddt::iommu_mode;
use pasidon_spec::registers::{
    self, capabilities as cap, cqb, cqcsr, cqh, cqt, ddtp, event, fqb, fqcsr, fqh, fqt, icvec, iohpmctr,
    iohpmevt, iommu_qosid, ipsr, msi_addr, msi_data, msi_vec_ctl,
};

impl Generator<'_> {
    pub(super) fn monitor(&mut self) {
        if self.design.hpm_counters == 0 {
            return;
        }
        let number = self.below(self.design.hpm_counters.into()) as u8;
        let exact = self.chance(70);
        let kind = if exact { self.below(4) } else { event::TLB_MISS + self.below(5) };
        let device =
            if self.scene.devices.is_empty() { 0 } else { pick(&mut self.random, &self.scene.devices) };
        let process = self.ask().pid.unwrap_or(0);
        // Ids that are nobody's, too.
        let noise = if self.chance(25) { self.random.word() } else { 0 };
        let (process, device) = (process ^ noise as u32 & 0xf_ffff, device ^ (noise >> 40) as u32);
        let selector = self.selector(kind, process, device);
        let count = if exact && self.chance(60) { u64::MAX - self.below(400) } else { 0 };
        self.write_doubleword(iohpmctr::REG.offset_of(number), count);
        self.write_doubleword(iohpmevt::REG.offset_of(number), selector);
    }

    /// Writes 8 bytes, at once or by halves in either order.
    fn write_doubleword(&mut self, offset: u16, value: u64) {
        let low = Op::Write { offset, bytes: 4, value: value & 0xffff_ffff };
        let high = Op::Write { offset: offset + 4, bytes: 4, value: value >> 32 };
        let ops = match self.below(4) {
            0 => vec![low, high],
            1 => vec![high, low],
            _ => vec![Op::Write { offset, bytes: 8, value }],
        };
        ops.into_iter().for_each(|op| self.push(op));
    }

    /// `iohpmevt` for an event, with some filter by these ids.
    fn selector(&mut self, kind: u64, process: u32, device: u32) -> u64 {
        let mut selector = iohpmevt::EVENT_ID.of(kind)
            | iohpmevt::DMASK.of(self.random.below(2))
            | iohpmevt::PID_PSCID.of(process.into())
            | iohpmevt::DID_GSCID.of(device.into())
            | iohpmevt::OF.of(u64::from(self.chance(10)));
        if self.chance(50) {
            selector |= iohpmevt::PV_PSCV.of(self.below(2)) | iohpmevt::DV_GSCV.of(self.below(2));
        }
        if self.chance(20) {
            selector |= iohpmevt::IDT.of(1);
        }
        selector
    }

    /// Requests each of which finds nothing in any cache, and how many misses and walks that are; mostly under filters for the
    /// request's own ids, sometimes with one bit off.
    pub(super) fn counted(&mut self) {
        for _ in 0..2 + self.below(4) {
            let ask = self.good();
            let route = self.scene.routes.iter().find(|r| r.did == ask.did && r.pid == ask.pid);
            let guest = route.and_then(|r| r.guest).map(|g| self.scene.tables.guests[g].gscid);
            let pscid = route.map_or(0, |r| r.pscid);
            let selectors = (0..self.design.hpm_counters)
                .map(|_| {
                    let by_space = self.chance(50);
                    let (mut process, mut device) = if by_space {
                        (pscid, guest.unwrap_or(0).into())
                    } else {
                        (ask.pid.unwrap_or(0), ask.did)
                    };
                    if self.chance(25) {
                        process ^= 1 << self.below(20);
                    }
                    if self.chance(25) {
                        device ^= 1 << self.below(if by_space { 16 } else { 24 });
                    }
                    let kind = 1 + self.below(8);
                    Word(iohpmevt::IDT.set(self.selector(kind, process, device), by_space.into()))
                })
                .collect();
            let commands = encoded(&everything(&self.scene.tables.guests));
            self.unfenced = false;
            self.push(Op::Count { commands, selectors, ask });
        }
    }

    /// A vector for each cause: no two the same, since whether two causes of one vector that arise together send one message or two is
    /// open, and if the message fails, so is the number of records. Where there are too few vectors, no message fails. That of the
    /// performance monitor never does: a request may cause it before the record of its own.
    pub(super) fn vectors(&mut self) {
        let first = self.random.word() & 15;
        self.vectors = [0, 1, 2, 3].map(|i| (first ^ i) as u8);
        let others = self.random.word() & !0xffff;
        let value = icvec::CIV.of(first)
            | icvec::FIV.of(first ^ 1)
            | icvec::PMIV.of(first ^ 2)
            | icvec::PIV.of(first ^ 3);
        self.write(&icvec::REG, value | others);
        if cap::IGS.get(self.caps) != registers::igs::WSI {
            self.message_of(self.vectors[2]);
        }
    }

    /// Where the message of some vector goes.
    pub(super) fn message(&mut self) {
        let used = self.vectors;
        let vector = if self.chance(75) { pick(&mut self.random, &used) } else { self.below(16) as u8 };
        self.message_of(vector);
    }

    fn message_of(&mut self, vector: u8) {
        let may_fail = self.design.vectors >= 4 && vector != self.vectors[2];
        let address = if may_fail && self.chance(8) {
            self.random.word()
        } else {
            self.queue_place(RESERVED_PAGES - 3) + self.below(1024) * 4
        };
        let data = self.random.word() & 0xffff_ffff;
        let mask = u64::from(self.chance(30));
        self.write_doubleword(msi_addr::REG.offset_of(vector), address);
        self.push(Op::Write { offset: msi_data::REG.offset_of(vector), bytes: 4, value: data });
        self.push(Op::Write { offset: msi_vec_ctl::REG.offset_of(vector), bytes: 4, value: mask });
    }

    pub(super) fn register_traffic(&mut self) {
        for _ in 0..1 + self.below(10) {
            let noise = self.random.word();
            let messages = cap::IGS.get(self.caps) != registers::igs::WSI;
            match self.below(14) {
                0..3 => {
                    let bytes = pick(&mut self.random, &[4u8, 8]);
                    let mut offset = self.below(4096) as u16;
                    if self.chance(80) {
                        let register = &registers::ALL[self.below(registers::ALL.len() as u64) as usize];
                        offset = register.offset_of(self.below(register.count.into()) as u8);
                        // Where the same register must not be seen again.
                        offset ^= if self.chance(40) { 1 << (2 + self.below(10)) } else { 0 };
                    }
                    let offset = offset & !(u16::from(bytes) - 1);
                    self.push(Op::Read { offset, bytes });
                }
                // Read-only and reserved places take no notice.
                3 => self.push(Op::Write { offset: read_only(self.caps, noise), bytes: 8, value: noise }),
                4 => self.push(Op::Write {
                    offset: 1024 + (noise >> 32) as u16 % 384 * 8,
                    bytes: 8,
                    value: noise,
                }),
                5 => self.write(&cqh::REG, noise),
                6 => self.write(&fqt::REG, noise),
                7 | 8 => self.write(&ipsr::REG, noise),
                9 => self.vectors(),
                10 => {
                    let value = cqcsr::CQEN.of(1) | noise & !cqcsr::CQEN.mask() & 0xffff_ffff;
                    self.write(&cqcsr::REG, value);
                    self.push(Op::RecoverCommandQueue);
                }
                11 => {
                    let value = fqcsr::FQEN.of(1) | noise & !fqcsr::FQEN.mask() & 0xffff_ffff;
                    self.write(&fqcsr::REG, value);
                }
                12 if messages && self.chance(70) => self.message(),
                12 if cap::QOSID.is_set(self.caps) => self.write(&iommu_qosid::REG, noise & 0xffff_ffff),
                13 if cap::HPM.is_set(self.caps) => self.monitor(),
                _ => self.write(&fqh::REG, noise >> 56),
            }
        }
    }

    /// Another `ddtp.iommu_mode`, and back.
    pub(super) fn mode(&mut self) {
        let root = self.scene.ddtp;
        let other = match self.below(8) {
            0 | 1 => ddtp::IOMMU_MODE.set(root, iommu_mode::OFF),
            2 | 3 => ddtp::IOMMU_MODE.set(root, iommu_mode::BARE),
            4 => ddtp::IOMMU_MODE.set(root, self.below(16)),
            5 => ddtp::PPN.set(root, self.random.word()),
            6 => self.random.word(),
            _ => root,
        };
        self.write(&ddtp::REG, other);
        let count = 10 + self.below(60);
        self.requests(count);
        self.write(&ddtp::REG, root);
    }

    /// Queues off, in some order with the rest, and on again elsewhere.
    pub(super) fn requeue(&mut self) {
        self.push(Op::EmptyFaultQueue);
        self.write(&cqcsr::REG, 0);
        self.write(&fqcsr::REG, 0);
        if self.chance(60) {
            let count = 5 + self.below(20);
            self.requests(count);
        }
        if self.chance(30) {
            let tail = self.below(8);
            self.write(&cqt::REG, tail);
        }
        if self.chance(30) {
            let noise = self.random.word();
            self.write(&cqb::REG, noise);
            self.write(&fqb::REG, noise.rotate_left(17));
            self.push(Op::CompareRegisters);
        }
        self.queues();
        if self.unfenced {
            self.invalidate_all();
        }
    }
}

/// `capabilities`, or the page-request queue's registers, which are not there without ATS.
fn read_only(capabilities: u64, noise: u64) -> u16 {
    let there = cap::ATS.is_set(capabilities);
    if noise & 1 == 0 || there { cap::REG.offset } else { registers::pqb::REG.offset }
}
