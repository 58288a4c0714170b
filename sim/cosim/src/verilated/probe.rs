//! What can be seen inside the hardware while it runs: a few registers and wires of its blocks, packed into words.
//!
//! The names are those of the emitted Verilog. What a design does not have reads 0. All of it follows from registers, as the outputs
//! do, so that what is read between two edges belongs to the same cycle as the outputs. Nothing here changes the hardware: a
//! configuration file asks Verilator to keep these signals, and the shim reads them when it is asked to.

use super::ports::MAX_PORTS;
use super::source::Source;
use std::fmt::Write;

/// The most walkers that a design can have.
pub const MAX_WALKERS: usize = 16;
/// The most ways of an L2 TLB.
const MAX_WAYS: usize = 8;

/// What goes on inside the hardware in a cycle.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// L1 TLBs: valid entries.
    pub l1_valid: [u64; MAX_PORTS],
    /// L1 TLBs: bit 0 an entry is written in this cycle, bit 1 an invalidation takes place, bit 2 the miss table takes the oldest
    /// miss.
    pub l1: [u64; MAX_PORTS],
    /// Miss table: entries in use.
    pub used: u64,
    /// ... that want to be dispatched.
    pub pending: u64,
    /// ... that wait for the walk of another.
    pub waiting: u64,
    /// ... whose walk by another has ended.
    pub woken: u64,
    /// Bits 7:0: the entry that is taken into use next.
    pub slot: u64,
    /// Dispatch; see the functions.
    pub dispatch: u64,
    /// Bit 0: a device context is written in this cycle; bit 1: a process context; bit 2: an entry of the L2 TLB.
    pub fills: u64,
    /// Cached device contexts.
    pub ddtc_valid: u64,
    /// Cached process contexts.
    pub pdtc_valid: u64,
    /// L2 TLB: bit w is set if what a fill in this cycle replaces in way w is valid; bits 15:8: entries that an invalidation clears in
    /// this cycle, by way; from bit 16 on the way whose turn it is.
    pub l2: u64,
    /// Walkers; see the functions.
    pub walkers: [u64; MAX_WALKERS],
}

/// Words in [`Probe`].
pub const PROBE_WORDS: usize = size_of::<Probe>() / size_of::<u64>();

/// States of the dispatcher, as in the Verilog.
pub mod dispatch_state {
    /// Nothing is looked up.
    pub const IDLE: u64 = 0;
    /// Contexts and L2 TLB are asked.
    pub const LOOKUP: u64 = 1;
    /// The L2 TLB takes a cycle more.
    pub const WAIT: u64 = 3;
}

/// States and kinds of reads of a walker, as in the Verilog.
pub mod walker_state {
    /// No walk.
    pub const IDLE: u64 = 0;
    /// A read waits to be accepted.
    pub const READ: u64 = 5;
    /// A read was accepted.
    pub const DATA: u64 = 6;
    /// The first of the states of a write.
    pub const WRITE: u64 = 10;
    /// The last of them.
    pub const WRITE_WAIT: u64 = 12;
    /// A device-directory entry is read.
    pub const DDTE: u64 = 0;
    /// A device context.
    pub const DC: u64 = 1;
    /// A process-directory entry.
    pub const PDTE: u64 = 2;
    /// A process context.
    pub const PC: u64 = 3;
    /// A page-table entry.
    pub const PTE: u64 = 4;
}

impl Probe {
    /// State of the dispatcher.
    #[inline]
    pub fn dispatch_state(&self) -> u64 {
        self.dispatch & 7
    }

    /// The miss-table entry that the dispatcher has.
    #[inline]
    pub fn dispatched_entry(&self) -> usize {
        (self.dispatch >> 16 & 0xff) as usize
    }

    /// The walker whose walk the entry waits for, if it [merges](Self::merges).
    #[inline]
    pub fn dispatched_to(&self) -> usize {
        (self.dispatch >> 24 & 0xff) as usize
    }

    /// The entry leaves the dispatcher in this cycle.
    #[inline]
    pub fn issues(&self) -> bool {
        self.dispatch >> 3 & 1 != 0
    }

    /// ... to wait for the walk of another.
    #[inline]
    pub fn merges(&self) -> bool {
        self.dispatch >> 4 & 1 != 0
    }

