//! Sparse matrix by vector on an accelerator, y = A x with A in compressed rows.
//!
//! Row pointers, column numbers and values are three streams; x is read number by number where the columns say: `near` percent within
//! `band` of the diagonal, the others anywhere. With 16 numbers a row in bursts of 1024 bytes, 98 of 100 accesses are such reads of
//! 8 bytes; half of them are anywhere in the 512 pages of x.

use super::out::{Out, Space, Steps};
use super::parameters::{Legal, parameters};
use super::random::Random;

parameters! {
    /// Sparse matrix by vector, compressed rows, y = A x
    Spmv "spmv" {
        /// Rows and columns
        n = 262144, Legal::From(1, 1 << 30);
        /// Numbers of a row, on average: from 1 to twice as many less 1
        row = 16, Legal::From(1, 256);
        /// Percent of them that are near the diagonal
        near = 50, Legal::From(0, 100);
        /// Columns to either side that are near
        band = 1024, Legal::From(1, 1 << 30);
        /// Rows of a tile
        tile = 64, Legal::From(1, 256);
        /// Bytes of a number
        element = 8, Legal::From(1, 16);
        /// Bytes of a burst
        burst = 1024, Legal::Power(64, 4096);
        /// Multiplications with addition of a cycle; 0: computing takes no time
        ops = 8, Legal::From(0, 1048576);
        /// Seed of the matrix
        seed = 1, Legal::From(0, u64::MAX);
    }
}

/// Bytes of a column number or row pointer.
const INDEX: u64 = 4;

pub struct SpmvSteps {
    p: Spmv,
    random: Random,
    pointers: u64,
    columns: u64,
    values: u64,
    x: u64,
    y: u64,
    row: u64,
    /// Numbers of the rows before.
    at: u64,
}

impl SpmvSteps {
    pub fn new(p: &Spmv) -> SpmvSteps {
        let mut space = Space::new();
        let most = p.n * (2 * p.row - 1);
        SpmvSteps {
            p: p.clone(),
            random: Random::new(p.seed),
            pointers: space.array((p.n + 1) * INDEX),
            columns: space.array(most * INDEX),
            values: space.array(most * p.element),
            x: space.array(p.n * p.element),
            y: space.array(p.n * p.element),
            row: 0,
            at: 0,
        }
    }
}

impl Steps for SpmvSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        let Spmv { n, row, near, band, tile, element, ops, .. } = self.p;
        if self.row >= n {
            return false;
        }
        let rows = tile.min(n - self.row);
        let count: u64 = (0..rows).map(|_| 1 + self.random.below(2 * row - 1)).sum();
        out.read(self.pointers + self.row * INDEX, (rows + 1) * INDEX);
        out.read(self.columns + self.at * INDEX, count * INDEX);
        out.read(self.values + self.at * element, count * element);
        for i in 0..count {
            let column = if self.random.percent(near) {
                let first =
                    (self.row + i * rows / count).saturating_sub(band).min(n.saturating_sub(2 * band + 1));
                first + self.random.below((2 * band + 1).min(n))
            } else {
                self.random.below(n)
            };
            out.read(self.x + column * element, element);
        }
        out.compute(count, ops);
        out.write(self.y + self.row * element, rows * element);
        (self.row, self.at) = (self.row + rows, self.at + count);
        true
    }
}
