//! Verilog from blocks: a writer over the syntax tree that rust-hdl's `Logic::hdl()` builds.
//!
//! `lower` collects the blocks with a `Probe`, resolves every name and checks every width; `verilog` drops what
//! nothing reads, folds temporaries back and writes one module per distinct block. The same blocks give the
//! same bytes.

mod ir;
mod keywords;
mod lower;
pub mod mutate;
mod verilog;

use lower::Mod;
use rust_hdl::core::block::Block;
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

/// A block that can't become Verilog: a mistake in a block, not in a design.
#[derive(Debug, thiserror::Error)]
#[error("block {module}: {what}")]
pub struct EmitError {
    module: String,
    what: String,
}

impl EmitError {
    fn new(module: &str, what: impl Into<String>) -> EmitError {
        EmitError { module: module.into(), what: what.into() }
    }
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
    /// As the blocks describe them.
    modules: Vec<Mod>,
    /// As they are written.
    tidy: Vec<Mod>,
    /// Their texts.
    texts: Vec<String>,
}

/// Emits `top` and everything below it.
///
/// # Errors
/// An [`EmitError`] names the block and what is wrong with it: an unknown name, widths that differ, a signal
/// with no value or with two.
pub fn emit(top: &dyn Block) -> Result<Emitted, EmitError> {
    let modules = lower::modules(top)?;
    let Some(last) = modules.last() else {
        return Err(EmitError::new("top", "the top is no block"));
    };
    let mut section = String::new();
    let ports = last
        .ports
        .iter()
        .map(|p| {
            if !p.section.is_empty() {
                section.clone_from(&p.section);
            }
            let direction = if p.input { Direction::In } else { Direction::Out };
            Port { name: p.name.clone(), direction, width: p.width, doc: section.clone() }
        })
        .collect();
    let tidy: Vec<Mod> = modules.iter().map(|m| verilog::tidy(m.clone(), &modules)).collect();
    let texts: Vec<String> = tidy.iter().map(|m| verilog::module(m, &modules)).collect();
    let verilog = texts.join("\n");
    Ok(Emitted { verilog, top: last.kind.clone(), ports, parts: Parts { modules, tidy, texts } })
}
