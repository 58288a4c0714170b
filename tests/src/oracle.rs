//! The result that a request must have, according to the RISC-V IOMMU specification: section "Process to translate an IOVA" and
//! those it refers to, and the Privileged specification's "Virtual Address Translation Process". It is written from that
//! text, with bit positions of its own, and shares no code with the hardware.
//!
//! Where the specification leaves a choice, this states the one that the project made: a page number in `DC.fsc` or `PC.fsc`
//! beyond the physical address space is a misconfigured context (notes after the configuration checks), and an
//! untranslated address beyond it is an access fault.

use crate::query::Query;
use pasidon_cosim::Flat;
use pasidon_rtl::design::Design;
use pasidon_spec::fault::{Cause, FaultRecord};
use pasidon_spec::memory::{Failure, MemoryFault};
use std::ops::Range;

/// Everything that decides about a request.
#[derive(Clone, Copy)]
pub struct World<'a> {
    /// What is supported.
    pub design: &'a Design,
    /// Tables.
    pub memory: &'a Flat,
    /// Memory that fails.
    pub failures: &'a [(Range<u64>, Failure)],
    /// `ddtp.iommu_mode`.
    pub mode: u64,
    /// Address of the root of the device directory.
    pub root: u64,
}

/// A translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// Physical address.
    pub spa: u64,
    /// What the requester may do with the page: read, write, fetch.
    pub rwx: (bool, bool, bool),
    /// log2 of the page's bytes.
    pub size: u64,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExpectedFault {
    /// Why.
    pub cause: Cause,
    /// Whether a record is due.
    pub reported: bool,
    /// The answer to a translation request is no refusal: it succeeds without any permission.
    pub withheld: bool,
}

struct Context {
    root_mode: u64,
    root: u64,
    privileged: bool,
    sum: bool,
}

const BARE: u64 = 0;

fn ones(hi: u32, lo: u32) -> u64 {
    (u64::MAX >> (63 - hi)) & (u64::MAX << lo)
}

fn field(word: u64, hi: u32, lo: u32) -> u64 {
    (word & ones(hi, lo)) >> lo
}

/// By kind of access: fetch, read, write.
fn by_kind(query: &Query, exec: Cause, read: Cause, write: Cause) -> Cause {
    if query.exec {
        exec
    } else if query.write && query.at != 1 {
        write
    } else {
        read
    }
}

