//! From transfers, as a DMA engine is told them, to the accesses that it makes.
//!
//! A transfer is a block of rows, each so many bytes after the other. Each row is cut at multiples of the burst size, so that no
//! access crosses a page; rows that touch are one. Bounds: the transfers of a step wait here, not their accesses.

use crate::stream::{AccessStream, BATCH};
use crate::trace::{TraceAccess, TraceError, TraceOp};

/// A block of rows; with no rows a run of accesses that need not be cut: `bytes` of them from number `base` on.
#[derive(Clone, Copy, Debug)]
struct Block {
    op: TraceOp,
    pasid: u32,
    gap: u32,
    base: u64,
    bytes: u64,
    rows: u64,
    stride: u64,
}

/// Takes the transfers of a step.
#[derive(Debug)]
pub struct Out {
    burst: u64,
    blocks: Vec<Block>,
    /// Accesses of runs.
    ready: Vec<TraceAccess>,
    pasid: u32,
    gap: u32,
}

impl Out {
    fn new(burst: u64) -> Out {
        Out { burst, blocks: Vec::new(), ready: Vec::new(), pasid: 0, gap: 0 }
    }

    fn clear(&mut self) {
        self.blocks.clear();
        self.ready.clear();
    }

    /// Whose transfers follow; 0 until it is said.
    pub fn pasid(&mut self, label: u32) {
        self.pasid = label;
    }

    /// The device computes, or waits, for so many cycles before the next transfer.
    #[inline]
    pub fn wait(&mut self, cycles: u64) {
        self.gap = self.gap.saturating_add(cycles.min(u64::from(u32::MAX)) as u32);
    }

    /// The device works on so many operations, of which it does `per_cycle`; 0: it takes no time.
    pub fn compute(&mut self, operations: u64, per_cycle: u64) {
        self.wait(operations.checked_div(per_cycle).unwrap_or(0));
    }

    /// Reads bytes.
    #[inline]
    pub fn read(&mut self, base: u64, bytes: u64) {
        self.push(TraceOp::Read, base, bytes, 1, 0);
    }

    /// Writes bytes.
    #[inline]
    pub fn write(&mut self, base: u64, bytes: u64) {
        self.push(TraceOp::Write, base, bytes, 1, 0);
    }

    /// Reads rows.
    pub fn read_rows(&mut self, base: u64, bytes: u64, rows: u64, stride: u64) {
        self.push(TraceOp::Read, base, bytes, rows, stride);
    }

    /// Writes rows.
    pub fn write_rows(&mut self, base: u64, bytes: u64, rows: u64, stride: u64) {
        self.push(TraceOp::Write, base, bytes, rows, stride);
    }

    #[inline]
    fn push(&mut self, op: TraceOp, base: u64, bytes: u64, rows: u64, stride: u64) {
        let (bytes, rows) = if bytes == stride { (bytes * rows, 1) } else { (bytes, rows) };
        if bytes == 0 || rows == 0 {
            return;
        }
        let (pasid, gap) = (self.pasid, std::mem::take(&mut self.gap));
        if rows > 1 || bytes > self.burst - (base & (self.burst - 1)) {
            self.blocks.push(Block { op, pasid, gap, base, bytes, rows, stride });
            return;
        }
        // Most of what irregular workloads have: one access.
        self.ready.push(TraceAccess { pasid, op, address: base, size: bytes as u32, gap });
        match self.blocks.last_mut() {
            Some(run) if run.rows == 0 => run.bytes += 1,
            _ => {
                let base = self.ready.len() as u64 - 1;
                self.blocks.push(Block { op, pasid, gap, base, bytes: 1, rows: 0, stride: 0 });
            }
        }
    }
}

/// Does a workload step by step.
pub trait Steps: Send {
    /// Emits the transfers of the next step, a few thousand at most. False when there was none: the work is done.
    fn step(&mut self, out: &mut Out) -> bool;
}

/// Where in memory arrays are: one after the other as an allocator has them that asks the system for each, with one page of
/// 4 KiB between any two. 64 GiB up, so that it fits a space of 39 bits and begins a page of every size.
#[derive(Debug)]
pub struct Space(u64);

impl Space {
    /// First address.
    pub const BASE: u64 = 64 << 30;

    /// An empty one.
    pub fn new() -> Space {
        Space(Space::BASE)
    }

