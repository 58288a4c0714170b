//! The leaves of a module, as rust-hdl sees them: ports and wires, which are atoms, and what holds state, which are blocks.

use rust_hdl::core::ast::{Verilog, VerilogLiteral};
use rust_hdl::core::atom::{Atom, AtomKind};
use rust_hdl::core::block::Block;
use rust_hdl::core::constraint::PinConstraint;
use rust_hdl::core::logic::Logic;
use rust_hdl::core::probe::Probe;
use rust_hdl::core::synth::VCDValue;
use rust_hdl::core::type_descriptor::{TypeDescriptor, TypeKind};

/// A port or a wire of a module.
pub(crate) struct PortAtom {
    pub name: String,
    pub width: u32,
    pub kind: AtomKind,
    /// The title of the section that starts with this port, if any; travels as the type's name.
    pub doc: String,
}

impl Atom for PortAtom {
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
        TypeDescriptor { name: self.doc.clone(), kind: TypeKind::Bits(self.bits()) }
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

/// How a memory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Read data follow the address by one cycle; becomes block RAM.
    Block,
    /// Read data follow the address at once; becomes distributed RAM.
    Distributed,
}

/// A leaf block that holds state. Its `hdl()` is a marker that the writer turns into a declaration.
#[derive(Clone, Debug)]
pub enum Storage {
    /// A D flip-flop bank with optional reset value.
    Register {
        /// Width in bits.
        width: u32,
        /// Value after reset; `None`: not reset.
        reset: Option<u64>,
        /// It is 0 at power-up, and `rst` does not change it.
        kept: bool,
    },
    /// One write port, one read port.
    Memory {
        /// Number of words.
        depth: usize,
        /// Width of a word in bits.
        width: u32,
        /// Timing of the read port.
        kind: MemoryKind,
    },
}

impl Logic for Storage {
    fn update(&mut self) {}
    fn hdl(&self) -> Verilog {
        Verilog::Custom(match self {
            Storage::Register { width, kept: true, .. } => format!("register {width} kept"),
            Storage::Register { width, reset: Some(v), .. } => format!("register {width} {v}"),
            Storage::Register { width, reset: None, .. } => format!("register {width} none"),
            Storage::Memory { depth, width, kind } => {
                let kind = if *kind == MemoryKind::Block { "block" } else { "distributed" };
                format!("memory {depth} {width} {kind}")
            }
        })
    }
}

impl Block for Storage {
    fn connect_all(&mut self) {}
    fn update_all(&mut self) {}
    fn has_changed(&self) -> bool {
        false
    }
    fn accept(&self, name: &str, probe: &mut dyn Probe) {
        probe.visit_start_scope(name, self);
        probe.visit_end_scope(name, self);
    }
}
