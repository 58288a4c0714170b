//! The queues of an NVMe drive.
//!
//! For each command: its 64 bytes in the submission queue are read, the list of its pages if it has more than two (8 bytes a page),
//! then each page is written (a read command) or read (a write command) in bursts, and 16 bytes of completion are written. A command of
//! 16 KiB is 4 pages, 64 bursts of 256 bytes and 3 small accesses: 6 to 7 pages, of which those of the queues come again soon. With
//! `scatter` the pages are anywhere in the pool, as a page cache has them; without, a command's are one after the other.

use super::out::{Out, Space, Steps};
use super::parameters::{Legal, parameters};
use super::random::Random;

parameters! {
    /// Queues of an NVMe drive
    NvmeQueues "nvme_queues" {
        /// Commands
        commands = 65536, Legal::From(1, 1 << 40);
        /// Pairs of queues
        queues = 8, Legal::From(1, 1024);
        /// Entries of a queue
        entries = 256, Legal::Power(2, 65536);
        /// Pages of 4 KiB of the smallest command
        least = 1, Legal::Power(1, 256);
        /// Pages of the largest; between them every power of two is as frequent
        most = 32, Legal::Power(1, 256);
        /// Percent of the commands that read from the drive
        reads = 70, Legal::From(0, 100);
        /// Pages of memory that data are in
        pool = 65536, Legal::From(256, 1 << 24);
        /// Pages are anywhere in the pool: 1, or one after the other: 0
        scatter = 1, Legal::From(0, 1);
        /// Cycles from a command to its data
        latency = 0, Legal::From(0, 1 << 30);
        /// Bytes of a burst
        burst = 256, Legal::Power(64, 4096);
        /// Seed of order and sizes
        seed = 1, Legal::From(0, u64::MAX);
    }
}

const PAGE: u64 = 4096;
const COMMAND: u64 = 64;
const COMPLETION: u64 = 16;
/// Bytes of a pointer to a page.
const POINTER: u64 = 8;

impl NvmeQueues {
    /// What does not fit together.
    pub fn problems(&self) -> Vec<String> {
        if self.least > self.most {
            let (least, most) = (self.least, self.most);
            return vec![format!(
                "work.nvme_queues.least = {least}: more than work.nvme_queues.most = {most}; set it to {most} or less"
            )];
        }
        Vec::new()
    }
}

pub struct NvmeQueuesSteps {
    p: NvmeQueues,
    random: Random,
    /// Commands of each queue so far.
    heads: Vec<u64>,
    submissions: u64,
    completions: u64,
    lists: u64,
    pool: u64,
    done: u64,
}

impl NvmeQueuesSteps {
    pub fn new(p: &NvmeQueues) -> NvmeQueuesSteps {
        let mut space = Space::new();
        let entries = p.queues * p.entries;
        NvmeQueuesSteps {
            random: Random::new(p.seed),
            heads: vec![0; p.queues as usize],
            submissions: space.array(entries * COMMAND),
            completions: space.array(entries * COMPLETION),
            lists: space.array(entries * PAGE),
            pool: space.array(p.pool * PAGE),
            done: 0,
            p: p.clone(),
        }
    }
}

impl Steps for NvmeQueuesSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        if self.done >= self.p.commands {
            return false;
        }
        let queue = self.random.below(self.p.queues);
        let head = &mut self.heads[queue as usize];
        let entry = queue * self.p.entries + *head % self.p.entries;
        *head += 1;
        let sizes = u64::from((self.p.most / self.p.least).ilog2()) + 1;
        let pages = self.p.least << self.random.below(sizes);
        out.read(self.submissions + entry * COMMAND, COMMAND);
        if pages > 2 {
            out.read(self.lists + entry * PAGE, (pages - 1) * POINTER);
        }
        out.wait(self.p.latency);
        let reads = self.random.percent(self.p.reads);
        let first = self.random.below(self.p.pool - pages + 1);
        for page in 0..pages {
            let page = if self.p.scatter == 1 { self.random.below(self.p.pool) } else { first + page };
            let move_page = if reads { Out::write } else { Out::read };
            move_page(out, self.pool + page * PAGE, PAGE);
        }
        out.write(self.completions + entry * COMPLETION, COMPLETION);
        self.done += 1;
        true
    }
}
