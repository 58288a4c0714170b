//! What a walker holds, and the steps that every part of it takes.

use super::device_context::two_stage;
use super::page_table::PageTableEntry;
use crate::design::Design;
use crate::signals::cause::cause_label;
use crate::signals::context::{DeviceContext, ProcessContext, first_stage_ppn_width};
use crate::signals::request::{RequestSignals, TranslationSignals, ppn_width};
use crate::translate::miss_table::entry_width;
use pasidon_hdl::{Bundle, E, Label, Module, Named, bundle, hi, labels, lit, lo, names};
use pasidon_spec::fault::Cause;

/// Statements of the first condition that holds.
macro_rules! chain {
    ($m:ident; else => $last:expr;) => { $last };
    ($m:ident; $test:expr => $body:expr; $($rest:tt)+) => {
        $m.when_else($test, |$m| $body, |$m| chain!($m; $($rest)+))
    };
}
pub(super) use chain;

labels! {
    /// What a walker does
    pub mod state {
        IDLE,
        START,
        HAVE_DC,
        HAVE_PC,
        ROOT,
        READ,
        DATA,
        DONE,
        /// A guest physical page number is there to be translated.
        GUEST,
        /// The number of an interrupt file is taken out of it.
        FILE,
        /// A write waits for its turn.
        WRITE,
        /// A write waits for its response.
        WRITE_WAIT,
    }
}

labels! {
    /// What is being read
    pub mod kind {
        DDTE,
        DC,
        PDTE,
        PC,
        PTE,
        MSIPTE,
        MRIF,
        /// Nothing: the address that the access itself goes to is translated.
        ACCESS,
    }
}

/// Where an entry lies in its table: which doubleword, and which half of it if entries have 4 bytes.
#[derive(Clone, Copy)]
pub struct Index {
    /// Doubleword, 9 bits.
    pub offset: E,
    /// Half, 1 bit.
    pub half: E,
}

bundle! {
    /// What software set, as far as a walker reads it.
    pub struct Settings(d: Design) {
        /// `ddtp.iommu_mode`.
        ddtp_mode: 3;
        /// `ddtp.PPN`.
        ddtp_root: ppn_width(d);
        /// `fctl.BE`.
        fctl_be: 1, if d.big_endian;
        /// `fctl.GXL`.
        fctl_gxl: 1, if d.has_narrow_tables();
        /// `iommu_qosid.RCID`.
        iommu_rcid: 12, if d.qosid;
        /// `iommu_qosid.MCID`.
        iommu_mcid: 12, if d.qosid;
    }
}

/// The slice of `e` from bit `from` on, `width` bits; bits that `e` does not have are 0.
#[names]
pub fn slice(e: E, from: u8, width: u8) -> E {
    let (have, from) = (e.width(), u32::from(from));
    if from >= have {
        lit(0, width.into())
    } else {
        e.bits(from, u32::from(width).min(have - from)).resize(width.into())
    }
}

/// The level below the root of a directory of three levels, else of two.
pub fn two_or_one(three: E) -> E {
    three.mux(lit(2, 3), lit(1, 3))
}

impl Named for Index {
    fn call_all(&self, name: &str) {
        self.offset.call(name);
        self.half.call(&format!("{name}_half"));
    }
}

impl Index {
    /// Of an entry of 8 bytes or a structure of several doublewords.
    pub fn wide(offset: E) -> Index {
        Index { offset, half: lo() }
    }
}

/// The registers and the most used inputs of a walker. A register that the design does not need is the constant 0.
pub struct Walk<'d> {
    pub d: &'d Design,
    pub settings: Settings,
    pub state: E,
    pub stale: E,
    pub entry: E,
    pub q: RequestSignals,
    pub device: DeviceContext,
    pub process: ProcessContext,
    pub dc_known: E,
    pub pc_known: E,
    pub dc_loaded: E,
    pub pc_loaded: E,
    /// What is being read, and at which level of its table.
    pub kind: E,
    pub level: E,
    /// Page of the table that is being read, and place in it.
    pub page: E,
    pub index: Index,
    pub beat: E,
    pub bad: E,
    pub error: E,
    pub poison: E,
    pub invalid: E,
    pub root_mode: E,
    pub root_ppn: E,
    pub ens: E,
    pub sum: E,
    pub ok: E,
    pub fault: E,
    pub refill: E,
    pub result: TranslationSignals,
    pub known: E,
    /// A second-stage table is being read, so that `gpa` can be read or accessed.
    pub nested: E,
    /// Guest physical page number, 52 bits.
    pub gpa: E,
    pub guest_level: E,
    pub guest_index: Index,
    /// The fault is a guest-page fault.
    pub guest_fault: E,
    /// The first-stage entry wants an update: it is read exclusively, and its page must be writable.
    pub update: E,
    /// The same for the second-stage entry.
    pub guest_update: E,
    /// Data of a write.
    pub held: E,
    /// The walk has stored an MSI, or found one that needs no store.
    pub stored: E,
    /// The notice is being written.
    pub notice: E,
    /// MSI mask bits of which the address bits are still to be taken, highest first.
    pub rest: E,
    /// Number of the interrupt file; later the notice's identifier.
    pub file: E,
    /// The MSI page-table entry is in MRIF mode.
    pub in_file: E,
    /// Causes of faults of the access, by its kind.
    pub page_fault: E,
    pub access_fault: E,
}