    /// The L2 TLB had it.
    #[inline]
    pub fn l2_hit(&self) -> bool {
        self.dispatch >> 5 & 1 != 0
    }

    /// Its device context was cached.
    #[inline]
    pub fn device_hit(&self) -> bool {
        self.dispatch >> 6 & 1 != 0
    }

    /// Its process context was cached.
    #[inline]
    pub fn process_hit(&self) -> bool {
        self.dispatch >> 7 & 1 != 0
    }

    /// The L2 TLB may answer what is looked up in this cycle.
    #[inline]
    pub fn l2_is_asked(&self) -> bool {
        self.dispatch >> 8 & 1 != 0
    }

    /// Something is invalidated in this cycle: what is looked up is looked up again.
    #[inline]
    pub fn marks(&self) -> bool {
        self.dispatch >> 9 & 1 != 0
    }

    /// An invalidation is under way.
    #[inline]
    pub fn invalidates(&self) -> bool {
        self.dispatch >> 10 & 1 != 0
    }

    /// A walker's state, its miss-table entry, the kind and the level of what it reads, and whether that belongs to the second stage.
    #[inline]
    pub fn walker(&self, walker: usize) -> WalkerProbe {
        let word = self.walkers[walker];
        let nested = word >> 24 & 1 != 0;
        WalkerProbe {
            state: word & 0xff,
            entry: (word >> 8 & 0xff) as usize,
            kind: word >> 16 & 7,
            level: (if nested { word >> 25 } else { word >> 20 } & 7) as usize,
            nested,
        }
    }
}

/// What a walker is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalkerProbe {
    /// See [`walker_state`].
    pub state: u64,
    /// The miss-table entry that it walks for.
    pub entry: usize,
    /// What it reads, if it does.
    pub kind: u64,
    /// At which level, 0 the leaf.
    pub level: usize,
    /// It is an entry of a second-stage page table.
    pub nested: bool,
}

impl WalkerProbe {
    /// Whether it waits for memory.
    #[inline]
    pub fn waits_for_memory(&self) -> bool {
        use walker_state::{DATA, READ, WRITE, WRITE_WAIT};
        matches!(self.state, READ | DATA | WRITE..=WRITE_WAIT)
    }
}

/// A part of a word: its place, and the signals it takes, by instance and name; `{}` stands for the first of them in the expression.
struct Part {
    word: usize,
    shift: u32,
    signals: Vec<(String, String)>,
    expression: &'static str,
}

macro_rules! word {
    ($field:ident) => {
        std::mem::offset_of!(Probe, $field) / size_of::<u64>()
    };
}

