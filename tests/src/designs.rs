//! The designs under test, each generated once per test program.

use pasidon_rtl::Generated;
use pasidon_rtl::design::Design;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Virtual machines and every operand of the invalidations, with an L1 that holds what the tests put into it.
const MACHINES: &str = r#"
base = "default"
name = "machines"
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

/// A physical address space of `PAS` bits, with ATS and interrupts by messages.
const PAS: &str =
    "base = \"tiny\"\nname = \"pasPAS\"\n[address]\npas = PAS\n[interrupts]\nmsi = true\n[ats]\nats = true\n";

/// One device that may have one invalidation request to answer.
const ENDPOINT: &str = r#"
base = "tiny"
name = "endpoint"
[queues]
page_request_log2_max = 3
[ats]
ats = true
itags = 1
timeout = 5000
"#;

/// Every feature, and every tag of ATS.
const ENDPOINTS: &str = r#"
base = "full"
name = "endpoints"
[ats]
ats = true
t2gpa = true
itags = 32
timeout = 10000
"#;

/// Everything that observes: a monitor of four event counters, the debug interface, ids of quality of service; two stages.
const OBSERVED: &str = r#"
base = "tiny"
name = "observed"
[ports]
count = 2
[tlb]
l1_entries = 2
l2_sets = 4
l2_ways = 1
[walk]
miss_entries = 4
walkers = 2
ddtc_entries = 2
pdtc_entries = 2
[translation]
sv39x4 = true
amo_hwad = true
[address]
pas = 44
[quality]
qosid = true
[monitor]
counters = 4
cycles = true
[debug]
translation = true
[interrupts]
vectors = 2
"#;

/// A shipped design by name, `odd`, `narrow`, `updates`, `machines`, `messages`, `counter`, `observed`,
/// `endpoint` or `endpoints`.
///
/// # Panics
/// If there is none of this name.
pub fn design(name: &str) -> Design {
    match name {
        "odd" => Design::from_toml(include_str!("../designs/odd.toml"), "odd.toml")
            .expect("the odd design is valid"),
        "narrow" => Design::from_toml(include_str!("../designs/narrow.toml"), "narrow.toml")
            .expect("the narrow design is valid"),
        "updates" => Design::from_toml(include_str!("../designs/updates.toml"), "updates.toml")
            .expect("the updates design is valid"),
        "machines" => Design::from_toml(MACHINES, "machines.toml").expect("the machines design is valid"),
        "messages" => Design::from_toml(MESSAGES, "messages.toml").expect("the design is valid"),
        "counter" => Design::from_toml(COUNTER, "counter.toml").expect("the counter design is valid"),
        "observed" => Design::from_toml(OBSERVED, "observed.toml").expect("the observed design is valid"),
        "endpoint" => Design::from_toml(ENDPOINT, "endpoint.toml").expect("the endpoint design is valid"),
        "endpoints" => Design::from_toml(ENDPOINTS, "endpoints.toml").expect("the endpoints design is valid"),
        name if name.starts_with("pas") => {
            Design::from_toml(&PAS.replace("PAS", &name[3..]), "pas.toml").expect("the design is valid")
        }
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
