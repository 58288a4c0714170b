//! From rust-hdl's blocks to typed modules: a `Probe` collects them, every name is resolved, every width
//! checked, every wire must have exactly one value.

use super::EmitError;
use super::ir::{Seq, X};
use super::keywords::KEYWORDS;
use crate::hdl::MemoryKind;
use rust_hdl::core::ast::{
    Verilog, VerilogBlockOrConditional, VerilogExpression, VerilogOp, VerilogOpUnary, VerilogStatement,
};
use rust_hdl::core::atom::{Atom, AtomKind};
use rust_hdl::core::block::Block;
use rust_hdl::core::probe::Probe;
use std::collections::{BTreeMap, HashMap};

/// A port of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PortDef {
    pub name: String,
    pub width: u32,
    pub input: bool,
    pub section: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StorageDef {
    Register { width: u32, reset: Option<u64>, kept: bool },
    Memory { depth: usize, width: u32, kind: MemoryKind },
}

/// A typed module.
#[derive(Clone, Debug, Default)]
pub(super) struct Mod {
    pub kind: String,
    pub doc: String,
    pub ports: Vec<PortDef>,
    /// Wires in the order of their declaration.
    pub wires: Vec<(String, u32)>,
    pub temporaries: Vec<String>,
    pub storage: Vec<(String, StorageDef)>,
    /// Instance name and index into the list of modules.
    pub children: Vec<(String, usize)>,
    pub values: BTreeMap<String, X>,
    /// Names of `values` in the order of their assignment.
    pub order: Vec<String>,
    pub clocked: Vec<Seq>,
}

#[derive(Default)]
struct Collector {
    open: Vec<(Mod, Verilog, String)>,
    done: Vec<Mod>,
    error: Option<EmitError>,
    hidden: usize,
}

/// All modules of a design, children before parents; the last one is the top.
pub(super) fn modules(top: &dyn Block) -> Result<Vec<Mod>, EmitError> {
    let mut c = Collector::default();
    top.accept("top", &mut c);
    c.error.map_or(Ok(c.done), Err)
}

impl Probe for Collector {
    fn visit_start_scope(&mut self, name: &str, node: &dyn Block) {
        match node.hdl() {
            Verilog::Custom(marker) => {
                self.hidden += 1;
                let parsed = storage(&marker);
                if let (Some((parent, ..)), Some(def)) = (self.open.last_mut(), parsed) {
                    parent.storage.push((name.into(), def));
                } else {
                    self.fail(EmitError::new(name, format!("unknown storage marker {marker:?}")));
                }
            }
            hdl => self.open.push((Mod::default(), hdl, name.into())),
        }
    }

    fn visit_atom(&mut self, name: &str, atom: &dyn Atom) {
        let Some((m, ..)) = self.open.last_mut() else { return };
        let (width, doc) = (atom.bits() as u32, atom.descriptor().name);
        match atom.kind() {
            AtomKind::InputParameter | AtomKind::OutputParameter => m.ports.push(PortDef {
                name: name.into(),
                width,
                input: atom.kind() == AtomKind::InputParameter,
                section: doc,
            }),
            AtomKind::LocalSignal => {
                if doc == crate::hdl::TEMPORARY {
                    m.temporaries.push(name.into());
                }
                m.wires.push((name.into(), width));
            }
            other => self.fail(EmitError::new(name, format!("signals of kind {other:?} are not supported"))),
        }
    }

    fn visit_end_scope(&mut self, _name: &str, _node: &dyn Block) {
        if self.hidden > 0 {
            self.hidden -= 1;
            return;
        }
        let Some((mut m, hdl, instance)) = self.open.pop() else { return };
        let outcome = match hdl {
            Verilog::Combinatorial(block) => Lower::run(&mut m, &self.done, block),
            _ => Err(EmitError::new(&instance, "a block must describe itself as a syntax tree")),
        };
        if let Err(e) = outcome {
            self.fail(e);
        }
        // Equal modules are one module, whatever their instances are called.
        let index = self.done.iter().position(|d| same(d, &m)).unwrap_or_else(|| {
            let twins = self.done.iter().filter(|d| d.doc == m.doc && base(&d.kind) == m.kind).count();
            if twins > 0 {
                m.kind = format!("{}__{}", m.kind, twins);
            }
            self.done.push(m);
            self.done.len() - 1
        });
        if let Some((parent, ..)) = self.open.last_mut() {
            parent.children.push((instance, index));
        }
    }
}

fn base(kind: &str) -> &str {
    kind.split("__").next().unwrap_or(kind)
}

