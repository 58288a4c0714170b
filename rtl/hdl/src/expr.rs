//! Expressions: what a block's signals are computed from.
//!
//! An [`E`] is a `Copy` handle into a per-thread arena, so that hardware reads like arithmetic
//! (`valid & tag.eq(key)`) although every width is a run-time value. Constructors fold constants, which is how
//! an option that is switched off disappears before any Verilog exists.

use crate::label::{Label, Value};
use crate::storage::Net;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::{Add, BitAnd, BitOr, BitXor, Not, Sub};
use std::rc::Rc;

/// Tells modules apart while they are described.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ModuleId(u32);

/// A handle to an expression of a fixed width in bits.
///
/// It belongs to the module whose signals it is made of; a constant belongs to every module. Signals of two modules
/// do not meet in one expression: what crosses a boundary is a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct E(u32);

/// What an expression does with its arguments.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Op {
    /// A signal of a module.
    Signal(ModuleId, Net),
    Const(u128),
    /// A constant that has a name.
    Label(Label),
    Not,
    And,
    Or,
    Xor,
    Add,
    Sub,
    Shl,
    Eq,
    Ne,
    Lt,
    Le,
    Any,
    All,
    /// `args[0] ? args[1] : args[2]`
    Mux,
    /// Most significant first.
    Concat,
    /// `width` bits from this bit on.
    Slice(u32),
    /// Zero extension.
    Extend,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub op: Op,
    pub args: Vec<E>,
    pub width: u32,
    /// The module whose signals it is made of.
    pub module: Option<ModuleId>,
}

/// All expressions of a session; equal ones are one, so that shared logic is written once.
#[derive(Default)]
struct Arena {
    nodes: Vec<Rc<Node>>,
    known: HashMap<Rc<Node>, u32>,
    /// What the modules are called, for messages.
    modules: HashMap<ModuleId, Rc<str>>,
    /// What a wire of an expression is to be called.
    names: HashMap<u32, Rc<str>>,
}

thread_local! {
    static ARENA: RefCell<Arena> = RefCell::default();
    static NEXT_MODULE: Cell<u32> = const { Cell::new(0) };
}

/// Runs `f` with an empty arena and drops all its expressions afterwards, so that generating a hundred designs
/// in one process does not grow memory.
pub fn session<R>(f: impl FnOnce() -> R) -> R {
    let outer = ARENA.with(|a| std::mem::take(&mut *a.borrow_mut()));
    let result = f();
    ARENA.with(|a| *a.borrow_mut() = outer);
    result
}

impl ModuleId {
    /// The number of a module that is called `name`.
    pub fn new(name: &str) -> ModuleId {
        let id = ModuleId(NEXT_MODULE.with(|next| next.replace(next.get() + 1)));
        ARENA.with(|a| a.borrow_mut().modules.insert(id, name.into()));
        id
    }

    /// What the module is called.
    pub fn name(self) -> Rc<str> {
        ARENA
            .with(|a| a.borrow().modules.get(&self).cloned())
            .unwrap_or_else(|| "another session's module".into())
    }
}

#[track_caller]
fn make(op: Op, args: Vec<E>, width: u32) -> E {
    assert!(width >= 1, "an expression has at least one bit");
    let mut module = if let Op::Signal(module, _) = op { Some(module) } else { None };
    for arg in &args {
        match (module, arg.module()) {
            (Some(a), Some(b)) if a != b => {
                panic!(
                    "a signal of module {} and one of module {} in one expression: join them by a port",
                    a.name(),
                    b.name()
                )
            }
            (_, belongs) => module = module.or(belongs),
        }
    }
    ARENA.with(|a| {
        let a = &mut *a.borrow_mut();
        let node = Rc::new(Node { op, args, width, module });
        E(*a.known.entry(node.clone()).or_insert_with(|| {
            a.nodes.push(node);
            a.nodes.len() as u32 - 1
        }))
    })
}

