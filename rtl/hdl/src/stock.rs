//! A [`Module`] as a rust-hdl block, for rust-hdl's own tools: its checks, its probes, its writer of Verilog.
//!
//! rust-hdl's syntax tree has no conditional expression and no concatenation, prints operators without parentheses and
//! literals without widths. So every operation is an assignment to a signal of its own here, of the exact width, in the order
//! in which values follow from each other. The text is longer than [`emit`](crate::emit())'s and behaves the same: a test simulates
//! both for every block of the hardware.

use crate::EmitError;
use crate::ir::{Seq, X};
use crate::label::Value;
use crate::lower::{self, Mod};
use crate::module::Module;
use crate::storage::{MemoryInput, MemoryKind, Net, Reset, Storage};
use rust_hdl::core::ast::{
    Verilog, VerilogBlock, VerilogBlockOrConditional, VerilogCase, VerilogConditional, VerilogExpression,
    VerilogLiteral, VerilogMatch, VerilogOp, VerilogOpUnary, VerilogStatement,
};
use rust_hdl::core::atom::{Atom, AtomKind};
use rust_hdl::core::block::Block;
use rust_hdl::core::constraint::PinConstraint;
use rust_hdl::core::logic::Logic;
use rust_hdl::core::module_defines::ModuleDefines;
use rust_hdl::core::probe::Probe;
use rust_hdl::core::synth::VCDValue;
use rust_hdl::core::type_descriptor::{TypeDescriptor, TypeKind};
use std::collections::BTreeSet;
use std::rc::Rc;

/// rust-hdl's own Verilog of a block and what is below it; the top module is called `name`.
///
/// # Errors
/// As for [`emit`](crate::emit()).
pub fn verilog(top: &Module, name: &str) -> Result<String, EmitError> {
    let mut defines = ModuleDefines::default();
    StockBlock::new(top)?.accept(name, &mut defines);
    Ok(defines.defines())
}

