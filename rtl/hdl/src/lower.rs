//! From described modules to modules as they are written: expressions become trees with exact widths, what is used
//! more than once and has no name becomes a temporary, and equal modules become one.

use crate::EmitError;
use crate::expr::{E, Op};
use crate::ir::{Seq, X};
use crate::keywords::KEYWORDS;
use crate::label::{Label, Value};
use crate::module::{Module, PortDef, Statement};
use crate::storage::{CLK, MemoryInput, Net, RST, Reset, Storage};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// A module as it is written.
#[derive(Clone, Debug)]
pub(crate) struct Mod {
    pub kind: String,
    /// What the block called it, before twins were told apart.
    pub base: String,
    pub doc: String,
    pub ports: Vec<PortDef>,
    /// What the nets are called in Verilog.
    pub names: BTreeMap<Net, String>,
    /// Wires and then temporaries, in the order of their declaration.
    pub wires: Vec<(Net, u32)>,
    pub storage: Vec<(Net, Storage)>,
    /// Instance name and index into the list of modules.
    pub children: Vec<(String, usize)>,
    pub values: BTreeMap<Net, X>,
    /// Keys of `values` in the order in which they are written.
    pub order: Vec<Net>,
    pub clocked: Vec<Seq>,
    /// What must never be 1.
    pub never: Vec<(String, X)>,
    /// Temporaries that the block calls something.
    pub called: BTreeSet<Net>,
    /// Titles of the parts of the body; the first has none.
    pub titles: Vec<String>,
    /// The part in which a net has its value, or a register is first set.
    pub part_of: BTreeMap<Net, usize>,
}

impl Mod {
    /// What a net is called in Verilog.
    pub fn name(&self, net: Net) -> String {
        self.names.get(&net).cloned().unwrap_or_else(|| panic!("{}: {net:?} has a name", self.kind))
    }

    /// The constants with names that it uses, and their widths.
    pub fn labels(&self) -> BTreeSet<(Label, u32)> {
        let mut labels = BTreeSet::new();
        let mut note = |label, width| {
            labels.insert((label, width));
        };
        self.values.values().for_each(|x| x.labels(&mut note));
        self.clocked.iter().for_each(|s| s.labels(&mut note));
        self.never.iter().for_each(|(_, x)| x.labels(&mut note));
        for (_, storage) in &self.storage {
            if let Storage::Register { width, reset: Reset::To(Value::Label(label)) } = storage {
                note(*label, *width);
            }
        }
        labels
    }

    /// Its output ports.
    pub fn outputs(&self) -> impl Iterator<Item = Net> {
        self.ports.iter().zip(0..).filter(|(p, _)| !p.input).map(|(_, i)| Net::Port(i))
    }
}

/// The inputs of a module's children, given the ports of each.
pub(crate) fn child_inputs<'a>(children: impl Iterator<Item = &'a [PortDef]>) -> impl Iterator<Item = Net> {
    children.zip(0..).flat_map(|(ports, c)| {
        ports.iter().zip(0..).filter(|(p, _)| p.input).map(move |(_, p)| Net::Child(c, p))
    })
}

/// All modules of a design, children before parents; the last one is the top.
pub(crate) fn modules(top: &Module) -> Result<Vec<Mod>, EmitError> {
    let mut all = All::default();
    all.add(top)?;
    Ok(all.done)
}

#[derive(Default)]
struct All {
    done: Vec<Mod>,
    /// Where a described module is in `done`.
    known: HashMap<*const Module, usize>,
}

impl All {
    fn add(&mut self, module: &Module) -> Result<usize, EmitError> {
        if let Some(index) = self.known.get(&std::ptr::from_ref(module)) {
            return Ok(*index);
        }
        let mut children = vec![];
        for (name, child) in &module.children {
            children.push((name.clone(), self.add(child)?));
        }
        let mut m = Lowering::of(module, children)?;
        // Equal modules are one module, whatever their instances are called.
        let index = self.done.iter().position(|d| same(d, &m)).unwrap_or_else(|| {
            let twins = self.done.iter().filter(|d| d.doc == m.doc && d.base == m.base).count();
            if twins > 0 {
                m.kind = format!("{}__{}", m.kind, twins);
            }
            self.done.push(m);
            self.done.len() - 1
        });
        self.known.insert(std::ptr::from_ref(module), index);
        Ok(index)
    }
}

