//! What the language refuses, and what it writes: one rule, one test.

use pasidon_hdl::{
    E, EmitError, MemoryKind, Module, Options, RamStyle, all_of, any_of, cat, emit, encode, first, hi, lit,
    lo, lowest, onehot, select, session, wide,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

/// Describes a part of a module.
type Describe = fn(&mut Module);

/// For what is made only to see that it is refused.
fn done<T>(_: T) {}

fn counter(width: u32) -> Rc<Module> {
    let mut m = Module::new("counter", "Counts enabled cycles.");
    let enable = m.input("enable", 1);
    let clear = m.input("clear", 1);
    let count = m.reg("count", width, 3);
    m.when_else(clear, |m| m.set(count, lit(0, width)), |m| m.when(enable, |m| m.set(count, count.inc())));
    m.output("value", count);
    m.build()
}

fn top() -> Rc<Module> {
    let mut m = Module::new("top", "Two counters and a table.");
    m.section("Control");
    let go = m.input("go", 1);
    let which = m.input("which", 2);
    let (a, b) = (counter(8), counter(8));
    let a = m.instance("a", &a);
    let b = m.instance("b", &b);
    a.connect_all(&mut m, &[("enable", go), ("clear", which.is(3))]);
    b.connect_all(&mut m, &[("enable", go & which.bit(0)), ("clear", lit(0, 1))]);
    let words = m.memory("words", 16, 8, MemoryKind::Block);
    let data = words.connect(&mut m, (go, a.out("value").bits(0, 4), b.out("value")), (go, which.resize(4)));
    let state = m.reg("state", 2, 0);
    m.switch(state, |m, s| {
        s.case(m, 0, |m| m.when(go, |m| m.set(state, lit(1, 2))));
        s.case(m, 1, |m| m.set(state, lit(2, 2)));
        s.default(m, |m| m.set(state, lit(0, 2)));
    });
    let sum = a.out("value") + b.out("value");
    m.output("out", select(state, &[data, sum, cat(&[sum.bits(0, 4), data.bits(4, 4)])]));
    m.build()
}

/// The text of one module whose output `y` is what `f` makes of inputs `a` and `b` of 8 bits and `c` of 1 bit.
fn written(f: impl FnOnce(&mut Module, E, E, E) -> E) -> String {
    session(|| {
        let mut m = Module::new("block", "One expression.");
        let (a, b, c) = (m.input("a", 8), m.input("b", 8), m.input("c", 1));
        let y = f(&mut m, a, b, c);
        m.output("y", y);
        emit(&m.build(), &Options::default()).expect("emits").verilog
    })
}

/// The value of `y` in that module.
fn assigned(f: impl FnOnce(&mut Module, E, E, E) -> E) -> String {
    let text = written(f);
    let (_, rest) = text.split_once("assign y = ").expect("y is assigned");
    rest.split(';').next().expect("a statement ends").to_string()
}

/// What a description says as it is refused.
fn refused(f: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(f)).expect_err("it is refused");
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|s| s.to_string()))
        .expect("a text")
}

/// What the emission of a block says as it is refused.
fn not_emitted(m: Module) -> String {
    let error: EmitError = emit(&m.build(), &Options::default()).expect_err("it is refused");
    error.to_string()
}

#[test]
fn one_module_for_equal_blocks_and_the_same_bytes_twice() {
    let text = || session(|| emit(&top(), &Options::default()).map(|e| e.verilog)).expect("emits");
    assert_eq!(text(), text());
    assert_eq!(text().matches("\nmodule counter").count() + text().matches("\nmodule top").count(), 2);
    assert_eq!(text().matches("endmodule").count(), 2);
}

#[test]
fn every_module_has_the_prefix_and_so_has_every_use_of_it() {
    let emitted =
        session(|| emit(&top(), &Options { prefix: "my_", banner: "// mine\n", ..Options::default() }))
            .expect("emits");
    assert!(emitted.verilog.starts_with("// mine\n"));
    assert_eq!(emitted.top, "my_top");
    for text in ["module my_top (", "module my_counter (", "  my_counter a (", "  my_counter b ("] {
        assert!(emitted.verilog.contains(text), "{text}");
    }
}