fn ones(width: u32) -> u128 {
    if width >= 128 { u128::MAX } else { (1u128 << width) - 1 }
}

/// The constant `value` in `width` bits (at most 128): a number or a [`Label`].
#[track_caller]
pub fn lit(value: impl Into<Value>, width: u32) -> E {
    match value.into() {
        Value::Number(value) => wide(u128::from(value), width),
        Value::Label(label) => {
            assert!(
                u128::from(label.value) <= ones(width),
                "{} ({}) does not fit {width} bits",
                label.verilog(),
                label.value
            );
            make(Op::Label(label), vec![], width)
        }
    }
}

/// The constant `value` in `width` bits.
#[track_caller]
pub fn wide(value: u128, width: u32) -> E {
    assert!(width <= 128 && value <= ones(width), "constant {value:#x} does not fit {width} bits");
    make(Op::Const(value), vec![], width)
}

/// The constant 1 in one bit.
pub fn hi() -> E {
    lit(1, 1)
}

/// The constant 0 in one bit.
pub fn lo() -> E {
    lit(0, 1)
}

/// Joins expressions, most significant first.
#[track_caller]
pub fn cat(parts: &[E]) -> E {
    assert!(!parts.is_empty(), "cat of nothing");
    if let [one] = parts {
        return *one;
    }
    let width = parts.iter().map(|p| p.width()).sum();
    if width <= 128 && parts.iter().all(|p| p.constant().is_some()) {
        let value = parts.iter().fold(0u128, |v, p| (v << p.width()) | p.constant().unwrap_or(0));
        return wide(value, width);
    }
    make(Op::Concat, parts.to_vec(), width)
}

/// Bitwise OR of any number of expressions of one width; `lo()` when there are none.
#[track_caller]
pub fn any_of(parts: impl IntoIterator<Item = E>) -> E {
    balanced(parts.into_iter().collect(), &|a, b| a | b).unwrap_or_else(lo)
}

/// Bitwise AND of any number of expressions of one width; `hi()` when there are none.
#[track_caller]
pub fn all_of(parts: impl IntoIterator<Item = E>) -> E {
    balanced(parts.into_iter().collect(), &|a, b| a & b).unwrap_or_else(hi)
}

fn balanced(mut parts: Vec<E>, f: &dyn Fn(E, E) -> E) -> Option<E> {
    while parts.len() > 1 {
        parts = parts.chunks(2).map(|c| if let [a, b] = c { f(*a, *b) } else { c[0] }).collect();
    }
    parts.pop()
}

/// AND-OR selection: the OR of every `value` whose one-bit `select` is 1; zero when none is.
#[track_caller]
pub fn onehot(choices: &[(E, E)]) -> E {
    any_of(choices.iter().map(|(s, v)| s.repeat(v.width()) & *v))
}

/// The first value whose condition holds, else `default`.
#[track_caller]
pub fn first(choices: &[(E, E)], default: E) -> E {
    choices.iter().rev().fold(default, |rest, (c, v)| c.mux(*v, rest))
}

/// `values[index]`; an index beyond the end selects the last value.
#[track_caller]
pub fn select(index: E, values: &[E]) -> E {
    assert!(!values.is_empty(), "select from nothing");
    let mut level: Vec<E> = values.to_vec();
    let mut bit = 0;
    while level.len() > 1 {
        assert!(
            bit < index.width(),
            "select: {} values need a wider index than {}",
            values.len(),
            index.width()
        );
        let b = index.bit(bit);
        level = level.chunks(2).map(|c| if let [a, z] = c { b.mux(*z, *a) } else { c[0] }).collect();
        bit += 1;
    }
    level[0]
}

/// A one-hot vector (one bit each) of the lowest set bit of `requests`.
#[track_caller]
pub fn lowest(requests: &[E]) -> Vec<E> {
    let mut taken = lo();
    let mut out = Vec::with_capacity(requests.len());
    for r in requests {
        out.push(*r & !taken);
        taken = taken | *r;
    }
    out
}

