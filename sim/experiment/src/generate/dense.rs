//! Dense kernels on an accelerator with a scratchpad: gemm, gesummv, heat3d, axpy.
//!
//! The device is a cluster of cores with a scratchpad and a DMA engine, as in arXiv 2502.17398: cores never touch memory, the DMA
//! engine brings tiles in and takes results out. Numbers are by row. Double buffering has no gap where transfers hide the
//! computing: set `ops` to 0 for it.
//!
//! - gemm, C = A B: for each tile of C the tiles of A and B along k are read, then it is written. A tile is as many rows as it is high,
//!   each of them a matrix row after the last: 64 rows of 2 KiB apart touch 32 pages with 256 bytes each time. A is read n / tile_n
//!   times, B m / tile_m times, C written once.
//! - gesummv, y = (A + B) x: A and B are read once, `rows` rows by `columns` at a time; x is read again for each block of rows.
//!   Two streams, 99 % reads, no reuse of a page but of x.
//! - heat3d: each step reads blocks of planes with a halo of one row and plane, and writes the inside. Rows of n, planes of n^2
//!   numbers: with n = 128 and 8 bytes, a block of 4 by 16 rows reads 6 times 18 KiB, 128 KiB apart.
//! - axpy, y = a x + y: three streams, one of them written, nothing used twice.

use super::out::{Out, Space, Steps};
use super::parameters::{Legal, parameters};

parameters! {
    /// Matrix product on an accelerator: DMA of tiles, C = A B
    Gemm "gemm" {
        /// Rows of A and C
        m = 512, Legal::From(1, 65536);
        /// Columns of B and C
        n = 512, Legal::From(1, 65536);
        /// Columns of A, rows of B
        k = 512, Legal::From(1, 65536);
        /// Rows of a tile of C
        tile_m = 64, Legal::From(1, 4096);
        /// Columns of a tile of C
        tile_n = 64, Legal::From(1, 4096);
        /// Columns of a tile of A
        tile_k = 64, Legal::From(1, 4096);
        /// Bytes of a number
        element = 4, Legal::From(1, 16);
        /// Bytes of a burst
        burst = 1024, Legal::Power(64, 4096);
        /// Multiplications with addition of a cycle; 0: computing takes no time
        ops = 8, Legal::From(0, 1048576);
    }
}

/// Tile of C, and the place along k.
pub struct GemmSteps {
    p: Gemm,
    a: u64,
    b: u64,
    c: u64,
    i: u64,
    j: u64,
    l: u64,
}

impl GemmSteps {
    pub fn new(p: &Gemm) -> GemmSteps {
        let mut space = Space::new();
        let mut matrix = |rows: u64, columns: u64| space.array(rows * columns * p.element);
        let (a, b, c) = (matrix(p.m, p.k), matrix(p.k, p.n), matrix(p.m, p.n));
        GemmSteps { p: p.clone(), a, b, c, i: 0, j: 0, l: 0 }
    }
}

impl Steps for GemmSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        let p = &self.p;
        if self.i >= p.m {
            return false;
        }
        let e = p.element;
        let (rows, columns, depth) =
            (p.tile_m.min(p.m - self.i), p.tile_n.min(p.n - self.j), p.tile_k.min(p.k - self.l));
        out.read_rows(self.a + (self.i * p.k + self.l) * e, depth * e, rows, p.k * e);
        out.read_rows(self.b + (self.l * p.n + self.j) * e, columns * e, depth, p.n * e);
        out.compute(rows * columns * depth, p.ops);
        self.l += depth;
        if self.l == p.k {
            out.write_rows(self.c + (self.i * p.n + self.j) * e, columns * e, rows, p.n * e);
            (self.l, self.j) = (0, self.j + columns);
            if self.j == p.n {
                (self.j, self.i) = (0, self.i + rows);
            }
        }
        true
    }
}

parameters! {
    /// Sum of two matrix-vector products on an accelerator, y = (A + B) x
    Gesummv "gesummv" {
        /// Rows and columns of A and B
        n = 2048, Legal::From(1, 65536);
        /// Rows of a tile
        rows = 16, Legal::From(1, 4096);
        /// Columns of a tile
        columns = 1024, Legal::From(1, 65536);
        /// Bytes of a number
        element = 4, Legal::From(1, 16);
        /// Bytes of a burst
        burst = 1024, Legal::Power(64, 4096);
        /// Multiplications with addition of a cycle; 0: computing takes no time
        ops = 8, Legal::From(0, 1048576);
    }
}

pub struct GesummvSteps {
    p: Gesummv,
    a: u64,
    b: u64,
    x: u64,
    y: u64,
    row: u64,
    column: u64,
}

