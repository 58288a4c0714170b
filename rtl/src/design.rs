//! A design: every parameter of the hardware, read from a TOML file.
//!
//! All parameters are run-time values of the generator. [`KEYS`] is the one list of them: section, key, legal values and
//! meaning; parsing, error messages, `design.json` and documentation all follow it. A design file sets every key, or names
//! one of the shipped designs as its `base` and sets only those that differ:
//!
//! ```
//! use pasidon_rtl::design::Design;
//! let design = Design::from_toml("base = \"default\"\nname = \"mine\"\n[tlb]\nl1_entries = 32\n", "mine.toml")?;
//! assert_eq!((design.l1_entries, design.walkers), (32, 2));
//! # Ok::<(), pasidon_rtl::design::DesignError>(())
//! ```

use std::fmt;
use std::path::Path;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value as Json};
use sha2::{Digest, Sha256};
use thiserror::Error;
use toml::{Table, Value};

/// A resolved, valid design. Counts are in units of the thing counted, widths in bits.
///
/// Built only by [`Design::from_toml`], [`Design::shipped`] and [`Design::load`], which check every value; code that changes
/// a field afterwards calls [`Design::check`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Design {
    /// Name, for the banner of the Verilog and for reports.
    pub name: String,
    /// Translation ports, 1 to 4.
    pub ports: u32,
    /// Width of a request id in bits, 1 to 16.
    pub id_width: u32,
    /// Entries of each port's fully associative IOTLB, 1 to 128.
    pub l1_entries: u32,
    /// Sets of the shared IOTLB: 0 (there is none) or a power of two up to 4096.
    pub l2_sets: u32,
    /// Ways of the shared IOTLB, 1 to 8; 0 when there is none.
    pub l2_ways: u32,
    /// Entries of the miss table, 1 to 64.
    pub miss_entries: u32,
    /// Page-table walkers, 1 to 16.
    pub walkers: u32,
    /// Cached device contexts, 1 to 64.
    pub ddtc_entries: u32,
    /// Cached process contexts, 1 to 64.
    pub pdtc_entries: u32,
    /// Sv48 first-stage page tables.
    pub sv48: bool,
    /// Sv57 first-stage page tables.
    pub sv57: bool,
    /// Sv32 first-stage page tables (`DC.tc.SXL`).
    pub sv32: bool,
    /// Sv39x4 second-stage page tables.
    pub sv39x4: bool,
    /// Sv48x4 second-stage page tables.
    pub sv48x4: bool,
    /// Sv57x4 second-stage page tables.
    pub sv57x4: bool,
    /// Sv32x4 second-stage page tables (`fctl.GXL`).
    pub sv32x4: bool,
    /// Page-based memory types (Svpbmt).
    pub svpbmt: bool,
    /// PTE bits 60:59 for software (Svrsw60t59b).
    pub svrsw60t59b: bool,
    /// Hardware updates of A and D bits with exclusive accesses (`capabilities.AMO_HWAD`).
    pub amo_hwad: bool,
    /// Tables and queues may be big-endian (`capabilities.END`).
    pub big_endian: bool,
    /// Physical address width in bits, 32 to 56 (`capabilities.PAS`).
    pub pas: u32,
    /// Width of a device_id in bits, 1 to 24.
    pub device_id_width: u32,
    /// Width of a process_id in bits, 1 to 20.
    pub process_id_width: u32,
    /// One-level process directories (8-bit process_id).
    pub pd8: bool,
    /// Two-level process directories (17-bit process_id).
    pub pd17: bool,
    /// Three-level process directories (20-bit process_id).
    pub pd20: bool,
    /// MSI translation, flat mode; device contexts have the extended format.
    pub msi_flat: bool,
    /// MSI translation, memory-resident interrupt files.
    pub msi_mrif: bool,
    /// IOTINVAL with the NL operand (`capabilities.NL`).
    pub nl: bool,
    /// IOTINVAL with the S operand, address ranges (`capabilities.S`).
    pub s: bool,
    /// Quality-of-service ids (`capabilities.QOSID`).
    pub qosid: bool,
    /// Event counters of the performance monitor, 0 to 31.
    pub hpm_counters: u32,
    /// Cycle counter of the performance monitor.
    pub hpm_cycles: bool,
    /// Debug translation interface (`capabilities.DBG`).
    pub debug: bool,
    /// log2 of the most entries a command queue may have, 1 to 24.
    pub command_log2_max: u32,
    /// log2 of the most entries a fault queue may have, 1 to 24.
    pub fault_log2_max: u32,
    /// log2 of the most entries a page-request queue may have, 1 to 24.
    pub page_request_log2_max: u32,
    /// Interrupt vectors: 1, 2, 4, 8 or 16.
    pub vectors: u32,
    /// Interrupts as wires (`capabilities.IGS`).
    pub wired: bool,
    /// Interrupts as messages (`capabilities.IGS`).
    pub msi: bool,
    /// Address translation services and page requests (`capabilities.ATS`).
    pub ats: bool,
    /// Translation completions may hold guest physical addresses (`capabilities.T2GPA`).
    pub t2gpa: bool,
    /// ATS invalidation requests that may be in flight, 1 to 32.
    pub itags: u32,
    /// Clock cycles that a device has for its answers to an ATS invalidation request, at least.
    pub ats_timeout: u32,
}

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
    fn admits(self, value: i64) -> bool {
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
    fn nearest(self, value: i64) -> u32 {
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
    set: fn(&mut Design, u32),
}

impl Key {
    /// Its value in `design`; a boolean is 0 or 1.
    pub fn get(&self, design: &Design) -> u32 {
        (self.get)(design)
    }

    fn path(&self) -> String {
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
    ports.count => ports: Legal::Range(1, 4), "translation ports, each with an L1 IOTLB of its own";
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

/// Why a design file was refused. Every message says what was found, what would be legal, and what to do.
#[derive(Debug, Error)]
pub enum DesignError {
    /// Neither a shipped design nor a file that can be read.
    #[error(
        "cannot read design '{name}': {reason}; give one of the shipped designs ({}) or the path of a TOML file",
        Design::SHIPPED.join(", ")
    )]
    Unreadable {
        /// What was asked for.
        name: String,
        /// What the operating system said.
        reason: String,
    },
    /// The text is not TOML.
    #[error("{file}: not a TOML file: {reason}")]
    Syntax {
        /// File name.
        file: String,
        /// The parser's message, with line and column.
        reason: String,
    },
    /// A key or section that does not exist.
    #[error("{file}: unknown key '{key}' (set to {value}); legal here: {legal}; {mend}")]
    UnknownKey {
        /// File name.
        file: String,
        /// Key with its section.
        key: String,
        /// The value it was given.
        value: String,
        /// The keys that exist there.
        legal: String,
        /// What to do.
        mend: String,
    },
    /// A key is not set and there is no base to take it from.
    #[error(
        "{file}: '{key}' is not set; legal: {legal}; set it, or add base = \"default\" as the first line"
    )]
    Missing {
        /// File name.
        file: String,
        /// Key with its section.
        key: String,
        /// Legal values.
        legal: String,
    },
    /// A value out of its range, or at odds with another key.
    #[error("{file}: {key} = {value} is not possible; legal: {legal}; {mend}")]
    Value {
        /// File name.
        file: String,
        /// Key with its section.
        key: String,
        /// The value it was given.
        value: String,
        /// Legal values.
        legal: String,
        /// What to do.
        mend: String,
    },
}