impl World<'_> {
    fn load<const N: usize>(&self, address: u64) -> Result<[u64; N], MemoryFault> {
        let mut words = [0; N];
        let mut corrupt = false;
        for (i, word) in words.iter_mut().enumerate() {
            let at = address + 8 * i as u64;
            let fails = |kind| self.failures.iter().any(|(range, k)| *k == kind && range.contains(&at));
            if fails(Failure::Read) {
                return Err(MemoryFault::Access);
            }
            corrupt |= fails(Failure::Poison);
            *word = self.memory.load(at).ok_or(MemoryFault::Access)?;
        }
        if corrupt { Err(MemoryFault::Corrupt) } else { Ok(words) }
    }

    fn beyond(&self, address: u64) -> bool {
        address >> self.design.pas != 0
    }

    fn has_first_stage(&self, mode: u64) -> bool {
        match mode {
            BARE | 8 => true,
            9 => self.design.sv48,
            10 => self.design.sv57,
            _ => false,
        }
    }

    fn has_directory(&self, mode: u64) -> bool {
        match mode {
            BARE => true,
            1 => self.design.pd8,
            2 => self.design.pd17,
            3 => self.design.pd20,
            _ => false,
        }
    }

    /// The translation of `query`, or its fault.
    ///
    /// # Errors
    /// [`ExpectedFault`]
    pub fn translate(&self, query: &Query) -> Result<Page, ExpectedFault> {
        // Section "PCIe ATS translation request handling".
        self.walk(query).map_err(|fault| {
            let withheld =
                query.at == 1 && matches!(fault.cause.code(), 12 | 13 | 15 | 20 | 21 | 23 | 262 | 266);
            ExpectedFault { withheld, reported: fault.reported && !withheld, ..fault }
        })
    }

    fn walk(&self, query: &Query) -> Result<Page, ExpectedFault> {
        let always = |cause| ExpectedFault { cause, reported: true, withheld: false };
        match self.mode {
            0 => return Err(always(Cause::AllInboundTransactionsDisallowed)),
            1 if query.at != 0 => return Err(always(Cause::TransactionTypeDisallowed)),
            1 => return self.pass(query).map_err(always),
            _ => {}
        }
        // Without a valid device context, DTF counts as 0.
        let dc = self.device_context(query.device_id.into()).map_err(always)?;
        // DTF = 1 holds back every fault that can be met from here on.
        let dtf = dc[0] >> 4 & 1 == 1;
        let after = |cause| ExpectedFault { cause, reported: !dtf, withheld: false };
        let context = self.context(query, &dc).map_err(after)?;
        match context {
            // The execute permission is granted only if it is asked for.
            None => {
                self.pass(query).map(|page| Page { rwx: (true, true, query.at != 1 || query.exec), ..page })
            }
            Some(context) => self.first_stage(query, &context),
        }
        .map_err(after)
    }

    /// Nothing translates: the gigabyte around the address is itself.
    fn pass(&self, query: &Query) -> Result<Page, Cause> {
        if self.beyond(query.iova) {
            return Err(self.access_fault(query));
        }
        Ok(Page { spa: query.iova, rwx: (true, true, true), size: 30 })
    }

    fn access_fault(&self, query: &Query) -> Cause {
        by_kind(query, Cause::InstructionAccessFault, Cause::ReadAccessFault, Cause::WriteAmoAccessFault)
    }

    /// Section "Process to locate the Device-context".
    fn device_context(&self, did: u64) -> Result<[u64; 4], Cause> {
        let ddi = [field(did, 6, 0), field(did, 15, 7), field(did, 23, 16)];
        let levels = self.mode as usize - 1;
        if ddi[levels..].iter().any(|&index| index != 0) {
            return Err(Cause::TransactionTypeDisallowed);
        }
        let failed = |trouble| match trouble {
            MemoryFault::Access => Cause::DdtEntryLoadAccessFault,
            MemoryFault::Corrupt => Cause::DdtDataCorruption,
        };
        let mut a = self.root;
        for i in (1..levels).rev() {
            let [ddte] = self.load(a + ddi[i] * 8).map_err(failed)?;
            if ddte & 1 == 0 {
                return Err(Cause::DdtEntryNotValid);
            }
            if ddte & (ones(9, 1) | ones(63, 54)) != 0 {
                return Err(Cause::DdtEntryMisconfigured);
            }
            a = field(ddte, 53, 10) << 12;
        }
        let dc: [u64; 4] = self.load(a + ddi[0] * 32).map_err(failed)?;
        if dc[0] & 1 == 0 {
            return Err(Cause::DdtEntryNotValid);
        }
        if self.is_misconfigured(&dc) {
            return Err(Cause::DdtEntryMisconfigured);
        }
        Ok(dc)
    }

    /// Section "Device-context configuration checks", for an IOMMU without second stage, A/D updates, big-endian
    /// tables, Sv32 and QoS ids. What remains of `tc` is V, DTF, PDTV, DPE and eight custom bits, and EN_ATS, EN_PRI and PRPR with
    /// ATS.
    fn is_misconfigured(&self, [tc, iohgatp, ta, fsc]: &[u64; 4]) -> bool {
        let (pdtv, dpe, mode) = (tc >> 5 & 1, tc >> 9 & 1, field(*fsc, 63, 60));
        let supported = if pdtv == 1 { self.has_directory(mode) } else { self.has_first_stage(mode) };
        let ats = if self.design.ats { 1 << 1 | 1 << 2 | 1 << 6 } else { 0 };
        let (en_ats, en_pri, prpr) = (tc >> 1 & 1, tc >> 2 & 1, tc >> 6 & 1);
        tc & !(1 | 1 << 4 | 1 << 5 | 1 << 9 | ones(31, 24) | ats) != 0
            || (en_pri == 1 && en_ats == 0)
            || (prpr == 1 && en_pri == 0)
            || (dpe == 1 && pdtv == 0)
            || field(*iohgatp, 63, 60) != 0
            || ta & !ones(31, 12) != 0
            || field(*fsc, 59, 44) != 0
            || !supported
            || (mode != BARE && self.beyond(field(*fsc, 43, 0) << 12))
    }

    /// From the device context to the first stage; `None` where that is Bare.
    fn context(&self, query: &Query, [tc, _, _, fsc]: &[u64; 4]) -> Result<Option<Context>, Cause> {
        let (pdtv, dpe, mode) = (tc >> 5 & 1 == 1, tc >> 9 & 1 == 1, field(*fsc, 63, 60));
        let root = field(*fsc, 43, 0) << 12;
        let en_ats = tc >> 1 & 1 == 1;
        if (query.at != 0 && !en_ats) || (query.process_id.is_some() && !pdtv) {
            return Err(Cause::TransactionTypeDisallowed);
        }
        let bits = [20, 8, 17, 20][mode as usize & 3];
        if query.process_id.is_some_and(|pid| pdtv && pid >> bits != 0) {
            return Err(Cause::TransactionTypeDisallowed);
        }
        if query.at == 2 {
            return Ok(None);
        }
        if !pdtv {
            let context = Context { root_mode: mode, root, privileged: false, sum: false };
            return Ok((mode != BARE).then_some(context));
        }
        let pid = match query.process_id {
            None if !dpe => return Ok(None),
            pid => u64::from(pid.unwrap_or(0)),
        };
        if mode == BARE {
            return Ok(None);
        }
        let [ta, fsc] = self.process_context(mode, root, pid)?;
        // A request without a process_id has user privilege.
        let privileged = query.privileged && query.process_id.is_some();
        if privileged && ta >> 1 & 1 == 0 {
            return Err(Cause::TransactionTypeDisallowed);
        }
        let (root_mode, root) = (field(fsc, 63, 60), field(fsc, 43, 0) << 12);
        let context = Context { root_mode, root, privileged, sum: ta >> 2 & 1 == 1 };
        Ok((root_mode != BARE).then_some(context))
    }

    /// Section "Process to locate the Process-context".
    fn process_context(&self, mode: u64, root: u64, pid: u64) -> Result<[u64; 2], Cause> {
        let pdi = [field(pid, 7, 0), field(pid, 16, 8), field(pid, 19, 17)];
        let failed = |trouble| match trouble {
            MemoryFault::Access => Cause::PdtEntryLoadAccessFault,
            MemoryFault::Corrupt => Cause::PdtDataCorruption,
        };
        let mut a = root;
        for i in (1..mode as usize).rev() {
            let [pdte] = self.load(a + pdi[i] * 8).map_err(failed)?;
            if pdte & 1 == 0 {
                return Err(Cause::PdtEntryNotValid);
            }
            if pdte & (ones(9, 1) | ones(63, 54)) != 0 {
                return Err(Cause::PdtEntryMisconfigured);
            }
            a = field(pdte, 53, 10) << 12;
        }
        let [ta, fsc] = self.load(a + pdi[0] * 16).map_err(failed)?;
        if ta & 1 == 0 {
            return Err(Cause::PdtEntryNotValid);
        }
        // Section "Process-context configuration checks".
        let mode = field(fsc, 63, 60);
        let wrong = ta & !(ones(31, 12) | ones(2, 0)) != 0
            || field(fsc, 59, 44) != 0
            || !self.has_first_stage(mode)
            || (mode != BARE && self.beyond(field(fsc, 43, 0) << 12));
        if wrong { Err(Cause::PdtEntryMisconfigured) } else { Ok([ta, fsc]) }
    }

    /// Privileged specification, "Virtual Address Translation Process", without hardware updates of A and D.
    fn first_stage(&self, query: &Query, context: &Context) -> Result<Page, Cause> {
        let page_fault =
            by_kind(query, Cause::InstructionPageFault, Cause::ReadPageFault, Cause::WriteAmoPageFault);
        let levels = context.root_mode as u32 - 5;
        let top = 12 + 9 * levels - 1;
        let sign = field(query.iova, 63, top);
        if sign != 0 && sign != field(u64::MAX, 63, top) {
            return Err(page_fault);
        }
        let mut a = context.root;
        for i in (0..levels).rev() {
            let shift = 12 + 9 * i;
            let index = field(query.iova, shift + 8, shift);
            let [pte] = self.load(a + 8 * index).map_err(|trouble| match trouble {
                MemoryFault::Access => self.access_fault(query),
                MemoryFault::Corrupt => Cause::PtDataCorruption,
            })?;
            let bit = |n: u32| pte >> n & 1 == 1;
            let (v, r, w, x, u, a_bit, d) = (bit(0), bit(1), bit(2), bit(3), bit(4), bit(6), bit(7));
            let ppn = field(pte, 53, 10);
            // Svpbmt and Svrsw60t59b are not there: bits 62:54 are reserved.
            if !v || (!r && w) || field(pte, 62, 54) != 0 {
                return Err(page_fault);
            }
            if !r && !x {
                // A pointer: U, A, D and N are reserved in it.
                if u || a_bit || d || bit(63) || i == 0 {
                    return Err(page_fault);
                }
                a = ppn << 12;
                continue;
            }
            let napot = bit(63);
            let reach = if napot { 4 } else { 9 * i };
            let low = ppn & !(u64::MAX << reach);
            if (napot && (i != 0 || low != 8)) || (!napot && low != 0) {
                return Err(page_fault);
            }
            let mine = if context.privileged { !u || context.sum } else { u };
            let fetch = x && if context.privileged { !u } else { u };
            let mut rwx = (r && mine, w && d && mine, fetch);
            let granted = if query.at == 1 {
                // What is denied is left out of the answer.
                rwx.2 &= rwx.0 && query.exec;
                mine
            } else if query.exec {
                rwx.2
            } else if query.write {
                rwx.1
            } else {
                rwx.0
            };
            let accessed = if query.at == 1 {
                // Nothing is accessed where nothing can be read.
                !rwx.0 || (a_bit && (d || !query.write || !w))
            } else {
                a_bit
            };
            if !granted || !accessed {
                return Err(page_fault);
            }
            let size = u64::from(12 + reach);
            let inside = !(u64::MAX << size);
            let spa = (ppn << 12) & !inside | query.iova & inside;
            if self.beyond(ppn << 12) {
                return Err(self.access_fault(query));
            }
            return Ok(Page { spa, rwx, size });
        }
        Err(page_fault)
    }
}

/// The record of a fault. (Section "Fault/Event-Queue (FQ)".)
pub fn record(query: &Query, cause: Cause) -> FaultRecord {
    let kind = if query.exec {
        1
    } else if query.write {
        3
    } else {
        2
    };
    let ttyp = match query.at {
        0 => kind,
        1 => 8,
        _ => kind + 4,
    };
    FaultRecord {
        cause: cause.code(),
        ttyp,
        did: query.device_id,
        pv: query.process_id.is_some(),
        pid: query.process_id.unwrap_or(0),
        privileged: query.privileged && query.process_id.is_some(),
        iotval: query.iova,
        iotval2: 0,
    }
}
