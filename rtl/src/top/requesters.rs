//! Blocks of the core that ask the miss table like a translation port.

use crate::design::Design;
use crate::signals::request::{RequestSignals, TranslationSignals};
use pasidon_hdl::{Bundle, Instance, Module};

/// The debug interface asks the miss table as one more port; its answers are taken at once.
pub(super) fn debug_port(
    m: &mut Module,
    d: &Design,
    debugger: &Instance,
    misses: &Instance,
    completer: &Instance,
) {
    requester(m, d, d.ports, debugger, misses, completer);
    TranslationSignals::join(m, d, (completer, "c"), (debugger, "c"));
}

/// A block that asks the miss table as port `port` and takes answers in the cycle in which they are offered.
pub(super) fn requester(
    m: &mut Module,
    d: &Design,
    port: u32,
    block: &Instance,
    misses: &Instance,
    completer: &Instance,
) {
    misses.connect(m, &format!("miss{port}_valid"), block.out("miss_valid"));
    RequestSignals::join(m, d, (block, "miss"), (misses, &format!("miss{port}")));
    block.connect(m, "miss_ready", misses.out(&format!("miss{port}_ready")));
    let valid = completer.out(&format!("c{port}_valid"));
    block.connect(m, "c_valid", valid);
    block.connect(m, "c_ok", completer.out("c_ok"));
    completer.connect(m, &format!("c{port}_done"), valid);
}
