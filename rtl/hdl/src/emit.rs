//! Verilog of a block and everything below it: one module per distinct block, children before parents. The same blocks give the
//! same bytes.

use crate::EmitError;
use crate::lower::{self, Mod};
use crate::module::Module;
use crate::verilog;
use serde::{Deserialize, Serialize};

/// Direction of a port, seen from the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Into the module.
    In,
    /// Out of the module.
    Out,
}

/// A port of the top module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// Name in Verilog.
    pub name: String,
    /// Direction seen from the module.
    pub direction: Direction,
    /// Width in bits.
    pub width: u32,
    /// The conversation that the port belongs to.
    pub doc: String,
}

/// Verilog of a block and everything below it.
#[derive(Clone, Debug)]
pub struct Emitted {
    /// The modules, children before parents.
    pub verilog: String,
    /// The name of the top module.
    pub top: String,
    /// The ports of the top module, in order.
    pub ports: Vec<Port>,
    /// What the text was written from.
    pub(crate) parts: Parts,
}

/// The modules of a text, children before parents.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// What stands above them.
    pub banner: String,
    /// As the blocks describe them.
    pub modules: Vec<Mod>,
    /// As they are written.
    pub tidy: Vec<Mod>,
    /// Their texts.
    pub texts: Vec<String>,
}

/// How the text is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// What stands above the modules.
    pub banner: &'a str,
    /// What the name of each module begins with: designs with different prefixes live in one chip.
    pub prefix: &'a str,
}

/// Emits `top` and everything below it.
///
/// # Errors
/// An [`EmitError`] names the block and what is wrong with it: a signal without a value, a name that Verilog does not take.
pub fn emit(top: &Module, options: &Options<'_>) -> Result<Emitted, EmitError> {
    let banner = options.banner;
    let mut modules = lower::modules(top)?;
    for m in &mut modules {
        m.kind.insert_str(0, options.prefix);
    }
    let mut section = String::new();
    let port = |p: &crate::module::PortDef| {
        if !p.section.is_empty() {
            section.clone_from(&p.section);
        }
        let direction = if p.input { Direction::In } else { Direction::Out };
        Port { name: p.name.clone(), direction, width: p.width, doc: section.clone() }
    };
    let ports = top.ports.iter().map(port).collect();
    let tidy: Vec<Mod> = modules.iter().map(|m| verilog::tidy(m.clone(), &modules)).collect();
    let texts: Vec<String> = tidy.iter().map(|m| verilog::module(m, &modules)).collect();
    let verilog = banner.to_string() + &texts.join("\n");
    let parts = Parts { banner: banner.into(), modules, tidy, texts };
    Ok(Emitted { verilog, top: options.prefix.to_string() + &top.kind, ports, parts })
}