/// The text of two memories of each kind.
fn memories(ram_style: RamStyle) -> pasidon_hdl::Emitted {
    session(|| {
        let mut m = Module::new("top", "Four memories.");
        let (go, a, b) = (m.input("go", 1), m.input("a", 4), m.input("b", 9));
        for (name, kind) in [("slow", MemoryKind::Block), ("quick", MemoryKind::Distributed)] {
            for copy in 0..2 {
                let words = m.memory(&format!("{name}{copy}"), 16, 9, kind);
                let data = words.connect(&mut m, (go, a, b), (go, a));
                m.output(&format!("{name}{copy}_out"), data);
            }
        }
        emit(&m.build(), &Options { prefix: "my_", ram_style, ..Options::default() }).expect("emits")
    })
}

#[test]
fn a_memory_is_left_to_the_tool_asked_for_or_a_module() {
    let written = memories(RamStyle::Auto).verilog;
    assert!(!written.contains("ram_style") && !written.contains("module my_ram"), "{written}");
    assert_eq!(written.matches("  (* no_rw_check *)\n  reg  [8:0] slow").count(), 2, "{written}");
    assert_eq!(written.matches("no_rw_check").count(), 2);
    let written = memories(RamStyle::Attributes).verilog;
    assert_eq!(written.matches("(* ram_style = \"block\", no_rw_check *)\n  reg  [8:0] slow").count(), 2);
    assert_eq!(written.matches("(* ram_style = \"distributed\" *)\n  reg  [8:0] quick").count(), 2);
    let modules = memories(RamStyle::Modules);
    let files: Vec<String> = modules.files().map(|file| file.name).collect();
    assert_eq!(files, ["my_ram_distributed_16x9", "my_ram_block_16x9", "my_top"]);
    let text = &modules.verilog;
    for (instance, times) in
        [("  my_ram_block_16x9 slow", 2), ("  my_ram_distributed_16x9 quick", 2), (" words [0:15];", 2)]
    {
        assert_eq!(text.matches(instance).count(), times, "{instance} in {text}");
    }
}

#[test]
fn twins_that_differ_have_names_of_their_own() {
    let text = session(|| {
        let mut m = Module::new("pair", "Two counters of different widths.");
        for (name, width) in [("narrow", 4), ("broad", 9)] {
            let child = m.instance(name, &counter(width));
            child.connect_all(&mut m, &[("enable", hi()), ("clear", lo())]);
            m.output(&format!("{name}_count"), child.out("value"));
        }
        emit(&m.build(), &Options::default()).expect("emits").verilog
    });
    assert!(text.contains("  counter narrow (") && text.contains("  counter__1 broad ("), "{text}");
}

#[test]
fn a_signal_of_another_module_is_refused_with_both_names() {
    let message = |f: fn(&mut Module, E)| {
        session(|| {
            let mut other = Module::new("walker", "");
            let theirs = other.input("go", 1);
            let mut m = Module::new("queue", "");
            refused(|| f(&mut m, theirs))
        })
    };
    let uses: [fn(&mut Module, E); 8] = [
        |m, theirs| done(m.output("out", theirs)),
        |m, theirs| done(m.wire("w", theirs & lit(1, 1))),
        |m, theirs| done(m.wire_if("w", &[theirs], hi())),
        |m, theirs| m.when(theirs, |_| {}),
        |m, theirs| m.switch(theirs, |_, _| {}),
        |m, theirs| {
            let register = m.reg("r", 1, 0);
            m.set(register, !theirs);
        },
        |m, theirs| m.assign(theirs, lo()),
        |m, theirs| {
            let child = m.instance("child", &counter(4));
            child.connect(m, "enable", theirs);
        },
    ];
    for f in uses {
        let message = message(f);
        assert!(message.contains("walker") && message.contains("queue"), "{message}");
    }
    let mixed = message(|m, theirs| {
        let ours = m.input("ours", 1);
        let _ = ours | theirs;
    });
    assert!(mixed.contains("walker") && mixed.contains("queue"), "{mixed}");
}

