//! Updates of A and D bits, and every other write of a walk. An entry that wants an update is read again exclusively, checked again as it
//! is then, and written exclusively. If somebody else has written the entry since, the update starts again with the read; after a
//! successful write the entry is read once more, and now needs no update. (Section "IOMMU updating of PTE accessed (A) and dirty (D)
//! updates"; Privileged specification, "Virtual Address Translation Process".) Software may reuse a table after the fence that follows its
//! invalidation, and the fence waits for the writes of walks that were overtaken.

use super::arrived::Arrived;
use super::state::*;
use crate::design::Design;
use pasidon_hdl::{E, Module, bundle, cat, hi, lit, lo, names};
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::pte;

bundle! {
    /// What memory says to a writer.
    pub struct WritePort(d: Design) {
        /// The address and the first beat were taken.
        ready: 1, if d.walks_write();
        /// The write has its response.
        done: 1, if d.walks_write();
        /// It failed.
        error: 1, if d.walks_write();
        /// An exclusive write took place.
        exclusive: 1, if d.walks_write();
    }
}

impl Walk<'_> {
    /// The read under way is exclusive.
    #[names]
    pub fn exclusive(&self) -> E {
        let pte = self.nested.mux(self.guest_update, self.update & self.kind.is(kind::PTE));
        if self.d.stores_msis() { pte | (!self.nested & self.kind.is(kind::MRIF)) } else { pte }
    }

    /// The doubleword of `entry` with A set, and D if it is written.
    #[names]
    fn with_bits(entry: &Arrived, write: E) -> E {
        let Arrived { raw, lane, .. } = *entry;
        let flags = cat(&[write, hi(), lit(0, 6)]);
        const { assert!(pte::A.lo == 6 && pte::D.lo == 7, "A and D are the highest flags") };
        let place = lane.decode(8);
        let bytes: Vec<E> = (0..8).rev().map(|i| raw.bits(8 * i, 8) | place.bit(i).gate(flags)).collect();
        cat(&bytes)
    }

    /// The entry that arrived is a good leaf whose A or D bit is still 0: reads it again, or writes it if this read was
    /// exclusive.
    pub fn want_update(&self, m: &mut Module, entry: &Arrived, write: E) {
        if !self.d.amo_hwad {
            return;
        }
        m.when_else(
            self.exclusive(),
            |m| self.begin_write(m, Self::with_bits(entry, write)),
            |m| {
                m.when_else(
                    self.nested,
                    |m| self.set(m, self.guest_update, hi()),
                    |m| m.set(self.update, hi()),
                );
                // The page that holds a first-stage entry must be writable.
                m.when_else(
                    self.two_stage() & !self.nested,
                    |m| self.goto(m, state::GUEST),
                    |m| self.goto(m, state::READ),
                );
            },
        );
    }

    /// Begins the exclusive write of `data` to where the last read was.
    pub fn begin_write(&self, m: &mut Module, data: E) {
        m.set(self.held, data);
        self.goto(m, state::WRITE);
    }

    /// A write has its response.
    #[names]
    pub fn written(&self, m: &mut Module, write: &WritePort) {
        let file = if self.d.stores_msis() { !self.nested & self.kind.is(kind::MRIF) } else { lo() };
        let (guest_access_fault, _) = self.guest_troubles();
        let trouble =
            file.mux(cause(Cause::MrifAccessFault), self.nested.mux(guest_access_fault, self.access_fault));
        chain!(m;
            write.error => self.fail(m, trouble);
            self.notice => self.succeed(m, &self.result, lo());
            !write.exclusive => self.goto(m, state::READ);
            file => self.begin_notice(m);
            else => {
                self.set(m, self.guest_update, self.guest_update & !self.nested);
                self.set(m, self.update, self.update & self.nested);
                self.goto(m, state::READ);
            };
        );
    }

    /// Ports of the writes.
    #[names]
    pub fn write_ports(&self, m: &mut Module, address: E) {
        m.section("Memory write: address, beats - 1, log2 of bytes per beat; exclusive; data");
        m.output("wr_valid", self.state.is(state::WRITE));
        let notice = cat(&[self.root_ppn, lit(0, 12)]).resize(64);
        m.output("wr_addr", self.notice.mux(notice, address));
        m.output("wr_len", lit(0, 8));
        m.output("wr_size", self.notice.mux(lit(2, 3), lit(3, 3)));
        m.output("wr_lock", !self.notice);
        m.output("wd_data", self.held);
        m.output("wd_strb", self.notice.mux(lit(0x0f, 8), lit(0xff, 8)));
    }
}
