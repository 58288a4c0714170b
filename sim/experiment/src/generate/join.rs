//! Hash join of two tables in a database accelerator.
//!
//! Build: the smaller table is read as a stream, and for each tuple a bucket is read and the tuple written into it, anywhere in a table
//! of buckets that is half full. Probe: the larger table is read as a stream, and for each tuple a bucket is read; matches are
//! written as a third stream. With 2^20 tuples of 16 bytes to build and 2^22 to probe: buckets of 64 bytes in 32 MiB (8192 pages), 96 of
//! 100 probe accesses are to buckets. `skew` makes some keys come more often: key r goes with (r + 1)^-skew.

use super::out::{Out, Space, Steps};
use super::parameters::{Legal, parameters};
use super::random::{PowerLaw, Random, mix};

parameters! {
    /// Hash join: build a table of buckets, probe it
    HashJoin "hash_join" {
        /// Tuples of the table that is built from
        build = 1048576, Legal::From(1, 1 << 30);
        /// Tuples of the table that probes
        probe = 4194304, Legal::From(0, 1 << 32);
        /// Bytes of a tuple
        tuple = 16, Legal::From(4, 1024);
        /// Bytes of a bucket
        bucket = 64, Legal::Power(16, 4096);
        /// How uneven the probing keys are, in hundredths; 0: even
        skew = 0, Legal::From(0, 99);
        /// Percent of the probing tuples that match
        matching = 50, Legal::From(0, 100);
        /// Bytes of a burst
        burst = 1024, Legal::Power(64, 4096);
        /// Seed of the keys
        seed = 1, Legal::From(0, u64::MAX);
    }
}

pub struct HashJoinSteps {
    p: HashJoin,
    random: Random,
    law: PowerLaw,
    buckets: u64,
    build: u64,
    probe: u64,
    table: u64,
    output: u64,
    built: u64,
    probed: u64,
    /// Matches found, and written.
    matched: u64,
    written: u64,
}

impl HashJoinSteps {
    pub fn new(p: &HashJoin) -> HashJoinSteps {
        let mut space = Space::new();
        let buckets = (2 * p.build * p.tuple).div_ceil(p.bucket).next_power_of_two();
        HashJoinSteps {
            random: Random::new(p.seed),
            law: PowerLaw::new(p.build, p.skew * 10),
            buckets,
            build: space.array(p.build * p.tuple),
            probe: space.array(p.probe * p.tuple),
            table: space.array(buckets * p.bucket),
            output: space.array(p.probe * 2 * p.tuple),
            built: 0,
            probed: 0,
            matched: 0,
            written: 0,
            p: p.clone(),
        }
    }

    fn bucket(&self, key: u64) -> u64 {
        self.table + (mix(key ^ self.p.seed << 40) & (self.buckets - 1)) * self.p.bucket
    }
}

impl Steps for HashJoinSteps {
    fn step(&mut self, out: &mut Out) -> bool {
        let HashJoin { tuple, bucket, burst, .. } = self.p;
        // As many as a burst brings, at least one.
        let several = (burst / tuple).max(1);
        if self.built < self.p.build {
            let count = several.min(self.p.build - self.built);
            out.read(self.build + self.built * tuple, count * tuple);
            for key in self.built..self.built + count {
                let place = self.bucket(key);
                out.read(place, bucket);
                let slots = (bucket / tuple).max(1);
                out.write(place + self.random.below(slots) * tuple.min(bucket), tuple.min(bucket));
            }
            self.built += count;
            return true;
        }
        let left = self.p.probe - self.probed;
        if left == 0 {
            return false;
        }
        let count = several.min(left);
        out.read(self.probe + self.probed * tuple, count * tuple);
        for _ in 0..count {
            let key = self.law.at(self.random.bits());
            out.read(self.bucket(key), bucket);
            self.matched += u64::from(self.random.percent(self.p.matching));
        }
        self.probed += count;
        let whole =
            if count == left { self.matched } else { self.matched - self.matched % (burst / 64).max(1) };
        // Tuples that match are twice as wide.
        out.write(self.output + self.written * 2 * tuple, (whole - self.written) * 2 * tuple);
        self.written = whole;
        true
    }
}
