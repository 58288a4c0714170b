//! The C++ between a verilated class and [`super::Verilated`].
//!
//! One call per clock cycle moves all ports: `tick` copies the words of `In` to the model's inputs, raises the clock,
//! and copies its outputs to `Out`. Outputs of the hardware depend on registers only, never on inputs of the same
//! cycle, so that what `tick` returns is what a device sees in the new cycle *before* it has chosen its inputs.
//! The checked flavour verifies exactly that each cycle.

use super::error::VerilatedError;
use super::flavour::Flavour;
use super::ports::{self, IN_WORDS, OUT_WORDS};
use super::probe;
use super::source::{PortShape, Source};
use std::fmt::Write;

/// Changes when the interface between the shim and Rust does.
pub(super) const ABI: u64 = 2;

/// Prefix of the classes that Verilator makes.
pub(super) const PREFIX: &str = "Vmodel";

/// Of functions that the shared object shows.
const EXPORT: &str = "__attribute__((visibility(\"default\")))";

/// Where each port of a design lives, in port order: (name, word, is an output).
pub(super) type Layout = Vec<(String, usize, bool)>;

/// Places the ports of a design.
///
/// # Errors
/// A port that the bench does not know, or one wider than a word.
pub(super) fn layout(shape: &[PortShape]) -> Result<Layout, VerilatedError> {
    let (inputs, outputs) = (ports::inputs(), ports::outputs());
    let mut layout = Layout::new();
    for port in shape {
        if port.name == "clk" {
            continue;
        }
        if port.width > 64 {
            return Err(VerilatedError::Port(port.name.clone(), "is wider than 64 bits"));
        }
        let places = if port.output { &outputs } else { &inputs };
        let place = places.iter().find(|(name, _)| *name == port.name);
        let (name, word) =
            place.ok_or_else(|| VerilatedError::Port(port.name.clone(), "has no place on the bench"))?;
        layout.push((name.clone(), *word, port.output));
    }
    Ok(layout)
}

/// The shim's source. `previous_clock` is the member in which Verilator remembers the clock of the last evaluation: with it
/// the falling edge, at which nothing happens, needs no evaluation.
/// `header` is that of Verilator's class: it says which signals there are to be probed.
pub(super) fn source(
    of: &Source<'_>,
    layout: &Layout,
    flavour: Flavour,
    previous_clock: Option<&str>,
    header: Option<&str>,
) -> String {
    let mut s = String::new();
    preamble(&mut s, flavour);
    moves(&mut s, layout);
    lifetime(&mut s, layout, flavour);
    tick(&mut s, flavour, previous_clock);
    if flavour.probes() {
        s += &probe::function(of.top, header, PREFIX, EXPORT);
    }
    s
}

/// Headers, what Verilator's runtime calls when something is wrong, and the state of a model.
fn preamble(out: &mut String, flavour: Flavour) {
    // Writing to a String cannot fail, here and below.
    let _ =
        writeln!(out, "#include \"{PREFIX}.h\"\n#include \"{PREFIX}___024root.h\"\n#include \"verilated.h\"");
    let _ = writeln!(out, "#include <cstdint>\n#include <cstring>\n#include <string>");
    if flavour.covers() {
        let _ = writeln!(out, "#include \"verilated_cov.h\"");
    }
    if flavour.traces() {
        let _ = writeln!(out, "#include \"verilated_fst_c.h\"");
    }
    // A model that does not settle is abandoned by an exception: Verilator's loop would go on for ever.
    let _ = writeln!(out, "static std::string failure;");
    let _ = writeln!(
        out,
        "void vl_stop(const char* f, int l, const char*) VL_MT_UNSAFE {{ \
         if (failure.empty()) failure = std::string(f) + \":\" + std::to_string(l) + \": assertion\"; }}\n\
         void vl_fatal(const char* f, int l, const char*, const char* m) VL_MT_UNSAFE {{ \
         if (failure.empty()) failure = std::string(f) + \":\" + std::to_string(l) + \": \" + m; throw 1; }}\n\
         void vl_finish(const char*, int, const char*) VL_MT_UNSAFE {{}}"
    );
    let fst = if flavour.traces() { "VerilatedFstC* fst = nullptr;" } else { "" };
    let before = if flavour.checks() { "uint64_t before[WORDS_OUT] = {};" } else { "" };
    let initial = if flavour.scrambles() { "randReset(2); randSeed(1);" } else { "" };
    let _ = writeln!(
        out,
        "enum {{ WORDS_IN = {IN_WORDS}, WORDS_OUT = {OUT_WORDS} }};\n\
         struct Context : VerilatedContext {{ Context() {{ {initial} }} }};\n\
         struct State {{ Context context; {PREFIX} top{{&context}}; {fst} {before} }};"
    );
}

