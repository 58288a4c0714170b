//! The one list of a design's parameters: section, key, legal values and meaning.

use super::Design;
use std::fmt;

/// What a key may be set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Legal {
    /// `true` or `false`.
    Bool,
    /// An integer from the first to the second, both included.
    Range(u32, u32),
    /// A power of two from the first to the second, both included; 0 too where the flag says so.
    PowerOfTwo(u32, u32, bool),
}

impl Legal {
    pub(super) fn admits(self, value: i64) -> bool {
        let Ok(value) = u32::try_from(value) else { return false };
        match self {
            Legal::Bool => value <= 1,
            Legal::Range(min, max) => (min..=max).contains(&value),
            Legal::PowerOfTwo(min, max, zero) => {
                (zero && value == 0) || (value.is_power_of_two() && (min..=max).contains(&value))
            }
        }
    }

    /// The legal value with the least distance from `value`; of two at the same distance, the larger.
    pub(super) fn nearest(self, value: i64) -> u32 {
        let (min, max) = match self {
            Legal::Bool => (0, 1),
            Legal::Range(min, max) | Legal::PowerOfTwo(min, max, _) => (min, max),
        };
        let Legal::PowerOfTwo(.., zero) = self else { return value.clamp(min.into(), max.into()) as u32 };
        let powers = (0..u32::BITS).map(|bit| 1 << bit).filter(|power| (min..=max).contains(power));
        let largest_first = powers.rev().chain(zero.then_some(0));
        largest_first.min_by_key(|&legal| value.abs_diff(legal.into())).unwrap_or(max)
    }
}

impl fmt::Display for Legal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Legal::Bool => write!(f, "true or false"),
            Legal::Range(min, max) => write!(f, "an integer from {min} to {max}"),
            Legal::PowerOfTwo(min, max, zero) => {
                write!(f, "{}a power of two from {min} to {max}", if zero { "0, or " } else { "" })
            }
        }
    }
}

/// One parameter of a design.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// TOML table that holds it.
    pub section: &'static str,
    /// Its name in that table.
    pub key: &'static str,
    /// What it may be set to.
    pub legal: Legal,
    /// What it does, in one line.
    pub doc: &'static str,
    get: fn(&Design) -> u32,
    pub(super) set: fn(&mut Design, u32),
}

impl Key {
    /// Its value in `design`; a boolean is 0 or 1.
    pub fn get(&self, design: &Design) -> u32 {
        (self.get)(design)
    }

    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }
}

macro_rules! keys {
    ($($section:ident . $key:ident => $field:ident: $legal:expr, $doc:literal;)*) => {
        &[$(Key {
            section: stringify!($section),
            key: stringify!($key),
            legal: $legal,
            doc: $doc,
            get: |design| design.$field.into(),
            set: |design, value| design.$field = FromSetting::from_setting(value),
        },)*]
    };
}

/// A field's value from the checked number that a design file gave for it.
trait FromSetting {
    fn from_setting(value: u32) -> Self;
}

impl FromSetting for u32 {
    fn from_setting(value: u32) -> u32 {
        value
    }
}

impl FromSetting for bool {
    fn from_setting(value: u32) -> bool {
        value != 0
    }
}

