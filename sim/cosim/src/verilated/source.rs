//! Verilog to make a model of.

use pasidon_rtl::Direction;

/// A port of the top module: what the shim needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortShape {
    /// Verilog name.
    pub name: String,
    /// Bits.
    pub width: u32,
    /// Seen from the module.
    pub output: bool,
}

/// Verilog to make a model of.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// Name for messages.
    pub name: &'a str,
    /// The text.
    pub verilog: &'a str,
    /// Top module.
    pub top: &'a str,
    /// Its ports, clock included.
    pub ports: &'a [PortShape],
}

impl Source<'_> {
    /// What the names of its modules begin with.
    pub(super) fn prefix(&self) -> &str {
        self.top.strip_suffix("iommu").unwrap_or("")
    }
}

/// The ports of a generated design.
pub fn shapes(generated: &pasidon_rtl::Generated) -> Vec<PortShape> {
    let shape = |port: &pasidon_rtl::Port| PortShape {
        name: port.name.clone(),
        width: port.width,
        output: port.direction == Direction::Out,
    };
    generated.ports.iter().map(shape).collect()
}
