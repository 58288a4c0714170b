//! Answers that were once wrong, on the hardware, on the golden model and on both in lockstep: sequences of the serve protocol.

use pasidon::serve::EngineKind;
use pasidon::serve::Session;
use pasidon_cosim::verilated::Cache;
use pasidon_rtl::design::Design;
use serde_json::{Value, json};

/// Runs `lines` on every engine; the answers of those that are asked for something.
fn on_every_engine(design: &Design, lines: &[Value], check: impl Fn(&str, &[Value])) {
    for (name, kind) in [("rtl", EngineKind::Rtl), ("model", EngineKind::Model), ("both", EngineKind::Both)] {
        let cache = Cache::in_workspace().quiet();
        let mut session = Session::new(design, &cache, kind, 5).expect("an engine");
        let answers: Vec<Value> = lines
            .iter()
            .map(|line| {
                let answer: Value =
                    serde_json::from_str(&session.answer(line.to_string().as_bytes())).expect("JSON");
                assert!(answer.get("error").is_none(), "{name}: {line}: {answer}");
                answer["result"].clone()
            })
            .collect();
        check(name, &answers);
    }
}

fn full() -> Design {
    Design::shipped("full").expect("full is shipped")
}

fn store(address: u64, words: &[u64]) -> Value {
    let words: Vec<String> = words.iter().map(|word| format!("{word:#x}")).collect();
    json!({ "op": "write_memory", "address": address, "words": words })
}

fn register(name: &str, value: u64) -> Value {
    json!({ "op": "write_register", "register": name, "value": format!("{value:#x}") })
}

fn ask(device: u32, iova: u64) -> Value {
    json!({ "op": "translate", "device_id": device, "iova": format!("{iova:#x}") })
}

fn settle() -> Value {
    json!({ "op": "settle" })
}

fn faults() -> Value {
    json!({ "op": "read_memory", "address": "0x120000", "words": 8 })
}

/// Directory of one level at 0x100000, fault queue of 16 records at 0x120000.
const DDTP_1LVL: u64 = 0x100 << 10 | 2;

fn fault_queue() -> [Value; 2] {
    [register("fqb", 0x120 << 10 | 3), register("fqcsr", 1)]
}

const SV39: u64 = 8 << 60;
const SV48X4: u64 = 9 << 60;

/// What is checked in the walk only must hold for all that a cached page covers: guest physical addresses of 34 bits with SXL, in a
/// page of 512 GiB. (Section "Translation control (tc)", SXL: cause 21.)
#[test]
fn a_large_page_does_not_hide_the_width_of_guest_addresses() {
    let lines = [
        store(0x10_0140, &[0x801, SV48X4 | 0x200, 0, 0, 0, 0, 0, 0]),
        store(0x20_0000, &[0xdf]),
        register("ddtp", DDTP_1LVL),
        ask(5, 0x1000),
        ask(5, 0x4_0000_1000),
        ask(5, 0x3_ffff_f000),
    ];
    on_every_engine(&full(), &lines, |engine, answers| {
        assert_eq!(answers[3]["spa"], "0x1000", "{engine}");
        assert_eq!(answers[4]["cause"], 21, "{engine}");
        assert_eq!(answers[5]["spa"], "0x3fffff000", "{engine}");
    });
}

/// The same where the first stage compares fewer bits than the page has: with Sv39 alone, an address and its neighbour of the
/// other sign have one tag in a page of 512 GiB.
#[test]
fn a_large_page_does_not_hide_the_sign() {
    let text =
        "base = \"full\"\nname = \"sign\"\n[translation]\nsv48 = false\nsv57 = false\nsv57x4 = false\n";
    let design = Design::from_toml(text, "sign.toml").expect("the design is valid");
    let lines = [
        store(0x10_0140, &[1, SV48X4 | 0x200, 0, 0, 0, 0, 0, 0]),
        store(0x20_0000, &[0xdf]),
        register("ddtp", DDTP_1LVL),
        ask(5, 0x1000),
        ask(5, 0xffff_ffc0_0000_1000),
    ];
    on_every_engine(&design, &lines, |engine, answers| {
        assert_eq!(answers[3]["spa"], "0x1000", "{engine}");
        assert_eq!(answers[4]["cause"], 21, "{engine}");
    });
}