/// Every parameter, in the order of the design file.
pub const KEYS: &[Key] = keys! {
    ports.count => ports: Legal::Range(1, 8), "translation ports, each with an L1 IOTLB of its own";
    ports.id_width => id_width: Legal::Range(1, 16), "bits of a request id; bounds the requests outstanding on a port";
    tlb.l1_entries => l1_entries: Legal::Range(1, 128), "entries of each port's fully associative IOTLB";
    tlb.l2_sets => l2_sets: Legal::PowerOfTwo(2, 4096, true), "sets of the shared IOTLB in block RAM; 0 leaves it out";
    tlb.l2_ways => l2_ways: Legal::Range(1, 8), "ways of the shared IOTLB";
    walk.miss_entries => miss_entries: Legal::Range(1, 64), "requests that may wait for a walk at the same time; those for one page share a walk";
    walk.walkers => walkers: Legal::Range(1, 16), "page-table walks in progress at the same time";
    walk.ddtc_entries => ddtc_entries: Legal::Range(1, 64), "cached device contexts";
    walk.pdtc_entries => pdtc_entries: Legal::Range(1, 64), "cached process contexts";
    translation.sv48 => sv48: Legal::Bool, "Sv48 first-stage page tables (Sv39 is always there)";
    translation.sv57 => sv57: Legal::Bool, "Sv57 first-stage page tables";
    translation.sv32 => sv32: Legal::Bool, "Sv32 first-stage page tables, chosen by DC.tc.SXL";
    translation.sv39x4 => sv39x4: Legal::Bool, "Sv39x4 second-stage page tables";
    translation.sv48x4 => sv48x4: Legal::Bool, "Sv48x4 second-stage page tables";
    translation.sv57x4 => sv57x4: Legal::Bool, "Sv57x4 second-stage page tables";
    translation.sv32x4 => sv32x4: Legal::Bool, "Sv32x4 second-stage page tables, chosen by fctl.GXL";
    translation.svpbmt => svpbmt: Legal::Bool, "page-based memory types in PTEs";
    translation.svrsw60t59b => svrsw60t59b: Legal::Bool, "PTE bits 60:59 are left to software";
    translation.amo_hwad => amo_hwad: Legal::Bool, "hardware updates of the A and D bits, where DC.tc.SADE or GADE asks";
    translation.big_endian => big_endian: Legal::Bool, "fctl.BE and DC.tc.SBE: tables and queues may be big-endian";
    msi.flat => msi_flat: Legal::Bool, "MSI translation through flat MSI page tables; 64-byte device contexts";
    msi.mrif => msi_mrif: Legal::Bool, "MSI translation to memory-resident interrupt files";
    invalidation.nl => nl: Legal::Bool, "IOTINVAL with NL: non-leaf entries";
    invalidation.s => s: Legal::Bool, "IOTINVAL with S: address ranges";
    quality.qosid => qosid: Legal::Bool, "RCID and MCID of devices and of the IOMMU's own accesses";
    monitor.counters => hpm_counters: Legal::Range(0, 31), "event counters of the performance monitor";
    monitor.cycles => hpm_cycles: Legal::Bool, "cycle counter of the performance monitor";
    debug.translation => debug: Legal::Bool, "debug translation interface (tr_req_*)";
    address.pas => pas: Legal::Range(32, 56), "bits of a physical address";
    address.device_id_width => device_id_width: Legal::Range(1, 24), "bits of a device_id";
    address.process_id_width => process_id_width: Legal::Range(1, 20), "bits of a process_id";
    process.pd8 => pd8: Legal::Bool, "one-level process directories, 8-bit process_id";
    process.pd17 => pd17: Legal::Bool, "two-level process directories, 17-bit process_id";
    process.pd20 => pd20: Legal::Bool, "three-level process directories, 20-bit process_id";
    queues.command_log2_max => command_log2_max: Legal::Range(1, 24), "log2 of the most entries that cqb accepts";
    queues.fault_log2_max => fault_log2_max: Legal::Range(1, 24), "log2 of the most entries that fqb accepts";
    queues.page_request_log2_max => page_request_log2_max: Legal::Range(1, 24), "log2 of the most entries that pqb accepts";
    interrupts.vectors => vectors: Legal::PowerOfTwo(1, 16, false), "interrupt vectors";
    interrupts.wired => wired: Legal::Bool, "interrupts as wires";
    interrupts.msi => msi: Legal::Bool, "interrupts as messages";
    ats.ats => ats: Legal::Bool, "address translation services and page requests";
    ats.t2gpa => t2gpa: Legal::Bool, "DC.tc.T2GPA: translation completions with guest physical addresses";
    ats.itags => itags: Legal::Range(1, 32), "ATS invalidation requests that may be in flight";
    ats.timeout => ats_timeout: Legal::Range(8, u32::MAX), "least number of clock cycles until an ATS invalidation request has timed out";
};
