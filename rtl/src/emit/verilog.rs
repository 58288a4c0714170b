//! Verilog-2005 text for typed modules.

use super::ir::{Seq, X};
use super::lower::{Mod, PortDef, StorageDef};
use crate::hdl::{MemoryKind, index_width};
use bitvec::vec::BitVec;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;

/// Begins what stands at the end of a module for the sake of tools that warn of unused bits.
pub(super) const UNUSED: &str =
    "  // Bits that nothing here reads (reserved, or switched off in this design)";
/// Temporaries with more nodes than this keep their own line.
const FOLD: usize = 24;

/// A module as it is written: without what nothing reads, with temporaries in their readers.
pub(super) fn tidy(mut m: Mod, all: &[Mod]) -> Mod {
    drop_dead(&mut m, all);
    fold_temporaries(&mut m);
    m
}

/// The text of a module that is [`tidy`].
pub(super) fn module(m: &Mod, all: &[Mod]) -> String {
    Writer { all, used: usage(m, all), m, out: String::new() }.write()
}

/// The Verilog name of an internal name.
fn plain(name: &str) -> String {
    name.strip_suffix("$q").unwrap_or(name).replace('$', "_")
}

fn read_by(x: &X, f: &mut dyn FnMut(&str)) {
    x.reads(&mut |n, _, _, _| f(n));
}

/// Removes wires and registers that nothing reads. What leaves the module or enters a child or memory stays.
fn drop_dead(m: &mut Mod, all: &[Mod]) {
    let mut by_register: HashMap<String, Vec<&Seq>> = HashMap::new();
    for s in &m.clocked {
        s.targets(&mut |t| by_register.entry(t.to_string()).or_default().push(s));
    }
    let mut work: Vec<String> = m.ports.iter().filter(|p| !p.input).map(|p| p.name.clone()).collect();
    for (name, index) in &m.children {
        work.extend(all[*index].ports.iter().filter(|p| p.input).map(|p| format!("{name}${}", p.name)));
    }
    let mut live: BTreeSet<String> = BTreeSet::new();
    while let Some(name) = work.pop() {
        if !live.insert(name.clone()) {
            continue;
        }
        let mut reach = |n: &str| {
            if !live.contains(n) {
                work.push(n.to_string());
            }
        };
        if let Some(x) = m.values.get(&name) {
            read_by(x, &mut reach);
        }
        if let Some(register) = name.strip_suffix("$q") {
            for s in by_register.get(register).into_iter().flatten() {
                only(s, register, &mut |x| read_by(x, &mut reach));
            }
        }
        if let Some(memory) = name.strip_suffix("$read_data") {
            for port in ["write", "read", "write_address", "write_data", "read_address"] {
                reach(&format!("{memory}${port}"));
            }
        }
    }
    m.values.retain(|n, _| live.contains(n));
    m.order.retain(|n| live.contains(n));
    m.wires.retain(|(n, _)| live.contains(n));
    m.temporaries.retain(|n| live.contains(n));
    m.storage.retain(|(n, s)| match s {
        StorageDef::Register { .. } => live.contains(&format!("{n}$q")),
        StorageDef::Memory { .. } => live.contains(&format!("{n}$read_data")),
    });
    let keep = |n: &str| live.contains(&format!("{n}$q"));
    m.clocked = std::mem::take(&mut m.clocked).into_iter().filter_map(|s| s.retain(&keep)).collect();
}

