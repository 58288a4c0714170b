//! What becomes of a request: the result of its walk, the answer to whoever asked, the response of a translation port.

use crate::design::Design;
use crate::signals::context::{DeviceContext, ProcessContext};
use crate::signals::request::{TranslationSignals, ppn_width};
use crate::translate::miss_table::entry_width;
use pasidon_hdl::{Bundle, E, Instance, Module, bundle, onehot};
use pasidon_spec::page_table::PAGE_SHIFT;

bundle! {
    /// How a walk ended, beside its translation and the contexts that it loaded.
    pub struct WalkEnd(d: Design) {
        /// An invalidation overtook it: it is not kept.
        stale: 1;
        /// The request's entry in the miss table.
        entry: entry_width(d);
        /// It found a translation; otherwise a fault.
        ok: 1;
        /// Cause of the fault.
        cause: 12;
        /// The fault is recorded.
        report: 1;
        /// The translation may be kept.
        refill: 1;
        /// The L2 TLB has it already.
        known: 1, if d.has_l2();
        /// Whose contexts it loaded.
        device_id: d.device_id_width;
        /// Whose process context it loaded.
        process_id: d.process_id_width;
        /// It loaded the device context.
        dc_loaded: 1;
        /// It loaded the process context.
        pc_loaded: 1;
        /// `iotval2` of the record of the fault.
        iotval2: 64, if d.second_stage();
        /// It stored a message, or found one that needs no store.
        mrif: 1, if d.msi_mrif;
        /// Of a translation request: no permission instead of the fault.
        withheld: 1, if d.ats;
        /// Of a translation request: only CXL.io may use the answer.
        cxl_io: 1, if d.ats;
        /// Of a translation request: only untranslated requests reach what it asks for.
        untranslated: 1, if d.ats && d.stores_msis();
        /// Of a translation request: bits of a guest physical page number beyond the physical address space.
        guest_high: d.guest_beyond(), if d.ats && d.guest_beyond() > 0;
    }
}

bundle! {
    /// What is completed, beside the translation.
    pub struct Answer(d: Design) {
        /// There is a translation.
        ok: 1;
        /// Why not.
        cause: 12;
        /// The L1 TLB keeps it.
        refill: 1;
        /// It was a message, which is stored.
        mrif: 1, if d.msi_mrif;
        /// A translation request gets no permission instead of a fault.
        ats_withheld: 1, if d.ats;
        /// A translation request is aborted.
        ats_abort: 1, if d.ats;
        /// A translation request may cache the answer for every PASID.
        ats_global: 1, if d.ats;
        /// Only CXL.io may use the answer.
        ats_cxl_io: 1, if d.ats;
        /// Only untranslated requests reach the address.
        ats_untranslated: 1, if d.ats && d.stores_msis();
        /// Bits of a guest physical page number beyond the physical address space.
        guest_high: d.guest_beyond(), if d.ats && d.guest_beyond() > 0;
    }
}

bundle! {
    /// The response of a translation port.
    pub struct Response(d: Design) {
        /// The request's.
        id: d.id_width;
        /// 0 success, 1 refused.
        status: 2;
        /// Cause of the refusal, or why nothing is granted, else 0.
        cause: 12;
        /// Physical address; a guest's, where ATS gives such.
        spa: u32::from(PAGE_SHIFT) + ppn_width(d) + if d.ats { d.guest_beyond() } else { 0 };
        /// Reading is granted.
        r: 1;
        /// Writing is granted.
        w: 1;
        /// Executing is granted.
        x: 1;
        /// log2 of the bytes of the page.
        size: 6;
        /// Memory type.
        pbmt: 2, if d.svpbmt;
        /// Resource control identifier.
        rcid: 12, if d.qosid;
        /// Monitoring counter identifier.
        mcid: 12, if d.qosid;
        /// It was a message, which is stored.
        mrif: 1, if d.msi_mrif;
        /// Refused as a completer abort, not as an unsupported request.
        abort: 1, if d.ats;
        /// Only untranslated requests reach the address.
        untranslated: 1, if d.ats;
        /// The translation may be cached for every PASID.
        global: 1, if d.ats;
        /// Only CXL.io may use it.
        cxl_io: 1, if d.ats;
    }
}

