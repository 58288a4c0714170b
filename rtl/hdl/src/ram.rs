//! How memories are written: so that a tool chooses what they become, so that it is told, or as modules of their own.

use crate::storage::{MemoryInput, MemoryKind, Storage};
use crate::verilog::range;
use serde::Serialize;
use std::collections::BTreeSet;

/// How memories are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RamStyle {
    /// The tool chooses what a memory becomes. Where there is no RAM that is read at once, as on iCE40, it takes registers.
    #[default]
    Auto,
    /// An attribute asks for block RAM or for distributed RAM.
    Attributes,
    /// Each memory is an instance of a module of its shape, which a RAM compiler's module can replace.
    Modules,
}

/// The style and the prefix of modules.
#[derive(Clone, Debug)]
pub(crate) struct Rams {
    pub style: RamStyle,
    pub prefix: String,
}

/// A kind of memory, words, bits of each.
type Shape = (bool, usize, u32);

impl Rams {
    /// The modules of all memories, with their names; none unless memories are modules.
    pub fn modules<'a>(&self, storage: impl Iterator<Item = &'a Storage>) -> Vec<(String, String)> {
        if self.style != RamStyle::Modules {
            return vec![];
        }
        let shapes: BTreeSet<Shape> = storage
            .filter_map(|storage| match storage {
                Storage::Memory { depth, width, kind } => Some((*kind == MemoryKind::Block, *depth, *width)),
                Storage::Register { .. } => None,
            })
            .collect();
        shapes.into_iter().map(|shape| (self.name(shape), self.module(shape))).collect()
    }

    fn name(&self, (block, depth, width): Shape) -> String {
        let kind = if block { "block" } else { "distributed" };
        format!("{}ram_{kind}_{depth}x{width}", self.prefix)
    }

    fn module(&self, shape: Shape) -> String {
        let (block, depth, width) = shape;
        let kind = if block { MemoryKind::Block } else { MemoryKind::Distributed };
        let read = if block { "a cycle after `read`, and stay" } else { "at once" };
        let mut lines = vec![
            format!("// {}", "-".repeat(96)),
            format!(
                "// A memory of {depth} words of {width} bits. What is read comes {read}. A word that is read in the cycle in which it is"
            ),
            "// written may read as anything.".into(),
            format!("module {} (", self.name(shape)),
            "  input  wire clk,".into(),
        ];
        for input in MemoryInput::of(kind) {
            lines.push(format!("  input  wire {}{},", range(input.width(depth, width)), input.name()));
        }
        let data = if block { "reg " } else { "wire" };
        lines.push(format!("  output {data} {}read_data", range(width)));
        lines.push(");".into());
        lines.extend(self.words("words", kind, depth, width));
        lines.extend(behaviour("words", "", kind));
        lines.push("endmodule\n".into());
        lines.join("\n")
    }

    /// The array.
    fn words(&self, name: &str, kind: MemoryKind, depth: usize, width: u32) -> Vec<String> {
        // no_rw_check: no block reads a word while it writes it, or it ignores what it reads.
        let attributes = match (self.style, kind) {
            (RamStyle::Attributes, MemoryKind::Block) => "ram_style = \"block\", no_rw_check",
            (RamStyle::Attributes, MemoryKind::Distributed) => "ram_style = \"distributed\"",
            (_, MemoryKind::Block) => "no_rw_check",
            (_, MemoryKind::Distributed) => "",
        };
        let mut lines = vec![];
        if !attributes.is_empty() {
            lines.push(format!("  (* {attributes} *)"));
        }
        lines.push(format!("  reg  {}{name} [0:{}];", range(width), depth - 1));
        lines
    }

    /// The declarations of memory `name` in the module that has it.
    pub fn declarations(&self, name: &str, kind: MemoryKind, depth: usize, width: u32) -> Vec<String> {
        let mut lines = match self.style {
            RamStyle::Modules => vec![],
            RamStyle::Auto | RamStyle::Attributes => self.words(name, kind, depth, width),
        };
        for input in MemoryInput::of(kind) {
            lines.push(format!("  wire {}{name}_{};", range(input.width(depth, width)), input.name()));
        }
        let assigned = kind == MemoryKind::Block && self.style != RamStyle::Modules;
        lines.push(format!("  {} {}{name}_read_data;", if assigned { "reg " } else { "wire" }, range(width)));
        lines
    }

    /// What memory `name` does, in the module that has it.
    pub fn behaviour(&self, name: &str, kind: MemoryKind, depth: usize, width: u32) -> Vec<String> {
        if self.style != RamStyle::Modules {
            return behaviour(name, &format!("{name}_"), kind);
        }
        let shape = (kind == MemoryKind::Block, depth, width);
        let mut lines = vec![format!("  {} {name} (", self.name(shape)), "    .clk(clk),".into()];
        for input in MemoryInput::of(kind) {
            lines.push(format!("    .{0}({name}_{0}),", input.name()));
        }
        lines.extend([format!("    .read_data({name}_read_data)"), "  );".into()]);
        lines
    }
}

/// Array `words` behind signals that begin with `prefix`.
fn behaviour(words: &str, prefix: &str, kind: MemoryKind) -> Vec<String> {
    let mut lines = vec![
        "  always @(posedge clk) begin".to_string(),
        format!("    if ({prefix}write) {words}[{prefix}write_address] <= {prefix}write_data;"),
    ];
    if kind == MemoryKind::Block {
        lines.push(format!("    if ({prefix}read) {prefix}read_data <= {words}[{prefix}read_address];"));
    }
    lines.push("  end".into());
    if kind == MemoryKind::Distributed {
        lines.push(format!("  assign {prefix}read_data = {words}[{prefix}read_address];"));
    }
    lines
}