/// Visits the expressions of a statement that decide about one register.
fn only(s: &Seq, register: &str, f: &mut dyn FnMut(&X)) {
    let touches = |s: &Seq| {
        let mut yes = false;
        s.targets(&mut |t| yes |= t == register);
        yes
    };
    match s {
        Seq::Set(t, x) if t == register => f(x),
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
    let mut reads: HashMap<String, (u32, bool)> = HashMap::new();
    {
        let mut note = |x: &X| {
            x.reads(&mut |n, _, _, sliced| {
                let r = reads.entry(n.to_string()).or_default();
                r.0 += 1;
                r.1 |= sliced;
            })
        };
        m.values.values().for_each(&mut note);
        m.clocked.iter().for_each(|s| s.expressions(&mut note));
    }
    let mut folded: BTreeMap<String, X> = BTreeMap::new();
    // In order of definition, so that a folded value holds its own folded parts when it is measured.
    for t in m.temporaries.clone() {
        let Some(mut x) = m.values.get(&t).cloned() else { continue };
        x.substitute(&mut |n| folded.get(n).cloned());
        if x.size() <= FOLD && reads.get(&t) == Some(&(1, false)) {
            folded.insert(t, x);
        }
    }
    m.values.retain(|n, _| !folded.contains_key(n));
    m.order.retain(|n| !folded.contains_key(n));
    m.wires.retain(|(n, _)| !folded.contains_key(n));
    let mut apply = |x: &mut X| x.substitute(&mut |n| folded.get(n).cloned());
    m.values.values_mut().for_each(&mut apply);
    m.clocked.iter_mut().for_each(|s| s.expressions_mut(&mut apply));
}

/// Which bits of every name are read.
fn usage(m: &Mod, all: &[Mod]) -> HashMap<String, BitVec> {
    let mut used: HashMap<String, BitVec> = HashMap::new();
    let mut read = |n: &str, lo: u32, width: u32| {
        let (bits, end) = (used.entry(n.to_string()).or_default(), (lo + width) as usize);
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
        read("clk", 0, 1);
    }
    if m.storage.iter().any(|(_, s)| matches!(s, StorageDef::Register { reset: Some(_), .. })) {
        read("rst", 0, 1);
    }
    used
}

struct Writer<'a> {
    all: &'a [Mod],
    m: &'a Mod,
    used: HashMap<String, BitVec>,
    out: String,
}