fn same(a: &Mod, b: &Mod) -> bool {
    a.base == b.base
        && a.ports == b.ports
        && a.storage == b.storage
        && a.children == b.children
        && a.wires == b.wires
        && a.names == b.names
        && a.values == b.values
        && a.clocked == b.clocked
        && a.never == b.never
}

struct Lowering<'a> {
    module: &'a Module,
    m: Mod,
    uses: HashMap<E, u32>,
    /// The temporary that an expression became.
    temporaries: HashMap<E, Net>,
    /// Names that nothing else may have.
    taken: BTreeSet<String>,
    /// The part of the body that is being written.
    part: usize,
}

/// Operations that are written wherever they are needed, rather than once with a name.
const SMALL: u32 = 2;

impl Lowering<'_> {
    fn of(module: &Module, children: Vec<(String, usize)>) -> Result<Mod, EmitError> {
        let titles = [String::new()].into_iter().chain(module.parts.iter().map(|(title, ..)| title.clone()));
        let m = Mod {
            kind: module.kind.clone(),
            base: module.kind.clone(),
            doc: module.doc.clone(),
            ports: module.ports.clone(),
            names: names(module)?,
            wires: module.wires.iter().enumerate().map(|(i, (_, w))| (Net::Wire(i as u32), *w)).collect(),
            storage: module
                .storage
                .iter()
                .enumerate()
                .map(|(i, (_, s))| (Net::Register(i as u32), s.clone()))
                .collect(),
            children,
            values: BTreeMap::new(),
            order: vec![],
            clocked: vec![],
            never: vec![],
            called: BTreeSet::new(),
            titles: titles.collect(),
            part_of: BTreeMap::new(),
        };
        let taken = m.names.values().cloned().collect();
        let mut l = Lowering { module, m, uses: HashMap::new(), temporaries: HashMap::new(), taken, part: 0 };
        module.values.iter().flat_map(|(_, c, v)| c.iter().chain([v])).for_each(|e| l.count(*e));
        module.clocked.iter().for_each(|s| l.count_statement(s));
        for (i, (net, conditions, value)) in module.values.iter().enumerate() {
            l.part = module.parts.iter().filter(|(_, values, _)| *values <= i).count();
            if conditions.is_empty() {
                let x = l.branch(*value);
                l.give(*net, x);
                continue;
            }
            let mut x = l.value(*value);
            for condition in conditions.iter().rev() {
                let zero = Box::new(X::Const(0, 1));
                x = X::Mux(Box::new(l.value(*condition)), Box::new(x), zero);
            }
            l.give(*net, x);
        }
        l.part = 0;
        for child in 0..module.children.len() as u32 {
            for (port, net) in [CLK, RST].into_iter().enumerate() {
                l.give(Net::Child(child, port as u32), X::Signal(net, 1));
            }
        }
        for (i, s) in module.clocked.iter().enumerate() {
            l.part = module.parts.iter().filter(|(_, _, clocked)| *clocked <= i).count();
            let s = l.clocked(s);
            s.targets(&mut |register| {
                l.m.part_of.entry(register).or_insert(l.part);
            });
            l.m.clocked.push(s);
        }
        // Last, so that the module is the same with and without them.
        for (what, violation) in &module.never {
            let x = l.value(*violation);
            l.m.never.push((what.clone(), x));
        }
        l.complete()?;
        Ok(l.m)
    }

    fn count(&mut self, e: E) {
        let uses = self.uses.entry(e).or_insert(0);
        *uses += 1;
        if *uses == 1 {
            e.node(|n| n.args.clone()).into_iter().for_each(|a| self.count(a));
        }
    }

    fn count_statement(&mut self, s: &Statement) {
        match s {
            Statement::Set { value, .. } => self.count(*value),
            Statement::If { test, then, otherwise } => {
                self.count(*test);
                then.iter().chain(otherwise).for_each(|s| self.count_statement(s));
            }
            Statement::Switch { on, cases, default } => {
                self.count(*on);
                cases.iter().flat_map(|(_, b)| b).chain(default).for_each(|s| self.count_statement(s));
            }
        }
    }

    fn give(&mut self, net: Net, x: X) {
        self.m.order.push(net);
        self.m.part_of.insert(net, self.part);
        self.m.values.insert(net, x);
    }

    fn clocked(&mut self, s: &Statement) -> Seq {
        match s {
            Statement::Set { register, value } => Seq::Set(*register, self.value(*value)),
            Statement::If { test, then, otherwise } => Seq::If(
                self.value(*test),
                then.iter().map(|s| self.clocked(s)).collect(),
                otherwise.iter().map(|s| self.clocked(s)).collect(),
            ),
            Statement::Switch { on, cases, default } => {
                let mut list: Vec<(Option<Value>, Vec<Seq>)> = cases
                    .iter()
                    .map(|(v, block)| (Some(*v), block.iter().map(|s| self.clocked(s)).collect()))
                    .collect();
                list.push((None, default.iter().map(|s| self.clocked(s)).collect()));
                Seq::Case(self.value(*on), list)
            }
        }
    }

    /// A value with its multiplexers and concatenations, where a temporary would only repeat the name of what is assigned.
    fn branch(&mut self, e: E) -> X {
        let node = e.node(|n| n.clone());
        let shared = self.uses.get(&e).is_some_and(|u| *u > 1);
        match node.op {
            Op::Mux | Op::Concat if !shared => self.unfolded(&node.op, &node.args, node.width),
            _ => self.value(e),
        }
    }

    fn unfolded(&mut self, op: &Op, args: &[E], width: u32) -> X {
        if *op == Op::Concat {
            return X::Concat(args.iter().map(|a| self.value(*a)).collect(), width);
        }
        let test = self.value(args[0]);
        let then = self.branch(args[1]);
        X::Mux(Box::new(test), Box::new(then), Box::new(self.branch(args[2])))
    }

    /// A net that has the value of `e`: a temporary unless it is one.
    fn named(&mut self, e: E) -> Net {
        let node = e.node(|n| n.clone());
        if let Op::Signal(_, net) = node.op {
            return net;
        }
        if let Some(net) = self.temporaries.get(&e) {
            return *net;
        }
        // The value comes first: its own temporaries get the lower numbers and stand before it.
        self.uses.insert(e, 1);
        let x = match node.op {
            Op::Mux | Op::Concat => self.unfolded(&node.op, &node.args, node.width),
            _ => self.inline(e),
        };
        let number = self.m.wires.len() - self.module.wires.len();
        let net = Net::Temporary(number as u32);
        self.m.wires.push((net, node.width));
        let name = e.name().map(|name| self.free(&name));
        if name.is_some() {
            self.m.called.insert(net);
        }
        self.m.names.insert(net, name.unwrap_or_else(|| format!("n{number}")));
        self.temporaries.insert(e, net);
        self.give(net, x);
        net
    }

    /// The name, or it with the first number that makes it new.
    fn free(&mut self, name: &str) -> String {
        let free = |name: &String| !self.taken.contains(name) && !KEYWORDS.contains(&name.as_str());
        let mut names = std::iter::once(name.to_string()).chain((2..).map(|n| format!("{name}_{n}")));
        let name = names.find(free).unwrap_or_default();
        self.taken.insert(name.clone());
        name
    }

    /// Operations in an expression; none for signals, parts of signals and constants.
    fn operations(&self, e: E) -> u32 {
        let node = e.node(|n| n.clone());
        match node.op {
            Op::Signal(..) | Op::Const(_) | Op::Label(_) => 0,
            _ if self.temporaries.contains_key(&e) => 0,
            Op::Mux => SMALL + 1,
            Op::Slice(_) => 0,
            Op::Concat if repeats(&node.args) => 1 + self.operations(node.args[0]),
            _ => 1 + node.args.iter().map(|a| self.operations(*a)).sum::<u32>(),
        }
    }

    fn value(&mut self, e: E) -> X {
        let node = e.node(|n| n.clone());
        if let Some(net) = self.temporaries.get(&e) {
            return X::Signal(*net, node.width);
        }
        let simple = match node.op {
            Op::Signal(..) | Op::Const(_) | Op::Label(_) | Op::Slice(_) => true,
            Op::Mux => false,
            Op::Concat if node.args.len() > 3 && !repeats(&node.args) => false,
            _ if self.uses.get(&e).is_none_or(|u| *u == 1) => true,
            _ => e.name().is_none() && self.operations(e) <= SMALL,
        };
        if simple { self.inline(e) } else { X::Signal(self.named(e), node.width) }
    }

    fn inline(&mut self, e: E) -> X {
        let node = e.node(|n| n.clone());
        let (args, width) = (&node.args, node.width);
        let mut binary = |sign| {
            let a = Box::new(self.value(args[0]));
            X::Binary(a, sign, Box::new(self.value(args[1])), width)
        };
        match &node.op {
            Op::Signal(_, net) => X::Signal(*net, width),
            Op::Const(v) => X::Const(*v, width),
            Op::Label(label) => X::Label(*label, width),
            // `~` of one bit is written `!`, which can't be misread as a wider complement.
            Op::Not => X::Unary(if width == 1 { "!" } else { "~" }, Box::new(self.value(args[0])), width),
            Op::Any => X::Unary("|", Box::new(self.value(args[0])), width),
            Op::All => X::Unary("&", Box::new(self.value(args[0])), width),
            Op::And => binary("&"),
            Op::Or => binary("|"),
            Op::Xor => binary("^"),
            Op::Add => binary("+"),
            Op::Sub => binary("-"),
            Op::Shl => binary("<<"),
            Op::Eq => binary("=="),
            Op::Ne => binary("!="),
            Op::Lt => binary("<"),
            Op::Le => binary("<="),
            Op::Slice(lo) => X::Slice(self.named(args[0]), *lo, width),
            Op::Extend => {
                let x = self.value(args[0]);
                X::Concat(vec![X::Const(0, width - x.width()), x], width)
            }
            Op::Concat => X::Concat(args.iter().map(|a| self.value(*a)).collect(), width),
            Op::Mux => unreachable!("becomes a temporary"),
        }
    }

    /// Whatever must have a value has one, and a named constant has one width.
    fn complete(&self) -> Result<(), EmitError> {
        let wires = self.m.wires.iter().map(|(net, _)| *net);
        let memories = self.m.storage.iter().zip(0..).filter_map(|((_, storage), i)| match storage {
            Storage::Memory { kind, .. } => {
                Some(MemoryInput::of(*kind).map(move |input| Net::Memory(i, input)))
            }
            Storage::Register { .. } => None,
        });
        let children = child_inputs(self.module.children.iter().map(|(_, child)| &child.ports[..]));
        let mut all = self.m.outputs().chain(wires).chain(memories.flatten()).chain(children);
        if let Some(net) = all.find(|net| !self.m.values.contains_key(net)) {
            return Err(EmitError::new(&self.m.kind, format!("{} has no value", self.m.name(net))));
        }
        let mut widths: BTreeMap<String, (Label, u32)> = BTreeMap::new();
        for (label, width) in self.m.labels() {
            let known = widths.entry(label.verilog()).or_insert((label, width));
            if *known != (label, width) {
                let what = format!(
                    "{} is {} in {} bits and {} in {width} bits",
                    label.verilog(),
                    known.0.value,
                    known.1,
                    label.value
                );
                return Err(EmitError::new(&self.m.kind, what));
            }
        }
        Ok(())
    }
}

