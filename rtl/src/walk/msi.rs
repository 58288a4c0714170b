//! MSIs of a guest's devices: interrupt-file number, MSI page-table entry, memory-resident interrupt file (MRIF), notice.
//! (Section "Process to translate addresses of MSIs"; Advanced Interrupt Architecture, chapter "IOMMU Support for MSIs to
//! Virtual Machines".)
//!
//! Both byte orders of an MSI's data are understood, by bit 2 of its address. An access to an MRIF that is no MSI (a read, a
//! place other than the first two words, an identity beyond 2047) has no effect. A notice follows every MSI that is stored,
//! whatever is enabled. An access to an MRIF that is not aligned to 4 bytes is aborted: "transaction type disallowed". A page or an MRIF
//! beyond the physical address space is an access fault. A custom entry (`C` is 1) is misconfigured. A request of the debug interface stores nothing: it ends with
//! "transaction type disallowed".
//!
//! Latency: a cycle for each 1 in `msi_addr_mask` and one more, then the reads and writes.

use super::arrived::Arrived;
use super::page_table::too_wide;
use super::state::*;
use crate::signals::context::{any_bit, field};
use crate::signals::request::{TranslationSignals, mask_width, ppn_width};
use pasidon_hdl::{E, Module, cat, hi, lit, lo, names};
use pasidon_spec::fault::Cause;
use pasidon_spec::msi::{basic, file, mode, mrif, msipte};

fn reversed(e: E) -> E {
    cat(&e.split())
}

/// What a page of an interrupt file allows, supervisor and user: W and R, not X.
fn read_write() -> E {
    cat(&[lo(), hi(), hi(), lo(), hi(), hi()])
}