impl Writer<'_> {
    fn line(&mut self, text: impl AsRef<str>) {
        self.out.push_str(text.as_ref());
        self.out.push('\n');
    }

    fn write(mut self) -> String {
        let m = self.m;
        let doc: Vec<String> = m.doc.lines().map(|l| format!("// {l}")).collect();
        self.line("// ".to_string() + &"-".repeat(96));
        doc.iter().for_each(|l| self.line(l));
        self.ports();
        self.declarations();
        self.child_wires();
        self.instances();
        self.assignments();
        self.always();
        self.unused();
        self.line("endmodule");
        self.out
    }

    fn ports(&mut self) {
        let m = self.m;
        self.line("/* verilator lint_off DECLFILENAME */ // all modules of a design stand in one file");
        self.line(format!("module {} (", m.kind));
        self.line("/* verilator lint_on DECLFILENAME */");
        for (i, p) in m.ports.iter().enumerate() {
            if !p.section.is_empty() {
                self.line(format!("{}  // {}", if i > 0 { "\n" } else { "" }, p.section));
            }
            let direction = if p.input { "input " } else { "output" };
            let comma = if i + 1 < m.ports.len() { "," } else { "" };
            self.line(format!("  {direction} wire {}{}{comma}", range(p.width), p.name));
        }
        self.line(");");
    }

    fn declarations(&mut self) {
        let m = self.m;
        for (n, s) in &m.storage {
            match s {
                StorageDef::Register { width, .. } => {
                    self.line(format!("  reg  {}{};", range(*width), plain(n)))
                }
                StorageDef::Memory { depth, width, kind } => {
                    // no_rw_check: no block reads a word while it writes it, or it ignores what it reads.
                    let style = if *kind == MemoryKind::Block {
                        "block\", no_rw_check *)"
                    } else {
                        "distributed\" *)"
                    };
                    self.line(format!("  (* ram_style = \"{style}"));
                    self.line(format!("  reg  {}{} [0:{}];", range(*width), plain(n), depth - 1));
                    let address = range(index_width(*depth));
                    self.line(format!("  wire {}_write;", plain(n)));
                    if *kind == MemoryKind::Block {
                        self.line(format!("  wire {}_read;", plain(n)));
                    }
                    self.line(format!("  wire {}{}_write_data;", range(*width), plain(n)));
                    self.line(format!("  wire {address}{}_write_address;", plain(n)));
                    self.line(format!("  wire {address}{}_read_address;", plain(n)));
                    let data = if *kind == MemoryKind::Block { "reg " } else { "wire" };
                    self.line(format!("  {data} {}{}_read_data;", range(*width), plain(n)));
                }
            }
        }
        for (n, w) in &m.wires {
            let kind = if m.values.get(n).is_some_and(is_guarded) { "reg " } else { "wire" };
            self.line(format!("  {kind} {}{};", range(*w), plain(n)));
        }
    }

    /// The wires of all children stand before their first use: some tools take a later declaration for a second one.
    fn child_wires(&mut self) {
        let m = self.m;
        for (instance, index) in &m.children {
            for p in &self.all[*index].ports {
                let name = format!("{instance}${}", p.name);
                if !p.input || self.direct(&name).is_none() {
                    self.line(format!("  wire {}{};", range(p.width), plain(&name)));
                }
            }
        }
    }

    /// A child's input that is a plain signal or constant is connected without a wire of its own.
    fn direct(&self, name: &str) -> Option<String> {
        match self.m.values.get(name)? {
            x @ (X::Signal(..) | X::Const(..) | X::Slice(..)) => Some(x.flat(&plain)),
            _ => None,
        }
    }

    fn instances(&mut self) {
        let m = self.m;
        for (instance, index) in &m.children {
            let child = &self.all[*index];
            self.line("");
            let name = |p: &PortDef| format!("{instance}${}", p.name);
            self.line(format!("  {} {instance} (", child.kind));
            let last = child.ports.len() - 1;
            for (i, p) in child.ports.iter().enumerate() {
                let value = if p.input { self.direct(&name(p)) } else { None };
                let value = value.unwrap_or_else(|| plain(&name(p)));
                let comma = if i < last { "," } else { "" };
                self.line(format!("    .{}({value}){comma}", p.name));
            }
            self.line("  );");
        }
    }

    fn assignments(&mut self) {
        let m = self.m;
        self.line("");
        for name in &m.order {
            let is_child_input = m.children.iter().any(|(c, _)| name.starts_with(&format!("{c}$")));
            if is_child_input && self.direct(name).is_some() {
                continue;
            }
            let x = &m.values[name];
            if is_guarded(x) {
                self.guarded(&plain(name), x);
                continue;
            }
            let mut text = x.text(&plain, 4);
            if text.starts_with('(') && matches!(x, X::Binary(..) | X::Mux(..)) {
                text = text[1..text.len() - 1].to_string();
            }
            self.line(format!("  assign {} = {text};", plain(name)));
        }
    }

    fn guarded(&mut self, name: &str, x: &X) {
        self.line("  always @* begin");
        self.line(format!("    {name} = 1'd0;"));
        let (mut x, mut pad) = (x, String::from("    "));
        while let X::Mux(test, then, _) = x {
            self.line(format!("{pad}if ({})", strip(test.text(&plain, pad.len() + 2))));
            pad += "  ";
            x = then;
        }
        self.line(format!("{pad}{name} = {};", strip(x.text(&plain, pad.len() + 2))));
        self.line("  end");
    }

    fn always(&mut self) {
        let m = self.m;
        for (n, s) in &m.storage {
            if let StorageDef::Register { width, kept: true, .. } = s {
                self.line(format!("  initial {} = {width}'d0;", plain(n)));
            }
        }
        for (n, s) in &m.storage {
            if let StorageDef::Memory { kind, .. } = s {
                let n = plain(n);
                self.line("");
                self.line("  always @(posedge clk) begin");
                self.line(format!("    if ({n}_write) {n}[{n}_write_address] <= {n}_write_data;"));
                if *kind == MemoryKind::Block {
                    self.line(format!("    if ({n}_read) {n}_read_data <= {n}[{n}_read_address];"));
                }
                self.line("  end");
                if *kind == MemoryKind::Distributed {
                    self.line(format!("  assign {n}_read_data = {n}[{n}_read_address];"));
                }
            }
        }
        for (targets, statements) in groups(&m.clocked) {
            self.line("");
            self.line("  always @(posedge clk) begin");
            for s in statements {
                self.statement(s, 4);
            }
            let resets: Vec<(String, u32, u64)> = m
                .storage
                .iter()
                .filter(|(n, _)| targets.contains(n.as_str()))
                .filter_map(|(n, s)| match s {
                    StorageDef::Register { width, reset: Some(v), .. } => Some((plain(n), *width, *v)),
                    _ => None,
                })
                .collect();
            if !resets.is_empty() {
                self.line("    if (rst) begin");
                for (n, w, v) in resets {
                    self.line(format!("      {n} <= {};", X::Const(u128::from(v), w).flat(&plain)));
                }
                self.line("    end");
            }
            self.line("  end");
        }
    }

    fn statement(&mut self, s: &Seq, indent: usize) {
        let pad = " ".repeat(indent);
        match s {
            Seq::Set(n, x) => {
                let text = strip(x.text(&plain, indent + 2));
                self.line(format!("{pad}{} <= {text};", plain(n)));
            }
            Seq::If(test, then, otherwise) => {
                let (mut test, mut then, mut otherwise) = (test, then, otherwise);
                let mut lead = "if";
                loop {
                    self.line(format!("{pad}{lead} ({}) begin", strip(test.text(&plain, indent + 2))));
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
                self.line(format!("{pad}case ({})", on.flat(&plain)));
                for (value, block) in cases {
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
        let mut names: Vec<(String, u32)> =
            m.ports.iter().filter(|p| p.input).map(|p| (p.name.clone(), p.width)).collect();
        names.extend(m.wires.iter().cloned());
        for (n, s) in &m.storage {
            match s {
                StorageDef::Register { width, .. } => names.push((format!("{n}$q"), *width)),
                StorageDef::Memory { width, .. } => names.push((format!("{n}$read_data"), *width)),
            }
        }
        for (c, i) in &m.children {
            let ports = self.all[*i].ports.iter().filter(|p| !p.input);
            names.extend(ports.map(|p| (format!("{c}${}", p.name), p.width)));
        }
        let mut parts = vec![];
        for (n, w) in names {
            let mut used = self.used.get(&n).cloned().unwrap_or_default();
            used.resize(w as usize, false);
            let mut bit = 0;
            while let Some(skip) = used[bit..].first_zero() {
                bit += skip;
                let run = used[bit..].first_one().unwrap_or(used.len() - bit);
                let (lo, width) = (bit as u32, run as u32);
                let x = if width == w { X::Signal(n.clone(), w) } else { X::Slice(n.clone(), lo, width) };
                parts.push(x.flat(&plain));
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

/// Whether an expression is what [`Module::wire_if`](crate::hdl::Module::wire_if) describes: elsewhere the builder folds a
/// multiplexer with a constant 0 into an AND.
pub(super) fn is_guarded(x: &X) -> bool {
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

fn range(width: u32) -> String {
    let mut s = String::new();
    if width > 1 {
        let _ = write!(s, "[{}:0] ", width - 1);
    }
    s
}

/// Statements that share registers stand in one block, in their order.
fn groups(statements: &[Seq]) -> Vec<(BTreeSet<String>, Vec<&Seq>)> {
    type Group<'a> = (BTreeSet<String>, Vec<(usize, &'a Seq)>);
    let mut groups: Vec<Group> = vec![];
    for (i, s) in statements.iter().enumerate() {
        let mut targets = BTreeSet::new();
        s.targets(&mut |t| {
            targets.insert(t.to_string());
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