impl Module {
    /// The module as rust-hdl sees it. rust-hdl's traits have no way to report a mistake in a block.
    fn stock(&self) -> Rc<StockBlock> {
        StockBlock::new(self).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Logic for Module {
    /// Simulation happens on Verilog: rust-hdl's own simulator is far too slow for this size.
    fn update(&mut self) {}
    fn hdl(&self) -> Verilog {
        self.stock().hdl()
    }
}

impl Block for Module {
    fn connect_all(&mut self) {}
    fn update_all(&mut self) {}
    fn has_changed(&self) -> bool {
        false
    }
    fn accept(&self, name: &str, probe: &mut dyn Probe) {
        self.stock().accept(name, probe);
    }
}

/// A module and what is below it, in rust-hdl's words.
///
/// A register or a memory is a block of its own, as rust-hdl's widgets are.
struct StockBlock {
    atoms: Vec<Signal>,
    hdl: Verilog,
    children: Vec<(String, Rc<StockBlock>)>,
}

impl StockBlock {
    fn new(top: &Module) -> Result<Rc<StockBlock>, EmitError> {
        let mut done: Vec<Rc<StockBlock>> = vec![];
        for m in lower::modules(top)? {
            let block = Translation::of(&m, &done);
            done.push(Rc::new(block));
        }
        done.pop().ok_or_else(|| EmitError::new("top", "there is no module"))
    }
}

impl Logic for StockBlock {
    fn update(&mut self) {}
    fn hdl(&self) -> Verilog {
        self.hdl.clone()
    }
}

impl Block for StockBlock {
    fn connect_all(&mut self) {}
    fn update_all(&mut self) {}
    fn has_changed(&self) -> bool {
        false
    }
    fn accept(&self, name: &str, probe: &mut dyn Probe) {
        probe.visit_start_scope(name, self);
        self.atoms.iter().for_each(|atom| probe.visit_atom(&atom.name, atom));
        self.children.iter().for_each(|(name, child)| child.accept(name, probe));
        probe.visit_end_scope(name, self);
    }
}

/// A port or a wire.
struct Signal {
    name: String,
    width: u32,
    kind: AtomKind,
}

impl Atom for Signal {
    fn bits(&self) -> usize {
        self.width as usize
    }
    fn connected(&self) -> bool {
        true
    }
    fn changed(&self) -> bool {
        false
    }
    fn kind(&self) -> AtomKind {
        self.kind
    }
    fn descriptor(&self) -> TypeDescriptor {
        TypeDescriptor { name: String::new(), kind: TypeKind::Bits(self.bits()) }
    }
    fn vcd(&self) -> VCDValue {
        VCDValue::String(String::new())
    }
    fn id(&self) -> usize {
        0
    }
    fn verilog(&self) -> VerilogLiteral {
        0u64.into()
    }
    fn constraints(&self) -> Vec<PinConstraint> {
        vec![]
    }
}

impl StockBlock {
    /// A register or a memory.
    fn of_storage(storage: &Storage) -> StockBlock {
        let signal = |name: &str, width, kind| Signal { name: name.into(), width, kind };
        let input = |name, width| signal(name, width, AtomKind::InputParameter);
        match storage {
            Storage::Register { width, reset } => {
                let next = match reset {
                    Reset::To(value) => format!("q <= rst ? {width}'d{} : d;", value.number()),
                    Reset::Never | Reset::PowerUp => "q <= d;".into(),
                };
                let start = if *reset == Reset::PowerUp { "initial q = 0;\n" } else { "" };
                let q = signal("q", *width, AtomKind::OutputParameter);
                StockBlock {
                    atoms: vec![input("clk", 1), input("rst", 1), input("d", *width), q],
                    hdl: Verilog::Custom(format!("{start}always @(posedge clk) {next}\n")),
                    children: vec![],
                }
            }
            Storage::Memory { depth, width, kind } => {
                let mut atoms = vec![input("clk", 1), input("rst", 1)];
                let inputs = MemoryInput::of(*kind);
                atoms.extend(inputs.map(|port| input(port.name(), port.width(*depth, *width))));
                atoms.push(signal("read_data", *width, AtomKind::OutputParameter));
                let read = match kind {
                    MemoryKind::Block => "always @(posedge clk) if (read) read_data <= words[read_address];",
                    MemoryKind::Distributed => "always @(*) read_data = words[read_address];",
                };
                StockBlock {
                    atoms,
                    hdl: Verilog::Custom(format!(
                        "reg [{}:0] words [0:{}];\nalways @(posedge clk) if (write) words[write_address] <= write_data;\n{read}\n",
                        width - 1,
                        depth - 1
                    )),
                    children: vec![],
                }
            }
        }
    }
}

/// From a module as it is written to statements.
struct Translation<'a> {
    m: &'a Mod,
    /// Signals that only hold an operation's result.
    results: Vec<u32>,
    statements: VerilogBlock,
}

impl Translation<'_> {
    fn of(m: &Mod, done: &[Rc<StockBlock>]) -> StockBlock {
        let mut t = Translation { m, results: vec![], statements: vec![] };
        let mut given = BTreeSet::new();
        for net in &m.order {
            t.give(*net, &mut given);
        }
        let mut clocked = vec![];
        for (net, storage) in &m.storage {
            for port in ["clk", "rst"] {
                t.statements.push(assign(&format!("{}${port}", m.name(*net)), signal(port)));
            }
            if let Storage::Register { .. } = storage {
                clocked.push(assign(&t.input_of(*net), signal(&t.name(*net))));
            }
        }
        clocked.extend(m.clocked.iter().map(|s| t.clocked(s)));
        t.statements.extend(clocked);
        let kind = |input| if input { AtomKind::InputParameter } else { AtomKind::OutputParameter };
        let ports =
            m.ports.iter().map(|p| Signal { name: p.name.clone(), width: p.width, kind: kind(p.input) });
        let local = |name, width| Signal { name, width, kind: AtomKind::LocalSignal };
        let wires = m.wires.iter().map(|(net, width)| local(t.name(*net), *width));
        let results = t.results.iter().enumerate().map(|(i, width)| local(result(i), *width));
        let storage = m.storage.iter().map(|(net, s)| (m.name(*net), Rc::new(StockBlock::of_storage(s))));
        let children = m.children.iter().map(|(name, i)| (name.clone(), done[*i].clone()));
        StockBlock {
            atoms: ports.chain(wires).chain(results).collect(),
            hdl: Verilog::Combinatorial(t.statements),
            children: storage.chain(children).collect(),
        }
    }

    /// What rust-hdl calls a net: the port of a child has the child's name before a `$`.
    fn name(&self, net: Net) -> String {
        match net {
            Net::Register(i) => format!("{}$q", self.m.name(Net::Register(i))),
            Net::ReadData(i) => format!("{}$read_data", self.m.name(Net::Register(i))),
            Net::Memory(i, input) => format!("{}${}", self.m.name(Net::Register(i)), input.name()),
            Net::Child(child, port) => {
                let (instance, _) = &self.m.children[child as usize];
                let whole = self.m.name(Net::Child(child, port));
                format!("{instance}${}", &whole[instance.len() + 1..])
            }
            _ => self.m.name(net),
        }
    }

    /// The input of a register.
    fn input_of(&self, register: Net) -> String {
        format!("{}$d", self.m.name(register))
    }

