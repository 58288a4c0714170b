//! Verilog-2005 text for typed modules.

use crate::ir::{Seq, X};
use crate::label::Value;
use crate::lower::{Mod, child_inputs};
use crate::module::wrapped;
use crate::ram::Rams;
use crate::storage::{CLK, MemoryInput, MemoryKind, Net, RST, Reset, Storage};
use bitvec::vec::BitVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

/// Begins what stands at the end of a module for the sake of tools that warn of unused bits.
pub(crate) const UNUSED: &str =
    "  // Bits that nothing here reads (reserved, or switched off in this design)";
/// Temporaries with more nodes than this keep their own line.
const FOLD: usize = 24;
/// The same for those that the block gave a name.
const FOLD_CALLED: usize = 6;

/// A module as it is written: without what nothing reads, with temporaries in their readers.
pub(crate) fn tidy(mut m: Mod, all: &[Mod]) -> Mod {
    m.never.clear();
    drop_dead(&mut m, all);
    fold_temporaries(&mut m);
    m
}

/// The text of a module that is [`tidy`].
pub(crate) fn module(m: &Mod, all: &[Mod], rams: &Rams) -> String {
    Writer { all, rams, used: usage(m, all), m, out: String::new() }.write()
}

/// The text of assertions that stand beside a module.
pub(crate) fn checks(m: &Mod, all: &[Mod], rams: &Rams) -> String {
    Writer { all, rams, used: HashMap::new(), m, out: String::new() }.checks()
}

/// The width of everything in a module that has a value.
pub(crate) fn widths(m: &Mod, all: &[Mod]) -> BTreeMap<Net, u32> {
    let mut widths: BTreeMap<Net, u32> = m.wires.iter().copied().collect();
    widths.extend(m.ports.iter().zip(0..).map(|(port, i)| (Net::Port(i), port.width)));
    widths.extend(m.storage.iter().map(|(net, s)| (value_of(*net, s), s.width())));
    for ((_, index), c) in m.children.iter().zip(0..) {
        widths.extend(all[*index].ports.iter().zip(0..).map(|(port, i)| (Net::Child(c, i), port.width)));
    }
    widths
}

fn read_by(x: &X, f: &mut dyn FnMut(Net)) {
    x.reads(&mut |n, _, _, _| f(n));
}

/// Removes wires and registers that nothing reads. What leaves the module or enters a child or memory stays.
fn drop_dead(m: &mut Mod, all: &[Mod]) {
    let mut by_register: HashMap<Net, Vec<&Seq>> = HashMap::new();
    for s in &m.clocked {
        s.targets(&mut |t| by_register.entry(t).or_default().push(s));
    }
    let children = m.children.iter().map(|(_, index)| &all[*index].ports[..]);
    let mut work: Vec<Net> = m.outputs().chain(child_inputs(children)).collect();
    let mut live: BTreeSet<Net> = BTreeSet::new();
    while let Some(net) = work.pop() {
        if !live.insert(net) {
            continue;
        }
        let mut reach = |n: Net| {
            if !live.contains(&n) {
                work.push(n);
            }
        };
        if let Some(x) = m.values.get(&net) {
            read_by(x, &mut reach);
        }
        for s in by_register.get(&net).into_iter().flatten() {
            only(s, net, &mut |x| read_by(x, &mut reach));
        }
        if let Net::ReadData(memory) = net {
            MemoryInput::of(MemoryKind::Block).for_each(|input| reach(Net::Memory(memory, input)));
        }
    }
    m.values.retain(|n, _| live.contains(n));
    m.order.retain(|n| live.contains(n));
    m.wires.retain(|(n, _)| live.contains(n));
    m.storage.retain(|(n, s)| live.contains(&value_of(*n, s)));
    let keep = |n: Net| live.contains(&n);
    m.clocked = std::mem::take(&mut m.clocked).into_iter().filter_map(|s| s.retain(&keep)).collect();
}

/// What is read of a register or memory.
pub(crate) fn value_of(net: Net, storage: &Storage) -> Net {
    match (net, storage) {
        (Net::Register(i), Storage::Memory { .. }) => Net::ReadData(i),
        _ => net,
    }
}