#[test]
fn a_child_is_connected_where_it_was_placed() {
    let message = session(|| {
        let mut m = Module::new("here", "");
        let child = m.instance("child", &counter(4));
        let mut other = Module::new("elsewhere", "");
        refused(|| child.connect(&mut other, "enable", hi()))
    });
    assert!(message.contains("here") && message.contains("elsewhere"), "{message}");
}

#[test]
fn a_module_of_the_same_name_is_another_module() {
    let message = session(|| {
        let mut first = Module::new("twin", "");
        let go = first.input("go", 1);
        let mut second = Module::new("twin", "");
        refused(|| done(second.output("out", go)))
    });
    assert!(message.contains("twin"), "{message}");
}

#[test]
fn what_can_not_be_said() {
    let message = |f: fn(&mut Module)| {
        session(|| {
            let mut m = Module::new("block", "");
            refused(|| f(&mut m))
        })
    };
    let cases: [(Describe, &str); 12] = [
        (|m| done((m.input("a", 1), m.input("a", 1))), "a is declared twice"),
        (|m| done((m.input("a", 1), m.reg("a", 1, 0))), "a is declared twice"),
        (|m| done((m.input("clk", 1),)), "clk is declared twice"),
        (|m| done(m.memory("clk", 2, 1, MemoryKind::Block)), "clk is declared twice"),
        (|m| done(m.input("a", 2) & m.input("b", 3)), "2 bits against 3 bits"),
        (|m| done(m.input("a", 2).bits(1, 2)), "bits [1 +: 2] of 2 bits"),
        (|_| done(lit(8, 3)), "does not fit 3 bits"),
        (
            |m| {
                let a = m.input("a", 1);
                m.assign(a, hi());
            },
            "a can't be assigned",
        ),
        (
            |m| {
                let w = m.wire("w", lo());
                m.assign(w, hi());
            },
            "w is assigned twice",
        ),
        (
            |m| {
                let w = m.wire_if("w", &[hi()], lo());
                m.assign(w, hi());
            },
            "w is assigned twice",
        ),
        (
            |m| {
                let w = m.wire("w", lo());
                m.set(w, hi());
            },
            "w is not a register",
        ),
        (
            |m| {
                let child = m.instance("child", &counter(4));
                child.connect(m, "value", lit(0, 4));
            },
            "counter has no input value",
        ),
    ];
    for (f, wanted) in cases {
        let message = message(f);
        assert!(message.contains(wanted), "{message} should say {wanted}");
    }
}

#[test]
fn what_can_not_be_emitted() {
    let message = |f: fn(&mut Module)| {
        session(|| {
            let mut m = Module::new("block", "");
            f(&mut m);
            not_emitted(m)
        })
    };
    let cases: [(Describe, &str); 6] = [
        (|m| done(m.output_later("out", 1)), "block block: out has no value"),
        (|m| done(m.wire_later("w", 1)), "w has no value"),
        (|m| done(m.instance("child", &counter(4))), "child_enable has no value"),
        (|m| done(m.memory("words", 4, 8, MemoryKind::Block)), "words_write has no value"),
        (|m| done(m.input("always", 1)), "always is a word of Verilog"),
        (
            |m| {
                let child = m.instance("child", &counter(4));
                child.connect_all(m, &[("enable", hi()), ("clear", lo())]);
                m.input("child_value", 4);
            },
            "two things are called child_value",
        ),
    ];
    for (f, wanted) in cases {
        let message = message(f);
        assert!(message.contains(wanted), "{message} should say {wanted}");
    }
}