/// A cause code.
pub fn cause(c: Cause) -> E {
    lit(cause_label(c), 12)
}

/// The cause of a fault by the kind of access. A translation request always asks for read permission: it is never a write.
pub fn by_access(d: &Design, q: &RequestSignals, exec: Cause, read: Cause, write: Cause) -> E {
    q.exec.mux(cause(exec), (q.write & !q.asks(d)).mux(cause(write), cause(read)))
}

/// Whether a design has states beyond the eighth.
fn has_more_states(d: &Design) -> bool {
    d.second_stage() || d.amo_hwad
}

/// Bits of a number of an interrupt file.
pub fn file_width(d: &Design) -> u32 {
    d.guest_address_width() - 12
}

impl<'d> Walk<'d> {
    /// The registers of a walker.
    #[names]
    pub fn new(m: &mut Module, d: &'d Design, settings: Settings) -> Walk<'d> {
        let (second, update) = (d.second_stage(), d.amo_hwad);
        let reg = |m: &mut Module, there: bool, name: &str, width: u32| {
            if there { m.reg_data(name, width) } else { lit(0, width) }
        };
        let narrow = d.has_narrow_tables();
        let state = m.reg("state", if has_more_states(d) { 4 } else { 3 }, state::IDLE);
        let stale = m.reg_data("stale", 1);
        let entry = m.reg_data("entry", entry_width(d));
        let q = RequestSignals::registers(m, d, "request");
        let device = DeviceContext::registers(m, d, "dc");
        let process = ProcessContext::registers(m, d, "pc");
        let [dc_known, pc_known, dc_loaded, pc_loaded] =
            ["dc_known", "pc_known", "dc_loaded", "pc_loaded"].map(|name| m.reg_data(name, 1));
        let kind = m.reg_data("kind", kind::WIDTH);
        let level = m.reg_data("level", 3);
        let page = m.reg_data("page", ppn_width(d));
        let offset = m.reg_data("offset", 9);
        let beat = m.reg_data("beat", if d.extended_contexts() { 3 } else { 2 });
        let [bad, error, poison, invalid] =
            ["bad", "error", "poison", "invalid"].map(|name| m.reg_data(name, 1));
        let root_mode = m.reg_data("root_mode", 4);
        let root_ppn = m.reg_data("root_ppn", first_stage_ppn_width(d));
        let (ens, sum) = (m.reg_data("ens", 1), m.reg_data("sum", 1));
        let ok = m.reg_data("ok", 1);
        let fault = m.reg_data("fault", 12);
        let refill = m.reg_data("refill", 1);
        let result = TranslationSignals::registers(m, d, "result");
        let known = if d.has_l2() { m.reg_data("known", 1) } else { lo() };
        let half = reg(m, narrow, "half", 1);
        let page_fault = m.wire(
            "page_fault",
            by_access(d, &q, Cause::InstructionPageFault, Cause::ReadPageFault, Cause::WriteAmoPageFault),
        );
        let access_fault = m.wire(
            "access_fault",
            by_access(
                d,
                &q,
                Cause::InstructionAccessFault,
                Cause::ReadAccessFault,
                Cause::WriteAmoAccessFault,
            ),
        );
        Walk {
            d,
            settings,
            state,
            stale,
            entry,
            q,
            device,
            process,
            dc_known,
            pc_known,
            dc_loaded,
            pc_loaded,
            kind,
            level,
            page,
            index: Index { offset, half },
            beat,
            bad,
            error,
            poison,
            invalid,
            root_mode,
            root_ppn,
            ens,
            sum,
            ok,
            fault,
            refill,
            result,
            known,
            nested: reg(m, second, "nested", 1),
            gpa: reg(m, second, "gpa", 52),
            guest_level: reg(m, second, "guest_level", 3),
            guest_index: Index {
                offset: reg(m, second, "guest_offset", 9),
                half: reg(m, second && narrow, "guest_half", 1),
            },
            guest_fault: reg(m, second, "guest_fault", 1),
            update: reg(m, update, "update", 1),
            guest_update: reg(m, update && second, "guest_update", 1),
            held: reg(m, update || d.stores_msis(), "write_data", 64),
            stored: reg(m, d.stores_msis(), "stored", 1),
            notice: reg(m, d.stores_msis(), "notice", 1),
            rest: reg(m, d.translates_msis(), "file_mask", file_width(d)),
            file: reg(m, d.translates_msis(), "file", file_width(d)),
            in_file: reg(m, d.translates_msis(), "in_file", 1),
            page_fault,
            access_fault,
        }
    }

    /// Sets a register, if the design has it.
    pub fn set(&self, m: &mut Module, register: E, value: E) {
        if register.constant().is_none() {
            m.set(register, value);
        }
    }

    /// The next state.
    pub fn goto(&self, m: &mut Module, state: Label) {
        let width = self.state.width();
        // In a design that never gets there, the statement is dropped.
        m.set(self.state, if state.value >> width == 0 { lit(state, width) } else { lit(0, width) });
    }

    /// The device has a second stage.
    pub fn two_stage(&self) -> E {
        two_stage(&self.device)
    }

    /// The access is a write, as far as permissions go.
    pub fn writes(&self) -> E {
        self.q.write & !self.q.exec
    }

    /// The access is an ATS translation request: it asks for permissions and does nothing.
    pub fn asks(&self) -> E {
        self.q.asks(self.d)
    }

    /// What a leaf of the access itself means for its D bit: the access writes, or asks for permission to, which the leaf gives.
    pub fn dirties(&self, pte: &PageTableEntry) -> E {
        self.asks().mux(self.q.write & pte.writable(), self.writes())
    }

    /// A leaf of the access itself wants an update, where `write` is [`dirties`](Self::dirties). A translation request that is granted
    /// no permission does not set A.
    pub fn wants_update(&self, pte: &PageTableEntry, write: E) -> E {
        pte.wants_update(write) & (!self.asks() | pte.readable())
    }

    /// The walk ends with a fault.
    pub fn fail(&self, m: &mut Module, cause: E) {
        m.set(self.fault, cause);
        m.set(self.ok, lo());
        self.set(m, self.guest_fault, lo());
        self.goto(m, state::DONE);
    }

    /// The walk ends with a translation.
    pub fn succeed(&self, m: &mut Module, t: &TranslationSignals, cacheable: E) {
        m.set(self.ok, hi());
        m.set(self.refill, cacheable);
        self.result.set(m, t);
        self.goto(m, state::DONE);
    }

    /// The walk ends with the request's own address, with these attributes and permissions.
    #[names]
    pub fn pass_through(
        &self,
        m: &mut Module,
        attributes: &TranslationSignals,
        permissions: E,
        cacheable: E,
    ) {
        let (d, iova) = (self.d, self.q.iova);
        let own = TranslationSignals::identity(d, iova);
        let t = TranslationSignals {
            ppn: own.ppn,
            mask: own.mask,
            global: own.global,
            permissions,
            ..*attributes
        };
        chain!(m;
            iova.bits(d.pas, 64 - d.pas).any() => self.fail(m, self.access_fault);
            else => self.succeed(m, &t, cacheable);
        );
    }

    /// Reads at a physical page.
    pub fn read(&self, m: &mut Module, kind: Label, level: E, at: E, index: Index) {
        self.aim(m, kind, level, index);
        m.set(self.page, at.resize(ppn_width(self.d)));
        self.goto(m, state::READ);
    }

    /// Reads at a page that is a guest's if there is a second stage.
    pub fn read_guest(&self, m: &mut Module, kind: Label, level: E, at: E, index: Index) {
        self.aim(m, kind, level, index);
        m.set(self.page, at.resize(ppn_width(self.d)));
        if self.d.second_stage() {
            m.set(self.gpa, at.resize(52));
        }
        m.when_else(self.two_stage(), |m| self.goto(m, state::GUEST), |m| self.goto(m, state::READ));
    }

    fn aim(&self, m: &mut Module, kind: Label, level: E, index: Index) {
        m.set(self.kind, lit(kind, self.kind.width()));
        m.set(self.level, level);
        m.set(self.index.offset, index.offset);
        self.set(m, self.index.half, index.half);
        m.set(self.beat, lit(0, self.beat.width()));
        for flag in [self.bad, self.error, self.poison, self.invalid] {
            m.set(flag, lo());
        }
        self.set(m, self.nested, lo());
        self.set(m, self.update, lo());
        self.set(m, self.guest_update, lo());
    }
}
