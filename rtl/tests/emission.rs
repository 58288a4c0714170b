//! The writer, on small blocks.

use pasidon_rtl::emit::emit;
use pasidon_rtl::hdl::{MemoryKind, Module, cat, lit, select, session};
use std::rc::Rc;

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

#[test]
fn one_module_for_equal_blocks_and_the_same_bytes_twice() {
    let text = || session(|| emit(&*top()).map(|e| e.verilog)).expect("emits");
    assert_eq!(text(), text());
    assert_eq!(text().matches("\nmodule counter").count() + text().matches("\nmodule top").count(), 2);
    assert_eq!(text().matches("endmodule").count(), 2);
}
