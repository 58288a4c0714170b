//! What holds state in a module, and the names of everything in it that has a value.

use crate::index_width;
use crate::label::Value;

/// How a memory is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// Read data follow the address by one cycle; becomes block RAM.
    Block,
    /// Read data follow the address at once; becomes distributed RAM.
    Distributed,
}

/// What `rst` does to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reset {
    /// It takes this value.
    To(Value),
    /// Nothing, and its value at power-up is unknown.
    Never,
    /// Nothing, and it is 0 at power-up.
    PowerUp,
}

/// A register or a memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// A bank of D flip-flops.
    Register { width: u32, reset: Reset },
    /// One write port, one read port.
    Memory { depth: usize, width: u32, kind: MemoryKind },
}

impl Storage {
    /// Width of what is read.
    pub fn width(&self) -> u32 {
        match self {
            Storage::Register { width, .. } | Storage::Memory { width, .. } => *width,
        }
    }
}

/// An input of a memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum MemoryInput {
    Write,
    Read,
    WriteData,
    WriteAddress,
    ReadAddress,
}

impl MemoryInput {
    /// Its name in Verilog, after the memory's.
    pub fn name(self) -> &'static str {
        match self {
            MemoryInput::Write => "write",
            MemoryInput::Read => "read",
            MemoryInput::WriteData => "write_data",
            MemoryInput::WriteAddress => "write_address",
            MemoryInput::ReadAddress => "read_address",
        }
    }

    /// Its width in bits, of a memory with so many words of so many bits.
    pub fn width(self, depth: usize, width: u32) -> u32 {
        match self {
            MemoryInput::Write | MemoryInput::Read => 1,
            MemoryInput::WriteData => width,
            MemoryInput::WriteAddress | MemoryInput::ReadAddress => index_width(depth),
        }
    }

    /// The inputs of a memory of this kind, in the order of their declaration.
    pub fn of(kind: MemoryKind) -> impl Iterator<Item = MemoryInput> {
        use MemoryInput::{Read, ReadAddress, Write, WriteAddress, WriteData};
        [Write, Read, WriteData, WriteAddress, ReadAddress]
            .into_iter()
            .filter(move |input| *input != Read || kind == MemoryKind::Block)
    }
}

/// Something in a module that has a value: its place in the module's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Net {
    /// A port of the module.
    Port(u32),
    /// A wire that the block names.
    Wire(u32),
    /// A wire that the writer needs.
    Temporary(u32),
    /// The value of a register.
    Register(u32),
    /// What a memory reads.
    ReadData(u32),
    /// An input of a memory.
    Memory(u32, MemoryInput),
    /// A port of a child: child, port.
    Child(u32, u32),
}

/// Port 0 of every module.
pub(crate) const CLK: Net = Net::Port(0);
/// Port 1 of every module.
pub(crate) const RST: Net = Net::Port(1);
