//! Expressions and statements as they are written: every node has an exact width.

use crate::label::{Label, Value};
use crate::storage::Net;

/// A combinational expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum X {
    Signal(Net, u32),
    Const(u128, u32),
    Label(Label, u32),
    Unary(&'static str, Box<X>, u32),
    Binary(Box<X>, &'static str, Box<X>, u32),
    Slice(Net, u32, u32),
    Concat(Vec<X>, u32),
    Mux(Box<X>, Box<X>, Box<X>),
}

/// A clocked statement; targets are registers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seq {
    Set(Net, X),
    If(X, Vec<Seq>, Vec<Seq>),
    /// A block for each value, and last the one for all others.
    Case(X, Vec<(Option<Value>, Vec<Seq>)>),
}

impl X {
    pub fn width(&self) -> u32 {
        match self {
            X::Signal(_, w) | X::Const(_, w) | X::Label(_, w) | X::Unary(_, _, w) | X::Binary(.., w) => *w,
            X::Slice(_, _, w) | X::Concat(_, w) => *w,
            X::Mux(_, a, _) => a.width(),
        }
    }

    /// Nodes in the expression: the measure for what is folded into one line.
    pub fn size(&self) -> usize {
        1 + self.children().iter().map(|c| c.size()).sum::<usize>()
    }

    fn children(&self) -> Vec<&X> {
        match self {
            X::Signal(..) | X::Const(..) | X::Label(..) | X::Slice(..) => vec![],
            X::Unary(_, a, _) => vec![a],
            X::Binary(a, _, b, _) => vec![a, b],
            X::Concat(parts, _) => parts.iter().collect(),
            X::Mux(c, a, b) => vec![c, a, b],
        }
    }

    /// The operands, in the order in which they are written.
    pub fn children_mut(&mut self) -> Vec<&mut X> {
        match self {
            X::Signal(..) | X::Const(..) | X::Label(..) | X::Slice(..) => vec![],
            X::Unary(_, a, _) => vec![a],
            X::Binary(a, _, b, _) => vec![a, b],
            X::Concat(parts, _) => parts.iter_mut().collect(),
            X::Mux(c, a, b) => vec![c, a, b],
        }
    }

    /// Calls `f(net, lo, width, sliced)` for every signal read.
    pub fn reads(&self, f: &mut dyn FnMut(Net, u32, u32, bool)) {
        match self {
            X::Signal(n, w) => f(*n, 0, *w, false),
            X::Slice(n, lo, w) => f(*n, *lo, *w, true),
            _ => self.children().into_iter().for_each(|c| c.reads(f)),
        }
    }

    /// Calls `f(label, width)` for every constant with a name.
    pub fn labels(&self, f: &mut dyn FnMut(Label, u32)) {
        match self {
            X::Label(label, w) => f(*label, *w),
            _ => self.children().into_iter().for_each(|c| c.labels(f)),
        }
    }

    /// Replaces whole signals by what `f` gives for them.
    pub fn substitute(&mut self, f: &mut dyn FnMut(Net) -> Option<X>) {
        match self {
            X::Signal(n, _) => {
                if let Some(mut x) = f(*n) {
                    x.substitute(f);
                    *self = x;
                }
            }
            X::Const(..) | X::Label(..) | X::Slice(..) => {}
            X::Unary(_, a, _) => a.substitute(f),
            X::Binary(a, _, b, _) => {
                a.substitute(f);
                b.substitute(f);
            }
            X::Concat(parts, _) => parts.iter_mut().for_each(|p| p.substitute(f)),
            X::Mux(c, a, b) => {
                c.substitute(f);
                a.substitute(f);
                b.substitute(f);
            }
        }
    }

    /// Verilog on one line.
    pub fn flat(&self, name: &dyn Fn(Net) -> String) -> String {
        match self {
            X::Signal(n, _) => name(*n),
            X::Label(label, _) => label.verilog(),
            X::Const(v, w) if *w <= 4 => format!("{w}'d{v}"),
            X::Const(v, w) => format!("{w}'h{v:x}"),
            // Without parentheses `!|x` is no primary for some tools.
            X::Unary(op, a, _) if matches!(**a, X::Unary(..)) => format!("{op}({})", a.flat(name)),
            X::Unary(op, a, _) => format!("{op}{}", a.flat(name)),
            X::Binary(a, op, b, _) => format!("({} {op} {})", a.flat(name), b.flat(name)),
            X::Slice(n, lo, 1) => format!("{}[{lo}]", name(*n)),
            X::Slice(n, lo, w) => format!("{}[{}:{lo}]", name(*n), lo + w - 1),
            X::Concat(parts, _) => {
                if parts.len() > 1 && parts.iter().all(|p| *p == parts[0]) {
                    return format!("{{{}{{{}}}}}", parts.len(), parts[0].flat(name));
                }
                format!("{{{}}}", parts.iter().map(|p| p.flat(name)).collect::<Vec<_>>().join(", "))
            }
            X::Mux(c, a, b) => format!("({} ? {} : {})", c.flat(name), a.flat(name), b.flat(name)),
        }
    }