impl GesummvSteps {
    pub fn new(p: &Gesummv) -> GesummvSteps {
        let mut space = Space::new();
        let (matrix, vector) = (p.n * p.n * p.element, p.n * p.element);
        let (a, b, x, y) =
            (space.array(matrix), space.array(matrix), space.array(vector), space.array(vector));
        GesummvSteps { p: p.clone(), a, b, x, y, row: 0, column: 0 }
    }
}

impl Steps for GesummvSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        let p = &self.p;
        if self.row >= p.n {
            return false;
        }
        let (e, pitch) = (p.element, p.n * p.element);
        let (rows, columns) = (p.rows.min(p.n - self.row), p.columns.min(p.n - self.column));
        let tile = (self.row * p.n + self.column) * e;
        out.read(self.x + self.column * e, columns * e);
        out.read_rows(self.a + tile, columns * e, rows, pitch);
        out.read_rows(self.b + tile, columns * e, rows, pitch);
        out.compute(2 * rows * columns, p.ops);
        self.column += columns;
        if self.column == p.n {
            out.write(self.y + self.row * e, rows * e);
            (self.column, self.row) = (0, self.row + rows);
        }
        true
    }
}

parameters! {
    /// Seven-point heat stencil in three dimensions on an accelerator: DMA of blocks with a halo
    Heat3d "heat3d" {
        /// Points along each side
        n = 128, Legal::From(3, 2048);
        /// Steps of time
        steps = 4, Legal::From(1, 1048576);
        /// Rows of a block
        tile_y = 16, Legal::From(1, 2048);
        /// Planes of a block
        tile_z = 4, Legal::From(1, 2048);
        /// Bytes of a number
        element = 8, Legal::From(1, 16);
        /// Bytes of a burst
        burst = 1024, Legal::Power(64, 4096);
        /// Points of a cycle; 0: computing takes no time
        ops = 1, Legal::From(0, 1048576);
    }
}

pub struct Heat3dSteps {
    p: Heat3d,
    from: u64,
    to: u64,
    time: u64,
    z: u64,
    y: u64,
}

impl Heat3dSteps {
    pub fn new(p: &Heat3d) -> Heat3dSteps {
        let mut space = Space::new();
        let mut grid = || space.array(p.n * p.n * p.n * p.element);
        Heat3dSteps { p: p.clone(), from: grid(), to: grid(), time: 0, z: 1, y: 1 }
    }
}

impl Steps for Heat3dSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        let p = &self.p;
        if self.time >= p.steps {
            return false;
        }
        let (e, inside) = (p.element, p.n - 1);
        let (planes, rows) = (p.tile_z.min(inside - self.z), p.tile_y.min(inside - self.y));
        let row = p.n * e;
        for z in self.z - 1..self.z + planes + 1 {
            out.read_rows(self.from + (z * p.n + self.y - 1) * row, row, rows + 2, row);
        }
        out.compute(planes * rows * (p.n - 2), p.ops);
        for z in self.z..self.z + planes {
            out.write_rows(self.to + (z * p.n + self.y) * row + e, row - 2 * e, rows, row);
        }
        self.y += rows;
        if self.y == inside {
            (self.y, self.z) = (1, self.z + planes);
        }
        if self.z == inside {
            (self.z, self.time) = (1, self.time + 1);
            std::mem::swap(&mut self.from, &mut self.to);
        }
        true
    }
}

parameters! {
    /// Scaled addition of vectors on an accelerator, y = a x + y
    Axpy "axpy" {
        /// Numbers of a vector
        n = 4194304, Legal::From(1, 1 << 32);
        /// Numbers of a tile
        tile = 2048, Legal::From(1, 1048576);
        /// Bytes of a number
        element = 4, Legal::From(1, 16);
        /// Bytes of a burst
        burst = 1024, Legal::Power(64, 4096);
        /// Numbers of a cycle; 0: computing takes no time
        ops = 8, Legal::From(0, 1048576);
    }
}

pub struct AxpySteps {
    p: Axpy,
    x: u64,
    y: u64,
    at: u64,
}

impl AxpySteps {
    pub fn new(p: &Axpy) -> AxpySteps {
        let mut space = Space::new();
        AxpySteps { p: p.clone(), x: space.array(p.n * p.element), y: space.array(p.n * p.element), at: 0 }
    }
}

impl Steps for AxpySteps {
    fn step(&mut self, out: &mut Out) -> bool {
        let p = &self.p;
        if self.at >= p.n {
            return false;
        }
        let (count, offset) = (p.tile.min(p.n - self.at), self.at * p.element);
        out.read(self.x + offset, count * p.element);
        out.read(self.y + offset, count * p.element);
        out.compute(count, p.ops);
        out.write(self.y + offset, count * p.element);
        self.at += count;
        true
    }
}