/// The functions that copy inputs to the model, and its outputs from it.
fn moves(out: &mut String, layout: &Layout) {
    let _ = writeln!(
        out,
        "static inline __attribute__((always_inline)) void apply({PREFIX}___024root* r, const uint64_t* in) {{"
    );
    for (name, word, _) in layout.iter().filter(|(_, _, output)| !output) {
        let _ = writeln!(out, "  r->{name} = in[{word}];");
    }
    let _ = writeln!(
        out,
        "}}\nstatic inline __attribute__((always_inline)) void sample(const {PREFIX}___024root* r, uint64_t* out) {{"
    );
    for (name, word, _) in layout.iter().filter(|(_, _, output)| *output) {
        let _ = writeln!(out, "  out[{word}] = r->{name};");
    }
}

/// What is exported but the clock: layout, begin and end of a model, failure, waveforms, coverage.
fn lifetime(out: &mut String, layout: &Layout, flavour: Flavour) {
    let _ = writeln!(out, "}}\nextern \"C\" {{");
    let words: Vec<String> = layout.iter().map(|(_, word, _)| word.to_string()).collect();
    let _ = writeln!(
        out,
        "extern __attribute__((visibility(\"default\"))) const uint64_t pasidon_layout[] = {{ {ABI}, WORDS_IN, WORDS_OUT, {}, {} }};",
        layout.len(),
        words.join(", ")
    );
    let export = EXPORT;
    let (trace_on, trace_off) = if flavour.traces() {
        (
            "s->context.traceEverOn(true); ",
            "if (s->fst) { s->fst->close(); delete s->fst; s->fst = nullptr; } ",
        )
    } else {
        ("", "")
    };
    let _ = writeln!(
        out,
        "{export} void* pasidon_new(uint64_t* out) {{ State* s = new State; {trace_on}\
         s->top.clk = 0; s->top.eval(); sample(s->top.rootp, out); return s; }}\n\
         {export} const char* pasidon_failure() {{ return failure.empty() ? nullptr : failure.c_str(); }}\n\
         {export} void pasidon_free(void* p) {{ State* s = (State*)p; Verilated::threadContextp(&s->context); \
         {trace_off}s->top.final(); delete s; }}"
    );
    if flavour.covers() {
        let _ = writeln!(
            out,
            "{export} void pasidon_coverage(void* p, const char* file) {{ ((State*)p)->context.coveragep()->write(file); }}"
        );
    }
    if flavour.traces() {
        let _ = writeln!(
            out,
            "{export} void pasidon_trace(void* p, const char* file) {{ State* s = (State*)p; {trace_off}\
             if (file) {{ s->fst = new VerilatedFstC; s->top.trace(s->fst, 99); s->fst->open(file); }} }}"
        );
    }
}

/// The function of a clock cycle.
fn tick(out: &mut String, flavour: Flavour, previous_clock: Option<&str>) {
    let export = EXPORT;
    let dump = if flavour.traces() {
        "s->context.timeInc(1); if (s->fst) s->fst->dump(s->context.time());"
    } else {
        ""
    };
    let low = match previous_clock {
        _ if flavour.checks() => format!(
            "r->clk = 0; apply(r, in); s->top.eval(); {dump}\n\
             \x20 memcpy(s->before, out, sizeof s->before); sample(r, s->before);\n\
             \x20 if (memcmp(s->before, out, sizeof s->before) && failure.empty()) {{\n\
             \x20   int i = 0; while (s->before[i] == out[i]) i++;\n\
             \x20   failure = \"output word \" + std::to_string(i) + \" depends on an input of the same cycle\"; }}\n"
        ),
        // What waveforms show while the clock is low are the inputs of its next rise.
        _ if flavour.traces() => format!("r->clk = 0; apply(r, in); s->top.eval(); {dump}"),
        Some(member) => format!("r->{member} = 0; apply(r, in);"),
        None => "r->clk = 0; s->top.eval(); apply(r, in);".to_string(),
    };
    // After a failed assertion there is nothing more to see; without assertions, the test would only cost time.
    let stop = if flavour.checks() { "if (!failure.empty()) return; " } else { "" };
    let _ = writeln!(
        out,
        "{export} void pasidon_tick(void* p, const uint64_t* in, uint64_t* out) {{\n\
         \x20 {stop}State* s = (State*)p; {PREFIX}___024root* r = s->top.rootp;\n\
         \x20 try {{ {low} r->clk = 1; s->top.eval(); {dump} sample(r, out); }} catch (int) {{}}\n}}"
    );
    let _ = writeln!(out, "}}");
}

/// Finds the member in which Verilator keeps the clock's previous value, by its name in the generated header.
pub(super) fn previous_clock(header: &str) -> Option<String> {
    let mut found = header
        .split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| word.starts_with("__Vtrig") && word.contains("prev") && word.contains("clk"));
    let member = found.next()?.to_string();
    // Two would mean a second clock domain, or a scheme that this does not understand.
    found.all(|word| word == member).then_some(member)
}