/// The index of the hot bit of a one-hot vector, in `width` bits.
#[track_caller]
pub fn encode(hot: &[E], width: u32) -> E {
    let bits: Vec<E> = (0..width)
        .rev()
        .map(|b| any_of(hot.iter().enumerate().filter(|(i, _)| i >> b & 1 == 1).map(|(_, h)| *h)))
        .collect();
    cat(&bits)
}

/// Bits needed to count from 0 to `n - 1`, at least 1.
pub fn index_width(n: usize) -> u32 {
    usize::BITS - n.saturating_sub(1).max(1).leading_zeros()
}

impl E {
    pub(crate) fn signal(module: ModuleId, net: Net, width: u32) -> E {
        make(Op::Signal(module, net), vec![], width)
    }

    /// The module whose signals it is made of.
    pub(crate) fn module(self) -> Option<ModuleId> {
        self.node(|n| n.module)
    }

    pub(crate) fn node<R>(self, f: impl FnOnce(&Node) -> R) -> R {
        let node = ARENA.with(|a| a.borrow().nodes[self.0 as usize].clone());
        f(&node)
    }

    pub(crate) fn id(self) -> u32 {
        self.0
    }

    /// Width in bits.
    pub fn width(self) -> u32 {
        self.node(|n| n.width)
    }

    /// The value when it is known at generation time.
    pub fn constant(self) -> Option<u128> {
        self.node(|n| match n.op {
            Op::Const(v) => Some(v),
            Op::Label(label) => Some(label.value.into()),
            _ => None,
        })
    }

    /// Calls the value `name`: a wire that the writer needs for it is called so. The first name stays.
    pub fn call(self, name: &str) -> E {
        if !self.node(|n| matches!(n.op, Op::Signal(..) | Op::Const(_) | Op::Label(_))) {
            ARENA.with(|a| {
                a.borrow_mut().names.entry(self.0).or_insert_with(|| name.into());
            });
        }
        self
    }

    /// What it is [called](Self::call).
    pub(crate) fn name(self) -> Option<Rc<str>> {
        ARENA.with(|a| a.borrow().names.get(&self.0).cloned())
    }

    /// It is put together from signals, their parts and constants.
    pub(crate) fn is_wiring(self) -> bool {
        let (moved, args) = self.node(|n| {
            let moved = matches!(
                n.op,
                Op::Signal(..) | Op::Const(_) | Op::Label(_) | Op::Concat | Op::Slice(_) | Op::Extend
            );
            (moved, n.args.clone())
        });
        moved && args.into_iter().all(E::is_wiring)
    }

    fn is_ones(self) -> bool {
        self.constant() == Some(ones(self.width()))
    }

    #[track_caller]
    fn same_width(self, other: E, what: &str) {
        assert!(
            self.width() == other.width(),
            "{what}: {} bits against {} bits ({:?}, {:?})",
            self.width(),
            other.width(),
            self.node(|n| n.op.clone()),
            other.node(|n| n.op.clone())
        );
    }

    /// `width` bits from bit `lo` on.
    #[track_caller]
    pub fn bits(self, lo: u32, width: u32) -> E {
        assert!(width >= 1 && lo + width <= self.width(), "bits [{lo} +: {width}] of {} bits", self.width());
        if width == self.width() {
            return self;
        }
        if let Some(v) = self.constant() {
            return wide((v >> lo) & ones(width), width);
        }
        let (op, args) = self.node(|n| (n.op.clone(), n.args.clone()));
        match op {
            Op::Slice(base) => args[0].bits(base + lo, width),
            Op::Extend if lo + width <= args[0].width() => args[0].bits(lo, width),
            Op::Extend if lo >= args[0].width() => lit(0, width),
            Op::Concat => {
                let mut base = self.width();
                for part in args {
                    base -= part.width();
                    if lo >= base && lo + width <= base + part.width() {
                        return part.bits(lo - base, width);
                    }
                }
                make(Op::Slice(lo), vec![self], width)
            }
            _ => make(Op::Slice(lo), vec![self], width),
        }
    }

