//! Verilog of a block and everything below it: one module per distinct block, children before parents. The same blocks give the
//! same bytes.

use crate::EmitError;
use crate::lower::{self, Mod};
use crate::module::Module;
use crate::never;
use crate::ram::{RamStyle, Rams};
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
    /// What the blocks say never happens, as assertions: modules beside those of the text and `bind`s that join them
    /// (SystemVerilog). Empty if nothing is said.
    pub never: String,
    /// What the text was written from.
    pub(crate) parts: Parts,
}

/// A module in a file of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleFile {
    /// The module's name, to which tools expect `.v`.
    pub name: String,
    /// Banner and module.
    pub verilog: String,
}

/// The modules of a text, children before parents.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    /// What stands above them.
    pub banner: String,
    /// What the blocks call them, without the prefix.
    pub kinds: Vec<String>,
    /// As the blocks describe them.
    pub modules: Vec<Mod>,
    /// As they are written.
    pub tidy: Vec<Mod>,
    /// Their texts.
    pub texts: Vec<String>,
    /// How memories are written.
    pub rams: Rams,
    /// Names and texts of modules that are memories.
    pub memories: Vec<(String, String)>,
}

/// Around modules that stand in one file: Verilator expects a file for each.
pub(crate) const ONE_FILE: [&str; 2] = [
    "/* verilator lint_off DECLFILENAME */ // all modules of a design stand in one file\n",
    "/* verilator lint_on DECLFILENAME */\n",
];

impl Parts {
    /// One file of these texts of the modules, and the number of lines above each.
    pub fn one_file(&self, texts: &[&str]) -> (String, Vec<usize>) {
        let mut file = self.banner.clone() + ONE_FILE[0];
        let mut above = vec![];
        for (_, memory) in &self.memories {
            file.push('\n');
            file += memory;
        }
        for text in texts {
            file.push('\n');
            above.push(file.lines().count());
            file += text;
        }
        file.push('\n');
        file += ONE_FILE[1];
        (file, above)
    }
}

impl Emitted {
    /// Each module in a file of its own, children before parents.
    pub fn files(&self) -> impl Iterator<Item = ModuleFile> {
        let Parts { banner, modules, texts, memories, .. } = &self.parts;
        let modules = modules.iter().zip(texts).map(|(m, text)| (&m.kind, text));
        let memories = memories.iter().map(|(name, text)| (name, text));
        memories
            .chain(modules)
            .map(move |(name, text)| ModuleFile { name: name.clone(), verilog: format!("{banner}{text}") })
    }
}

/// How the text is written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// What stands above the modules.
    pub banner: &'a str,
    /// What the name of each module begins with: designs with different prefixes live in one chip.
    pub prefix: &'a str,
    /// How memories are written.
    pub ram_style: RamStyle,
}

/// Emits `top` and everything below it.
///
/// # Errors
/// An [`EmitError`] names the block and what is wrong with it: a signal without a value, a name that Verilog does not take.
pub fn emit(top: &Module, options: &Options<'_>) -> Result<Emitted, EmitError> {
    let banner = options.banner;
    let mut modules = lower::modules(top)?;
    let kinds = modules.iter().map(|m| m.kind.clone()).collect();
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
    let rams = Rams { style: options.ram_style, prefix: options.prefix.into() };
    let memories = rams.modules(tidy.iter().flat_map(|m| &m.storage).map(|(_, storage)| storage));
    let texts: Vec<String> = tidy.iter().map(|m| verilog::module(m, &modules, &rams)).collect();
    let parts = Parts { banner: banner.into(), kinds, modules, tidy, texts, rams, memories };
    let (verilog, _) = parts.one_file(&parts.texts.iter().map(String::as_str).collect::<Vec<_>>());
    let never = never::companions(&parts.modules, &parts.tidy, &parts.rams);
    Ok(Emitted { never, verilog, top: options.prefix.to_string() + &top.kind, ports, parts })
}