    /// Places an array.
    pub fn array(&mut self, bytes: u64) -> u64 {
        let base = self.0;
        self.0 += bytes.next_multiple_of(4096) + 4096;
        base
    }
}

/// The accesses of a workload.
pub struct Generated {
    name: String,
    begin: Box<dyn Fn() -> Box<dyn Steps> + Send>,
    steps: Box<dyn Steps>,
    burst: u64,
    out: Out,
    /// The block that is under way, and the row and byte in it.
    at: usize,
    row: u64,
    offset: u64,
    done: bool,
}

impl Generated {
    /// Bursts are powers of two, at most 4096.
    pub fn new(name: String, burst: u64, begin: Box<dyn Fn() -> Box<dyn Steps> + Send>) -> Generated {
        let steps = begin();
        Generated { name, begin, steps, burst, out: Out::new(burst), at: 0, row: 0, offset: 0, done: false }
    }

    /// Cuts blocks into accesses until the batch is full or there are no more blocks.
    fn cut(&mut self, batch: &mut Vec<TraceAccess>) {
        while let Some(&block) = self.out.blocks.get(self.at) {
            let Block { op, pasid, mut gap, base, bytes, rows, stride } = block;
            if rows == 0 {
                let (from, end) = (base + self.offset, base + bytes);
                let end = end.min(from + (BATCH - batch.len()) as u64);
                batch.extend_from_slice(&self.out.ready[from as usize..end as usize]);
                self.offset = end - base;
                if self.offset < bytes {
                    return;
                }
                (self.at, self.offset) = (self.at + 1, 0);
                continue;
            }
            while self.row < rows {
                let start = base + self.row * stride;
                let end = start + bytes;
                let mut address = start + self.offset;
                if self.row > 0 || self.offset > 0 {
                    gap = 0;
                }
                while address < end {
                    if batch.len() >= BATCH {
                        self.offset = address - start;
                        return;
                    }
                    let next = ((address | (self.burst - 1)) + 1).min(end);
                    batch.push(TraceAccess { pasid, op, address, size: (next - address) as u32, gap });
                    (address, gap) = (next, 0);
                }
                (self.row, self.offset) = (self.row + 1, 0);
            }
            (self.at, self.row) = (self.at + 1, 0);
        }
    }
}

impl AccessStream for Generated {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn next_batch(&mut self, batch: &mut Vec<TraceAccess>) -> Result<(), TraceError> {
        batch.clear();
        batch.reserve(BATCH);
        loop {
            self.cut(batch);
            if batch.len() >= BATCH || self.done {
                return Ok(());
            }
            self.out.clear();
            self.at = 0;
            self.done = !self.steps.step(&mut self.out);
        }
    }

    fn rewind(&mut self) -> Result<(), TraceError> {
        (self.at, self.row, self.offset, self.done) = (0, 0, 0, false);
        self.out = Out::new(self.burst);
        self.steps = (self.begin)();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Once(bool);

    impl Steps for Once {
        fn step(&mut self, out: &mut Out) -> bool {
            if std::mem::replace(&mut self.0, true) {
                return false;
            }
            out.wait(7);
            out.read_rows(0x10f8, 100, 2, 0x1000);
            out.write_rows(0x2000, 64, 3, 64);
            out.write(0x3000, 0);
            out.pasid(3);
            out.read(0x4000, 1 << 20);
            true
        }
    }

    #[test]
    fn rows_are_cut_at_bursts_and_joined() {
        let mut stream = Generated::new("once".into(), 256, Box::new(|| Box::new(Once(false))));
        let (mut batch, mut all) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            all.clear();
            loop {
                stream.next_batch(&mut batch).unwrap();
                if batch.is_empty() {
                    break;
                }
                assert!(batch.len() <= BATCH);
                all.extend_from_slice(&batch);
            }
            let seen: Vec<_> = all[..5].iter().map(|a| (a.op.letter(), a.address, a.size, a.gap)).collect();
            let want = [
                ('R', 0x10f8, 8, 7),
                ('R', 0x1100, 92, 0),
                ('R', 0x20f8, 8, 0),
                ('R', 0x2100, 92, 0),
                ('W', 0x2000, 192, 0),
            ];
            assert_eq!(seen, want);
            assert_eq!(all.len(), 5 + 4096);
            assert!(all[5..].iter().all(|a| a.pasid == 3 && a.size == 256));
            stream.rewind().unwrap();
        }
    }
}