/// What is known when a design is generated is decided then, and leaves nothing in the text.
#[test]
fn constants_fold() {
    type Make = fn(&mut Module, E, E, E) -> E;
    let cases: [(Make, &str); 33] = [
        (|_, a, _, _| a & lit(0, 8), "8'h0"),
        (|_, a, _, _| a & lit(255, 8), "a"),
        (|_, a, _, _| a | lit(0, 8), "a"),
        (|_, a, _, _| a | lit(255, 8), "8'hff"),
        (|_, a, _, _| a | a, "a"),
        (|_, a, _, _| a & a, "a"),
        (|_, a, _, _| a ^ lit(0, 8), "a"),
        (|_, a, _, _| a + lit(0, 8), "a"),
        (|_, a, _, _| !!a, "a"),
        (|_, _, _, _| lit(200, 8).eq(lit(200, 8)), "1'd1"),
        (|_, _, _, _| lit(3, 8).lt(lit(2, 8)), "1'd0"),
        (|_, _, _, c| c.eq(hi()), "c"),
        (|_, _, _, c| c.eq(lo()), "!c"),
        (|_, _, _, c| c.ne(hi()), "c ^ 1'd1"),
        (|_, a, b, _| hi().mux(a, b), "a"),
        (|_, a, b, _| lo().mux(a, b), "b"),
        (|_, a, _, c| c.mux(a, a), "a"),
        (|_, _, _, c| c.mux(hi(), lo()), "c"),
        (|_, _, _, c| c.mux(lo(), hi()), "!c"),
        (|_, a, _, c| c.mux(hi(), a.bit(0)), "c | a[0]"),
        (|_, a, _, c| c.mux(a.bit(0), lo()), "c & a[0]"),
        (|_, a, _, c| c.mux(lo(), a.bit(0)), "!c & a[0]"),
        (|_, a, _, c| c.mux(a.bit(0), hi()), "!c | a[0]"),
        (|_, a, _, _| a.bits(0, 8), "a"),
        (|_, a, _, _| a.bits(2, 5).bits(1, 2), "a[4:3]"),
        (|_, a, b, _| cat(&[a, b]).bits(8, 8), "a"),
        (|_, a, _, _| a.resize(12).bits(8, 4), "4'd0"),
        (|_, a, _, _| a.resize(12).bits(4, 4), "a[7:4]"),
        (|_, _, _, c| c.any(), "c"),
        (|_, _, _, _| lit(0x1234, 16).swap_bytes(), "16'h3412"),
        (|_, _, _, _| wide(1 << 100, 101).bits(100, 1), "1'd1"),
        (|_, _, _, _| any_of([]), "1'd0"),
        (|_, _, _, _| all_of([]), "1'd1"),
    ];
    for (i, (make, wanted)) in cases.into_iter().enumerate() {
        assert_eq!(assigned(make), wanted, "case {i}");
    }
}

#[test]
fn expressions_are_written_with_their_exact_widths() {
    type Make = fn(&mut Module, E, E, E) -> E;
    let cases: [(Make, &str); 17] = [
        (|_, a, b, _| a + b, "a + b"),
        (|_, a, b, _| a - b, "a - b"),
        (|_, a, b, _| (a & b) | !a, "(a & b) | ~a"),
        (|_, a, b, _| a.lt(b), "a < b"),
        (|_, a, b, _| a.le(b), "a <= b"),
        (|_, a, _, _| a.none(), "!(|a)"),
        (|_, a, _, _| a.all(), "&a"),
        (|_, a, _, _| a.is(17), "a == 8'h11"),
        (|_, a, _, _| a.resize(12), "{4'd0, a}"),
        (|_, a, _, _| a.resize(3), "a[2:0]"),
        (|_, _, _, c| c.repeat(4), "{4{c}}"),
        (|_, a, b, c| c.mux(a, b), "c ? a : b"),
        (|_, a, b, c| cat(&[c, a, b]), "{c, a, b}"),
        (|_, a, _, _| a.bits(0, 3).decode(8), "8'h1 << a[2:0]"),
        (|_, a, b, c| first(&[(c, a)], b), "c ? a : b"),
        (|_, a, b, c| onehot(&[(c, a), (b.bit(0), b)]), "({8{c}} & a) | ({8{b[0]}} & b)"),
        (|_, a, _, _| encode(&[a.bit(0), a.bit(1), a.bit(2), a.bit(3)], 2), "{(a[2] | a[3]), (a[1] | a[3])}"),
    ];
    for (i, (make, wanted)) in cases.into_iter().enumerate() {
        assert_eq!(assigned(make), wanted, "case {i}");
    }
}