impl Design {
    /// Names of the designs that come with Pasidon.
    pub const SHIPPED: [&'static str; 4] = ["tiny", "default", "large", "full"];

    /// A design that comes with Pasidon; `None` if there is none of this name.
    pub fn shipped(name: &str) -> Option<Design> {
        let text = Self::shipped_toml(name)?;
        Some(Design::from_toml(text, name).expect("shipped designs are valid: a unit test parses each"))
    }

    /// The TOML text of a design that comes with Pasidon, comments included.
    pub fn shipped_toml(name: &str) -> Option<&'static str> {
        match name {
            "tiny" => Some(include_str!("../designs/tiny.toml")),
            "default" => Some(include_str!("../designs/default.toml")),
            "large" => Some(include_str!("../designs/large.toml")),
            "full" => Some(include_str!("../designs/full.toml")),
            _ => None,
        }
    }

    /// A shipped design by name, or else the design in a file.
    ///
    /// # Errors
    /// [`DesignError::Unreadable`] when it is neither; the other kinds as [`Design::from_toml`].
    pub fn load(name_or_file: &str) -> Result<Design, DesignError> {
        if let Some(design) = Design::shipped(name_or_file) {
            return Ok(design);
        }
        let text = std::fs::read_to_string(Path::new(name_or_file)).map_err(|error| {
            DesignError::Unreadable { name: name_or_file.to_string(), reason: error.to_string() }
        })?;
        Design::from_toml(&text, name_or_file)
    }

