//! [`Module`]: a block under construction, and what it is made of.

use crate::expr::{E, ModuleId, Op, cat};
use crate::label::Value;
use crate::storage::{MemoryInput, MemoryKind, Net, RST, Reset, Storage};
use std::rc::Rc;

/// A port of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortDef {
    pub name: String,
    pub width: u32,
    pub input: bool,
    /// Title of the section that starts with this port, if one does.
    pub section: String,
}

/// A block of hardware: ports, registers, memories, child blocks, and the logic between them.
///
/// Every module has the inputs `clk` and `rst` (synchronous, active high) without asking for them; children
/// are connected to them. Only its own signals have a meaning in it: one of another module is refused.
pub struct Module {
    pub(crate) id: ModuleId,
    pub(crate) kind: String,
    pub(crate) doc: String,
    pub(crate) ports: Vec<PortDef>,
    pub(crate) wires: Vec<(String, u32)>,
    pub(crate) storage: Vec<(String, Storage)>,
    pub(crate) children: Vec<(String, Rc<Module>)>,
    /// What each net is, and the conditions without which it is 0.
    pub(crate) values: Vec<(Net, Vec<E>, E)>,
    pub(crate) clocked: Vec<Statement>,
    /// Titles of parts of the body, and how many values and statements stand before each.
    pub(crate) parts: Vec<(String, usize, usize)>,
    /// What must never be 1, in words and as a signal.
    pub(crate) never: Vec<(String, E)>,
    nesting: Vec<Vec<Statement>>,
    section: String,
}

/// A statement of the clocked part of a module.
pub(crate) enum Statement {
    Set { register: Net, value: E },
    If { test: E, then: Vec<Statement>, otherwise: Vec<Statement> },
    Switch { on: E, cases: Vec<(Value, Vec<Statement>)>, default: Vec<Statement> },
}

/// A child block inside a module.
#[derive(Clone)]
pub struct Instance {
    parent: ModuleId,
    index: u32,
    module: Rc<Module>,
}

/// The ports of a memory inside a module; all six are driven or read by that module.
pub struct Memory {
    parent: ModuleId,
    index: u32,
    depth: usize,
    width: u32,
    kind: MemoryKind,
}

/// The cases of a [`Module::switch`].
pub struct Switch {
    cases: Vec<(Value, Vec<Statement>)>,
    default: Vec<Statement>,
}

impl Module {
    /// Starts a block. `kind` becomes the Verilog module's name, `doc` the comment above it.
    pub fn new(kind: &str, doc: &str) -> Module {
        let mut m = Module {
            id: ModuleId::new(kind),
            kind: kind.into(),
            doc: doc.into(),
            ports: vec![],
            wires: vec![],
            storage: vec![],
            children: vec![],
            values: vec![],
            clocked: vec![],
            parts: vec![],
            never: vec![],
            nesting: vec![],
            section: String::new(),
        };
        m.section("Clock and reset (synchronous, active high)");
        m.port("clk", 1, true);
        m.port("rst", 1, true);
        m
    }

    /// Starts a group of ports; the title stands above them in the Verilog.
    pub fn section(&mut self, title: &str) {
        self.section = title.into();
    }

    /// Starts a part of the body; the title stands above what follows in the Verilog.
    pub fn part(&mut self, title: &str) {
        self.parts.push((title.into(), self.values.len(), self.clocked.len()));
    }

    /// Says what never happens: `violation` is 1 in no cycle. It becomes an assertion beside the module, not a part of it
    /// ([`Emitted::never`](crate::Emitted)); what only assertions read stands there too.
    #[track_caller]
    pub fn never(&mut self, what: &str, violation: E) {
        assert!(violation.width() == 1, "{what}: a violation has one bit");
        self.own(violation);
        // What is 0 in this design can't happen in it.
        if violation.constant() != Some(0) {
            self.never.push((what.into(), violation));
        }
    }