fn parts() -> Vec<Part> {
    let mut parts = Vec::new();
    let mut add = |word: usize, shift: u32, instance: &str, signal: &str, expression: &'static str| {
        let signals = vec![(instance.to_string(), signal.to_string())];
        parts.push(Part { word, shift, signals, expression });
    };
    for port in 0..MAX_PORTS {
        let tlb = format!("l1_tlb_{port}");
        add(word!(l1_valid) + port, 0, &tlb, "valid", "ones({})");
        add(word!(l1) + port, 0, &tlb, "fill", "{}");
        add(word!(l1) + port, 2, &tlb, "pop_miss", "{}");
    }
    for signal in ["used", "pending", "waiting", "woken"] {
        let word = match signal {
            "used" => word!(used),
            "pending" => word!(pending),
            "waiting" => word!(waiting),
            _ => word!(woken),
        };
        add(word, 0, "miss_table", signal, "{}");
    }
    add(word!(slot), 0, "miss_table", "slot", "{}");
    for (shift, instance, signal) in [
        (0, "dispatch", "state"),
        (3, "dispatch", "issue"),
        (4, "dispatch", "merge"),
        (5, "l2_tlb", "hit_q"),
        (6, "ddtc", "hit_q"),
        (7, "pdtc", "hit_q"),
        (8, "dispatch", "lookup_usable"),
        (9, "dispatch", "mark"),
        (10, "command_queue", "inval_valid"),
        (16, "dispatch", "held_entry"),
        (24, "dispatch", "t_walker"),
    ] {
        add(word!(dispatch), shift, instance, signal, "{}");
    }
    for (shift, signal) in [(0, "dc_fill"), (1, "pc_fill")] {
        add(word!(fills), shift, "completion", signal, "{}");
    }
    add(word!(ddtc_valid), 0, "ddtc", "valid", "ones({})");
    add(word!(pdtc_valid), 0, "pdtc", "valid", "ones({})");
    for walker in 0..MAX_WALKERS {
        let instance = format!("walker_{walker}");
        for (shift, signal) in
            [(0, "state"), (8, "entry"), (16, "kind"), (20, "level"), (24, "nested"), (25, "guest_level")]
        {
            add(word!(walkers) + walker, shift, &instance, signal, "{}");
        }
    }
    let mut joint = |word: usize, shift: u32, signals: &[(&str, &str)], expression: &'static str| {
        let signals = signals.iter().map(|(i, s)| (i.to_string(), s.to_string())).collect();
        parts.push(Part { word, shift, signals, expression });
    };
    for port in 0..MAX_PORTS {
        let tlb = format!("l1_tlb_{port}");
        let signals = [(tlb.as_str(), "stage_valid"), (tlb.as_str(), "stage_op")];
        joint(word!(l1) + port, 1, &signals, "({0} & ({1} == 2))");
    }
    joint(word!(l2), 16, &[("l2_tlb", "turn")], "{0}");
    joint(word!(fills), 2, &[("l2_tlb", "fill_valid"), ("l2_tlb", "busy")], "({0} & !{1})");
    for way in 0..MAX_WAYS {
        let (ram, named) = (format!("ram_{way}_0"), format!("named_{way}"));
        // The first word of an entry has its valid bit on top.
        let set = format!("{ram}_write_address");
        joint(word!(l2), way as u32, &[("l2_tlb", &ram), ("l2_tlb", &set)], "top({0}, {1})");
        // Where memories are modules of their own.
        let inside = format!("l2_tlb__DOT__{ram}");
        joint(word!(l2), way as u32, &[(&inside, "words"), ("l2_tlb", &set)], "top({0}, {1})");
        joint(word!(l2), 8 + way as u32, &[("l2_tlb", "clearing"), ("l2_tlb", &named)], "({0} & {1})");
    }
    parts
}

/// Instance names that differ in a number are of one module.
fn module_of(instance: &str) -> &str {
    instance.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_')
}

/// Name of a signal in Verilator's class.
fn member(top: &str, instance: &str, signal: &str) -> String {
    format!("{top}__DOT__{instance}__DOT__{signal}")
}

/// What tells Verilator to keep the signals, of modules that there are.
pub(super) fn configuration(source: &Source<'_>) -> String {
    let mut text = String::from("`verilator_config\n");
    let memory = source.prefix().to_string() + "ram_block_";
    let modules = source.verilog.lines().filter_map(|line| line.strip_prefix("module ")?.strip_suffix(" ("));
    for module in modules.filter(|module| module.starts_with(&memory)) {
        // Writing to a String cannot fail, here and below.
        _ = writeln!(text, "public_flat_rd -module \"{module}\" -var \"words\"");
    }
    let mut seen = std::collections::BTreeSet::new();
    for part in parts() {
        for (instance, signal) in part.signals {
            let module = source.prefix().to_string() + module_of(&instance);
            if source.verilog.contains(&format!("\nmodule {module} "))
                && seen.insert((module.clone(), signal.clone()))
            {
                _ = writeln!(text, "public_flat_rd -module \"{module}\" -var \"{signal}\"");
            }
        }
    }
    text
}

