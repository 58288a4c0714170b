//! Single faults in the emitted Verilog: what a check of the hardware must notice.
//!
//! [`Mutants`] knows every place where a fault can be made and every fault that can be made there ([`Operator`]); [`Mutants::make`]
//! writes the design with one of them. Faults are made in the typed form of a module, after everything that nothing reads has
//! been dropped, so that each is legal Verilog and differs from the original in one place.

use crate::emit::Emitted;
use crate::ir::{Seq, X};
use crate::label::Value;
use crate::lower::Mod;
use crate::storage::{Net, Reset, Storage};
use crate::verilog::{self, is_guarded};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operator {
    /// A condition is inverted, or an inversion is missing.
    InvertedCondition,
    /// One side of an AND or OR is missing.
    DroppedTerm,
    /// The two values of a multiplexer, or two blocks of a `case`, change places.
    SwappedBranches,
    /// `==` becomes `!=`, or the other way.
    Equality,
    /// `<` becomes `<=`, `>` becomes `>=`, or the other way.
    Comparison,
    /// A constant is one too large.
    ConstantOffByOne,
    /// A slice begins one bit too high (or low, where there is no higher bit).
    SliceOffByOne,
    /// A slice is one bit too narrow.
    WidthOffByOne,
    /// A wire or an output is stuck at 0.
    StuckAtZero,
    /// A wire or an output of one bit is stuck at 1.
    StuckAtOne,
    /// A register is not assigned.
    DroppedAssignment,
    /// The lowest bit of a register's reset value is wrong.
    ResetValue,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operator::InvertedCondition => "inverted condition",
            Operator::DroppedTerm => "dropped term",
            Operator::SwappedBranches => "swapped branches",
            Operator::Equality => "equality",
            Operator::Comparison => "comparison",
            Operator::ConstantOffByOne => "constant off by one",
            Operator::SliceOffByOne => "slice off by one",
            Operator::WidthOffByOne => "width off by one",
            Operator::StuckAtZero => "stuck at 0",
            Operator::StuckAtOne => "stuck at 1",
            Operator::DroppedAssignment => "dropped assignment",
            Operator::ResetValue => "reset value",
        })
    }
}

/// The faults that can be made in a module: the fault with number `i` is called `MODULE.i`.
#[derive(Clone, Debug)]
pub struct Faults {
    /// The module's name, without the prefix of the design.
    pub module: String,
    /// What each fault is.
    pub operators: Vec<Operator>,
}

/// One fault.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fault {
    /// `MODULE.NUMBER`; the same as long as the module is.
    pub id: String,
    /// The module with the fault, without the prefix of the design.
    pub module: String,
    /// What the fault is.
    pub operator: Operator,
    /// Line of the original Verilog, from 1.
    pub line: usize,
    /// The lines that the fault changes.
    pub before: String,
    /// What becomes of them.
    pub after: String,
}

/// A design and all its possible single faults.
#[derive(Clone, Debug)]
pub struct Mutants {
    emitted: Emitted,
    faults: Vec<Faults>,
}

impl Mutants {
    /// The possible faults of what was emitted.
    pub fn new(emitted: Emitted) -> Mutants {
        let faults = emitted.parts.tidy.iter().zip(&emitted.parts.kinds).map(|(module, kind)| {
            let mut operators = Vec::new();
            Surgeon::new(module, &emitted.parts.modules, usize::MAX, &mut operators)
                .module(&mut module.clone());
            Faults { module: kind.clone(), operators }
        });
        let faults = faults.collect();
        Mutants { emitted, faults }
    }

    /// The possible faults of each module, children before parents.
    pub fn faults(&self) -> &[Faults] {
        &self.faults
    }