    /// Says that an offer stands: `valid` and `data` stay as they are until `ready`. `name` begins the names of two registers that
    /// only the assertion has.
    #[track_caller]
    pub fn held(&mut self, name: &str, valid: E, ready: E, data: &[E]) {
        let waited = self.reg(&format!("{name}_waited"), 1, 0);
        self.set(waited, valid & !ready);
        let changed = self.changed(name, data);
        self.never(&format!("{name} changes or is taken back while it waits"), waited & (!valid | changed));
    }

    /// Says that `data` in the cycle after `hold` are what they were. `name` begins the names of two registers that only the
    /// assertion has.
    #[track_caller]
    pub fn steady(&mut self, name: &str, hold: E, data: &[E]) {
        let held = self.reg(&format!("{name}_held"), 1, 0);
        self.set(held, hold);
        let changed = self.changed(name, data);
        self.never(&format!("{name} changes"), held & changed);
    }

    /// 1 when data are not what they were in the last cycle.
    fn changed(&mut self, name: &str, data: &[E]) -> E {
        let data = cat(data);
        let was = self.reg_data(&format!("{name}_was"), data.width());
        self.set(was, data);
        was.ne(data)
    }

    /// A name can be given once.
    #[track_caller]
    fn new_name(&self, name: &str) {
        let taken = self.ports.iter().any(|p| p.name == name)
            || self.wires.iter().any(|(n, _)| n == name)
            || self.storage.iter().any(|(n, _)| n == name);
        assert!(!taken, "{}: {name} is declared twice", self.kind);
    }

    /// What is given to this module must be made of its signals.
    #[track_caller]
    fn own(&self, e: E) {
        if let Some(other) = e.module()
            && other != self.id
        {
            panic!(
                "a signal of module {} is used in module {}: join them by a port",
                other.name(),
                self.kind
            );
        }
    }

    #[track_caller]
    fn port(&mut self, name: &str, width: u32, input: bool) -> E {
        self.new_name(name);
        self.ports.push(PortDef {
            name: name.into(),
            width,
            input,
            section: std::mem::take(&mut self.section),
        });
        E::signal(self.id, Net::Port(self.ports.len() as u32 - 1), width)
    }

    /// An input port.
    #[track_caller]
    pub fn input(&mut self, name: &str, width: u32) -> E {
        self.port(name, width, true)
    }

    /// An output port that is `value`.
    #[track_caller]
    pub fn output(&mut self, name: &str, value: E) -> E {
        let port = self.output_later(name, value.width());
        self.assign(port, value);
        port
    }

    /// An output port whose value follows with [`assign`](Self::assign).
    #[track_caller]
    pub fn output_later(&mut self, name: &str, width: u32) -> E {
        self.port(name, width, false)
    }

    /// A named wire that is `value`.
    #[track_caller]
    pub fn wire(&mut self, name: &str, value: E) -> E {
        let wire = self.wire_later(name, value.width());
        self.assign(wire, value);
        wire
    }

    /// A named wire of one bit: the AND of `conditions` and `value`. It is written as nested conditions, which a simulator
    /// evaluates only as far as they hold: list those first that seldom do.
    #[track_caller]
    pub fn wire_if(&mut self, name: &str, conditions: &[E], value: E) -> E {
        assert!(conditions.iter().chain([&value]).all(|e| e.width() == 1), "{name}: conditions have one bit");
        conditions.iter().chain([&value]).for_each(|e| self.own(*e));
        let wire = self.wire_later(name, 1);
        self.values.push((net_of(wire), conditions.to_vec(), value));
        wire
    }

    /// A named wire whose value follows with [`assign`](Self::assign).
    #[track_caller]
    pub fn wire_later(&mut self, name: &str, width: u32) -> E {
        self.new_name(name);
        self.wires.push((name.into(), width));
        E::signal(self.id, Net::Wire(self.wires.len() as u32 - 1), width)
    }