/// The result of a walk.
#[derive(Clone)]
pub struct WalkResult {
    /// How it ended.
    pub end: WalkEnd,
    /// Words of the device context.
    pub dc: Vec<E>,
    /// Words of the process context.
    pub pc: Vec<E>,
    /// The translation.
    pub translation: TranslationSignals,
}

impl WalkResult {
    /// A result whose signals come from `f(name, width)`.
    pub fn from_fn(d: &Design, mut f: impl FnMut(&str, u32) -> E) -> WalkResult {
        let end = WalkEnd::from_fn(d, &mut f);
        let mut words = |context: &str, widths: Vec<u32>| -> Vec<E> {
            (0..).zip(widths).map(|(w, width)| f(&format!("{context}{w}"), width)).collect()
        };
        let dc = words("dc", DeviceContext::widths(d));
        let pc = words("pc", ProcessContext::widths(d));
        WalkResult { end, dc, pc, translation: TranslationSignals::from_fn(d, f) }
    }

    /// Names and signals, in the order of [`from_fn`](Self::from_fn).
    pub fn fields(&self, d: &Design) -> Vec<(String, E)> {
        let named = |(name, e): (&'static str, E)| (name.to_string(), e);
        let word = |context: &'static str| move |(w, e): (usize, &E)| (format!("{context}{w}"), *e);
        let end = self.end.fields(d).into_iter().map(named);
        let contexts =
            self.dc.iter().enumerate().map(word("dc")).chain(self.pc.iter().enumerate().map(word("pc")));
        end.chain(contexts).chain(self.translation.fields(d).into_iter().map(named)).collect()
    }

    /// Input ports `PREFIX_*`.
    pub fn inputs(m: &mut Module, d: &Design, prefix: &str) -> WalkResult {
        WalkResult::from_fn(d, |name, width| m.input(&format!("{prefix}_{name}"), width))
    }

    /// Output ports `PREFIX_*`.
    pub fn outputs(&self, m: &mut Module, d: &Design, prefix: &str) {
        for (name, e) in self.fields(d) {
            m.output(&format!("{prefix}_{name}"), e);
        }
    }

    /// Registers `PREFIX_*` without reset.
    pub fn registers(m: &mut Module, d: &Design, prefix: &str) -> WalkResult {
        WalkResult::from_fn(d, |name, width| m.reg_data(&format!("{prefix}_{name}"), width))
    }

    /// Sets registers.
    pub fn set(&self, m: &mut Module, d: &Design, value: &WalkResult) {
        for ((_, register), (_, value)) in self.fields(d).into_iter().zip(value.fields(d)) {
            m.set(register, value);
        }
    }

    /// The one whose bit of `grant` is 1.
    pub fn chosen(grant: &[E], results: &[WalkResult]) -> WalkResult {
        if let [one] = results {
            return one.clone();
        }
        let pairs = || grant.iter().copied().zip(results);
        let words = |of: fn(&WalkResult) -> &Vec<E>| -> Vec<E> {
            (0..of(&results[0]).len())
                .map(|w| onehot(&pairs().map(|(g, r)| (g, of(r)[w])).collect::<Vec<_>>()))
                .collect()
        };
        WalkResult {
            end: WalkEnd::onehot(&pairs().map(|(g, r)| (g, r.end)).collect::<Vec<_>>()),
            dc: words(|r| &r.dc),
            pc: words(|r| &r.pc),
            translation: TranslationSignals::onehot(
                &pairs().map(|(g, r)| (g, r.translation)).collect::<Vec<_>>(),
            ),
        }
    }

    /// Connects the inputs of `to` to the outputs of `from`; each is named with the prefix of its ports.
    pub fn join(m: &mut Module, d: &Design, from: (&Instance, &str), to: (&Instance, &str)) {
        let result = WalkResult::from_fn(d, |name, _| from.0.out(&format!("{}_{name}", from.1)));
        for (name, e) in result.fields(d) {
            to.0.connect(m, &format!("{}_{name}", to.1), e);
        }
    }
}
