//! Which paths from an input to an output are found.

use pasidon_hdl::{MemoryKind, Module, Options, emit, session};
use std::rc::Rc;

/// The paths of a module with inputs `a` and `b` of 4 bits, as text.
fn paths(describe: impl FnOnce(&mut Module)) -> Vec<String> {
    session(|| {
        let mut m = Module::new("top", "");
        describe(&mut m);
        let emitted = emit(&m.build(), &Options::default()).expect("emits");
        emitted.paths().iter().map(ToString::to_string).collect()
    })
}

/// Two ways through: `y` follows `a` at once and `z` follows `b` a cycle later.
fn child() -> Rc<Module> {
    let mut m = Module::new("child", "");
    let (a, b) = (m.input("a", 4), m.input("b", 4));
    let later = m.reg("later", 4, 0);
    m.set(later, b);
    m.output("y", !a);
    m.output("z", later);
    m.build()
}

#[test]
fn logic_is_a_path_and_a_register_ends_it() {
    let found = paths(|m| {
        let (a, b) = (m.input("a", 4), m.input("b", 4));
        let sum = m.wire("sum", a + b);
        let held = m.reg("held", 4, 0);
        m.set(held, sum);
        m.output("now", sum);
        m.output("held_out", held);
    });
    assert_eq!(found, ["a -> sum -> now", "b -> sum -> now"]);
}

#[test]
fn children_pass_on_what_they_pass_through() {
    let found = paths(|m| {
        let (a, b) = (m.input("a", 4), m.input("b", 4));
        let first = m.instance("first", &child());
        let second = m.instance("second", &child());
        first.connect_all(m, &[("a", a), ("b", b)]);
        second.connect_all(m, &[("a", first.out("y")), ("b", a)]);
        m.output("y", second.out("y"));
        m.output("z", second.out("z"));
    });
    assert_eq!(found, ["a -> first_a -> first_y -> second_a -> second_y -> y"]);
}

#[test]
fn a_memory_that_is_read_at_once_passes_its_read_address_and_a_block_nothing() {
    for (kind, expected) in [
        (MemoryKind::Distributed, vec!["a -> words_read_address -> words_read_data -> y"]),
        (MemoryKind::Block, vec![]),
    ] {
        let found = paths(|m| {
            let (a, b, go) = (m.input("a", 4), m.input("b", 4), m.input("go", 1));
            let words = m.memory("words", 16, 4, kind);
            let data = words.connect(m, (go, b, b), (go, a));
            m.output("y", data);
        });
        assert_eq!(found, expected, "{kind:?}");
    }
}

#[test]
fn the_clock_is_no_input_and_the_reset_is_one() {
    assert_eq!(paths(|m| done(m.output("y", m.reset()))), ["rst -> y"]);
}

fn done<T>(_: T) {}