    /// Gives a wire or an output its value, once.
    #[track_caller]
    pub fn assign(&mut self, target: E, value: E) {
        assert!(target.width() == value.width(), "assign {} bits to {}", value.width(), target.width());
        self.own(target);
        self.own(value);
        let net = net_of(target);
        assert!(
            match net {
                Net::Wire(_) | Net::Memory(..) => true,
                Net::Port(port) => !self.ports[port as usize].input,
                Net::Child(child, port) => self.children[child as usize].1.ports[port as usize].input,
                Net::Temporary(_) | Net::Register(_) | Net::ReadData(_) => false,
            },
            "{}: {} can't be assigned",
            self.kind,
            self.name_of(net)
        );
        assert!(
            !self.values.iter().any(|(known, ..)| *known == net),
            "{}: {} is assigned twice",
            self.kind,
            self.name_of(net)
        );
        self.values.push((net, vec![], value));
    }

    /// A register with a reset value.
    #[track_caller]
    pub fn reg(&mut self, name: &str, width: u32, reset: impl Into<Value>) -> E {
        self.register(name, width, Reset::To(reset.into()))
    }

    /// A register without reset: for data that a reset register guards.
    #[track_caller]
    pub fn reg_data(&mut self, name: &str, width: u32) -> E {
        self.register(name, width, Reset::Never)
    }

    /// A register that `rst` does not reset: it is 0 at power-up, in simulators and FPGAs, and the block's own statements reset it.
    #[track_caller]
    pub fn reg_kept(&mut self, name: &str, width: u32) -> E {
        self.register(name, width, Reset::PowerUp)
    }

    #[track_caller]
    fn register(&mut self, name: &str, width: u32, reset: Reset) -> E {
        self.new_name(name);
        self.storage.push((name.into(), Storage::Register { width, reset }));
        E::signal(self.id, Net::Register(self.storage.len() as u32 - 1), width)
    }

    /// The input `rst`, for what follows it otherwise than by being reset.
    pub fn reset(&self) -> E {
        E::signal(self.id, RST, 1)
    }

    /// A memory with one write port and one read port.
    #[track_caller]
    pub fn memory(&mut self, name: &str, depth: usize, width: u32, kind: MemoryKind) -> Memory {
        self.new_name(name);
        self.storage.push((name.into(), Storage::Memory { depth, width, kind }));
        Memory { parent: self.id, index: self.storage.len() as u32 - 1, depth, width, kind }
    }

    /// Sets a register at the coming clock edge; the last statement that applies wins.
    #[track_caller]
    pub fn set(&mut self, register: E, value: E) {
        assert!(register.width() == value.width(), "set {} bits to {}", value.width(), register.width());
        self.own(register);
        self.own(value);
        let net = net_of(register);
        assert!(matches!(net, Net::Register(_)), "{}: {} is not a register", self.kind, self.name_of(net));
        self.push(Statement::Set { register: net, value });
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
        self.own(test);
        let then = self.nested(then);
        let otherwise = self.nested(otherwise);
        match test.constant() {
            Some(v) => (if v == 1 { then } else { otherwise }).into_iter().for_each(|s| self.push(s)),
            None if then.is_empty() && otherwise.is_empty() => {}
            None => self.push(Statement::If { test, then, otherwise }),
        }
    }

    /// Statements chosen by the value of `on`.
    #[track_caller]
    pub fn switch(&mut self, on: E, body: impl FnOnce(&mut Module, &mut Switch)) {
        self.own(on);
        let mut switch = Switch { cases: vec![], default: vec![] };
        body(self, &mut switch);
        self.push(Statement::Switch { on, cases: switch.cases, default: switch.default });
    }