/// Whether a concatenation is one expression several times.
fn repeats(args: &[E]) -> bool {
    args.iter().all(|a| *a == args[0])
}

/// What the nets of a module are called in Verilog: each name once, and none a word of the language.
fn names(module: &Module) -> Result<BTreeMap<Net, String>, EmitError> {
    let mut nets: Vec<Net> = vec![];
    nets.extend((0..module.ports.len() as u32).map(Net::Port));
    nets.extend((0..module.wires.len() as u32).map(Net::Wire));
    for ((_, storage), i) in module.storage.iter().zip(0..) {
        nets.push(Net::Register(i));
        if let Storage::Memory { kind, .. } = storage {
            nets.push(Net::ReadData(i));
            nets.extend(MemoryInput::of(*kind).map(|input| Net::Memory(i, input)));
        }
    }
    for ((_, child), c) in module.children.iter().zip(0..) {
        nets.extend((0..child.ports.len() as u32).map(|p| Net::Child(c, p)));
    }
    let mut taken: BTreeSet<String> = module.children.iter().map(|(name, _)| name.clone()).collect();
    if let Some(word) = taken.iter().chain([&module.kind]).find(|n| KEYWORDS.contains(&n.as_str())) {
        return Err(EmitError::new(&module.kind, format!("{word} is a word of Verilog")));
    }
    let mut names = BTreeMap::new();
    for net in nets {
        let name = module.name_of(net);
        if KEYWORDS.contains(&name.as_str()) {
            return Err(EmitError::new(&module.kind, format!("{name} is a word of Verilog")));
        }
        if !taken.insert(name.clone()) {
            return Err(EmitError::new(&module.kind, format!("two things are called {name} in Verilog")));
        }
        names.insert(net, name);
    }
    Ok(names)
}