    /// The design that a TOML text describes; `source_name` stands for it in messages.
    ///
    /// # Errors
    /// Text that is not TOML, an unknown key, a missing key, a value out of range, or two values that exclude each other.
    pub fn from_toml(text: &str, source_name: &str) -> Result<Design, DesignError> {
        let file = source_name;
        let table: Table = toml::from_str(text)
            .map_err(|error| DesignError::Syntax { file: file.to_string(), reason: error.to_string() })?;
        refuse_unknown(&table, file)?;

        let mut design = match table.get("base") {
            None => None,
            Some(Value::String(base)) if Design::shipped_toml(base).is_some() => Design::shipped(base),
            Some(other) => {
                return Err(bad(
                    file,
                    "base",
                    other.to_string(),
                    format!("one of \"{}\"", Design::SHIPPED.join("\", \"")),
                    "name a shipped design, or leave base out and set every key",
                ));
            }
        };
        let complete = design.is_some();
        let design = design.get_or_insert_with(Design::blank);
        match table.get("name") {
            Some(Value::String(name)) if is_name(name) => design.name = name.clone(),
            None => {
                return Err(DesignError::Missing {
                    file: file.to_string(),
                    key: "name".into(),
                    legal: NAME_LEGAL.into(),
                });
            }
            Some(other) => {
                return Err(bad(file, "name", other.to_string(), NAME_LEGAL.into(), "choose another name"));
            }
        }
        for key in KEYS {
            match table.get(key.section).and_then(|section| section.get(key.key)) {
                Some(value) => (key.set)(design, number(key, value, file)?),
                None if complete => {}
                None => {
                    return Err(DesignError::Missing {
                        file: file.to_string(),
                        key: key.path(),
                        legal: key.legal.to_string(),
                    });
                }
            }
        }
        if design.l2_sets == 0 {
            // Two files that differ only in the ways of an absent L2 are the same design.
            design.l2_ways = 0;
        }
        design.check(file)?;
        Ok(design.clone())
    }