/// The function that reads the signals of module `top`, of which `header` has those that there are; all of them without a header.
pub(super) fn function(top: &str, header: Option<&str>, prefix: &str, export: &str) -> String {
    let words: Option<std::collections::HashSet<&str>> =
        header.map(|header| header.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').collect());
    let mut by_word: Vec<Vec<String>> = vec![Vec::new(); PROBE_WORDS];
    for Part { word, shift, signals, expression } in parts() {
        let members: Vec<String> =
            signals.iter().map(|(instance, signal)| member(top, instance, signal)).collect();
        if words.as_ref().is_some_and(|words| members.iter().any(|member| !words.contains(member.as_str()))) {
            continue;
        }
        let mut text = expression.replace("{}", "{0}");
        for (i, member) in members.iter().enumerate() {
            text = text.replace(&format!("{{{i}}}"), &format!("r->{member}"));
        }
        if expression.starts_with("top(") {
            let width = header.and_then(|header| width_of(header, &members[0])).unwrap_or(1);
            text = text.replace("top(", &format!("top<{}>(", width - 1));
        }
        by_word[word].push(format!("(uint64_t){text} << {shift}"));
    }
    let mut out = String::from(
        "template<class T> static inline uint64_t ones(T v) { return __builtin_popcountll(v); }\n\
         template<size_t N> static inline uint64_t ones(const VlWide<N>& v) {\n\
         \x20 uint64_t n = 0; for (size_t i = 0; i < N; i++) n += __builtin_popcount(v.m_storage[i]); return n; }\n\
         template<int BIT, class T, size_t N> static inline uint64_t top(const VlUnpacked<T, N>& v, uint64_t i) {\n\
         \x20 return (uint64_t)v.m_storage[i & (N - 1)] >> BIT & 1; }\n",
    );
    let _ = writeln!(
        out,
        "extern \"C\" {export} void pasidon_probe(void* p, uint64_t* out) {{\n\
         \x20 const {prefix}___024root* r = ((State*)p)->top.rootp; (void)r;"
    );
    for (word, parts) in by_word.iter().enumerate().filter(|(_, parts)| !parts.is_empty()) {
        let _ = writeln!(out, "  out[{word}] = {};", parts.join(" | "));
    }
    out.push_str("}\n");
    out
}

/// Bits of an element of an array, from the remark that Verilator puts behind its type.
fn width_of(header: &str, member: &str) -> Option<u32> {
    let line = header.lines().find(|line| line.trim_end().ends_with(&format!("{member};")))?;
    let remark = line.split("/*").nth(1)?.split(':').next()?;
    remark.trim().parse::<u32>().ok().map(|high| high + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_that_are_not_there_are_not_named() {
        let verilog = "\nmodule my_l1_tlb (\nmodule my_walker (\nmodule dispatch (\n";
        let text = configuration(&Source { name: "x", verilog, top: "my_iommu", ports: &[] });
        assert!(
            text.contains("-module \"my_l1_tlb\" -var \"pop_miss\"")
                && text.contains("\"my_walker\" -var \"state\"")
        );
        assert!(!text.contains("l2_tlb") && !text.contains("dispatch"));
    }

    #[test]
    fn signals_that_are_not_there_are_not_read() {
        let header = "VlUnpacked<QData/*62:0*/, 4> my_iommu__DOT__l2_tlb__DOT__ram_0_0;\n\
                      CData/*1:0*/ my_iommu__DOT__l2_tlb__DOT__ram_0_0_write_address;\n\
                      CData/*3:0*/ my_iommu__DOT__walker_0__DOT__state;\n";
        let text = function("my_iommu", Some(header), "V", "");
        assert!(text.contains("top<62>(r->my_iommu__DOT__l2_tlb__DOT__ram_0_0, "), "{text}");
        assert!(text.contains("walker_0__DOT__state << 0;") && !text.contains("walker_1"), "{text}");
    }

    #[test]
    fn words_are_taken_apart() {
        let mut probe = Probe { dispatch: 3 | 1 << 3 | 1 << 6 | 5 << 16 | 2 << 24, ..Probe::default() };
        assert_eq!((probe.dispatch_state(), probe.dispatched_entry(), probe.dispatched_to()), (3, 5, 2));
        assert!(probe.issues() && probe.device_hit() && !probe.merges() && !probe.process_hit());
        probe.walkers[1] = 6 | 7 << 8 | 4 << 16 | 2 << 20;
        let walker = probe.walker(1);
        assert!(walker.waits_for_memory());
        assert_eq!(
            (walker.entry, walker.kind, walker.level, walker.nested),
            (7, walker_state::PTE, 2, false)
        );
        probe.walkers[1] |= 1 << 24 | 3 << 25;
        assert_eq!(probe.walker(1).level, 3);
    }
}