/// Visits the expressions of a statement that decide about one register.
pub(crate) fn only(s: &Seq, register: Net, f: &mut dyn FnMut(&X)) {
    let touches = |s: &Seq| {
        let mut yes = false;
        s.targets(&mut |t| yes |= t == register);
        yes
    };
    match s {
        Seq::Set(t, x) if *t == register => f(x),
        Seq::Set(..) => {}
        Seq::If(test, a, b) if touches(s) => {
            f(test);
            a.iter().chain(b).for_each(|s| only(s, register, f));
        }
        Seq::Case(test, cases) if touches(s) => {
            f(test);
            cases.iter().flat_map(|(_, b)| b).for_each(|s| only(s, register, f));
        }
        Seq::If(..) | Seq::Case(..) => {}
    }
}

/// Writes small temporaries that are read once, whole, into their reader.
fn fold_temporaries(m: &mut Mod) {
    let mut reads: HashMap<Net, (u32, bool)> = HashMap::new();
    {
        let mut note = |x: &X| {
            x.reads(&mut |n, _, _, sliced| {
                let r = reads.entry(n).or_default();
                r.0 += 1;
                r.1 |= sliced;
            })
        };
        m.values.values().for_each(&mut note);
        m.clocked.iter().for_each(|s| s.expressions(&mut note));
    }
    let mut folded: BTreeMap<Net, X> = BTreeMap::new();
    // In order of definition, so that a folded value holds its own folded parts when it is measured.
    let temporaries = m.wires.iter().map(|(net, _)| *net).filter(|net| matches!(net, Net::Temporary(_)));
    for t in temporaries {
        let Some(mut x) = m.values.get(&t).cloned() else { continue };
        x.substitute(&mut |n| folded.get(&n).cloned());
        let most = if m.called.contains(&t) { FOLD_CALLED } else { FOLD };
        if x.size() <= most && reads.get(&t) == Some(&(1, false)) {
            folded.insert(t, x);
        }
    }
    m.values.retain(|n, _| !folded.contains_key(n));
    m.order.retain(|n| !folded.contains_key(n));
    m.wires.retain(|(n, _)| !folded.contains_key(n));
    let mut apply = |x: &mut X| x.substitute(&mut |n| folded.get(&n).cloned());
    m.values.values_mut().for_each(&mut apply);
    m.clocked.iter_mut().for_each(|s| s.expressions_mut(&mut apply));
}

/// Which bits of every name are read.
fn usage(m: &Mod, all: &[Mod]) -> HashMap<Net, BitVec> {
    let mut used: HashMap<Net, BitVec> = HashMap::new();
    let mut read = |n: Net, lo: u32, width: u32| {
        let (bits, end) = (used.entry(n).or_default(), (lo + width) as usize);
        if bits.len() < end {
            bits.resize(end, false);
        }
        bits[lo as usize..end].fill(true);
    };
    let mut note = |x: &X| x.reads(&mut |n, lo, w, _| read(n, lo, w));
    m.values.values().for_each(&mut note);
    m.clocked.iter().for_each(|s| s.expressions(&mut note));
    let clocked = !m.storage.is_empty() || m.children.iter().any(|(_, i)| all[*i].ports.len() > 1);
    if clocked {
        read(CLK, 0, 1);
    }
    if m.storage.iter().any(|(_, s)| matches!(s, Storage::Register { reset: Reset::To(_), .. })) {
        read(RST, 0, 1);
    }
    used
}

struct Writer<'a> {
    all: &'a [Mod],
    rams: &'a Rams,
    m: &'a Mod,
    used: HashMap<Net, BitVec>,
    out: String,
}