    /// Checks every value, and those that depend on each other; `file` stands for the design in messages.
    ///
    /// # Errors
    /// [`DesignError::Value`] for the first one that does not hold.
    pub fn check(&self, file: &str) -> Result<(), DesignError> {
        let no_l2 = self.l2_sets == 0 && self.l2_ways == 0;
        for key in KEYS.iter().filter(|key| !(no_l2 && key.key == "l2_ways")) {
            let value = i64::from(key.get(self));
            if !key.legal.admits(value) {
                let mend = format!("the nearest legal value is {}", key.legal.nearest(value));
                return Err(bad(file, &key.path(), value.to_string(), key.legal.to_string(), &mend));
            }
        }
        // What has to be true for a key to be true.
        let implied = [
            ("translation.sv57", self.sv57, "translation.sv48 = true", self.sv48),
            ("translation.sv48x4", self.sv48x4, "translation.sv39x4 = true", self.sv39x4),
            ("translation.sv57x4", self.sv57x4, "translation.sv48x4 = true", self.sv48x4),
            // Without a second stage `msiptp.MODE` must be Off.
            ("msi.flat", self.msi_flat, "translation.sv39x4 or sv32x4 = true", self.second_stage()),
            ("msi.mrif", self.msi_mrif, "msi.flat = true", self.msi_flat),
            // `capabilities.HPM` promises both.
            ("monitor.cycles", self.hpm_cycles, "monitor.counters at least 1", self.hpm_counters > 0),
            ("ats.t2gpa", self.t2gpa, "ats.ats = true", self.ats),
            ("ats.t2gpa", self.t2gpa, "translation.sv39x4 or sv32x4 = true", self.second_stage()),
        ];
        for (key, on, needs, there) in implied {
            if on && !there {
                let mend = format!("set {needs}, or {key} = false");
                return Err(bad(file, key, "true".into(), format!("true only with {needs}"), &mend));
            }
        }
        if self.hpm_counters > 0 && !self.hpm_cycles {
            return Err(bad(
                file,
                "monitor.counters",
                self.hpm_counters.to_string(),
                "0 without monitor.cycles = true".into(),
                "a performance monitor has both: set monitor.cycles = true, or monitor.counters = 0",
            ));
        }
        if !self.wired && !self.msi {
            return Err(bad(
                file,
                "interrupts.wired",
                "false".into(),
                "false only with interrupts.msi = true".into(),
                "an IOMMU has interrupts: set one of them to true",
            ));
        }
        if self.walkers > self.miss_entries {
            return Err(bad(
                file,
                "walk.walkers",
                self.walkers.to_string(),
                format!("an integer from 1 to walk.miss_entries, which is {}", self.miss_entries),
                "each walk serves a miss entry: lower walkers, or raise miss_entries",
            ));
        }
        self.check_process_ids(file)
    }

    /// A process_id must fit the widest process directory and must need the widest one.
    fn check_process_ids(&self, file: &str) -> Result<(), DesignError> {
        let modes = [("pd8", self.pd8, 8), ("pd17", self.pd17, 17), ("pd20", self.pd20, 20)];
        let Some((widest, _, most)) = modes.into_iter().rev().find(|mode| mode.1) else { return Ok(()) };
        let least = modes.into_iter().filter(|mode| mode.1).rev().nth(1).map_or(1, |mode| mode.2 + 1);
        if (least..=most).contains(&self.process_id_width) {
            return Ok(());
        }
        let mend = if self.process_id_width > most {
            format!(
                "no process directory holds so wide a process_id: lower it, or turn on more than {widest}"
            )
        } else {
            format!("process.{widest} would never be needed: turn it off, or widen process_id_width")
        };
        Err(bad(
            file,
            "address.process_id_width",
            self.process_id_width.to_string(),
            format!(
                "an integer from {least} to {most} with process.{widest} as the widest process directory"
            ),
            &mend,
        ))
    }

    /// Whether there are process contexts at all.
    pub fn process_contexts(&self) -> bool {
        self.pd8 || self.pd17 || self.pd20
    }

    /// Whether there is a second stage: any mode of `iohgatp` but Bare.
    pub fn second_stage(&self) -> bool {
        self.sv32x4 || self.sv39x4
    }

    /// Whether device contexts have the extended format (64 bytes): `capabilities.MSI_FLAT`.
    pub fn extended_contexts(&self) -> bool {
        self.msi_flat
    }

    /// Whether there is a performance monitor: `capabilities.HPM`.
    pub fn monitor(&self) -> bool {
        self.hpm_cycles && self.hpm_counters > 0
    }

    /// Levels of the deepest first-stage page table: 3 (Sv39), 4 (Sv48) or 5 (Sv57).
    pub fn page_table_levels(&self) -> u32 {
        3 + u32::from(self.sv48) + u32::from(self.sv57)
    }

    /// Levels of the deepest process directory: 0 (none) to 3 (PD20).
    pub fn process_directory_levels(&self) -> u32 {
        [self.pd8, self.pd17, self.pd20].iter().rposition(|on| *on).map_or(0, |index| index as u32 + 1)
    }