/// Where no device context is located, what is cached of one decides nothing: modes Off and Bare, and a device_id beyond the mode's
/// directory. (Section "Process to translate an IOVA", steps 1 to 3; DTF in the table of causes.)
#[test]
fn cached_contexts_do_not_hide_faults_that_come_before_them() {
    let [base, on] = fault_queue();
    // Device 0x45 is beyond a directory of one level with extended contexts (6 bits), and in one of two levels.
    let lines = [
        base,
        on,
        store(0x10_0008, &[0x101 << 10 | 1]),
        store(0x10_1140, &[0x11, 0, 0, SV39 | 0x200, 0, 0, 0, 0]),
        store(0x20_0000, &[0x201 << 10 | 1]),
        store(0x20_1000, &[0x202 << 10 | 1]),
        store(0x20_2008, &[0x80000 << 10 | 0xdf]),
        register("ddtp", 0x100 << 10 | 3),
        settle(),
        ask(0x45, 0x1000),
        ask(0x45, 0x2000),
        register("ddtp", 0),
        settle(),
        ask(0x45, 0x1000),
        register("ddtp", DDTP_1LVL),
        settle(),
        ask(0x45, 0x1000),
        settle(),
        faults(),
    ];
    on_every_engine(&full(), &lines, |engine, answers| {
        assert_eq!(answers[9]["spa"], "0x80000000", "{engine}");
        assert_eq!(answers[10]["cause"], 13, "{engine}: DTF hides the record");
        assert_eq!((&answers[13]["cause"], &answers[16]["cause"]), (&json!(256), &json!(260)), "{engine}");
        let words = answers[18]["words"].as_array().expect("words");
        let cause = |record: usize| {
            let word = words[record * 4].as_str().expect("a number");
            u64::from_str_radix(&word[2..], 16).expect("a number") & 0xfff
        };
        assert_eq!((cause(0), cause(1)), (256, 260), "{engine}");
    });
}

/// A page of an interrupt file beyond the physical address space is an access fault, and an access to a memory-resident one that is not
/// aligned is aborted. (Advanced Interrupt Architecture, "MSI PTE, basic translate mode", which leaves the choice, and "MRIF mode".)
#[test]
fn pages_of_interrupt_files_are_where_they_say() {
    let text = "base = \"full\"\nname = \"pas40\"\n[address]\npas = 40\n";
    let design = Design::from_toml(text, "pas40.toml").expect("the design is valid");
    let write = |iova: u64, kind: &str| json!({ "op": "translate", "device_id": 5, "iova": format!("{iova:#x}"), "write": true, "type": kind });
    let (untranslated, request) = ("untranslated", "translation_request");
    let lines = [
        // EN_ATS; Sv48x4; flat MSI page table at 0x300000; pattern 0x60000, mask 1.
        store(0x10_0140, &[3, SV48X4 | 0x200, 0, 0, 1 << 60 | 0x300, 1, 0x60000, 0]),
        store(0x30_0000, &[(0x80000 | 1 << 28) << 10 | 7, 0, (0x40_0000 >> 9) << 7 | 3, 0]),
        register("ddtp", DDTP_1LVL),
        write(0x6000_0000, untranslated),
        write(0x6000_0000, request),
        write(0x6000_1001, untranslated),
        write(0x6000_1002, untranslated),
    ];
    on_every_engine(&design, &lines, |engine, answers| {
        assert_eq!(answers[3]["cause"], 7, "{engine}");
        assert_eq!(
            (&answers[4]["cause"], &answers[4]["denial"]),
            (&json!(5), &json!("completer abort")),
            "{engine}"
        );
        assert_eq!((&answers[5]["cause"], &answers[6]["cause"]), (&json!(260), &json!(260)), "{engine}");
    });
}

/// Without a stage that translates, a gigabyte is answered. (Section "PCIe ATS translation request handling" recommends a large range.)
#[test]
fn bare_ranges_are_large() {
    let lines = [register("ddtp", 1), settle(), ask(5, 0x1234_5678)];
    on_every_engine(&full(), &lines, |engine, answers| {
        assert_eq!(
            (&answers[2]["spa"], &answers[2]["page_shift"]),
            (&json!("0x12345678"), &json!(30)),
            "{engine}"
        );
    });
}

