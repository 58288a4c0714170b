//! What things are called in the Verilog, and what stands between the lines: one rule, one test.

use pasidon_hdl::{E, Module, Options, cat, emit, header, labels, lit, names, session};

labels! {
    /// What the port does.
    mod state {
        IDLE,
        /// Memory has been asked.
        WAIT,
        DONE = 5,
    }
}

labels! {
    /// What is asked for.
    mod kind {
        WAIT,
        STORE,
    }
}

fn text(describe: impl FnOnce(&mut Module)) -> String {
    session(|| {
        let mut m = Module::new("block", "A block.");
        describe(&mut m);
        emit(&m.build(), &Options::default()).expect("emits").verilog
    })
}

fn inputs(m: &mut Module) -> (E, E, E) {
    (m.input("a", 8), m.input("b", 8), m.input("c", 1))
}

#[test]
fn a_label_is_a_constant_of_the_module_with_its_text() {
    let v = text(|m| {
        let s = m.reg("state", state::WIDTH, state::IDLE);
        let go = m.input("go", 1);
        let asked = m.input("asked", kind::WIDTH);
        m.switch(s, |m, switch| {
            switch.case(m, state::IDLE, |m| m.when(go, |m| m.set(s, lit(state::WAIT, state::WIDTH))));
            switch.default(m, |m| m.set(s, lit(state::IDLE, state::WIDTH)));
        });
        m.output("busy", s.is(state::WAIT));
        m.output("stores", asked.eq(lit(kind::STORE, 1)) & !s.is(state::DONE));
    });
    for line in [
        "  // What the port does.",
        "  localparam [2:0] STATE_IDLE = 3'd0;",
        "  localparam [2:0] STATE_WAIT = 3'd1; // Memory has been asked.",
        "      STATE_IDLE: begin",
        "          state <= STATE_WAIT;",
        "      state <= STATE_IDLE;",
        "  assign busy = state == STATE_WAIT;",
    ] {
        assert!(v.lines().any(|l| l == line), "no line {line:?} in\n{v}");
    }
    // A comparison of one bit with a constant is the bit: the constant is not there.
    assert!(!v.contains("KIND_"), "{v}");
}

#[test]
fn labels_fold_as_numbers_do() {
    session(|| {
        assert_eq!(lit(state::DONE, 3).constant(), Some(5));
        assert_eq!((!lit(state::DONE, 3)).constant(), Some(2));
        assert_eq!(lit(state::DONE, 3).is(5).constant(), Some(1));
        assert_eq!(lit(state::DONE, 3).bits(1, 2).constant(), Some(2));
        assert_eq!(lit(state::DONE, 3).resize(8).constant(), Some(5));
        assert_eq!(cat(&[lit(state::DONE, 3), lit(1, 1)]).constant(), Some(11));
    });
}

#[test]
#[should_panic(expected = "STATE_DONE (5) does not fit 2 bits")]
fn a_label_fits_its_width() {
    let _ = lit(state::DONE, 2);
}

#[test]
fn a_label_has_one_width_in_a_module() {
    let error = session(|| {
        let mut m = Module::new("block", "A block.");
        let (a, b, _) = inputs(&mut m);
        m.output("x", a.is(state::WAIT));
        m.output("y", b.bits(0, 4).is(state::WAIT));
        emit(&m.build(), &Options::default()).expect_err("two widths").to_string()
    });
    assert!(error.contains("STATE_WAIT is 1 in"), "{error}");
}

#[names]
fn described(m: &mut Module) {
    let (a, b, c) = inputs(m);
    let sum = a + b;
    let pair = [a ^ b, (a & b) | (a - b)];
    let _unnamed = a - b;
    let total = {
        let inner = sum + pair[0] + pair[1];
        inner ^ b
    };
    m.output("x", c.mux(total, sum));
    m.output("y", c.mux(sum, total));
    m.output("z", c.mux(pair[1], pair[0]) & total);
}

#[test]
fn a_wire_is_called_what_the_source_calls_it() {
    let v = text(described);
    for name in ["sum", "total", "pair_0", "pair_1"] {
        assert!(v.contains(&format!("  assign {name} = ")), "no {name} in\n{v}");
    }
    let numbered = v.lines().filter(|l| l.starts_with("  wire ") && l.contains(" n")).count();
    assert_eq!(numbered, 0, "{v}");
}

#[test]
fn a_name_that_is_taken_gets_a_number_and_a_word_of_verilog_is_none() {
    let v = text(|m| {
        let (a, b, c) = inputs(m);
        let (sum, less) = ((a + b).call("a"), (a - b).call("wire"));
        m.output("x", c.mux(sum, less));
        m.output("y", c.mux(less, sum) ^ sum);
    });
    assert!(v.contains("  assign a_2 = a + b;") && v.contains("  assign wire_2 = a - b;"), "{v}");
}

#[test]
fn the_first_name_of_a_value_stays() {
    let v = text(|m| {
        let (a, b, c) = inputs(m);
        let sum = (a + b).call("sum").call("other");
        m.output("x", c.mux(sum, a));
        m.output("y", c.mux(b, sum));
    });
    assert!(v.contains("  assign sum = a + b;") && !v.contains("other"), "{v}");
}

#[test]
fn what_is_small_is_written_where_it_is_used() {
    let v = text(|m| {
        let (a, _, c) = inputs(m);
        let idle = a.is(3);
        m.output("x", idle & c);
        m.output("y", idle & !c);
    });
    assert!(v.contains("  assign x = (a == 8'h3) & c;"), "{v}");
    assert!(!v.contains("wire n"), "{v}");
}

#[test]
fn titles_of_parts_stand_above_their_values_and_registers() {
    let v = text(|m| {
        let (a, b, c) = inputs(m);
        let last = m.reg_data("last", 8);
        m.part("Sums");
        m.output("x", a + b);
        m.part("What is kept");
        m.when(c, |m| m.set(last, a));
        m.output("y", last);
    });
    let at = |text: &str| v.find(text).unwrap_or_else(|| panic!("no {text} in\n{v}"));
    let places = [at("// ---- Sums ---"), at("assign x"), at("// ---- What is kept ---"), at("last <= a")];
    assert!(places.is_sorted(), "{v}");
}

#[test]
fn the_header_of_a_source_file_is_the_comment_above_its_module() {
    let source = "//! Fence: what [`fence`] waits for\n//! and `why`.\n//!\n//! Latency: 2 cycles.\n\nuse x;\n//! not this\n";
    assert_eq!(header(source), "Fence: what fence waits for and why.\n\nLatency: 2 cycles.");
}

#[test]
fn a_child_is_introduced_by_its_first_sentence_and_its_sections() {
    let v = text(|m| {
        let mut child = Module::new("child", "Adds one.\n\nLatency: none.");
        child.section("What it adds to");
        let value = child.input("value", 8);
        child.output("more", value.inc());
        let (a, ..) = inputs(m);
        let child = m.instance("adder", &child.build());
        child.connect(m, "value", a);
        let more = child.out("more");
        m.output("y", more);
    });
    assert!(v.contains("  // Adds one\n  child adder (\n"), "{v}");
    assert!(v.contains("    // What it adds to\n    .value (a),"), "{v}");
}