    /// SHA-256 of the resolved design in lower-case hexadecimal. Equal designs have equal hashes, however they were written.
    pub fn hash(&self) -> String {
        let mut text = format!("name={}\n", self.name);
        for key in KEYS {
            text += &format!("{}={}\n", key.path(), key.get(self));
        }
        Sha256::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// All values zero: filled by the parser before anyone sees it.
    fn blank() -> Design {
        Design {
            name: String::new(),
            ports: 0,
            id_width: 0,
            l1_entries: 0,
            l2_sets: 0,
            l2_ways: 0,
            miss_entries: 0,
            walkers: 0,
            ddtc_entries: 0,
            pdtc_entries: 0,
            sv48: false,
            sv57: false,
            sv32: false,
            sv39x4: false,
            sv48x4: false,
            sv57x4: false,
            sv32x4: false,
            svpbmt: false,
            svrsw60t59b: false,
            amo_hwad: false,
            big_endian: false,
            pas: 0,
            device_id_width: 0,
            process_id_width: 0,
            pd8: false,
            pd17: false,
            pd20: false,
            msi_flat: false,
            msi_mrif: false,
            nl: false,
            s: false,
            qosid: false,
            hpm_counters: 0,
            hpm_cycles: false,
            debug: false,
            command_log2_max: 0,
            fault_log2_max: 0,
            page_request_log2_max: 0,
            vectors: 0,
            wired: false,
            msi: false,
            ats: false,
            t2gpa: false,
            itags: 0,
            ats_timeout: 0,
        }
    }
}

/// The sections of the design file, as a JSON object.
impl Serialize for Design {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = Map::new();
        object.insert("name".into(), Json::from(self.name.clone()));
        for key in KEYS {
            let section = object.entry(key.section).or_insert_with(|| Json::Object(Map::new()));
            let value = match key.legal {
                Legal::Bool => Json::from(key.get(self) != 0),
                _ => Json::from(key.get(self)),
            };
            section.as_object_mut().expect("inserted as an object").insert(key.key.into(), value);
        }
        Json::Object(object).serialize(serializer)
    }
}

const NAME_LEGAL: &str = "a string of 1 to 32 letters, digits, '_' and '-'";

fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

fn bad(file: &str, key: &str, value: String, legal: String, mend: &str) -> DesignError {
    DesignError::Value { file: file.into(), key: key.into(), value, legal, mend: mend.into() }
}

/// The number that `value` gives for `key`.
fn number(key: &Key, value: &Value, file: &str) -> Result<u32, DesignError> {
    let number = match (key.legal, value) {
        (Legal::Bool, Value::Boolean(flag)) => i64::from(*flag),
        (Legal::Range(..) | Legal::PowerOfTwo(..), Value::Integer(number)) => *number,
        _ => {
            let mend = format!("write it as {}, without quotation marks", key.legal);
            return Err(bad(file, &key.path(), value.to_string(), key.legal.to_string(), &mend));
        }
    };
    if !key.legal.admits(number) {
        let mend = format!("the nearest legal value is {}", key.legal.nearest(number));
        return Err(bad(file, &key.path(), number.to_string(), key.legal.to_string(), &mend));
    }
    Ok(number as u32)
}

/// Refuses keys and sections that do not exist: a misspelt key must not fall back to its base unseen.
fn refuse_unknown(table: &Table, file: &str) -> Result<(), DesignError> {
    for (name, value) in table {
        if name == "name" || name == "base" {
            continue;
        }
        let keys: Vec<&str> = KEYS.iter().filter(|key| key.section == name).map(|key| key.key).collect();
        if keys.is_empty() {
            let mut sections: Vec<&str> = KEYS.iter().map(|key| key.section).collect();
            sections.dedup();
            sections.extend(["name", "base"]);
            return Err(unknown(file, name.clone(), value, name, &sections));
        }
        let Value::Table(section) = value else {
            let mend = format!("write [{name}] on a line of its own and the keys below it");
            return Err(bad(
                file,
                name,
                value.to_string(),
                format!("a table with {}", keys.join(", ")),
                &mend,
            ));
        };
        if let Some((key, value)) = section.iter().find(|(key, _)| !keys.contains(&key.as_str())) {
            return Err(unknown(file, format!("{name}.{key}"), value, key, &keys));
        }
    }
    Ok(())
}