impl Writer<'_> {
    fn line(&mut self, text: impl AsRef<str>) {
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    fn write(mut self) -> String {
        let m = self.m;
        let doc: Vec<String> = m.doc.lines().map(|l| format!("// {l}").trim_end().into()).collect();
        self.line("// ".to_string() + &"-".repeat(96));
        doc.iter().for_each(|l| self.line(l));
        self.ports();
        self.constants();
        self.declarations();
        self.child_wires();
        self.instances();
        self.memories();
        self.body();
        self.unused();
        self.line("endmodule");
        self.out
    }

    fn checks(mut self) -> String {
        let m = self.m;
        self.line(format!("// {}", m.doc));
        // Signals come whole, whatever is read of them.
        self.line("/* verilator lint_off UNUSEDSIGNAL */");
        self.ports();
        self.constants();
        self.declarations();
        self.body();
        for (what, violation) in &m.never {
            self.line(format!("\n  // Never: {what}"));
            let text = strip(self.text(violation, 6));
            self.line(format!("  always @(posedge clk) if (!rst) assert (!({text}));"));
        }
        self.line("endmodule");
        self.line("/* verilator lint_on UNUSEDSIGNAL */");
        self.out
    }

    fn ports(&mut self) {
        let m = self.m;
        self.line(format!("module {} (", m.kind));
        let column = m.ports.iter().map(|p| range(p.width).len()).max().unwrap_or(0);
        for (i, p) in m.ports.iter().enumerate() {
            if !p.section.is_empty() {
                self.line(format!("{}  // {}", if i > 0 { "\n" } else { "" }, p.section));
            }
            let direction = if p.input { "input " } else { "output" };
            let comma = if i + 1 < m.ports.len() { "," } else { "" };
            self.line(format!("  {direction} wire {:column$}{}{comma}", range(p.width), p.name));
        }
        self.line(");");
    }

    /// The constants with names, set by set.
    fn constants(&mut self) {
        let labels = self.m.labels();
        let column = labels.iter().map(|(label, _)| label.verilog().len()).max().unwrap_or(0);
        let mut set = None;
        for (label, width) in labels {
            if set != Some(label.set) {
                self.line(format!("\n  // {}", label.set.doc.trim()));
                set = Some(label.set);
            }
            let value = constant(Value::Number(label.value), width);
            let doc = label.doc.trim();
            let doc = if doc.is_empty() { String::new() } else { format!(" // {doc}") };
            self.line(format!("  localparam {}{:column$} = {value};{doc}", range(width), label.verilog()));
        }
        if set.is_some() {
            self.line("");
        }
    }

    fn declarations(&mut self) {
        let m = self.m;
        for (net, s) in &m.storage {
            let name = m.name(*net);
            match s {
                Storage::Register { width, .. } => self.line(format!("  reg  {}{name};", range(*width))),
                Storage::Memory { depth, width, kind } => {
                    let lines = self.rams.declarations(&name, *kind, *depth, *width);
                    lines.into_iter().for_each(|l| self.line(l));
                }
            }
        }
        for (net, w) in &m.wires {
            let kind = if m.values.get(net).is_some_and(is_guarded) { "reg " } else { "wire" };
            self.line(format!("  {kind} {}{};", range(*w), m.name(*net)));
        }
    }

    /// The wires of all children stand before their first use: some tools take a later declaration for a second one.
    fn child_wires(&mut self) {
        let m = self.m;
        for ((_, index), c) in m.children.iter().zip(0..) {
            for (p, i) in self.all[*index].ports.iter().zip(0..) {
                let net = Net::Child(c, i);
                if !p.input || self.direct(net).is_none() {
                    self.line(format!("  wire {}{};", range(p.width), m.name(net)));
                }
            }
        }
    }

    /// A child's input that is a plain signal or constant is connected without a wire of its own.
    fn direct(&self, net: Net) -> Option<String> {
        match self.m.values.get(&net)? {
            x @ (X::Signal(..) | X::Const(..) | X::Slice(..)) => Some(self.flat(x)),
            _ => None,
        }
    }

    fn flat(&self, x: &X) -> String {
        x.flat(&|net| self.m.name(net))
    }

    fn text(&self, x: &X, indent: usize) -> String {
        x.text(&|net| self.m.name(net), indent)
    }

    fn instances(&mut self) {
        let m = self.m;
        for ((instance, index), c) in m.children.iter().zip(0..) {
            let child = &self.all[*index];
            self.line("");
            // Its first sentence says what the block is for.
            let doc = child.doc.split("\n\n").next().unwrap_or_default().replace('\n', " ");
            let doc = doc.split_once(". ").map_or(&doc[..], |(first, _)| first);
            if !doc.is_empty() {
                let doc = wrapped(doc.trim_end_matches('.'), 96);
                doc.lines().for_each(|line| self.line(format!("  // {line}")));
            }
            self.line(format!("  {} {instance} (", child.kind));
            let last = child.ports.len() - 1;
            let column = child.ports.iter().map(|p| p.name.len()).max().unwrap_or(0);
            for (i, p) in child.ports.iter().enumerate() {
                let net = Net::Child(c, i as u32);
                let value = if p.input { self.direct(net) } else { None };
                let value = value.unwrap_or_else(|| m.name(net));
                let comma = if i < last { "," } else { "" };
                if !p.section.is_empty() {
                    self.line(format!("    // {}", p.section));
                }
                self.line(format!("    .{:column$} ({value}){comma}", p.name));
            }
            self.line("  );");
        }
    }

    /// Part by part: what is computed, then what is stored.
    fn body(&mut self) {
        let m = self.m;
        let blocks = groups(&m.clocked);
        for (net, s) in &m.storage {
            if let Storage::Register { width, reset: Reset::PowerUp } = s {
                self.line(format!("  initial {} = {width}'d0;", m.name(*net)));
            }
        }
        for (part, title) in m.titles.iter().enumerate() {
            let here = |net: &Net| m.part_of.get(net).copied().unwrap_or_default() == part;
            let written = |net: &&Net| !matches!(net, Net::Child(..)) || self.direct(**net).is_none();
            let values: Vec<Net> = m.order.iter().filter(|net| here(net)).filter(written).copied().collect();
            let first = |targets: &BTreeSet<Net>| {
                targets.iter().filter_map(|t| m.part_of.get(t)).min().copied().unwrap_or_default()
            };
            let blocks: Vec<_> = blocks.iter().filter(|(targets, _)| first(targets) == part).collect();
            if values.is_empty() && blocks.is_empty() {
                continue;
            }
            self.line("");
            if !title.is_empty() {
                self.line(format!("  // ---- {title} {}", "-".repeat(90usize.saturating_sub(title.len()))));
            }
            values.into_iter().for_each(|net| self.assignment(net));
            blocks.into_iter().for_each(|(targets, statements)| self.always(targets, statements));
        }
    }

    fn assignment(&mut self, net: Net) {
        let m = self.m;
        let x = &m.values[&net];
        if is_guarded(x) {
            return self.guarded(&m.name(net), x);
        }
        let mut text = self.text(x, 4);
        if text.starts_with('(') && matches!(x, X::Binary(..) | X::Mux(..)) {
            text = text[1..text.len() - 1].to_string();
        }
        self.line(format!("  assign {} = {text};", m.name(net)));
    }

    fn guarded(&mut self, name: &str, x: &X) {
        self.line("  always @* begin");
        self.line(format!("    {name} = 1'd0;"));
        let (mut x, mut pad) = (x, String::from("    "));
        while let X::Mux(test, then, _) = x {
            self.line(format!("{pad}if ({})", strip(self.text(test, pad.len() + 2))));
            pad += "  ";
            x = then;
        }
        self.line(format!("{pad}{name} = {};", strip(self.text(x, pad.len() + 2))));
        self.line("  end");
    }

    fn memories(&mut self) {
        let m = self.m;
        for (net, s) in &m.storage {
            if let Storage::Memory { kind, depth, width } = s {
                self.line("");
                let lines = self.rams.behaviour(&m.name(*net), *kind, *depth, *width);
                lines.into_iter().for_each(|l| self.line(l));
            }
        }
    }

    fn always(&mut self, targets: &BTreeSet<Net>, statements: &[&Seq]) {
        let m = self.m;
        self.line("");
        self.line("  always @(posedge clk) begin");
        for s in statements {
            self.statement(s, 4);
        }
        let resets: Vec<(String, u32, Value)> = m
            .storage
            .iter()
            .filter(|(net, _)| targets.contains(net))
            .filter_map(|(net, s)| match s {
                Storage::Register { width, reset: Reset::To(v) } => Some((m.name(*net), *width, *v)),
                _ => None,
            })
            .collect();
        if !resets.is_empty() {
            self.line("    if (rst) begin");
            for (n, w, v) in resets {
                self.line(format!("      {n} <= {};", constant(v, w)));
            }
            self.line("    end");
        }
        self.line("  end");
    }

    fn statement(&mut self, s: &Seq, indent: usize) {
        let pad = " ".repeat(indent);
        match s {
            Seq::Set(n, x) => {
                let text = strip(self.text(x, indent + 2));
                self.line(format!("{pad}{} <= {text};", self.m.name(*n)));
            }
            Seq::If(test, then, otherwise) => {
                let (mut test, mut then, mut otherwise) = (test, then, otherwise);
                let mut lead = "if";
                loop {
                    self.line(format!("{pad}{lead} ({}) begin", strip(self.text(test, indent + 2))));
                    then.iter().for_each(|s| self.statement(s, indent + 2));
                    match otherwise.as_slice() {
                        [Seq::If(t, a, b)] => (test, then, otherwise, lead) = (t, a, b, "end else if"),
                        _ => break,
                    }
                }
                if !otherwise.is_empty() {
                    self.line(format!("{pad}end else begin"));
                    otherwise.iter().for_each(|s| self.statement(s, indent + 2));
                }
                self.line(format!("{pad}end"));
            }
            Seq::Case(on, cases) => {
                self.line(format!("{pad}case ({})", self.flat(on)));
                for (value, block) in cases {
                    let value = value.map_or("default".into(), |v| constant(v, on.width()));
                    self.line(format!("{pad}  {value}: begin"));
                    block.iter().for_each(|s| self.statement(s, indent + 4));
                    self.line(format!("{pad}  end"));
                }
                self.line(format!("{pad}endcase"));
            }
        }
    }

    /// Gathers bits that nothing reads, such as reserved fields of a bus, in one wire named for it.
    fn unused(&mut self) {
        let m = self.m;
        let mut nets: Vec<(Net, u32)> =
            m.ports.iter().zip(0..).filter(|(p, _)| p.input).map(|(p, i)| (Net::Port(i), p.width)).collect();
        nets.extend(m.wires.iter().copied());
        nets.extend(m.storage.iter().map(|(net, s)| (value_of(*net, s), s.width())));
        for ((_, index), c) in m.children.iter().zip(0..) {
            let ports = self.all[*index].ports.iter().zip(0..).filter(|(p, _)| !p.input);
            nets.extend(ports.map(|(p, i)| (Net::Child(c, i), p.width)));
        }
        let mut parts = vec![];
        for (n, w) in nets {
            let mut used = self.used.get(&n).cloned().unwrap_or_default();
            used.resize(w as usize, false);
            let mut bit = 0;
            while let Some(skip) = used[bit..].first_zero() {
                bit += skip;
                let run = used[bit..].first_one().unwrap_or(used.len() - bit);
                let (lo, width) = (bit as u32, run as u32);
                let x = if width == w { X::Signal(n, w) } else { X::Slice(n, lo, width) };
                parts.push(self.flat(&x));
                bit += run;
            }
        }
        if !parts.is_empty() {
            self.line("");
            self.line(UNUSED);
            self.line(format!("  wire unused = &{{1'b0,\n    {}}};", parts.join(",\n    ")));
        }
    }
}

