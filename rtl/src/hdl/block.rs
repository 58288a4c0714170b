//! What makes a [`Module`] a rust-hdl block: `Block`, `Logic` and `Atom`, and the way from expressions to
//! rust-hdl's syntax tree.
//!
//! The tree has no conditional and no concatenation, so those become statements on a temporary signal, which
//! the Verilog writer folds back. An expression that is used more than once becomes a temporary too.

use super::atom::PortAtom;
use super::expr::{E, Op};
use super::module::{Module, Statement};
use rust_hdl::core::ast::{
    Verilog, VerilogBlock, VerilogBlockOrConditional, VerilogCase, VerilogConditional, VerilogExpression,
    VerilogMatch, VerilogOp, VerilogOpUnary, VerilogStatement,
};
use rust_hdl::core::atom::AtomKind;
use rust_hdl::core::block::Block;
use rust_hdl::core::logic::Logic;
use rust_hdl::core::probe::Probe;
use std::collections::HashMap;

/// The type name that marks a temporary signal for the writer.
pub(crate) const TEMPORARY: &str = "temporary";

impl Logic for Module {
    /// Simulation happens on the emitted Verilog: rust-hdl's own simulator is far too slow for this size.
    fn update(&mut self) {}
    fn hdl(&self) -> Verilog {
        Verilog::Combinatorial(Lowering::of(self).statements)
    }
}

impl Block for Module {
    fn connect_all(&mut self) {}
    fn update_all(&mut self) {}
    fn has_changed(&self) -> bool {
        false
    }
    fn accept(&self, name: &str, probe: &mut dyn Probe) {
        probe.visit_start_scope(name, self);
        for atom in &self.atoms {
            probe.visit_atom(&atom.name, atom);
        }
        for (name, width) in Lowering::of(self).temporaries {
            let atom = PortAtom { name, width, kind: AtomKind::LocalSignal, doc: TEMPORARY.into() };
            probe.visit_atom(&atom.name, &atom);
        }
        for (name, storage) in &self.storage {
            storage.accept(name, probe);
        }
        for (name, child) in &self.children {
            child.accept(name, probe);
        }
        probe.visit_end_scope(name, self);
    }
}

/// The module's logic as a syntax tree, with the temporaries that it needs.
struct Lowering {
    uses: HashMap<E, u32>,
    names: HashMap<E, String>,
    temporaries: Vec<(String, u32)>,
    statements: VerilogBlock,
}