    /// The fault of this name, and the Verilog with it; `None` if there is no such fault, or if its text is that of the original.
    pub fn make(&self, id: &str) -> Option<(Fault, String)> {
        let (module, number) = id.rsplit_once('.')?;
        let target = number.parse().ok()?;
        let index = self.faults.iter().position(|faults| faults.module == module)?;
        let parts = &self.emitted.parts;
        let mut mutated = parts.tidy[index].clone();
        Surgeon::new(&parts.tidy[index], &parts.modules, target, &mut Vec::new()).module(&mut mutated);
        let operator = *self.faults[index].operators.get(target)?;
        let (old, new) = (&parts.texts[index], verilog::module(&mutated, &parts.modules, &parts.rams));
        let (line, before, after) = if operator == Operator::DroppedAssignment {
            // Without it, blocks may stand in another order: the place is where another value would stand.
            let mut marked = parts.tidy[index].clone();
            let mut told = Vec::new();
            let mut surgeon = Surgeon::new(&marked, &parts.modules, target, &mut told);
            surgeon.mark = true;
            surgeon.module(&mut marked);
            let (line, before, _) = difference(old, &verilog::module(&marked, &parts.modules, &parts.rams))?;
            (line, before, String::new())
        } else {
            difference(old, &new)?
        };
        let mut texts: Vec<&str> = parts.texts.iter().map(String::as_str).collect();
        texts[index] = &new;
        // What stands above the module has no fault.
        let (verilog, above) = parts.one_file(&texts);
        let line = above[index] + line;
        let fault = Fault { id: id.into(), module: module.into(), operator, line, before, after };
        Some((fault, verilog))
    }
}

/// Line (from 1), lines before and lines after of where two texts of a module differ. Declarations and the list of unused
/// bits follow from the rest.
fn difference(old: &str, new: &str) -> Option<(usize, String, String)> {
    fn lines(text: &str) -> Vec<(usize, &str)> {
        let body = text.lines().take_while(|line| *line != verilog::UNUSED);
        let told = |line: &str| !line.starts_with("  wire ") && !line.starts_with("  reg  ");
        body.enumerate().filter(|(_, line)| told(line)).collect()
    }
    let (old, new) = (lines(old), lines(new));
    let same = |((_, a), (_, b)): &(&(usize, &str), &(usize, &str))| a == b;
    let head = old.iter().zip(&new).take_while(same).count();
    let rest = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(same).count();
    let (old, new) = (&old[head..old.len() - tail], &new[head..new.len() - tail]);
    let line = old.first().or(new.first())?.0 + 1;
    // A child's input that becomes a constant is connected elsewhere: what stands between has not changed.
    let only = |these: &[(usize, &str)], others: &[(usize, &str)]| {
        let mut others: Vec<&str> = others.iter().map(|(_, line)| *line).collect();
        let mut changed = Vec::new();
        for (_, line) in these {
            match others.iter().position(|other| other == line) {
                Some(index) if these.len() > 8 => drop(others.remove(index)),
                _ => changed.push(line.trim()),
            }
        }
        changed.join("\n")
    };
    let told = (only(old, new), only(new, old));
    // Lines that change places.
    let whole =
        |these: &[(usize, &str)]| these.iter().map(|(_, line)| line.trim()).collect::<Vec<_>>().join("\n");
    let (before, after) = if told.0 == told.1 { (whole(old), whole(new)) } else { told };
    Some((line, before, after))
}

/// Goes through a module in its written order, counts the faults that can be made, and makes one of them.
struct Surgeon<'a> {
    widths: BTreeMap<Net, u32>,
    target: usize,
    operators: &'a mut Vec<Operator>,
    /// Give an assignment that is to be dropped a value that stands out, instead.
    mark: bool,
}

