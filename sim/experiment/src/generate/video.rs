//! A video pipeline: a camera writes frames, an encoder reads them with what was before, a display shows them.
//!
//! Frames are NV12 (a plane of 1 byte a pixel, and one of half the rows) in a ring of `buffers`. While the camera writes frame f + 1 row by
//! row, the encoder takes frame f in squares of `block`: for each 64 rows of 64 bytes of it, of its colours 32, and of the frame
//! that it made before (64 + 2 `search`) rows of as many bytes at the place that moved here; it writes the square that it made,
//! and some bits. The display reads frame f - 1 row by row. At 1920 x 1080 a square's rows are 2 KiB apart: 64 rows touch 32
//! pages, its search window of 128 rows 64 pages, and the next square touches the same ones: each page is used by some
//! 30 squares, then not before the next frame.

use super::out::{Out, Space, Steps};
use super::parameters::{Legal, parameters};
use super::random::Random;

parameters! {
    /// Video frames: camera, encoder with motion search, display
    VideoFrames "video_frames" {
        /// Pixels of a row
        width = 1920, Legal::From(64, 16384);
        /// Rows
        height = 1080, Legal::From(64, 16384);
        /// Bytes from one row to the next are a multiple of this
        pitch = 256, Legal::Power(64, 4096);
        /// Frames
        frames = 30, Legal::From(1, 1 << 32);
        /// Frames in memory; a ring
        buffers = 4, Legal::From(3, 64);
        /// Pixels of a square's side
        block = 64, Legal::Power(16, 128);
        /// Pixels to each side that are searched for motion
        search = 32, Legal::From(0, 128);
        /// Bytes of a burst
        burst = 256, Legal::Power(64, 4096);
        /// Seed of the motion
        seed = 1, Legal::From(0, u64::MAX);
    }
}

/// Furthest that a square moves, in pixels.
const MOTION: u64 = 64;
/// Bytes that a square is coded in.
const CODED: u64 = 64;

pub struct VideoFramesSteps {
    p: VideoFrames,
    random: Random,
    stride: u64,
    buffers: Vec<u64>,
    /// Frames that the encoder made: the one before, and this.
    made: [u64; 2],
    coded: u64,
    coded_bytes: u64,
    frame: u64,
    row: u64,
    /// Squares coded, which decides where bits go.
    squares: u64,
}

impl VideoFramesSteps {
    pub fn new(p: &VideoFrames) -> VideoFramesSteps {
        let mut space = Space::new();
        let stride = p.width.next_multiple_of(p.pitch);
        let mut frame = || space.array(stride * (p.height + p.height / 2));
        let buffers = (0..p.buffers).map(|_| frame()).collect();
        let made = [frame(), frame()];
        let coded_bytes = 1 << 20;
        let (random, coded) = (Random::new(p.seed), space.array(coded_bytes));
        VideoFramesSteps {
            p: p.clone(),
            random,
            stride,
            buffers,
            made,
            coded,
            coded_bytes,
            frame: 0,
            row: 0,
            squares: 0,
        }
    }

    /// First bytes of rows of brightness and of colours, with their number.
    fn rows(&self, buffer: u64, rows: u64) -> [(u64, u64); 2] {
        let colours = buffer + self.stride * self.p.height;
        [(buffer + self.row * self.stride, rows), (colours + self.row / 2 * self.stride, rows / 2)]
    }

    fn square(&mut self, x: u64, rows: u64, out: &mut Out) {
        let VideoFrames { width, height, block, search, .. } = self.p;
        let source = self.buffers[(self.frame % self.p.buffers) as usize];
        let wide = block.min(width - x);
        for (base, rows) in self.rows(source, rows) {
            out.read_rows(base + x, wide, rows, self.stride);
        }
        let (columns, lines) = ((block + 2 * search).min(width), (block + 2 * search).min(height));
        let mut moved = |at: u64, window: u64, size: u64| {
            let place = (at + self.random.below(2 * MOTION + 1)).saturating_sub(MOTION + search);
            place.min(size - window)
        };
        let (left, top) = (moved(x, columns, width), moved(self.row, lines, height));
        out.read_rows(self.made[0] + top * self.stride + left, columns, lines, self.stride);
        for (base, rows) in self.rows(self.made[1], rows) {
            out.write_rows(base + x, wide, rows, self.stride);
        }
        out.write(self.coded + self.squares * CODED % self.coded_bytes, CODED);
        self.squares += 1;
    }
}

impl Steps for VideoFramesSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        if self.frame >= self.p.frames {
            return false;
        }
        let rows = self.p.block.min(self.p.height - self.row);
        let buffer = |frame: u64| self.buffers[(frame % self.p.buffers) as usize];
        for (base, rows) in self.rows(buffer(self.frame + 1), rows) {
            out.write_rows(base, self.p.width, rows, self.stride);
        }
        for (base, rows) in self.rows(buffer(self.frame + self.p.buffers - 1), rows) {
            out.read_rows(base, self.p.width, rows, self.stride);
        }
        let mut x = 0;
        while x < self.p.width {
            self.square(x, rows, out);
            x += self.p.block;
        }
        self.row += rows;
        if self.row == self.p.height {
            (self.row, self.frame) = (0, self.frame + 1);
            self.made.swap(0, 1);
        }
        true
    }
}