    /// Verilog, broken over lines where it is long.
    pub fn text(&self, name: &dyn Fn(Net) -> String, indent: usize) -> String {
        const LINE: usize = 100;
        let flat = self.flat(name);
        if indent + flat.len() <= LINE {
            return flat;
        }
        let pad = " ".repeat(indent + 2);
        let sub = |x: &X| x.text(name, indent + 2);
        match self {
            X::Unary(op, a, _) if matches!(**a, X::Unary(..)) => format!("{op}({})", sub(a)),
            X::Unary(op, a, _) => format!("{op}{}", sub(a)),
            X::Binary(a, op, b, _) => format!("({}\n{pad}{op} {})", sub(a), sub(b)),
            X::Mux(c, a, b) => format!("({}\n{pad}? {}\n{pad}: {})", sub(c), sub(a), sub(b)),
            X::Concat(parts, _) if !parts.iter().all(|p| *p == parts[0]) => {
                let lines: Vec<String> = parts.iter().map(sub).collect();
                format!("{{{}}}", lines.join(&format!(",\n{pad}")))
            }
            _ => flat,
        }
    }
}

impl Seq {
    pub fn expressions(&self, f: &mut dyn FnMut(&X)) {
        match self {
            Seq::Set(_, x) => f(x),
            Seq::If(t, a, b) => {
                f(t);
                a.iter().chain(b).for_each(|s| s.expressions(f));
            }
            Seq::Case(t, cases) => {
                f(t);
                cases.iter().flat_map(|(_, b)| b).for_each(|s| s.expressions(f));
            }
        }
    }

    /// Calls `f(label, width)` for every constant with a name.
    pub fn labels(&self, f: &mut dyn FnMut(Label, u32)) {
        match self {
            Seq::Set(_, x) => x.labels(f),
            Seq::If(test, a, b) => {
                test.labels(f);
                a.iter().chain(b).for_each(|s| s.labels(f));
            }
            Seq::Case(on, cases) => {
                on.labels(f);
                for (value, block) in cases {
                    if let Some(Value::Label(label)) = value {
                        f(*label, on.width());
                    }
                    block.iter().for_each(|s| s.labels(f));
                }
            }
        }
    }

    pub fn expressions_mut(&mut self, f: &mut dyn FnMut(&mut X)) {
        match self {
            Seq::Set(_, x) => f(x),
            Seq::If(t, a, b) => {
                f(t);
                a.iter_mut().chain(b).for_each(|s| s.expressions_mut(f));
            }
            Seq::Case(t, cases) => {
                f(t);
                cases.iter_mut().flat_map(|(_, b)| b).for_each(|s| s.expressions_mut(f));
            }
        }
    }

    pub fn targets(&self, f: &mut dyn FnMut(Net)) {
        match self {
            Seq::Set(n, _) => f(*n),
            Seq::If(_, a, b) => a.iter().chain(b).for_each(|s| s.targets(f)),
            Seq::Case(_, cases) => cases.iter().flat_map(|(_, b)| b).for_each(|s| s.targets(f)),
        }
    }

    /// The statement without what it does to registers that `keep` refuses; `None` when nothing is left.
    pub fn retain(self, keep: &dyn Fn(Net) -> bool) -> Option<Seq> {
        let block = |b: Vec<Seq>| b.into_iter().filter_map(|s| s.retain(keep)).collect::<Vec<_>>();
        match self {
            Seq::Set(n, x) => keep(n).then_some(Seq::Set(n, x)),
            Seq::If(t, a, b) => {
                let (a, b) = (block(a), block(b));
                match (a.is_empty(), b.is_empty()) {
                    (true, true) => None,
                    (true, false) => Some(Seq::If(X::Unary("!", Box::new(t), 1), b, vec![])),
                    _ => Some(Seq::If(t, a, b)),
                }
            }
            Seq::Case(t, cases) => {
                let cases: Vec<_> = cases.into_iter().map(|(c, b)| (c, block(b))).collect();
                cases.iter().any(|(_, b)| !b.is_empty()).then_some(Seq::Case(t, cases))
            }
        }
    }
}