/// A read-only page 0x1000 at 0x300000 for device 5: leaf at 0x202008.
fn one_page() -> [Value; 5] {
    [
        store(0x10_0140, &[0x1, 0, 0, SV39 | 0x200, 0, 0, 0, 0]),
        store(0x20_0000, &[0x8_0401]),
        store(0x20_1000, &[0x8_0801]),
        store(0x20_2008, &[0xc_00d7]),
        register("ddtp", DDTP_1LVL),
    ]
}

fn counter(name: &str) -> Value {
    json!({ "op": "read_register", "register": name, "index": 0 })
}

fn set_counter(name: &str, value: u64) -> Value {
    json!({ "op": "write_register", "register": name, "index": 0, "value": format!("{value:#x}") })
}

fn read(name: &str) -> Value {
    json!({ "op": "read_register", "register": name })
}

/// How often tables are walked depends on what is cached, and time on the implementation. (Section "Performance-monitoring event
/// selectors".) What follows from the counts is the same all the same: overflow, its interrupt, counting on.
#[test]
fn counts_that_depend_on_caches_are_no_mismatch() {
    const TLB_MISS: u64 = 4;
    const REQUESTS: u64 = 1;
    let lines = [
        &one_page()[..],
        &[
            read("iohpmcycles"),
            set_counter("iohpmctr", u64::MAX - 1),
            set_counter("iohpmevt", TLB_MISS),
            ask(5, 0x1000),
            ask(5, 0x1000),
            ask(5, 0x2000),
            settle(),
            read("iocountovf"),
            read("ipsr"),
            counter("iohpmctr"),
            set_counter("iohpmevt", REQUESTS),
            ask(5, 0x1000),
            counter("iohpmctr"),
            register("iocountinh", 1),
            read("iohpmcycles"),
        ],
    ]
    .concat();
    on_every_engine(&full(), &lines, |engine, answers| {
        assert_eq!(
            (&answers[12]["value"], &answers[13]["value"]),
            (&json!("0x2"), &json!("0x4")),
            "{engine}"
        );
        let count = |index: usize| {
            let text = answers[index]["value"].as_str().expect("a register");
            u64::from_str_radix(&text[2..], 16).expect("a number")
        };
        assert!(count(14) <= 1, "{engine}: two or three misses");
        assert_eq!(count(17), count(14) + 1, "{engine}: counting goes on where it was");
    });
}

/// The entries of a NAPOT range that differ: any of them may be used for all of the range. (Extension Svnapot.)
#[test]
fn any_entry_of_a_napot_range_may_be_used() {
    const NAPOT: u64 = 1 << 63 | 0x308 << 10 | 0xdf;
    let mut entries = [NAPOT; 16];
    entries[15] = 0x555 << 10 | 0xd3;
    let mut lines = one_page().to_vec();
    lines[3] = store(0x20_2000, &entries);
    lines.extend([ask(5, 0x1000), ask(5, 0xf000)]);
    on_every_engine(&full(), &lines, |engine, answers| {
        assert_eq!(answers[5]["spa"], "0x301000", "{engine}");
        let allowed = if engine == "model" { "0x555000" } else { "0x30f000" };
        assert_eq!(answers[6]["spa"], allowed, "{engine}");
    });
}

/// The debug interface may use what a change of the tables has not invalidated yet, as a request may.
#[test]
fn debug_translation_may_use_an_old_entry() {
    let mut lines = one_page().to_vec();
    lines.extend([
        ask(5, 0x1000),
        store(0x20_2008, &[0xd_00d7]),
        register("tr_req_iova", 0x1000),
        // Device 5, no write, GO.
        register("tr_req_ctl", 5 << 40 | 9),
        settle(),
        read("tr_response"),
        ask(5, 0x1000),
    ]);
    on_every_engine(&full(), &lines, |engine, answers| {
        let allowed = if engine == "model" { "0xd0000" } else { "0xc0000" };
        assert_eq!(answers[10]["value"], allowed, "{engine}");
    });
}