impl Lowering {
    fn of(m: &Module) -> Lowering {
        let mut l = Lowering {
            uses: HashMap::new(),
            names: HashMap::new(),
            temporaries: vec![],
            statements: vec![
                VerilogStatement::Comment(format!("module: {}", m.kind)),
                VerilogStatement::Comment(format!("doc: {}", m.doc)),
            ],
        };
        m.wires.iter().for_each(|(_, e)| l.count(*e));
        m.guarded.iter().flat_map(|(_, c, v)| c.iter().chain([v])).for_each(|e| l.count(*e));
        m.clocked.iter().for_each(|s| l.count_statement(s));
        for (name, value) in &m.wires {
            let block = l.assign_to(name, *value);
            l.statements.extend(block);
        }
        for (name, conditions, value) in &m.guarded {
            let zero = || assignment(name, VerilogExpression::Cast(Box::new(number(0)), 1));
            let mut inner = assignment(name, l.value(*value));
            for c in conditions.iter().rev() {
                inner = VerilogStatement::If(VerilogConditional {
                    test: l.value(*c),
                    then: vec![inner],
                    otherwise: VerilogBlockOrConditional::Block(vec![zero()]),
                });
            }
            l.statements.push(inner);
        }
        for (child, _) in &m.children {
            for port in ["clk", "rst"] {
                l.statements.push(assignment(&format!("{child}${port}"), signal(port)));
            }
        }
        let clocked: Vec<VerilogStatement> = m.clocked.iter().map(|s| l.clocked(s)).collect();
        l.statements.extend(clocked);
        l
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

    fn clocked(&mut self, s: &Statement) -> VerilogStatement {
        match s {
            Statement::Set { register, value } => assignment(&format!("{register}$d"), self.value(*value)),
            Statement::If { test, then, otherwise } => VerilogStatement::If(VerilogConditional {
                test: self.value(*test),
                then: then.iter().map(|s| self.clocked(s)).collect(),
                otherwise: match otherwise.as_slice() {
                    [] => VerilogBlockOrConditional::None,
                    [one @ Statement::If { .. }] => {
                        VerilogBlockOrConditional::Conditional(Box::new(self.clocked(one)))
                    }
                    many => VerilogBlockOrConditional::Block(many.iter().map(|s| self.clocked(s)).collect()),
                },
            }),
            Statement::Switch { on, cases, default } => {
                let width = on.width();
                let mut list: Vec<VerilogCase> = cases
                    .iter()
                    .map(|(v, block)| VerilogCase {
                        condition: format!("{width}'d{v}"),
                        block: block.iter().map(|s| self.clocked(s)).collect(),
                    })
                    .collect();
                list.push(VerilogCase {
                    condition: "default".into(),
                    block: default.iter().map(|s| self.clocked(s)).collect(),
                });
                VerilogStatement::Match(VerilogMatch { test: self.value(*on), cases: list })
            }
        }
    }

    /// Statements that give `target` the value of `e`.
    fn assign_to(&mut self, target: &str, e: E) -> VerilogBlock {
        let node = e.node(|n| n.clone());
        let shared = self.uses.get(&e).is_some_and(|u| *u > 1);
        match node.op {
            Op::Mux if !shared => self.mux(target, &node.args),
            Op::Concat if !shared => self.concat(target, &node.args),
            _ => vec![assignment(target, self.value(e))],
        }
    }

    fn mux(&mut self, target: &str, args: &[E]) -> VerilogBlock {
        let test = self.value(args[0]);
        let then = self.assign_to(target, args[1]);
        let otherwise = VerilogBlockOrConditional::Block(self.assign_to(target, args[2]));
        vec![VerilogStatement::If(VerilogConditional { test, then, otherwise })]
    }

    fn concat(&mut self, target: &str, parts: &[E]) -> VerilogBlock {
        let mut offset: u32 = parts.iter().map(|p| p.width()).sum();
        parts
            .iter()
            .map(|p| {
                offset -= p.width();
                VerilogStatement::SliceAssignment {
                    base: signal(target),
                    width: p.width() as usize,
                    offset: number(offset),
                    replacement: self.value(*p),
                }
            })
            .collect()
    }

    /// A name for `e`, by way of a temporary unless it has one.
    fn named(&mut self, e: E) -> String {
        let node = e.node(|n| n.clone());
        if let Op::Signal(name) = &node.op {
            return name.to_string();
        }
        if let Some(name) = self.names.get(&e) {
            return name.clone();
        }
        // The value comes first: its own temporaries get the lower numbers and stand before it.
        self.uses.insert(e, 1);
        let placeholder = "\u{0}";
        let mut block = match node.op {
            Op::Mux => self.mux(placeholder, &node.args),
            Op::Concat => self.concat(placeholder, &node.args),
            _ => vec![assignment(placeholder, self.inline(e))],
        };
        let name = format!("n{}", self.temporaries.len());
        block.iter_mut().for_each(|s| retarget(s, placeholder, &name));
        self.temporaries.push((name.clone(), node.width));
        self.names.insert(e, name.clone());
        self.statements.extend(block);
        name
    }

    fn value(&mut self, e: E) -> VerilogExpression {
        if let Some(name) = self.names.get(&e) {
            return signal(name);
        }
        let node = e.node(|n| n.clone());
        let simple = match node.op {
            Op::Signal(_) | Op::Const(_) => true,
            Op::Slice(_) => matches!(node.args[0].node(|n| n.op.clone()), Op::Signal(_)),
            Op::Mux | Op::Concat => false,
            _ => self.uses.get(&e).is_none_or(|u| *u == 1),
        };
        if simple { self.inline(e) } else { signal(&self.named(e)) }
    }

    fn inline(&mut self, e: E) -> VerilogExpression {
        let node = e.node(|n| n.clone());
        let args = &node.args;
        let binary = |l: &mut Self, op| {
            let (a, b) = (Box::new(l.value(args[0])), Box::new(l.value(args[1])));
            VerilogExpression::Paren(Box::new(VerilogExpression::Binary(a, op, b)))
        };
        let unary = |l: &mut Self, op| VerilogExpression::Unary(op, Box::new(l.value(args[0])));
        match &node.op {
            Op::Signal(name) => signal(name),
            Op::Const(v) => VerilogExpression::Cast(
                Box::new(VerilogExpression::Literal((*v).into())),
                node.width as usize,
            ),
            Op::Not => unary(self, VerilogOpUnary::Not),
            Op::Any => unary(self, VerilogOpUnary::Any),
            Op::All => unary(self, VerilogOpUnary::All),
            Op::And => binary(self, VerilogOp::BitAnd),
            Op::Or => binary(self, VerilogOp::BitOr),
            Op::Xor => binary(self, VerilogOp::BitXor),
            Op::Add => binary(self, VerilogOp::Add),
            Op::Sub => binary(self, VerilogOp::Sub),
            Op::Shl => binary(self, VerilogOp::Shl),
            Op::Eq => binary(self, VerilogOp::Eq),
            Op::Ne => binary(self, VerilogOp::Ne),
            Op::Lt => binary(self, VerilogOp::Lt),
            Op::Le => binary(self, VerilogOp::Le),
            Op::Slice(lo) => {
                let base = Box::new(signal(&self.named(args[0])));
                VerilogExpression::Slice(base, node.width as usize, Box::new(number(*lo)))
            }
            Op::Extend => VerilogExpression::Cast(Box::new(self.value(args[0])), node.width as usize),
            Op::Mux | Op::Concat => unreachable!("becomes a temporary"),
        }
    }
}

fn signal(name: &str) -> VerilogExpression {
    VerilogExpression::Signal(name.into())
}

fn number(n: u32) -> VerilogExpression {
    VerilogExpression::Literal(n.into())
}

fn assignment(target: &str, value: VerilogExpression) -> VerilogStatement {
    VerilogStatement::Assignment(signal(target), value)
}

fn retarget(s: &mut VerilogStatement, from: &str, to: &str) {
    let rename = |e: &mut VerilogExpression| match e {
        VerilogExpression::Signal(n) if n == from => *n = to.into(),
        _ => {}
    };
    match s {
        VerilogStatement::Assignment(target, _) => rename(target),
        VerilogStatement::SliceAssignment { base, .. } => rename(base),
        VerilogStatement::If(c) => {
            c.then.iter_mut().for_each(|s| retarget(s, from, to));
            if let VerilogBlockOrConditional::Block(b) = &mut c.otherwise {
                b.iter_mut().for_each(|s| retarget(s, from, to));
            }
        }
        _ => {}
    }
}
