//! Device directory: from the device_id to the device context. (Section "Process to locate the Device-context".)
//!
//! Latency: a cycle to decide, then a read for each level of the directory and one for the context.

use super::arrived::Arrived;
use super::device_context;
use super::state::*;
use crate::signals::context::{any_bit, field};
use crate::signals::request::{TranslationSignals, device_id_too_wide, ppn_width};
use pasidon_hdl::{E, Module, cat, hi, lit, lo, names};
use pasidon_spec::ddt::{BASE_DDI, EXT_DDI, dc, ddte, iommu_mode};
use pasidon_spec::fault::Cause;

/// Where the device of a request is in the directory.
pub struct DeviceDirectory {
    /// Index in the table of each level, leaf first.
    ddi: Vec<E>,
    /// Where its context begins.
    context: Index,
    /// Its device_id has more bits than the directory.
    too_wide: E,
}

impl DeviceDirectory {
    /// That of the request of a walk.
    #[names]
    pub fn new(w: &Walk) -> DeviceDirectory {
        let extended = w.d.extended_contexts();
        let parts = if extended { EXT_DDI } else { BASE_DDI };
        let ddi: Vec<E> = parts.iter().map(|l| slice(w.q.device_id, l.lo, l.width)).collect();
        let dc_index = Index::wide(cat(&[ddi[0], lit(0, if extended { 3 } else { 2 })]));
        let did_too_wide = device_id_too_wide(w.d, w.settings.ddtp_mode, w.q.device_id);
        DeviceDirectory { ddi, context: dc_index, too_wide: did_too_wide }
    }

    /// State `START`: what needs no device context, else the first read, if the context is not known.
    #[names]
    pub fn begin(&self, m: &mut Module, w: &Walk) {
        let mode = w.settings.ddtp_mode;
        let root = w.settings.ddtp_root;
        let off = mode.is(iommu_mode::OFF);
        let bare = mode.is(iommu_mode::BARE);
        let ddt_of_three = mode.is(iommu_mode::LVL3);
        // What does not come from a device context.
        let attributes = TranslationSignals {
            two_stage: lo(),
            fractured: lo(),
            pbmt: lit(0, 2),
            rcid: w.settings.iommu_rcid,
            mcid: w.settings.iommu_mcid,
            ..w.result
        };
        m.when(!w.known, |m| {
            m.set(w.result.global, lo());
            for (register, value) in [
                (w.result.two_stage, attributes.two_stage),
                (w.result.fractured, attributes.fractured),
                (w.result.pbmt, attributes.pbmt),
                (w.result.rcid, attributes.rcid),
                (w.result.mcid, attributes.mcid),
            ] {
                w.set(m, register, value);
            }
        });
        w.set(m, w.stored, lo());
        w.set(m, w.notice, lo());
        w.set(m, w.nested, lo());
        // The DC decides whether faults are reported; where none is located, they are, whatever is cached.
        m.when(!w.dc_known | off | bare | self.too_wide, |m| m.set(w.device.dtf, lo()));
        chain!(m;
            off => w.fail(m, cause(Cause::AllInboundTransactionsDisallowed));
            (bare & w.q.at.any()) | (!bare & self.too_wide) => w.fail(m, cause(Cause::TransactionTypeDisallowed));
            bare => w.pass_through(m, &attributes, hi().repeat(6), lo());
            w.known => w.succeed(m, &w.result, hi());
            w.dc_known => w.goto(m, state::HAVE_DC);
            mode.is(iommu_mode::LVL1) => w.read(m, kind::DC, lit(0, 3), root, self.context);
            else => {
                let index = Index::wide(ddt_of_three.mux(self.ddi[2].resize(9), self.ddi[1]));
                w.read(m, kind::DDTE, two_or_one(ddt_of_three), root, index);
            };
        );
    }

    /// An entry that is no leaf arrives.
    pub fn entry(&self, m: &mut Module, w: &Walk, arrived: &Arrived) {
        let word = arrived.word;
        let page = field(word, ddte::PPN).bits(0, ppn_width(w.d));
        chain!(m;
            arrived.error => w.fail(m, cause(Cause::DdtEntryLoadAccessFault));
            arrived.poison => w.fail(m, cause(Cause::DdtDataCorruption));
            !field(word, ddte::V) => w.fail(m, cause(Cause::DdtEntryNotValid));
            any_bit(word, ddte::RESERVED) => w.fail(m, cause(Cause::DdtEntryMisconfigured));
            arrived.too_wide => w.fail(m, cause(Cause::DdtEntryLoadAccessFault));
            w.level.is(1) => w.read(m, kind::DC, lit(0, 3), page, self.context);
            else => w.read(m, kind::DDTE, lit(1, 3), page, Index::wide(self.ddi[1]));
        );
    }

    /// A doubleword of the device context arrives.
    #[names]
    pub fn context(&self, m: &mut Module, w: &Walk, arrived: &Arrived) {
        let word = arrived.word;
        let dc_wrong = device_context::is_misconfigured(w.d, &w.device, w.settings.fctl_gxl, w.beat, word);
        m.set(w.bad, w.bad | dc_wrong);
        m.when(w.beat.is(0), |m| m.set(w.invalid, !field(word, dc::tc::V)));
        device_context::load(m, w.d, &w.device, w.beat, word);
        // Faults before the DC is located are always reported.
        let undo = |m: &mut Module, c: Cause| {
            m.set(w.device.dtf, lo());
            w.fail(m, cause(c));
        };
        m.when(arrived.last, |m| {
            chain!(m;
                arrived.any_error => undo(m, Cause::DdtEntryLoadAccessFault);
                arrived.any_poison => undo(m, Cause::DdtDataCorruption);
                w.invalid => undo(m, Cause::DdtEntryNotValid);
                w.bad | dc_wrong => undo(m, Cause::DdtEntryMisconfigured);
                else => {
                    m.set(w.dc_loaded, hi());
                    w.goto(m, state::HAVE_DC);
                };
            );
        });
    }
}