    /// Places a child block.
    #[track_caller]
    pub fn instance(&mut self, name: &str, module: &Rc<Module>) -> Instance {
        assert!(!self.children.iter().any(|(n, _)| n == name), "{}: two children {name}", self.kind);
        let index = self.children.len() as u32;
        self.children.push((name.into(), module.clone()));
        Instance { parent: self.id, index, module: module.clone() }
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

    /// What the module itself keeps or computes, by name: registers, memories, and signals that are more than other signals, their parts
    /// and constants put together. A module that only wires its children has nothing.
    pub fn computes(&self) -> Vec<String> {
        let stored = self.storage.iter().map(|(name, _)| name.clone());
        let computed =
            self.values.iter().filter(|(_, conditions, value)| !conditions.is_empty() || !value.is_wiring());
        stored.chain(computed.map(|(net, ..)| self.name_of(*net))).collect()
    }

    /// The blocks that it is made of, children before parents, itself last; each once.
    pub fn blocks(self: &Rc<Module>) -> Vec<Rc<Module>> {
        let mut found: Vec<Rc<Module>> = vec![];
        for (_, child) in &self.children {
            for block in child.blocks() {
                if !found.iter().any(|known| Rc::ptr_eq(known, &block)) {
                    found.push(block);
                }
            }
        }
        found.push(self.clone());
        found
    }

    /// Number and width of a port.
    #[track_caller]
    fn find_port(&self, port: &str, input: bool) -> (u32, u32) {
        match self.ports.iter().enumerate().find(|(_, p)| p.name == port && p.input == input) {
            Some((index, p)) => (index as u32, p.width),
            None => panic!("{} has no {} {port}", self.kind, if input { "input" } else { "output" }),
        }
    }

    /// What a signal is called, in this module.
    pub(crate) fn name_of(&self, net: Net) -> String {
        match net {
            Net::Port(i) => self.ports[i as usize].name.clone(),
            Net::Wire(i) => self.wires[i as usize].0.clone(),
            Net::Temporary(i) => format!("n{i}"),
            Net::Register(i) => self.storage[i as usize].0.clone(),
            Net::ReadData(i) => format!("{}_read_data", self.storage[i as usize].0),
            Net::Memory(i, input) => format!("{}_{}", self.storage[i as usize].0, input.name()),
            Net::Child(child, port) => {
                let (name, module) = &self.children[child as usize];
                format!("{name}_{}", module.ports[port as usize].name)
            }
        }
    }
}

impl Switch {
    /// Statements for one value of the switch.
    pub fn case(&mut self, m: &mut Module, value: impl Into<Value>, body: impl FnOnce(&mut Module)) {
        let block = m.nested(body);
        self.cases.push((value.into(), block));
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
        let (index, width) = self.module.find_port(port, false);
        E::signal(self.parent, Net::Child(self.index, index), width)
    }

    /// Connects an input of the child.
    #[track_caller]
    pub fn connect(&self, m: &mut Module, port: &str, value: E) {
        let (index, width) = self.module.find_port(port, true);
        assert!(
            width == value.width(),
            "{}: {port} of {} has {width} bits, not {}",
            m.kind,
            self.module.kind,
            value.width()
        );
        m.assign(E::signal(self.parent, Net::Child(self.index, index), width), value);
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
    #[track_caller]
    pub fn connect(&self, m: &mut Module, write: (E, E, E), read: (E, E)) -> E {
        for (input, value) in [
            (MemoryInput::Write, write.0),
            (MemoryInput::WriteAddress, write.1),
            (MemoryInput::WriteData, write.2),
            (MemoryInput::ReadAddress, read.1),
            (MemoryInput::Read, read.0),
        ] {
            if input != MemoryInput::Read || self.kind == MemoryKind::Block {
                let width = input.width(self.depth, self.width);
                m.assign(E::signal(self.parent, Net::Memory(self.index, input), width), value);
            }
        }
        E::signal(self.parent, Net::ReadData(self.index), self.width)
    }
}

/// The signal that can be given a value.
#[track_caller]
fn net_of(e: E) -> Net {
    e.node(|n| match &n.op {
        Op::Signal(_, net) => *net,
        other => panic!("only a signal can be assigned, not {other:?}"),
    })
}

/// What a block's source file says at its beginning, for the comment above its module: the lines after `//!`, without the marks of
/// rustdoc.
pub fn header(source: &str) -> String {
    let lines = source.lines().map_while(|line| line.strip_prefix("//!"));
    let paragraphs = lines.map(str::trim).collect::<Vec<_>>().join("\n");
    let plain = paragraphs.replace("[`", "").replace("`]", "").replace('`', "");
    plain.split("\n\n").map(|paragraph| wrapped(paragraph, 96)).collect::<Vec<_>>().join("\n\n")
}

/// Text in lines of at most `width` letters, broken between words.
pub(crate) fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        match &mut lines[last] {
            line if line.is_empty() => line.push_str(word),
            line if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines.join("\n")
}
