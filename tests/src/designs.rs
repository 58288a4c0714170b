//! The designs under test, each generated once per test program.

use pasidon_rtl::Generated;
use pasidon_rtl::design::Design;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// A design whose every number is odd, in both senses: counts that are no powers of two, widths between those of the shipped
/// designs, no Sv57, no PD20, queues of at most 8 entries, two interrupt wires.
const ODD: &str = r#"
base = "tiny"
name = "odd"
[ports]
count = 3
id_width = 3
[tlb]
l1_entries = 3
l2_sets = 0
l2_ways = 1
[walk]
miss_entries = 5
walkers = 3
ddtc_entries = 3
pdtc_entries = 3
[translation]
sv48 = true
sv57 = false
[address]
pas = 41
device_id_width = 17
process_id_width = 17
[process]
pd8 = true
pd17 = true
pd20 = false
[queues]
command_log2_max = 3
fault_log2_max = 3
[interrupts]
vectors = 2
"#;

/// One L1 entry and one walker: most requests hit the L2 TLB, and dispatch waits with what it has looked up.
const NARROW: &str = "base = \"default\"\nname = \"narrow\"\n[tlb]\nl1_entries = 1\n[walk]\nwalkers = 1\n";

/// Virtual machines and every operand of the invalidations, with an L1 that holds what the tests put into it.
const GUESTS: &str = r#"
base = "default"
name = "guests"
[tlb]
l1_entries = 32
[translation]
sv48 = false
sv57 = false
sv39x4 = true
[address]
pas = 40
[invalidation]
nl = true
s = true
"#;

/// Interrupts by messages only, of two vectors.
const MESSAGES: &str =
    "base = \"tiny\"\nname = \"messages\"\n[interrupts]\nvectors = 2\nwired = false\nmsi = true\n";

/// A performance monitor of one event counter, and the debug interface.
const COUNTER: &str = r#"
base = "tiny"
name = "counter"
[monitor]
counters = 1
cycles = true
[debug]
translation = true
"#;

/// A shipped design by name, `odd`, `narrow`, `guests`, `messages` or `counter`.
///
/// # Panics
/// If there is none of this name.
pub fn design(name: &str) -> Design {
    match name {
        "odd" => Design::from_toml(ODD, "odd.toml").expect("the odd design is valid"),
        "narrow" => Design::from_toml(NARROW, "narrow.toml").expect("the narrow design is valid"),
        "guests" => Design::from_toml(GUESTS, "guests.toml").expect("the guests design is valid"),
        "messages" => Design::from_toml(MESSAGES, "messages.toml").expect("the design is valid"),
        "counter" => Design::from_toml(COUNTER, "counter.toml").expect("the counter design is valid"),
        name => Design::shipped(name).unwrap_or_else(|| panic!("no design {name}")),
    }
}

/// The Verilog of a design by name, generated once.
///
/// # Panics
/// If it does not emit.
pub fn generated(name: &str) -> Arc<Generated> {
    type Cache = Mutex<HashMap<String, Arc<Generated>>>;
    static CACHE: OnceLock<Cache> = OnceLock::new();
    let mut cache = CACHE.get_or_init(Cache::default).lock().unwrap_or_else(PoisonError::into_inner);
    cache
        .entry(name.to_string())
        .or_insert_with(|| Arc::new(pasidon_rtl::generate(&design(name)).expect("emits")))
        .clone()
}
