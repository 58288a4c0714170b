//! [`Module`]: a block under construction, and what it is made of.

use super::atom::{MemoryKind, PortAtom, Storage};
use super::expr::{E, Op};
use rust_hdl::core::atom::AtomKind;
use std::rc::Rc;

/// A block of hardware: ports, registers, memories, child blocks, and the logic between them.
///
/// Every module has the inputs `clk` and `rst` (synchronous, active high) without asking for them; children
/// are connected to them.
pub struct Module {
    pub(crate) kind: String,
    pub(crate) doc: String,
    pub(crate) atoms: Vec<PortAtom>,
    pub(crate) storage: Vec<(String, Storage)>,
    pub(crate) children: Vec<(String, Rc<Module>)>,
    pub(crate) wires: Vec<(String, E)>,
    /// Wires that are 0 unless all their conditions hold.
    pub(crate) guarded: Vec<(String, Vec<E>, E)>,
    pub(crate) clocked: Vec<Statement>,
    nesting: Vec<Vec<Statement>>,
    section: String,
}

/// A statement of the clocked part of a module.
pub(crate) enum Statement {
    Set { register: String, value: E },
    If { test: E, then: Vec<Statement>, otherwise: Vec<Statement> },
    Switch { on: E, cases: Vec<(u64, Vec<Statement>)>, default: Vec<Statement> },
}

/// A child block inside a module.
#[derive(Clone)]
pub struct Instance {
    name: String,
    module: Rc<Module>,
}

/// The ports of a memory inside a module; all six are driven or read by that module.
pub struct Memory {
    name: String,
    depth: usize,
    width: u32,
    kind: MemoryKind,
}

/// The cases of a [`Module::switch`].
pub struct Switch {
    cases: Vec<(u64, Vec<Statement>)>,
    default: Vec<Statement>,
}

impl Module {
    /// Starts a block. `kind` becomes the Verilog module's name, `doc` the comment above it.
    pub fn new(kind: &str, doc: &str) -> Module {
        let mut m = Module {
            kind: kind.into(),
            doc: doc.into(),
            atoms: vec![],
            storage: vec![],
            children: vec![],
            wires: vec![],
            guarded: vec![],
            clocked: vec![],
            nesting: vec![],
            section: String::new(),
        };
        m.section("Clock and reset (synchronous, active high)");
        m.input("clk", 1);
        m.input("rst", 1);
        m
    }

    /// Starts a group of ports; the title stands above them in the Verilog.
    pub fn section(&mut self, title: &str) {
        self.section = title.into();
    }

    fn declare(&mut self, name: &str, width: u32, kind: AtomKind) -> E {
        assert!(
            !self.atoms.iter().any(|a| a.name == name) && !self.storage.iter().any(|(n, _)| n == name),
            "{}: {name} is declared twice",
            self.kind
        );
        self.atoms.push(PortAtom { name: name.into(), width, kind, doc: std::mem::take(&mut self.section) });
        E::signal(name, width)
    }

    /// An input port.
    pub fn input(&mut self, name: &str, width: u32) -> E {
        self.declare(name, width, AtomKind::InputParameter)
    }

    /// An output port that is `value`.
    pub fn output(&mut self, name: &str, value: E) -> E {
        let port = self.output_later(name, value.width());
        self.assign(port, value);
        port
    }

    /// An output port whose value follows with [`assign`](Self::assign).
    pub fn output_later(&mut self, name: &str, width: u32) -> E {
        self.declare(name, width, AtomKind::OutputParameter)
    }

    /// A named wire that is `value`.
    pub fn wire(&mut self, name: &str, value: E) -> E {
        let wire = self.wire_later(name, value.width());
        self.assign(wire, value);
        wire
    }

