//! The companion of a design: what its blocks say never happens, as assertions in modules of their own.
//!
//! Each module with a [`never`](crate::Module::never) has a companion `MODULE_never` that reads the module's signals and is bound to
//! it. The companion also holds what only assertions read. The module itself is the same with and without it.

use crate::emit::ONE_FILE;
use crate::ir::Seq;
use crate::lower::Mod;
use crate::module::PortDef;
use crate::ram::Rams;
use crate::storage::{CLK, Net, RST, Storage};
use crate::verilog;
use std::collections::{BTreeMap, BTreeSet};

/// The companions of these modules and their `bind`s; empty if nothing is asserted. `described` are the modules with all that the
/// blocks say, `written` what the text has of it.
pub(crate) fn companions(described: &[Mod], written: &[Mod], rams: &Rams) -> String {
    let pairs = described.iter().zip(written).filter(|(m, _)| !m.never.is_empty());
    let texts: Vec<String> = pairs.map(|(m, written)| companion(m, written, described, rams)).collect();
    if texts.is_empty() { String::new() } else { ONE_FILE[0].to_string() + &texts.join("\n") + ONE_FILE[1] }
}

fn companion(m: &Mod, written: &Mod, all: &[Mod], rams: &Rams) -> String {
    let widths = verilog::widths(m, all);
    let there: BTreeSet<Net> = verilog::widths(written, all).into_keys().collect();
    let (mut inputs, mut own) = (BTreeSet::from([CLK, RST]), BTreeSet::new());
    let mut work: Vec<Net> = vec![];
    m.never.iter().for_each(|(_, x)| x.reads(&mut |net, _, _, _| work.push(net)));
    while let Some(net) = work.pop() {
        if there.contains(&net) {
            inputs.insert(net);
        } else if own.insert(net) {
            if let Some(x) = m.values.get(&net) {
                x.reads(&mut |net, _, _, _| work.push(net));
            }
            for s in &m.clocked {
                verilog::only(s, net, &mut |x| x.reads(&mut |net, _, _, _| work.push(net)));
            }
        }
    }
    let keep = |net: Net| own.contains(&net);
    let port = |net: &Net| PortDef {
        name: m.name(*net),
        width: widths.get(net).copied().unwrap_or(1),
        input: true,
        section: String::new(),
    };
    let clocked: Vec<Seq> = m.clocked.iter().filter_map(|s| s.clone().retain(&keep)).collect();
    let storage: Vec<(Net, Storage)> = m.storage.iter().filter(|(net, _)| keep(*net)).cloned().collect();
    let checks = Mod {
        kind: format!("{}_never", m.kind),
        doc: format!("What {} says never happens.", m.kind),
        ports: inputs.iter().map(port).collect(),
        wires: m.wires.iter().filter(|(net, _)| keep(*net)).copied().collect(),
        storage,
        children: vec![],
        values: m.values.iter().filter(|(net, _)| keep(**net)).map(|(net, x)| (*net, x.clone())).collect(),
        order: m.order.iter().filter(|net| keep(**net)).copied().collect(),
        clocked,
        part_of: BTreeMap::new(),
        titles: vec![String::new()],
        ..m.clone()
    };
    let mut text = verilog::checks(&checks, all, rams);
    text += &format!("\nbind {} {} checks (\n", m.kind, checks.kind);
    let connections: Vec<String> =
        checks.ports.iter().map(|p| format!("  .{} ({})", p.name, p.name)).collect();
    text += &connections.join(",\n");
    text += "\n);\n";
    text
}
