//! Breadth-first search of a graph in compressed rows, by a queue, on a graph accelerator.
//!
//! For each vertex: its two row pointers (8 bytes, anywhere), its neighbours (a run of 4 bytes each, in bursts), for each neighbour its
//! level (4 bytes, anywhere), and for each new one the level written and the queue, a line of 16 at a time. Eight of ten accesses are
//! reads of levels, and what they hit is skewed as the degrees are: the number of vertices of degree d falls as d^-exponent, and an
//! edge leads to a vertex with a probability that goes with its degree (a configuration model; edges have one direction). Real graphs have
//! exponents of 2 to 3 (Twitter's followers 2.28: Kwak et al., WWW 2010) and some 14 edges a vertex (LiveJournal 14.2: SNAP). Numbers
//! of vertices are shuffled, as Graph500 has it. The search begins at the vertex with most edges and ends when everything is found.
//!
//! Bounds: 8 1/8 bytes a vertex. Edges are computed, not kept.

use super::out::{Out, Space, Steps};
use super::parameters::{Legal, parameters};
use super::random::{PowerLaw, Random, Shuffle, mix};

parameters! {
    /// Breadth-first search of a graph with power-law degrees, compressed rows
    Bfs "bfs" {
        /// Binary logarithm of the number of vertices
        scale = 20, Legal::From(4, 24);
        /// Edges of a vertex, on average
        degree = 16, Legal::From(1, 128);
        /// Exponent of the degrees' distribution, in hundredths
        exponent = 230, Legal::From(205, 1000);
        /// Bytes of a burst
        burst = 256, Legal::Power(64, 4096);
        /// Cycles of computing before each vertex
        wait = 0, Legal::From(0, 1048576);
        /// Seed of the graph
        seed = 1, Legal::From(0, u64::MAX);
    }
}

/// Bytes of a vertex number, level or row pointer.
const INDEX: u64 = 4;
/// Edges of a step.
const EDGES: u64 = 512;
/// Queue entries that are moved at a time.
const LINE: usize = 16;

pub struct BfsSteps {
    p: Bfs,
    law: PowerLaw,
    shuffle: Shuffle,
    /// First edge of each vertex, and the end.
    offsets: Vec<u32>,
    /// A bit for each vertex.
    found: Vec<u64>,
    queue: Vec<u32>,
    /// Place in the queue.
    at: usize,
    /// Next edge of the vertex there; none before its pointers are read.
    edge: Option<u64>,
    pointers: u64,
    neighbours: u64,
    levels: u64,
    line: u64,
}

impl BfsSteps {
    pub fn new(p: &Bfs) -> BfsSteps {
        let n = 1u64 << p.scale;
        // Weights that fall as rank^-alpha give degrees that fall with the exponent 1 + 1 / alpha.
        let alpha = 100_000 / (p.exponent - 100);
        let law = PowerLaw::new(n, alpha);
        let shuffle = Shuffle::new(n, p.seed);
        let mut random = Random::new(p.seed);
        let mut offsets = vec![0u32; n as usize + 1];
        let share = p.degree as f64 * (1000 - alpha) as f64 / 1000.0;
        for rank in 0..n {
            let expected = share * law.weight((rank + 1) as f64) / law.weight(n as f64);
            let fraction = (random.bits() >> 11) as f64 / (1u64 << 53) as f64;
            offsets[shuffle.at(rank) as usize + 1] = (expected + fraction).min((n - 1) as f64) as u32;
        }
        for v in 0..n as usize {
            offsets[v + 1] += offsets[v];
        }
        let mut space = Space::new();
        let root = shuffle.at(0) as u32;
        let mut steps = BfsSteps {
            pointers: space.array((n + 1) * INDEX),
            neighbours: space.array(u64::from(offsets[n as usize]) * INDEX),
            levels: space.array(n * INDEX),
            line: space.array(n * INDEX),
            p: p.clone(),
            law,
            shuffle,
            offsets,
            found: vec![0; (n as usize).div_ceil(64)],
            queue: vec![root],
            at: 0,
            edge: None,
        };
        steps.find(root);
        steps
    }

    /// Marks a vertex; true if it was not.
    #[inline]
    fn find(&mut self, vertex: u32) -> bool {
        let word = &mut self.found[vertex as usize / 64];
        let new = *word >> (vertex % 64) & 1 == 0;
        *word |= 1 << (vertex % 64);
        new
    }
}

impl Steps for BfsSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        let Some(&vertex) = self.queue.get(self.at) else { return false };
        let end = u64::from(self.offsets[vertex as usize + 1]);
        let first = match self.edge {
            Some(edge) => edge,
            None => {
                if self.at.is_multiple_of(LINE) {
                    out.read(self.line + self.at as u64 * INDEX, LINE as u64 * INDEX);
                }
                out.wait(self.p.wait);
                out.read(self.pointers + u64::from(vertex) * INDEX, 2 * INDEX);
                u64::from(self.offsets[vertex as usize])
            }
        };
        let last = end.min(first + EDGES);
        // Edges come in by bursts, and each is looked at before the next comes.
        let per_burst = self.p.burst / INDEX;
        let mut edge = first;
        while edge < last {
            let stop = last.min((edge / per_burst + 1) * per_burst);
            out.read(self.neighbours + edge * INDEX, (stop - edge) * INDEX);
            for e in edge..stop {
                let target = self.shuffle.at(self.law.at(mix(e ^ self.p.seed << 32)));
                let level = self.levels + target * INDEX;
                out.read(level, INDEX);
                if self.find(target as u32) {
                    out.write(level, INDEX);
                    self.queue.push(target as u32);
                    if self.queue.len().is_multiple_of(LINE) {
                        out.write(self.line + (self.queue.len() - LINE) as u64 * INDEX, LINE as u64 * INDEX);
                    }
                }
            }
            edge = stop;
        }
        (self.edge, self.at) = if last == end { (None, self.at + 1) } else { (Some(last), self.at) };
        true
    }
}