    /// One bit.
    #[track_caller]
    pub fn bit(self, index: u32) -> E {
        self.bits(index, 1)
    }

    /// All bits, least significant first.
    pub fn split(self) -> Vec<E> {
        (0..self.width()).map(|i| self.bit(i)).collect()
    }

    /// The same value in `width` bits: zero-extended or cut.
    pub fn resize(self, width: u32) -> E {
        match (self.constant(), self.width()) {
            (_, w) if w == width => self,
            (Some(v), _) if width <= 128 => wide(v & ones(width), width),
            (_, w) if w > width => self.bits(0, width),
            _ => make(Op::Extend, vec![self], width),
        }
    }

    /// One bit, `n` times.
    pub fn repeat(self, n: u32) -> E {
        assert!(self.width() == 1, "repeat takes one bit");
        match self.constant() {
            Some(0) => wide(0, n),
            Some(_) => wide(ones(n), n),
            None if n == 1 => self,
            None => make(Op::Concat, vec![self; n as usize], n),
        }
    }

    /// `self ? yes : no`.
    #[track_caller]
    pub fn mux(self, yes: E, no: E) -> E {
        assert!(self.width() == 1, "a mux selects with one bit");
        yes.same_width(no, "mux");
        if yes.id() == no.id() {
            return yes;
        }
        match (self.constant(), yes.constant(), no.constant()) {
            (Some(0), _, _) => no,
            (Some(_), _, _) => yes,
            (_, Some(a), Some(b)) if a == b => yes,
            (_, Some(1), Some(0)) if yes.width() == 1 => self,
            (_, Some(0), Some(1)) if yes.width() == 1 => !self,
            (_, Some(1), None) if yes.width() == 1 => self | no,
            (_, Some(0), None) if yes.width() == 1 => !self & no,
            (_, None, Some(0)) if yes.width() == 1 => self & yes,
            (_, None, Some(1)) if yes.width() == 1 => !self | yes,
            _ => make(Op::Mux, vec![self, yes, no], yes.width()),
        }
    }

    /// `value` when this bit is 1, else zero.
    #[track_caller]
    pub fn gate(self, value: E) -> E {
        self.repeat(value.width()) & value
    }

    #[track_caller]
    fn compare(self, other: E, op: Op, fold: fn(&u128, &u128) -> bool) -> E {
        self.same_width(other, "comparison");
        match (self.constant(), other.constant()) {
            (Some(a), Some(b)) => lit(u64::from(fold(&a, &b)), 1),
            _ => make(op, vec![self, other], 1),
        }
    }

    /// Equality.
    #[track_caller]
    #[allow(clippy::should_implement_trait, reason = "this builds a comparator; it does not compare")]
    pub fn eq(self, other: E) -> E {
        if self.width() == 1 && other.width() == 1 {
            match (self.constant(), other.constant()) {
                (Some(1), _) => return other,
                (Some(_), _) => return !other,
                (_, Some(1)) => return self,
                (_, Some(_)) => return !self,
                _ => {}
            }
        }
        self.compare(other, Op::Eq, u128::eq)
    }

    /// Inequality.
    #[track_caller]
    #[allow(clippy::should_implement_trait, reason = "this builds a comparator; it does not compare")]
    pub fn ne(self, other: E) -> E {
        if self.width() == 1 && other.width() == 1 {
            return self ^ other;
        }
        self.compare(other, Op::Ne, u128::ne)
    }

    /// Equality with a constant of this width: a number or a [`Label`].
    #[track_caller]
    pub fn is(self, value: impl Into<Value>) -> E {
        self.eq(lit(value, self.width()))
    }

    /// Unsigned less-than.
    #[track_caller]
    pub fn lt(self, other: E) -> E {
        self.compare(other, Op::Lt, u128::lt)
    }

    /// Unsigned less-than-or-equal.
    #[track_caller]
    pub fn le(self, other: E) -> E {
        self.compare(other, Op::Le, u128::le)
    }