/// Whether an expression is what [`Module::wire_if`](crate::Module::wire_if) describes: elsewhere the builder folds a
/// multiplexer with a constant 0 into an AND.
pub(crate) fn is_guarded(x: &X) -> bool {
    matches!(x, X::Mux(_, _, zero) if **zero == X::Const(0, 1))
}

fn strip(text: String) -> String {
    let inner = text.strip_prefix('(').and_then(|t| t.strip_suffix(')'));
    match inner {
        // Only when the first parenthesis closes at the end.
        Some(t) if balanced(t) => t.to_string(),
        _ => text,
    }
}

fn balanced(t: &str) -> bool {
    let mut depth = 0i32;
    for c in t.chars() {
        depth += match c {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        if depth < 0 {
            return false;
        }
    }
    depth == 0
}

/// A constant as it is written.
fn constant(value: Value, width: u32) -> String {
    let x = match value {
        Value::Number(number) => X::Const(number.into(), width),
        Value::Label(label) => X::Label(label, width),
    };
    x.flat(&|_| String::new())
}

pub(crate) fn range(width: u32) -> String {
    let mut s = String::new();
    if width > 1 {
        let _ = write!(s, "[{}:0] ", width - 1);
    }
    s
}

/// Statements that share registers stand in one block, in their order.
fn groups(statements: &[Seq]) -> Vec<(BTreeSet<Net>, Vec<&Seq>)> {
    type Group<'a> = (BTreeSet<Net>, Vec<(usize, &'a Seq)>);
    let mut groups: Vec<Group> = vec![];
    for (i, s) in statements.iter().enumerate() {
        let mut targets = BTreeSet::new();
        s.targets(&mut |t| {
            targets.insert(t);
        });
        let mut members = vec![(i, s)];
        let mut first = groups.len();
        let mut k = 0;
        while k < groups.len() {
            if groups[k].0.is_disjoint(&targets) {
                k += 1;
                continue;
            }
            let (t, g) = groups.remove(k);
            targets.extend(t);
            members.extend(g);
            first = first.min(k);
        }
        members.sort_by_key(|(i, _)| *i);
        groups.insert(first.min(groups.len()), (targets, members));
    }
    groups.into_iter().map(|(t, g)| (t, g.into_iter().map(|(_, s)| s).collect())).collect()
}
