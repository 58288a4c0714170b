//! Which outputs follow which inputs without a register between them.

use crate::emit::Emitted;
use crate::lower::Mod;
use crate::storage::{CLK, MemoryInput, MemoryKind, Net, Storage};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// An input and an output of the top module that logic alone joins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Path {
    /// Where it begins.
    pub input: String,
    /// Where it ends.
    pub output: String,
    /// What the top module calls the signals between them.
    pub through: Vec<String>,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = [&self.input].into_iter().chain(&self.through).chain([&self.output]);
        f.write_str(&whole.map(String::as_str).collect::<Vec<_>>().join(" -> "))
    }
}

/// For each output of a module, by its port: the inputs that it follows.
type Follows = BTreeMap<u32, BTreeSet<u32>>;

impl Emitted {
    /// Each pair of an input and an output of the top module that are joined by logic only: through its children and through memories that
    /// are read at once. The clock is no such input. A signal counts as a whole: where its bits have nothing to do with each
    /// other there may be no path in truth.
    pub fn paths(&self) -> Vec<Path> {
        let mut known: Vec<Follows> = vec![];
        for m in &self.parts.tidy {
            let follows = m.outputs().map(|output| (port(output), inputs(&sources(m, &known, output))));
            known.push(follows.collect());
        }
        let Some(top) = self.parts.tidy.last() else { return vec![] };
        let mut paths = vec![];
        for output in top.outputs() {
            let reached = sources(top, &known, output);
            for input in inputs(&reached) {
                let mut through = vec![];
                let mut at = reached[&Net::Port(input)];
                while let Some(net) = at.filter(|net| *net != output) {
                    through.push(top.name(net));
                    at = reached[&net];
                }
                let (input, output) = (top.name(Net::Port(input)), top.name(output));
                paths.push(Path { input, output, through });
            }
        }
        paths
    }
}

fn port(net: Net) -> u32 {
    match net {
        Net::Port(port) => port,
        other => unreachable!("{other:?} is a port"),
    }
}

/// The inputs among what was reached.
fn inputs(reached: &BTreeMap<Net, Option<Net>>) -> BTreeSet<u32> {
    reached
        .iter()
        .filter(|(_, from)| from.is_some())
        .filter_map(|(net, _)| match net {
            Net::Port(port) => Some(*port),
            _ => None,
        })
        .collect()
}

/// What `output` follows in the same cycle, each with what is reached from it next on the way to the output.
fn sources(m: &Mod, known: &[Follows], output: Net) -> BTreeMap<Net, Option<Net>> {
    let mut reached = BTreeMap::from([(output, None)]);
    let mut work = vec![output];
    while let Some(net) = work.pop() {
        let mut reach = |source: Net| {
            if source != CLK && !reached.contains_key(&source) {
                reached.insert(source, Some(net));
                work.push(source);
            }
        };
        if let Some(value) = m.values.get(&net) {
            value.reads(&mut |source, _, _, _| reach(source));
        }
        match net {
            Net::ReadData(memory) if is_read_at_once(m, memory) => {
                reach(Net::Memory(memory, MemoryInput::ReadAddress));
            }
            Net::Child(child, port) => {
                let module = m.children[child as usize].1;
                let follows = known[module].get(&port).into_iter().flatten();
                follows.for_each(|input| reach(Net::Child(child, *input)));
            }
            _ => {}
        }
    }
    reached
}

fn is_read_at_once(m: &Mod, memory: u32) -> bool {
    m.storage.iter().any(|(net, storage)| {
        *net == Net::Register(memory)
            && matches!(storage, Storage::Memory { kind: MemoryKind::Distributed, .. })
    })
}