    /// 1 when any bit is 1.
    pub fn any(self) -> E {
        self.reduce(Op::Any, |v, _| v != 0)
    }

    /// 1 when every bit is 1.
    pub fn all(self) -> E {
        self.reduce(Op::All, |v, w| v == ones(w))
    }

    /// 1 when no bit is 1.
    pub fn none(self) -> E {
        !self.any()
    }

    fn reduce(self, op: Op, fold: fn(u128, u32) -> bool) -> E {
        match (self.constant(), self.width()) {
            (Some(v), w) => lit(u64::from(fold(v, w)), 1),
            (_, 1) => self,
            _ => make(op, vec![self], 1),
        }
    }

    /// Logical shift left by a run-time amount.
    fn shift_left(self, amount: E) -> E {
        make(Op::Shl, vec![self, amount], self.width())
    }

    /// Only the lowest of the bits that are 1.
    pub fn lowest_bit(self) -> E {
        self & (!self).inc()
    }

    /// `2^self` in `width` bits: bit number `self` alone.
    pub fn decode(self, width: u32) -> E {
        lit(1, width).shift_left(self)
    }

    /// The bytes in reverse order: little-endian as big-endian and back.
    pub fn swap_bytes(self) -> E {
        assert!(self.width().is_multiple_of(8), "{} bits are no whole bytes", self.width());
        cat(&(0..self.width() / 8).map(|i| self.bits(8 * i, 8)).collect::<Vec<_>>())
    }

    /// `self + 1`, wrapping.
    pub fn inc(self) -> E {
        self + lit(1, self.width())
    }
}

impl Not for E {
    type Output = E;
    fn not(self) -> E {
        if let Some(v) = self.constant() {
            return wide(!v & ones(self.width()), self.width());
        }
        let (op, args) = self.node(|n| (n.op.clone(), n.args.clone()));
        match op {
            Op::Not => args[0],
            _ => make(Op::Not, vec![self], self.width()),
        }
    }
}

impl BitAnd for E {
    type Output = E;
    #[track_caller]
    fn bitand(self, o: E) -> E {
        self.same_width(o, "and");
        match (self.constant(), o.constant()) {
            (Some(a), Some(b)) => wide(a & b, self.width()),
            (Some(0), _) => self,
            (_, Some(0)) => o,
            _ if self.is_ones() => o,
            _ if o.is_ones() || self.id() == o.id() => self,
            _ => make(Op::And, vec![self, o], self.width()),
        }
    }
}

impl BitOr for E {
    type Output = E;
    #[track_caller]
    fn bitor(self, o: E) -> E {
        self.same_width(o, "or");
        match (self.constant(), o.constant()) {
            (Some(a), Some(b)) => wide(a | b, self.width()),
            (Some(0), _) => o,
            (_, Some(0)) => self,
            _ if self.is_ones() => self,
            _ if o.is_ones() => o,
            _ if self.id() == o.id() => self,
            _ => make(Op::Or, vec![self, o], self.width()),
        }
    }
}

impl BitXor for E {
    type Output = E;
    #[track_caller]
    fn bitxor(self, o: E) -> E {
        self.same_width(o, "xor");
        match (self.constant(), o.constant()) {
            (Some(a), Some(b)) => wide(a ^ b, self.width()),
            (Some(0), _) => o,
            (_, Some(0)) => self,
            _ => make(Op::Xor, vec![self, o], self.width()),
        }
    }
}

impl Add for E {
    type Output = E;
    #[track_caller]
    fn add(self, o: E) -> E {
        self.same_width(o, "add");
        if o.constant() == Some(0) {
            return self;
        }
        make(Op::Add, vec![self, o], self.width())
    }
}

impl Sub for E {
    type Output = E;
    #[track_caller]
    fn sub(self, o: E) -> E {
        self.same_width(o, "sub");
        make(Op::Sub, vec![self, o], self.width())
    }
}