#[test]
fn lowest_grants_one() {
    let text = assigned(|_, a, _, _| cat(&lowest(&a.bits(0, 3).split())));
    assert_eq!(text, "{a[0], (a[1] & !a[0]), (a[2] & !(a[0] | a[1]))}");
}

#[test]
fn what_nothing_reads_is_not_written() {
    let text = written(|m, a, b, _| {
        let idle = m.reg("idle", 8, 0);
        m.set(idle, a);
        m.wire("unread", b + a);
        a
    });
    assert!(!text.contains("idle") && !text.contains("unread"), "{text}");
    assert!(text.contains("wire unused = &{1'b0,"), "the inputs that nothing reads are named: {text}");
}

#[test]
fn registers_are_reset_as_they_say() {
    let text = written(|m, a, _, c| {
        let (reset, data, kept) =
            (m.reg("reset_one", 8, 5), m.reg_data("data_one", 8), m.reg_kept("kept_one", 8));
        m.when(c, |m| {
            m.set(reset, a);
            m.set(data, a);
            m.set(kept, a);
        });
        reset ^ data ^ kept
    });
    assert!(text.contains("if (rst) begin\n      reset_one <= 8'h5;\n    end"), "{text}");
    assert!(text.contains("initial kept_one = 8'd0;"), "{text}");
    assert_eq!(text.matches("data_one <=").count(), 1, "{text}");
    assert_eq!(text.matches("kept_one <=").count(), 1, "{text}");
}

#[test]
fn the_last_statement_wins_and_a_switch_has_a_default() {
    let text = written(|m, a, b, c| {
        let r = m.reg_data("r", 8);
        m.set(r, a);
        m.switch(c, |m, s| s.case(m, 1, |m| m.set(r, b)));
        r
    });
    let (first, last) = (text.find("r <= a;").expect("is set"), text.find("r <= b;").expect("is set"));
    assert!(first < last, "{text}");
    assert!(text.contains("1'd1: begin") && text.contains("default: begin"), "{text}");
}

#[test]
fn a_test_that_is_known_leaves_one_branch() {
    let text = written(|m, a, b, _| {
        let r = m.reg_data("r", 8);
        m.when_else(hi(), |m| m.set(r, a), |m| m.set(r, b));
        r
    });
    assert!(text.contains("    r <= a;") && !text.contains("if (") && !text.contains("r <= b"), "{text}");
}

#[test]
fn a_module_that_only_wires_computes_nothing() {
    let computes = |describe: Describe| {
        session(|| {
            let mut m = Module::new("block", "A block.");
            describe(&mut m);
            m.build().computes()
        })
    };
    let wiring: Describe = |m| {
        let (a, b) = (m.input("a", 8), m.input("b", 8));
        m.output("y", cat(&[a.bits(0, 4), b.resize(12), lit(3, 2)]));
    };
    assert_eq!(computes(wiring), Vec::<String>::new());
    let logic: Describe = |m| {
        let (a, b) = (m.input("a", 8), m.input("b", 8));
        let kept = m.reg("kept", 8, 0);
        m.set(kept, a);
        m.output("y", a & b);
        m.output("z", cat(&[a.bits(0, 4), a.any()]));
        m.output("same", kept);
    };
    assert_eq!(computes(logic), ["kept", "y", "z"]);
}