    /// A named wire of one bit: the AND of `conditions` and `value`. It is written as nested conditions, which a simulator
    /// evaluates only as far as they hold: list those first that seldom do.
    pub fn wire_if(&mut self, name: &str, conditions: &[E], value: E) -> E {
        assert!(conditions.iter().chain([&value]).all(|e| e.width() == 1), "{name}: conditions have one bit");
        let wire = self.wire_later(name, 1);
        self.guarded.push((name.into(), conditions.to_vec(), value));
        wire
    }

    /// A named wire whose value follows with [`assign`](Self::assign).
    pub fn wire_later(&mut self, name: &str, width: u32) -> E {
        self.declare(name, width, AtomKind::LocalSignal)
    }

    /// Gives a wire or an output its value, once.
    #[track_caller]
    pub fn assign(&mut self, target: E, value: E) {
        assert!(target.width() == value.width(), "assign {} bits to {}", value.width(), target.width());
        let name = signal_name(target);
        assert!(!self.wires.iter().any(|(n, _)| *n == name), "{}: {name} is assigned twice", self.kind);
        self.wires.push((name, value));
    }

    /// A register with a reset value.
    pub fn reg(&mut self, name: &str, width: u32, reset: u64) -> E {
        self.register(name, width, Some(reset))
    }

    /// A register without reset: for data that a reset register guards.
    pub fn reg_data(&mut self, name: &str, width: u32) -> E {
        self.register(name, width, None)
    }

    /// A register that `rst` does not reset: it is 0 at power-up, in simulators and FPGAs, and the block's own statements reset it.
    pub fn reg_kept(&mut self, name: &str, width: u32) -> E {
        self.storage_of(name, Storage::Register { width, reset: None, kept: true }, width)
    }

    /// The input `rst`, for what follows it otherwise than by being reset.
    pub fn reset(&self) -> E {
        E::signal("rst", 1)
    }

    fn register(&mut self, name: &str, width: u32, reset: Option<u64>) -> E {
        self.storage_of(name, Storage::Register { width, reset, kept: false }, width)
    }

    fn storage_of(&mut self, name: &str, storage: Storage, width: u32) -> E {
        assert!(
            !self.atoms.iter().any(|a| a.name == name) && !self.storage.iter().any(|(n, _)| n == name),
            "{}: {name} is declared twice",
            self.kind
        );
        self.storage.push((name.into(), storage));
        E::signal(&format!("{name}$q"), width)
    }

    /// A memory with one write port and one read port.
    pub fn memory(&mut self, name: &str, depth: usize, width: u32, kind: MemoryKind) -> Memory {
        self.storage.push((name.into(), Storage::Memory { depth, width, kind }));
        Memory { name: name.into(), depth, width, kind }
    }

    /// Sets a register at the coming clock edge; the last statement that applies wins.
    #[track_caller]
    pub fn set(&mut self, register: E, value: E) {
        assert!(register.width() == value.width(), "set {} bits to {}", value.width(), register.width());
        let name = signal_name(register);
        let register =
            name.strip_suffix("$q").unwrap_or_else(|| panic!("{name} is not a register")).to_string();
        self.push(Statement::Set { register, value });
    }

    fn push(&mut self, s: Statement) {
        match self.nesting.last_mut() {
            Some(block) => block.push(s),
            None => self.clocked.push(s),
        }
    }

    fn nested(&mut self, body: impl FnOnce(&mut Module)) -> Vec<Statement> {
        self.nesting.push(vec![]);
        body(self);
        self.nesting.pop().unwrap_or_default()
    }

    /// Statements that apply when `test` is 1.
    #[track_caller]
    pub fn when(&mut self, test: E, then: impl FnOnce(&mut Module)) {
        self.when_else(test, then, |_| {});
    }

