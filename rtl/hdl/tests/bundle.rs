//! What follows from the table of a bundle: one rule, one test.

use pasidon_hdl::{Bundle, E, Module, Options, bundle, emit, hi, lit, session};

struct Design {
    tagged: bool,
}

bundle! {
    /// What a client asks for.
    struct Order(d: Design) {
        /// It is there.
        valid: 1, reset 0;
        /// Which kind.
        kind as "type": 3, word 1;
        /// Its number.
        tag: 8, if d.tagged, word 1;
        /// What it is about.
        item: 16, reset 0x1234, word 2;
    }
}

fn design(tagged: bool) -> Design {
    Design { tagged }
}

/// The text of one module.
fn text(describe: impl FnOnce(&mut Module)) -> String {
    session(|| {
        let mut m = Module::new("block", "A block.");
        describe(&mut m);
        emit(&m.build(), &Options::default()).expect("emits").verilog
    })
}

fn has(verilog: &str, line: &str) {
    assert!(verilog.lines().any(|l| l.trim() == line), "no line {line:?} in\n{verilog}");
}

#[test]
fn ports_are_named_after_the_fields_and_those_that_are_not_there_have_none() {
    for tagged in [false, true] {
        let d = design(tagged);
        let v = text(|m| {
            let order = Order::inputs(m, &d, "in");
            order.outputs(m, &d, "out");
        });
        let ports = ["valid", "type", "item"].into_iter().chain(tagged.then_some("tag"));
        for port in ports {
            has(&v, &format!("assign out_{port} = in_{port};"));
        }
        assert_eq!(v.contains("_tag"), tagged, "{v}");
        assert!(!v.contains("_kind"), "{v}");
    }
}

#[test]
fn registers_are_reset_as_the_table_says() {
    let d = design(true);
    let v = text(|m| {
        let order = Order::inputs(m, &d, "in");
        let kept = Order::registers(m, &d, "kept");
        kept.set(m, &order);
        kept.outputs(m, &d, "out");
    });
    has(&v, "kept_item <= 16'h1234;");
    has(&v, "kept_valid <= 1'd0;");
    has(&v, "kept_item <= in_item;");
    assert_eq!(v.matches("kept_tag <=").count(), 1, "a tag has no reset: {v}");
}

#[test]
fn a_field_that_is_not_there_stays_0_when_registers_are_set() {
    let d = design(false);
    let v = text(|m| {
        let kept = Order::registers(m, &d, "kept");
        let order = Order { tag: lit(7, 8), ..Order::inputs(m, &d, "in") };
        kept.set(m, &order);
        m.output("tag", kept.tag);
    });
    has(&v, "assign tag = 8'h0;");
}

#[test]
fn children_are_joined_field_by_field() {
    let d = design(true);
    let v = session(|| {
        let mut source = Module::new("source", "A source.");
        let given = Order::inputs(&mut source, &d, "given");
        given.outputs(&mut source, &d, "order");
        let mut sink = Module::new("sink", "A sink.");
        let taken = Order::inputs(&mut sink, &d, "taken");
        sink.output("tag", taken.tag);
        sink.output("any", taken.valid | taken.kind.any() | taken.item.any());
        let mut m = Module::new("top", "Both.");
        let (from, to) = (m.instance("from", &source.build()), m.instance("to", &sink.build()));
        let outside = Order::inputs(&mut m, &d, "in");
        outside.connect(&mut m, &d, &from, "given");
        Order::join(&mut m, &d, (&from, "order"), (&to, "taken"));
        m.output("tag", to.out("tag"));
        m.output("any", to.out("any"));
        emit(&m.build(), &Options::default()).expect("emits").verilog
    });
    for line in [".given_tag(in_tag),", ".taken_tag(from_order_tag),", ".taken_type(from_order_type),"] {
        let packed: String = v.chars().filter(|c| *c != ' ').collect();
        assert!(packed.contains(line), "no {line} in\n{v}");
    }
}

#[test]
fn words_hold_the_fields_from_the_top() {
    session(|| {
        for (tagged, widths, tag) in [(true, vec![1, 11, 16], 0x5a), (false, vec![1, 3, 16], 0)] {
            let d = design(tagged);
            assert_eq!(Order::widths(&d), widths);
            let order = Order {
                valid: hi(),
                kind: lit(5, 3),
                tag: lit(if tagged { 0x5a } else { 0 }, 8),
                item: lit(0xbeef, 16),
            };
            let words = order.pack(&d);
            assert_eq!(words.iter().map(|w| w.width()).collect::<Vec<_>>(), widths);
            assert_eq!(words[1].constant(), Some(if tagged { 5 << 8 | 0x5a } else { 5 }));
            let back = Order::unpack(&d, &words);
            let values = [back.valid, back.kind, back.tag, back.item].map(E::constant);
            assert_eq!(values, [Some(1), Some(5), Some(tag), Some(0xbeef)]);
        }
    });
}

#[test]
fn a_choice_is_made_field_by_field() {
    let d = design(true);
    let v = text(|m| {
        let (a, b) = (Order::inputs(m, &d, "a"), Order::inputs(m, &d, "b"));
        let second = m.input("second", 1);
        b.or(second, &a).outputs(m, &d, "out");
    });
    has(&v, "assign out_tag = second ? b_tag : a_tag;");
    has(&v, "assign out_type = second ? b_type : a_type;");
}

#[test]
fn one_of_several_is_chosen_field_by_field() {
    let d = design(true);
    session(|| {
        let order = |item: u64| Order { item: lit(item, 16), ..Order::zero(&d) };
        for (hot, value) in [([1, 0], 7), ([0, 1], 9), ([0, 0], 0)] {
            let chosen = Order::onehot(&[(lit(hot[0], 1), order(7)), (lit(hot[1], 1), order(9))]);
            assert_eq!(chosen.item.constant(), Some(value));
        }
    });
}

#[test]
fn only_fields_that_are_there_are_mapped() {
    session(|| {
        for tagged in [false, true] {
            let d = design(tagged);
            let mut seen = vec![];
            let order = Order::zero(&d).map(&d, |name, e| {
                seen.push(name);
                !e
            });
            assert_eq!(seen.contains(&"tag"), tagged);
            assert_eq!(order.tag.constant(), Some(if tagged { 0xff } else { 0 }));
        }
    });
}

#[test]
#[should_panic(expected = "item has 16 bits, not 8")]
fn a_signal_of_another_width_is_refused() {
    session(|| Order::from_fn(&design(true), |name, width| lit(0, if name == "item" { 8 } else { width })));
}