impl Surgeon<'_> {
    fn new<'a>(m: &Mod, all: &[Mod], target: usize, operators: &'a mut Vec<Operator>) -> Surgeon<'a> {
        Surgeon { widths: verilog::widths(m, all), target, operators, mark: false }
    }

    /// Counts a fault; true if it is the one to make.
    fn here(&mut self, operator: Operator) -> bool {
        self.operators.push(operator);
        self.operators.len() - 1 == self.target
    }

    fn module(&mut self, m: &mut Mod) {
        for name in &m.order {
            let Some(x) = m.values.get_mut(name) else { continue };
            let width = x.width();
            let mut stuck = None;
            if *x != X::Const(0, width) && self.here(Operator::StuckAtZero) {
                stuck = Some(X::Const(0, width));
            }
            if *x != X::Const(1, 1) && width == 1 && self.here(Operator::StuckAtOne) {
                stuck = Some(X::Const(1, 1));
            }
            self.expression(x);
            if let Some(value) = stuck {
                *x = value;
            }
        }
        self.block(&mut m.clocked);
        for (_, storage) in &mut m.storage {
            if let Storage::Register { reset: Reset::To(value), .. } = storage
                && self.here(Operator::ResetValue)
            {
                *value = Value::Number(value.number() ^ 1);
            }
        }
    }

    fn block(&mut self, block: &mut Vec<Seq>) {
        let mut dropped = None;
        for (index, statement) in block.iter_mut().enumerate() {
            match statement {
                Seq::Set(_, x) => {
                    let drop = self.here(Operator::DroppedAssignment);
                    self.expression(x);
                    if drop && self.mark {
                        *x = X::Unary("dropped ", Box::new(X::Const(0, 1)), x.width());
                    } else if drop {
                        dropped = Some(index);
                    }
                }
                Seq::If(test, then, otherwise) => {
                    let invert = self.here(Operator::InvertedCondition);
                    self.expression(test);
                    if invert {
                        *test = not(test);
                    }
                    self.block(then);
                    self.block(otherwise);
                }
                Seq::Case(test, cases) => {
                    self.expression(test);
                    cases.iter_mut().for_each(|(_, block)| self.block(block));
                    for i in 1..cases.len() {
                        if cases[i - 1].1 != cases[i].1 && self.here(Operator::SwappedBranches) {
                            let (low, high) = cases.split_at_mut(i);
                            std::mem::swap(&mut low[i - 1].1, &mut high[0].1);
                        }
                    }
                }
            }
        }
        if let Some(index) = dropped {
            block.remove(index);
        }
    }

    /// The faults of a node and then of its operands.
    fn expression(&mut self, x: &mut X) {
        let mut fault = None;
        for (operator, replacement) in self.faults(x) {
            if self.here(operator) {
                fault = Some(replacement);
            }
        }
        // The 0 of a guarded wire is how the form is known, and is no value that is chosen.
        let guarded = is_guarded(x);
        let operands = x.children_mut();
        let count = operands.len();
        for operand in operands.into_iter().take(if guarded { count - 1 } else { count }) {
            self.expression(operand);
        }
        if let Some(fault) = fault {
            *x = fault;
        }
    }

    fn faults(&self, x: &X) -> Vec<(Operator, X)> {
        match x {
            X::Unary("!", a, 1) => vec![(Operator::InvertedCondition, (**a).clone())],
            X::Binary(a, "&" | "|", b, _) => {
                vec![(Operator::DroppedTerm, (**a).clone()), (Operator::DroppedTerm, (**b).clone())]
            }
            X::Binary(a, op, b, width) => {
                let (operator, other) = match *op {
                    "==" => (Operator::Equality, "!="),
                    "!=" => (Operator::Equality, "=="),
                    "<" => (Operator::Comparison, "<="),
                    "<=" => (Operator::Comparison, "<"),
                    ">" => (Operator::Comparison, ">="),
                    ">=" => (Operator::Comparison, ">"),
                    _ => return vec![],
                };
                vec![(operator, X::Binary(a.clone(), other, b.clone(), *width))]
            }
            X::Const(value, width) => vec![(Operator::ConstantOffByOne, one_more(*value, *width))],
            X::Label(label, width) => {
                vec![(Operator::ConstantOffByOne, one_more(label.value.into(), *width))]
            }
            X::Slice(name, low, width) => self.slice(*name, *low, *width),
            X::Mux(test, a, b) if is_guarded(x) => {
                vec![(Operator::InvertedCondition, X::Mux(Box::new(not(test)), a.clone(), b.clone()))]
            }
            X::Mux(test, a, b) if a != b => {
                vec![(Operator::SwappedBranches, X::Mux(test.clone(), b.clone(), a.clone()))]
            }
            _ => vec![],
        }
    }

    fn slice(&self, name: Net, low: u32, width: u32) -> Vec<(Operator, X)> {
        let slice = |low, width| X::Slice(name, low, width);
        let mut faults = Vec::new();
        let whole = self.widths.get(&name).copied().unwrap_or(low + width);
        if low + width < whole {
            faults.push((Operator::SliceOffByOne, slice(low + 1, width)));
        } else if low > 0 {
            faults.push((Operator::SliceOffByOne, slice(low - 1, width)));
        }
        if width > 1 {
            let narrow = X::Concat(vec![X::Const(0, 1), slice(low, width - 1)], width);
            faults.push((Operator::WidthOffByOne, narrow));
        }
        faults
    }
}

/// The constant after this one.
fn one_more(value: u128, width: u32) -> X {
    let mask = if width >= 128 { u128::MAX } else { (1 << width) - 1 };
    X::Const(value.wrapping_add(1) & mask, width)
}

fn not(x: &X) -> X {
    match x {
        X::Unary("!", a, 1) => (**a).clone(),
        _ => X::Unary("!", Box::new(x.clone()), 1),
    }
}