fn unknown(file: &str, key: String, value: &Value, word: &str, legal: &[&str]) -> DesignError {
    let elsewhere = KEYS.iter().find(|key| key.key == word);
    let similar = legal.iter().min_by_key(|candidate| distance(word, candidate));
    let mend = match (elsewhere, similar) {
        (Some(key), _) => format!("'{word}' belongs in section [{}]", key.section),
        (None, Some(candidate)) if distance(word, candidate) <= 3 => format!("did you mean '{candidate}'?"),
        _ => "remove it".to_string(),
    };
    let value = match value {
        Value::Table(_) => "a table".to_string(),
        other => other.to_string(),
    };
    DesignError::UnknownKey { file: file.into(), key, value, legal: legal.join(", "), mend }
}

/// Edit distance, to find the key that a misspelt one stands for.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a change of the default design's text by `edit` is refused with.
    fn refusal(from: &str, to: &str) -> String {
        let file = Design::shipped_toml("default").unwrap();
        let text = &file[file.find("name = \"default\"").unwrap()..]; // without the example in its first comment
        assert!(text.contains(from), "the default design has no '{from}'");
        Design::from_toml(&text.replacen(from, to, 1), "x.toml").unwrap_err().to_string()
    }

    fn assert_names(message: &str, parts: &[&str]) {
        for part in parts {
            assert!(message.contains(part), "'{message}' does not name '{part}'");
        }
    }

    #[test]
    fn shipped_designs_are_valid_and_distinct() {
        let mut hashes: Vec<String> =
            Design::SHIPPED.iter().map(|name| Design::shipped(name).unwrap().hash()).collect();
        assert!(hashes.iter().all(|hash| hash.len() == 64));
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), Design::SHIPPED.len());
        assert!(Design::shipped("huge").is_none());
    }

    #[test]
    fn tiny_is_the_minimum_of_every_structure() {
        let tiny = Design::shipped("tiny").unwrap();
        for key in KEYS.iter().filter(|key| ["ports.count", "tlb.l1_entries"].contains(&key.path().as_str()))
        {
            assert_eq!(key.get(&tiny), 1);
        }
        assert!(KEYS.iter().filter(|key| key.section == "walk").all(|key| key.get(&tiny) == 1));
        assert_eq!((tiny.l2_sets, tiny.l2_ways, tiny.vectors), (0, 0, 1));
    }

    #[test]
    fn base_fills_in_what_is_left_out() {
        let design =
            Design::from_toml("name = \"b\"\nbase = \"large\"\n[walk]\nwalkers = 2\n", "b.toml").unwrap();
        let large = Design::shipped("large").unwrap();
        assert_eq!(design, Design { name: "b".into(), walkers: 2, ..large.clone() });
        assert_ne!(design.hash(), large.hash());
    }

    #[test]
    fn wrong_keys_are_named_with_the_right_one() {
        assert_names(
            &refusal("l1_entries = 16", "l1_entrys = 16"),
            &["tlb.l1_entrys", "16", "did you mean 'l1_entries'"],
        );
        assert_names(&refusal("[tlb]", "[tlbs]"), &["tlbs", "did you mean 'tlb'"]);
        assert_names(
            &refusal("walkers = 2", "vectors = 4"),
            &["walk.vectors", "belongs in section [interrupts]"],
        );
        assert_names(&refusal("[tlb]", "[[tlb]]"), &["tlb = [", "a table with l1_entries"]);
    }

    #[test]
    fn values_out_of_range_are_named_with_range_and_mend() {
        assert_names(
            &refusal("l2_sets = 64", "l2_sets = 48"),
            &["tlb.l2_sets = 48", "power of two from 2 to 4096", "64"],
        );
        assert_names(
            &refusal("walkers = 2", "walkers = 0"),
            &["walk.walkers = 0", "from 1 to 16", "nearest legal value is 1"],
        );
        assert_names(&refusal("walkers = 2", "walkers = -1"), &["walk.walkers = -1", "from 1 to 16"]);
        assert_names(
            &refusal("walkers = 2", "walkers = 99999999999"),
            &["walk.walkers = 99999999999", "is 16"],
        );
        assert_names(&refusal("walkers = 2", "walkers = \"4\""), &["walk.walkers = \"4\"", "from 1 to 16"]);
        assert_names(
            &refusal("vectors = 4", "vectors = 3"),
            &["interrupts.vectors = 3", "power of two from 1 to 16"],
        );
        assert_names(&refusal("sv48 = true", "sv48 = 1"), &["translation.sv48 = 1", "true or false"]);
        assert_names(&refusal("name = \"default\"", "name = \"a b\""), &["name = \"a b\"", "letters"]);
    }

    #[test]
    fn nearest_legal_values() {
        let sets = Legal::PowerOfTwo(2, 4096, true);
        let vectors = Legal::PowerOfTwo(1, 16, false);
        let tags = Legal::Range(1, 32);
        for (legal, value, nearest) in [
            (sets, -1, 0),
            (sets, i64::MIN, 0),
            // As far from 0 as from 2: the larger.
            (sets, 1, 2),
            (sets, 3, 4),
            (sets, 5, 4),
            (sets, 9, 8),
            (sets, 11, 8),
            (sets, 12, 16),
            (sets, 33, 32),
            (sets, 47, 32),
            (sets, 48, 64),
            (sets, 3072, 4096),
            (sets, 4097, 4096),
            (sets, i64::MAX, 4096),
            (vectors, -1, 1),
            (vectors, 0, 1),
            (vectors, 9, 8),
            (vectors, 17, 16),
            (vectors, 33, 16),
            (tags, -1, 1),
            (tags, 0, 1),
            (tags, 33, 32),
            (tags, i64::MAX, 32),
            (Legal::Range(8, u32::MAX), i64::MAX, u32::MAX),
        ] {
            assert_eq!(legal.nearest(value), nearest, "{legal}: {value}");
        }
        // Of every key, what is suggested is legal, and nothing legal is nearer.
        for key in KEYS.iter().filter(|key| !matches!(key.legal, Legal::Bool)) {
            for value in -5..=5000 {
                let nearest = key.legal.nearest(value);
                assert!(key.legal.admits(nearest.into()), "{} {value}", key.path());
                let distance = value.abs_diff(nearest.into());
                let nearer =
                    (1..distance as i64).any(|d| key.legal.admits(value - d) || key.legal.admits(value + d));
                assert!(!nearer, "{} {value}: {nearest}", key.path());
            }
        }
        assert_names(
            &refusal("l2_sets = 64", "l2_sets = 9"),
            &["tlb.l2_sets = 9", "nearest legal value is 8"],
        );
        assert_names(
            &refusal("vectors = 4", "vectors = -1"),
            &["interrupts.vectors = -1", "nearest legal value is 1"],
        );
    }

    /// Interrupts as wires and as messages: software for PCI asks for the latter.
    #[test]
    fn designs_for_pci_have_both_kinds_of_interrupts() {
        for design in ["default", "large", "full"].map(|name| Design::shipped(name).unwrap()) {
            assert!(design.ats && design.wired && design.msi, "{}", design.name);
        }
    }

    #[test]
    fn values_that_exclude_each_other_are_refused() {
        assert_names(&refusal("sv48 = true", "sv48 = false"), &["translation.sv57 = true", "sv48"]);
        assert_names(
            &refusal("walkers = 2", "walkers = 12"),
            &["walk.walkers = 12", "from 1 to walk.miss_entries"],
        );
        assert_names(
            &refusal("pd20 = true", "pd20 = false"),
            &["address.process_id_width = 20", "from 9 to 17"],
        );
        assert_names(
            &refusal("process_id_width = 20", "process_id_width = 17"),
            &["address.process_id_width = 17", "from 18 to 20", "pd20"],
        );
        let none = "base = \"default\"\nname = \"n\"\n[process]\npd8 = false\npd17 = false\npd20 = false\n";
        assert!(!Design::from_toml(none, "n").unwrap().process_contexts());
    }

    /// The default design with these lines in place of its own of the same keys.
    fn changed(lines: &str) -> Result<Design, DesignError> {
        Design::from_toml(&format!("base = \"default\"\nname = \"changed\"\n{lines}"), "x.toml")
    }

    #[test]
    fn options_that_need_others_are_refused_without_them() {
        for (lines, parts) in [
            ("[translation]\nsv48x4 = true", ["translation.sv48x4 = true", "set translation.sv39x4 = true"]),
            (
                "[translation]\nsv39x4 = true\nsv57x4 = true",
                ["translation.sv57x4 = true", "translation.sv48x4 = true"],
            ),
            ("[msi]\nflat = true", ["msi.flat = true", "translation.sv39x4 or sv32x4 = true"]),
            ("[translation]\nsv39x4 = true\n[msi]\nmrif = true", ["msi.mrif = true", "set msi.flat = true"]),
            ("[monitor]\ncounters = 4", ["monitor.counters = 4", "set monitor.cycles = true"]),
            ("[monitor]\ncycles = true", ["monitor.cycles = true", "monitor.counters at least 1"]),
            (
                "[interrupts]\nwired = false\nmsi = false",
                ["interrupts.wired = false", "interrupts.msi = true"],
            ),
            ("[monitor]\ncounters = 32\ncycles = true", ["monitor.counters = 32", "from 0 to 31"]),
            ("[ats]\nats = true\nt2gpa = true", ["ats.t2gpa = true", "translation.sv39x4 or sv32x4 = true"]),
            (
                "[translation]\nsv39x4 = true\n[ats]\nats = false\nt2gpa = true",
                ["ats.t2gpa = true", "set ats.ats = true"],
            ),
            ("[ats]\nitags = 33", ["ats.itags = 33", "from 1 to 32"]),
            ("[ats]\ntimeout = 7", ["ats.timeout = 7", "nearest legal value is 8"]),
        ] {
            assert_names(&changed(lines).unwrap_err().to_string(), &parts);
        }
        for lines in [
            "[translation]\nsv32x4 = true\n[msi]\nflat = true\nmrif = true",
            "[translation]\nsv32 = true\n[address]\npas = 32",
            "[monitor]\ncounters = 1\ncycles = true",
            "[interrupts]\nwired = false",
            "[interrupts]\nmsi = false",
            "[translation]\nsv39x4 = true\n[ats]\nats = true\nt2gpa = true\nitags = 1",
        ] {
            changed(lines).unwrap_or_else(|error| panic!("{lines}: {error}"));
        }
    }

    #[test]
    fn missing_keys_bad_toml_and_missing_files_are_refused() {
        assert_names(&refusal("walkers = 2", ""), &["walk.walkers", "not set", "from 1 to 16", "base"]);
        assert_names(&refusal("[tlb]", "[tlb"), &["x.toml", "TOML"]);
        assert_names(
            &refusal("name = \"default\"", "name = \"d\"\nbase = \"medium\""),
            &["base = \"medium\"", "tiny"],
        );
        assert_names(
            &Design::load("no/such/file.toml").unwrap_err().to_string(),
            &["no/such/file.toml", "default"],
        );
    }

    #[test]
    fn serialised_form_has_the_sections_of_the_file() {
        let json = serde_json::to_value(Design::shipped("default").unwrap()).unwrap();
        assert_eq!(json["tlb"]["l1_entries"], 16);
        assert_eq!(json["translation"]["sv57"], true);
        assert_eq!(json["name"], "default");
        let read_back = Design::from_toml(&toml::to_string(&json).unwrap(), "back").unwrap();
        assert_eq!(read_back, Design::shipped("default").unwrap());
    }

    #[test]
    fn helpers_follow_the_modes() {
        let design = Design::shipped("default").unwrap();
        assert_eq!((design.page_table_levels(), design.process_directory_levels()), (5, 3));
        assert!(!design.second_stage() && !design.extended_contexts());
        let tiny = Design::shipped("tiny").unwrap();
        assert_eq!((tiny.page_table_levels(), tiny.process_directory_levels()), (3, 1));
        let full = Design::shipped("full").unwrap();
        assert!(full.second_stage() && full.extended_contexts());
    }
}
