//! Process directory: from the device context and the process_id to the first stage. (Sections "Process to translate an IOVA" and
//! "Process to locate the Process-context".)
//!
//! Latency: a cycle to decide, then a read for each level of the directory and one for the context, and one cycle more to use it.

use super::arrived::Arrived;
use super::process_context::{fsc_misconfigured, pid_too_wide};
use super::state::*;
use crate::signals::context::{any_bit, field, first_stage_ppn_width};
use crate::signals::request::TranslationSignals;
use pasidon_hdl::{E, Module, cat, hi, lit, lo, names};
use pasidon_spec::fault::Cause;
use pasidon_spec::page_table::iosatp_mode;
use pasidon_spec::pdt::{PDI, pc, pdte, pdtp_mode};

/// Where the process of a request is in its directory.
pub struct ProcessDirectory {
    /// Index in the table of each level, leaf first.
    pdi: Vec<E>,
    /// Where its context begins.
    context: Index,
}

impl ProcessDirectory {
    /// That of the request of a walk.
    #[names]
    pub fn new(w: &Walk) -> ProcessDirectory {
        let pdi: Vec<E> = PDI.iter().map(|l| slice(w.q.process_id, l.lo, l.width)).collect();
        // A process context takes 2 doublewords.
        let pc_index = Index::wide(cat(&[pdi[0], lit(0, 1)]));
        ProcessDirectory { pdi, context: pc_index }
    }

    /// State `HAVE_DC`: whether the device may do this, and where its first stage is; else the first read of the directory, if the
    /// context is not known.
    #[names]
    pub fn begin(&self, m: &mut Module, w: &Walk) {
        let (q, device) = (w.q, w.device);
        let (asks, translated) = (q.asks(w.d), q.is_translated(w.d));
        let kind_allowed = device.en_ats & (asks | translated);
        let disallowed = (q.at.any() & !kind_allowed)
            | (q.pid_valid & !device.pdtv)
            | (q.pid_valid & device.pdtv & pid_too_wide(w.d, device.fsc_mode, q.process_id));
        let no_process =
            translated | !device.pdtv | (!q.pid_valid & !device.dpe) | device.fsc_mode.is(pdtp_mode::BARE);
        let pdt_of_three = device.fsc_mode.is(pdtp_mode::PD20);
        // Without a process context there is no ENS to forbid supervisor privilege.
        let first_stage = (device.pdtv | translated).mux(lit(iosatp_mode::BARE, 4), device.fsc_mode);
        let ids = TranslationSignals { rcid: device.rcid, mcid: device.mcid, ..w.result };
        let page_request = q.write & !device.en_pri;
        let may_not = q.message & (!device.en_ats | page_request);
        // Of a message nothing more is looked up; the answer says what its response needs.
        let allowed = TranslationSignals { permissions: device.prpr.resize(6), ..w.result };
        chain!(m;
            may_not => w.fail(m, cause(Cause::TransactionTypeDisallowed));
            q.message => w.succeed(m, &allowed, lo());
            disallowed => w.fail(m, cause(Cause::TransactionTypeDisallowed));
            translated & !device.t2gpa => w.pass_through(m, &ids, hi().repeat(6), lo());
            no_process => w.set_root(m, first_stage, device.fsc_ppn, device.pscid, hi(), lo());
            w.pc_known => w.goto(m, state::HAVE_PC);
            device.fsc_mode.is(pdtp_mode::PD8) => w.read_guest(m, kind::PC, lit(0, 3), device.fsc_ppn, self.context);
            else => {
                let index = Index::wide(pdt_of_three.mux(self.pdi[2].resize(9), self.pdi[1]));
                w.read_guest(m, kind::PDTE, two_or_one(pdt_of_three), device.fsc_ppn, index);
            };
        );
    }

    /// State `HAVE_PC`: the first stage of the process.
    pub fn enter(&self, m: &mut Module, w: &Walk) {
        let p = w.process;
        chain!(m;
            w.q.privileged & !p.ens => w.fail(m, cause(Cause::TransactionTypeDisallowed));
            else => w.set_root(m, p.fsc_mode, p.fsc_ppn, p.pscid, p.ens, p.sum);
        );
    }

    /// An entry that is no leaf arrives.
    pub fn entry(&self, m: &mut Module, w: &Walk, arrived: &Arrived) {
        let word = arrived.word;
        let page = field(word, pdte::PPN).bits(0, first_stage_ppn_width(w.d));
        chain!(m;
            arrived.error => w.fail(m, cause(Cause::PdtEntryLoadAccessFault));
            arrived.poison => w.fail(m, cause(Cause::PdtDataCorruption));
            !field(word, pdte::V) => w.fail(m, cause(Cause::PdtEntryNotValid));
            any_bit(word, pdte::RESERVED) => w.fail(m, cause(Cause::PdtEntryMisconfigured));
            arrived.too_wide & !w.two_stage() => w.fail(m, cause(Cause::PdtEntryLoadAccessFault));
            w.level.is(1) => w.read_guest(m, kind::PC, lit(0, 3), page, self.context);
            else => w.read_guest(m, kind::PDTE, lit(1, 3), page, Index::wide(self.pdi[1]));
        );
    }

    /// A doubleword of the process context arrives.
    #[names]
    pub fn context(&self, m: &mut Module, w: &Walk, arrived: &Arrived) {
        let (word, process) = (arrived.word, w.process);
        let fsc = fsc_misconfigured(w.d, w.device.sxl, w.two_stage(), word);
        let pc_wrong = w.beat.is(0).mux(any_bit(word, pc::ta::RESERVED), fsc);
        m.set(w.bad, w.bad | pc_wrong);
        m.when(w.beat.is(0), |m| {
            m.set(w.invalid, !field(word, pc::ta::V));
            m.set(process.ens, field(word, pc::ta::ENS));
            m.set(process.sum, field(word, pc::ta::SUM));
            m.set(process.pscid, field(word, pc::ta::PSCID));
        });
        m.set(process.fsc_mode, field(word, pc::fsc::MODE));
        m.set(process.fsc_ppn, field(word, pc::fsc::PPN).bits(0, first_stage_ppn_width(w.d)));
        m.when(arrived.last, |m| {
            chain!(m;
                arrived.any_error => w.fail(m, cause(Cause::PdtEntryLoadAccessFault));
                arrived.any_poison => w.fail(m, cause(Cause::PdtDataCorruption));
                w.invalid => w.fail(m, cause(Cause::PdtEntryNotValid));
                w.bad | pc_wrong => w.fail(m, cause(Cause::PdtEntryMisconfigured));
                else => {
                    m.set(w.pc_loaded, hi());
                    w.goto(m, state::HAVE_PC);
                };
            );
        });
    }
}