    /// Statements for `test` = 1 and for `test` = 0.
    #[track_caller]
    pub fn when_else(
        &mut self,
        test: E,
        then: impl FnOnce(&mut Module),
        otherwise: impl FnOnce(&mut Module),
    ) {
        assert!(test.width() == 1, "when takes one bit, not {}", test.width());
        let then = self.nested(then);
        let otherwise = self.nested(otherwise);
        match test.constant() {
            Some(v) => (if v == 1 { then } else { otherwise }).into_iter().for_each(|s| self.push(s)),
            None if then.is_empty() && otherwise.is_empty() => {}
            None => self.push(Statement::If { test, then, otherwise }),
        }
    }

    /// Statements chosen by the value of `on`.
    pub fn switch(&mut self, on: E, body: impl FnOnce(&mut Module, &mut Switch)) {
        let mut switch = Switch { cases: vec![], default: vec![] };
        body(self, &mut switch);
        self.push(Statement::Switch { on, cases: switch.cases, default: switch.default });
    }

    /// Places a child block.
    pub fn instance(&mut self, name: &str, module: &Rc<Module>) -> Instance {
        assert!(!self.children.iter().any(|(n, _)| n == name), "{}: two children {name}", self.kind);
        self.children.push((name.into(), module.clone()));
        Instance { name: name.into(), module: module.clone() }
    }

    /// Finishes the block.
    pub fn build(self) -> Rc<Module> {
        assert!(self.nesting.is_empty());
        Rc::new(self)
    }

    /// The module's name in Verilog.
    pub fn kind(&self) -> &str {
        &self.kind
    }

    fn port_width(&self, port: &str, kind: AtomKind) -> u32 {
        match self.atoms.iter().find(|a| a.name == port && a.kind == kind) {
            Some(a) => a.width,
            None => panic!("{} has no {kind:?} {port}", self.kind),
        }
    }
}

impl Switch {
    /// Statements for one value of the switch.
    pub fn case(&mut self, m: &mut Module, value: u64, body: impl FnOnce(&mut Module)) {
        let block = m.nested(body);
        self.cases.push((value, block));
    }

    /// Statements for every other value.
    pub fn default(&mut self, m: &mut Module, body: impl FnOnce(&mut Module)) {
        self.default = m.nested(body);
    }
}

impl Instance {
    /// An output of the child.
    #[track_caller]
    pub fn out(&self, port: &str) -> E {
        let width = self.module.port_width(port, AtomKind::OutputParameter);
        E::signal(&format!("{}${port}", self.name), width)
    }

    /// Connects an input of the child.
    #[track_caller]
    pub fn connect(&self, m: &mut Module, port: &str, value: E) {
        let width = self.module.port_width(port, AtomKind::InputParameter);
        assert!(width == value.width(), "{}.{port} has {width} bits, not {}", self.name, value.width());
        m.assign(E::signal(&format!("{}${port}", self.name), width), value);
    }

    /// Connects several inputs of the child.
    #[track_caller]
    pub fn connect_all(&self, m: &mut Module, inputs: &[(&str, E)]) {
        for (port, value) in inputs {
            self.connect(m, port, *value);
        }
    }
}

impl Memory {
    /// Connects the write port and the read port; returns the data. A block memory reads when `read` is 1, and its data
    /// stay from the next cycle on; a distributed memory always reads.
    pub fn connect(&self, m: &mut Module, write: (E, E, E), read: (E, E)) -> E {
        let (write, write_address, data) = write;
        let (read, read_address) = read;
        let address = super::index_width(self.depth);
        for (port, width, value) in [
            ("write", 1, write),
            ("write_address", address, write_address),
            ("write_data", self.width, data),
            ("read_address", address, read_address),
        ] {
            m.assign(E::signal(&format!("{}${port}", self.name), width), value);
        }
        if self.kind == MemoryKind::Block {
            m.assign(E::signal(&format!("{}$read", self.name), 1), read);
        }
        E::signal(&format!("{}$read_data", self.name), self.width)
    }
}

fn signal_name(e: E) -> String {
    e.node(|n| match &n.op {
        Op::Signal(name) => name.to_string(),
        other => panic!("only a signal can be assigned, not {other:?}"),
    })
}