fn same(a: &Mod, b: &Mod) -> bool {
    base(&a.kind) == b.kind
        && a.ports == b.ports
        && a.storage == b.storage
        && a.children == b.children
        && a.wires == b.wires
        && a.values == b.values
        && a.clocked == b.clocked
}

impl Collector {
    fn fail(&mut self, e: EmitError) {
        self.error.get_or_insert(e);
    }
}

fn storage(marker: &str) -> Option<StorageDef> {
    let words: Vec<&str> = marker.split(' ').collect();
    match words.as_slice() {
        ["register", width, reset] => Some(StorageDef::Register {
            width: width.parse().ok()?,
            reset: reset.parse().ok(),
            kept: *reset == "kept",
        }),
        ["memory", depth, width, kind] => Some(StorageDef::Memory {
            depth: depth.parse().ok()?,
            width: width.parse().ok()?,
            kind: if *kind == "block" { MemoryKind::Block } else { MemoryKind::Distributed },
        }),
        _ => None,
    }
}

/// Who may read or assign a name.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    Read,
    Assign,
    Both,
    Register,
}

struct Lower<'a> {
    m: &'a mut Mod,
    names: HashMap<String, (u32, Role)>,
    parts: BTreeMap<String, Vec<(u32, X)>>,
}

impl Lower<'_> {
    fn run(m: &mut Mod, done: &[Mod], block: Vec<VerilogStatement>) -> Result<(), EmitError> {
        let mut names = HashMap::new();
        for p in &m.ports {
            names.insert(p.name.clone(), (p.width, if p.input { Role::Read } else { Role::Both }));
        }
        for (n, w) in &m.wires {
            names.insert(n.clone(), (*w, Role::Both));
        }
        for (n, s) in &m.storage {
            match s {
                StorageDef::Register { width, .. } => {
                    names.insert(format!("{n}$q"), (*width, Role::Read));
                    names.insert(format!("{n}$d"), (*width, Role::Register));
                }
                StorageDef::Memory { depth, width, kind } => {
                    if *kind == MemoryKind::Block {
                        names.insert(format!("{n}$read"), (1, Role::Assign));
                    }
                    let address = crate::hdl::index_width(*depth);
                    for (port, w) in [
                        ("write", 1),
                        ("write_address", address),
                        ("write_data", *width),
                        ("read_address", address),
                    ] {
                        names.insert(format!("{n}${port}"), (w, Role::Assign));
                    }
                    names.insert(format!("{n}$read_data"), (*width, Role::Read));
                }
            }
        }
        for (n, index) in &m.children {
            for p in &done[*index].ports {
                let role = if p.input { Role::Assign } else { Role::Read };
                names.insert(format!("{n}${}", p.name), (p.width, role));
            }
        }
        let mut l = Lower { m, names, parts: BTreeMap::new() };
        for s in block {
            l.top(s)?;
        }
        l.join_parts()?;
        l.complete()
    }

    fn error(&self, what: impl Into<String>) -> EmitError {
        EmitError::new(&self.m.kind, what)
    }

    fn top(&mut self, s: VerilogStatement) -> Result<(), EmitError> {
        match s {
            VerilogStatement::Comment(c) => {
                if let Some(kind) = c.strip_prefix("module: ") {
                    self.m.kind = kind.into();
                } else if let Some(doc) = c.strip_prefix("doc: ") {
                    self.m.doc = doc.into();
                }
                Ok(())
            }
            s => match self.combinational(&s)? {
                Some((target, x)) => self.give(target, x),
                None if matches!(s, VerilogStatement::SliceAssignment { .. }) => self.part(s),
                None => {
                    let s = self.clocked(s)?;
                    self.m.clocked.push(s);
                    Ok(())
                }
            },
        }
    }

    fn give(&mut self, target: String, x: X) -> Result<(), EmitError> {
        match self.names.get(&target) {
            Some((w, Role::Assign | Role::Both)) if *w == x.width() => {}
            Some((w, Role::Assign | Role::Both)) => {
                return Err(self.error(format!("{target} has {w} bits, its value {}", x.width())));
            }
            _ => return Err(self.error(format!("{target} can't be assigned"))),
        }
        self.m.order.push(target.clone());
        match self.m.values.insert(target.clone(), x) {
            Some(_) => Err(self.error(format!("{target} is assigned twice"))),
            None => Ok(()),
        }
    }

    /// The single target and the value of a statement that is one multiplexer tree.
    fn combinational(&mut self, s: &VerilogStatement) -> Result<Option<(String, X)>, EmitError> {
        match s {
            VerilogStatement::Assignment(VerilogExpression::Signal(t), x) if !t.ends_with("$d") => {
                Ok(Some((t.clone(), self.expression(x)?)))
            }
            VerilogStatement::If(c) => {
                let (VerilogBlockOrConditional::Block(otherwise), then) = (&c.otherwise, &c.then) else {
                    return Ok(None);
                };
                let Some((t1, a)) = self.block(then)? else { return Ok(None) };
                let Some((t2, b)) = self.block(otherwise)? else { return Ok(None) };
                if t1 != t2 || a.width() != b.width() {
                    return Err(self.error(format!("{t1} and {t2} differ in a multiplexer")));
                }
                let test = self.expression(&c.test)?;
                Ok(Some((t1, X::Mux(Box::new(test), Box::new(a), Box::new(b)))))
            }
            _ => Ok(None),
        }
    }

    /// A block that gives one signal one value.
    fn block(&mut self, block: &[VerilogStatement]) -> Result<Option<(String, X)>, EmitError> {
        match block {
            [one] => self.combinational(one),
            [VerilogStatement::SliceAssignment { base: VerilogExpression::Signal(t), .. }, ..] => {
                let mut parts = vec![];
                for s in block {
                    let VerilogStatement::SliceAssignment { replacement, .. } = s else { return Ok(None) };
                    parts.push(self.expression(replacement)?);
                }
                let width = parts.iter().map(X::width).sum();
                Ok(Some((t.clone(), X::Concat(parts, width))))
            }
            _ => Ok(None),
        }
    }

    fn part(&mut self, s: VerilogStatement) -> Result<(), EmitError> {
        let VerilogStatement::SliceAssignment {
            base: VerilogExpression::Signal(t),
            width,
            offset,
            replacement,
        } = s
        else {
            return Err(self.error("a slice of something that is no signal is assigned"));
        };
        let x = self.expression(&replacement)?;
        if x.width() as usize != width {
            return Err(self.error(format!("a slice of {t} has {width} bits, its value {}", x.width())));
        }
        let VerilogExpression::Literal(offset) = offset else {
            return Err(self.error(format!("{t}: slice at a run-time offset")));
        };
        self.parts.entry(t).or_default().push((offset.as_usize() as u32, x));
        Ok(())
    }

    fn join_parts(&mut self) -> Result<(), EmitError> {
        for (target, mut parts) in std::mem::take(&mut self.parts) {
            parts.sort_by_key(|(lo, _)| std::cmp::Reverse(*lo));
            let width: u32 = parts.iter().map(|(_, x)| x.width()).sum();
            let contiguous = parts.windows(2).all(|p| p[1].0 + p[1].1.width() == p[0].0);
            if !contiguous || parts.last().is_none_or(|(lo, _)| *lo != 0) {
                return Err(self.error(format!("the slices assigned to {target} leave gaps or overlap")));
            }
            self.give(target, X::Concat(parts.into_iter().map(|(_, x)| x).collect(), width))?;
        }
        Ok(())
    }

    fn clocked(&mut self, s: VerilogStatement) -> Result<Seq, EmitError> {
        let block = |l: &mut Self, b: Vec<VerilogStatement>| {
            b.into_iter().map(|s| l.clocked(s)).collect::<Result<Vec<_>, _>>()
        };
        match s {
            VerilogStatement::Assignment(VerilogExpression::Signal(t), x) => {
                let x = self.expression(&x)?;
                match self.names.get(&t) {
                    Some((w, Role::Register)) if *w == x.width() => {
                        Ok(Seq::Set(t.trim_end_matches("$d").into(), x))
                    }
                    Some((w, Role::Register)) => {
                        Err(self.error(format!("{t} has {w} bits, its value {}", x.width())))
                    }
                    _ => Err(self.error(format!("{t} is no register"))),
                }
            }
            VerilogStatement::If(c) => {
                let test = self.expression(&c.test)?;
                let then = block(self, c.then)?;
                let otherwise = match c.otherwise {
                    VerilogBlockOrConditional::Block(b) => block(self, b)?,
                    VerilogBlockOrConditional::Conditional(s) => vec![self.clocked(*s)?],
                    VerilogBlockOrConditional::None => vec![],
                };
                Ok(Seq::If(test, then, otherwise))
            }
            VerilogStatement::Match(m) => {
                let test = self.expression(&m.test)?;
                let mut cases = vec![];
                for case in m.cases {
                    cases.push((case.condition, block(self, case.block)?));
                }
                Ok(Seq::Case(test, cases))
            }
            other => Err(self.error(format!("statement not supported: {other:?}"))),
        }
    }

    fn expression(&self, e: &VerilogExpression) -> Result<X, EmitError> {
        use VerilogExpression as V;
        Ok(match e {
            V::Signal(n) => match self.names.get(n) {
                Some((w, Role::Read | Role::Both)) => X::Signal(n.clone(), *w),
                Some(_) => return Err(self.error(format!("{n} can't be read"))),
                None => return Err(self.error(format!("{n} is not declared in this module"))),
            },
            V::Paren(x) => self.expression(x)?,
            V::Cast(x, width) => {
                let width = *width as u32;
                if let V::Literal(v) = x.as_ref() {
                    // Literals print as WIDTH'hDIGITS; their own width means nothing.
                    let text = format!("{v:x}");
                    let digits = text.rsplit('h').next().unwrap_or_default();
                    let value = u128::from_str_radix(digits, 16)
                        .map_err(|_| self.error(format!("literal {text} not understood")))?;
                    return Ok(X::Const(value, width));
                }
                let x = self.expression(x)?;
                let pad = width
                    .checked_sub(x.width())
                    .filter(|p| *p > 0)
                    .ok_or_else(|| self.error("a cast must widen"))?;
                X::Concat(vec![X::Const(0, pad), x], width)
            }
            V::Unary(op, x) => {
                let x = self.expression(x)?;
                let w = x.width();
                let (op, width) = match op {
                    VerilogOpUnary::Not => ("~", w),
                    VerilogOpUnary::Any => ("|", 1),
                    VerilogOpUnary::All => ("&", 1),
                    VerilogOpUnary::Xor => ("^", 1),
                    VerilogOpUnary::Neg => return Err(self.error("negation is not supported")),
                };
                // `~` of one bit is written `!`, which can't be misread as a wider complement.
                X::Unary(if op == "~" && w == 1 { "!" } else { op }, Box::new(x), width)
            }
            V::Binary(a, op, b) => {
                let (a, b) = (self.expression(a)?, self.expression(b)?);
                let (sign, shift, compare) = match op {
                    VerilogOp::Add => ("+", false, false),
                    VerilogOp::Sub => ("-", false, false),
                    VerilogOp::BitAnd | VerilogOp::LogicalAnd => ("&", false, false),
                    VerilogOp::BitOr | VerilogOp::LogicalOr => ("|", false, false),
                    VerilogOp::BitXor => ("^", false, false),
                    VerilogOp::Shl => ("<<", true, false),
                    VerilogOp::Shr => (">>", true, false),
                    VerilogOp::Eq => ("==", false, true),
                    VerilogOp::Ne => ("!=", false, true),
                    VerilogOp::Lt => ("<", false, true),
                    VerilogOp::Le => ("<=", false, true),
                    VerilogOp::Ge => (">=", false, true),
                    VerilogOp::Gt => (">", false, true),
                    VerilogOp::Mul => return Err(self.error("multiplication is not supported")),
                };
                if !shift && a.width() != b.width() {
                    return Err(self.error(format!("{} bits {sign} {} bits", a.width(), b.width())));
                }
                let width = if compare { 1 } else { a.width() };
                X::Binary(Box::new(a), sign, Box::new(b), width)
            }
            V::Slice(base, width, offset) => match (self.expression(base)?, offset.as_ref()) {
                (X::Signal(n, w), V::Literal(lo)) if lo.as_usize() + width <= w as usize => {
                    X::Slice(n, lo.as_usize() as u32, *width as u32)
                }
                _ => return Err(self.error("a slice must be a constant part of a signal")),
            },
            other => return Err(self.error(format!("expression not supported: {other:?}"))),
        })
    }

    fn complete(&self) -> Result<(), EmitError> {
        let names = self.m.ports.iter().map(|p| &p.name).chain(self.m.wires.iter().map(|(n, _)| n));
        let names =
            names.chain(self.m.storage.iter().map(|(n, _)| n)).chain(self.m.children.iter().map(|(n, _)| n));
        if let Some(word) = names.chain([&self.m.kind]).find(|n| KEYWORDS.contains(&n.as_str())) {
            return Err(self.error(format!("{word} is a word of Verilog")));
        }
        let missing = self.names.iter().filter(|(n, (_, role))| match role {
            Role::Assign | Role::Both => !self.m.values.contains_key(*n),
            _ => false,
        });
        match missing.map(|(n, _)| n).min() {
            Some(n) => Err(self.error(format!("{n} has no value"))),
            None => Ok(()),
        }
    }
}