    /// Assigns a net, after the nets that it is made of: the statements are executed in their order.
    fn give(&mut self, net: Net, given: &mut BTreeSet<Net>) {
        let m = self.m;
        let Some(x) = m.values.get(&net) else { return };
        if !given.insert(net) {
            return;
        }
        let mut before = vec![];
        x.reads(&mut |n, _, _, _| before.push(n));
        before.into_iter().for_each(|n| self.give(n, given));
        let target = self.name(net);
        let block = self.assigned(&target, x);
        self.statements.extend(block);
    }

    /// Statements that give `target` the value of `x`; operands are given theirs before.
    fn assigned(&mut self, target: &str, x: &X) -> VerilogBlock {
        match x {
            X::Mux(test, a, b) => {
                let (test, a, b) = (self.operand(test), self.operand(a), self.operand(b));
                vec![VerilogStatement::If(VerilogConditional {
                    test,
                    then: vec![assign(target, a)],
                    otherwise: VerilogBlockOrConditional::Block(vec![assign(target, b)]),
                })]
            }
            X::Concat(parts, width) => {
                let mut offset = *width;
                let mut block = vec![];
                for part in parts {
                    offset -= part.width();
                    block.push(VerilogStatement::SliceAssignment {
                        base: signal(target),
                        width: part.width() as usize,
                        offset: VerilogExpression::Literal(offset.into()),
                        replacement: self.operand(part),
                    });
                }
                block
            }
            X::Unary(op, a, _) => {
                let op = match *op {
                    "|" => VerilogOpUnary::Any,
                    "&" => VerilogOpUnary::All,
                    _ => VerilogOpUnary::Not,
                };
                vec![assign(target, VerilogExpression::Unary(op, Box::new(self.operand(a))))]
            }
            X::Binary(a, op, b, _) => {
                let op = match *op {
                    "&" => VerilogOp::BitAnd,
                    "|" => VerilogOp::BitOr,
                    "^" => VerilogOp::BitXor,
                    "+" => VerilogOp::Add,
                    "-" => VerilogOp::Sub,
                    "<<" => VerilogOp::Shl,
                    "==" => VerilogOp::Eq,
                    "!=" => VerilogOp::Ne,
                    "<" => VerilogOp::Lt,
                    _ => VerilogOp::Le,
                };
                let (a, b) = (Box::new(self.operand(a)), Box::new(self.operand(b)));
                vec![assign(target, VerilogExpression::Binary(a, op, b))]
            }
            X::Signal(..) | X::Const(..) | X::Label(..) | X::Slice(..) => {
                vec![assign(target, self.operand(x))]
            }
        }
    }

    /// A signal, a part of one, or a constant that has the value of `x`.
    fn operand(&mut self, x: &X) -> VerilogExpression {
        match x {
            X::Signal(net, _) => signal(&self.name(*net)),
            X::Slice(net, low, width) => VerilogExpression::Slice(
                Box::new(signal(&self.name(*net))),
                *width as usize,
                Box::new(VerilogExpression::Literal((*low).into())),
            ),
            X::Const(value, width) => number(*value, *width),
            X::Label(label, width) => number(label.value.into(), *width),
            _ => {
                let target = result(self.results.len());
                self.results.push(x.width());
                let block = self.assigned(&target, x);
                self.statements.extend(block);
                signal(&target)
            }
        }
    }

    fn clocked(&mut self, s: &Seq) -> VerilogStatement {
        match s {
            Seq::Set(register, x) => assign(&self.input_of(*register), self.operand(x)),
            Seq::If(test, a, b) => VerilogStatement::If(VerilogConditional {
                test: self.operand(test),
                then: a.iter().map(|s| self.clocked(s)).collect(),
                otherwise: VerilogBlockOrConditional::Block(b.iter().map(|s| self.clocked(s)).collect()),
            }),
            Seq::Case(on, cases) => {
                let width = on.width();
                let condition = |value: &Option<Value>| match value {
                    Some(value) => format!("{width}'d{}", value.number()),
                    None => "default".into(),
                };
                VerilogStatement::Match(VerilogMatch {
                    test: self.operand(on),
                    cases: cases
                        .iter()
                        .map(|(value, block)| VerilogCase {
                            condition: condition(value),
                            block: block.iter().map(|s| self.clocked(s)).collect(),
                        })
                        .collect(),
                })
            }
        }
    }
}

/// What the result of an operation is called.
fn result(number: usize) -> String {
    format!("result${number}")
}

fn number(value: u128, width: u32) -> VerilogExpression {
    VerilogExpression::Cast(Box::new(VerilogExpression::Literal(value.into())), width as usize)
}

fn signal(name: &str) -> VerilogExpression {
    VerilogExpression::Signal(name.into())
}

fn assign(target: &str, value: VerilogExpression) -> VerilogStatement {
    VerilogStatement::Assignment(signal(target), value)
}