impl Walk<'_> {
    /// `gpa` is a page of an interrupt file: which?
    pub fn begin_msi(&self, m: &mut Module) {
        self.set(m, self.rest, reversed(self.device.msi_mask));
        self.set(m, self.file, lit(0, self.file.width()));
        self.goto(m, state::FILE);
    }

    /// State `FILE`: one bit of the number in each cycle, the highest first; then reads the entry.
    #[names]
    pub fn number_file(&self, m: &mut Module) {
        let width = self.file.width();
        let next = m.wire("file_bit", self.rest.lowest_bit());
        let bit = (next & reversed(self.gpa.bits(0, width))).any();
        m.when_else(
            self.rest.any(),
            |m| {
                m.set(self.rest, self.rest & !next);
                m.set(self.file, cat(&[self.file.bits(0, width - 1), bit]));
            },
            |m| {
                // 256 entries of 16 bytes are in a page.
                let page = if width > 8 { self.file.bits(8, width - 8) } else { lo() };
                let beyond = too_wide(self.d, page);
                let table = self.device.msi_ppn | page.resize(ppn_width(self.d));
                let index = cat(&[self.file.resize(8), lo()]);
                chain!(m;
                    beyond => self.fail(m, cause(Cause::MsiPteLoadAccessFault));
                    else => self.read(m, kind::MSIPTE, lit(0, 3), table, Index::wide(index));
                );
            },
        );
    }

    /// The data of the write as a number, by the byte order that its address says.
    #[names]
    fn identity(&self) -> E {
        let data = self.q.data;
        self.q.iova.bit(2).mux(data.swap_bytes(), data)
    }

    /// A doubleword of an MSI page-table entry arrives.
    #[names]
    pub fn msi_entry(&self, m: &mut Module, arrived: &Arrived) {
        let (d, word) = (self.d, arrived.word);
        let second = self.beat.bit(0);
        let is_file = field(word, msipte::M).is(mode::MRIF);
        let is_basic = field(word, msipte::M).is(mode::BASIC);
        let file_there = if d.stores_msis() { is_file } else { lo() };
        let wrong_first = field(word, msipte::C)
            | !(is_basic | file_there)
            | is_file.mux(any_bit(word, mrif::RESERVED[0]), any_bit(word, basic::RESERVED[0]));
        let wrong_second = self.in_file & any_bit(word, mrif::RESERVED[1]);
        let wrong = second.mux(wrong_second, wrong_first);
        m.set(self.bad, self.bad | wrong);
        m.when(!second, |m| {
            m.set(self.invalid, !field(word, msipte::V));
            m.set(self.in_file, is_file);
            // Bits 55:12 of the interrupt file's address stand where the page number of a basic entry does.
            m.set(self.page, field(word, basic::PPN).bits(0, ppn_width(d)));
            let group = self.identity().bits(6, 5);
            m.set(self.index.offset, cat(&[word.bits(7, 3), group, lo()]));
            // Not 0: the page or the interrupt file lies beyond the physical address space.
            m.set(self.level, too_wide(d, field(word, basic::PPN)).resize(3));
        });
        m.when(second & self.in_file, |m| {
            if d.stores_msis() {
                m.set(self.root_ppn, field(word, mrif::NPPN).resize(self.root_ppn.width()));
                let id = cat(&[field(word, mrif::NID_HIGH), field(word, mrif::NID_LOW)]);
                m.set(self.file, id.resize(self.file.width()));
            }
        });
        let identity = self.identity();
        // How wide the access is, the data path knows.
        let unaligned = self.q.iova.bits(0, 2).any() & !self.asks();
        let place = self.q.iova.bits(3, 9).any();
        let ignored = !self.writes() | self.asks() | place | identity.bits(11, 21).any();
        let t = TranslationSignals {
            ppn: self.page,
            mask: lit(0, mask_width(d)),
            permissions: self.result.permissions & read_write(),
            global: lo(),
            ..self.result
        };
        m.when(arrived.last, |m| {
            chain!(m;
                arrived.any_error => self.fail(m, cause(Cause::MsiPteLoadAccessFault));
                arrived.any_poison => self.fail(m, cause(Cause::MsiPtDataCorruption));
                self.invalid => self.fail(m, cause(Cause::MsiPteNotValid));
                self.bad | wrong => self.fail(m, cause(Cause::MsiPteMisconfigured));
                self.q.exec & !self.asks() => self.fail(m, cause(Cause::InstructionAccessFault));
                !self.in_file & self.level.any() => self.fail(m, self.access_fault);
                !self.in_file => self.succeed(m, &t, lo());
                unaligned => self.fail(m, cause(Cause::TransactionTypeDisallowed));
                self.q.debug => self.fail(m, cause(Cause::TransactionTypeDisallowed));
                ignored => {
                    self.set(m, self.stored, hi());
                    self.succeed(m, &t, lo());
                };
                self.level.any() => self.fail(m, cause(Cause::MrifAccessFault));
                else => {
                    m.set(self.kind, lit(kind::MRIF, kind::WIDTH));
                    self.goto(m, state::READ);
                };
            );
        });
    }

    /// The pending bits of a memory-resident interrupt file arrive.
    #[names]
    pub fn file_entry(&self, m: &mut Module, arrived: &Arrived) {
        if !self.d.stores_msis() {
            return;
        }
        let bit = self.identity().bits(0, 6).decode(64);
        chain!(m;
            arrived.error => self.fail(m, cause(Cause::MrifAccessFault));
            arrived.poison => self.fail(m, cause(Cause::MsiMrifDataCorruption));
            else => self.begin_write(m, arrived.raw | bit);
        );
    }

    /// The MSI is stored: sends the notice.
    pub fn begin_notice(&self, m: &mut Module) {
        if !self.d.stores_msis() {
            return;
        }
        m.set(self.stored, hi());
        m.set(self.notice, hi());
        m.set(self.held, self.file.resize(file::MAX_IDENTITY.count_ones()).resize(64));
        m.set(self.result.mask, lit(0, mask_width(self.d)));
        m.set(self.result.permissions, self.result.permissions & read_write());
        chain!(m;
            too_wide(self.d, self.root_ppn) => self.fail(m, cause(Cause::MrifAccessFault));
            else => self.goto(m, state::WRITE);
        );
    }
}
