//! The machine's parameters: memory as data and as tables see it, and a last-level cache in front of either.
//!
//! All times are in clock cycles of the IOMMU, all sizes in bytes.

use serde::{Deserialize, Serialize};

/// A memory, or the way to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryModel {
    /// From the cycle in which an access is accepted to that of its first data; at least 1.
    pub latency: u32,
    /// Accesses under way at a time; at least 1.
    pub outstanding: u32,
    /// Bytes that it moves in a cycle; 0 sets no limit.
    pub bytes_per_cycle: u32,
    /// Banks that work side by side, interleaved by lines of 64 bytes; 0 sets no limit.
    pub banks: u32,
    /// Cycles for which an access occupies its bank.
    pub bank_busy: u32,
}

impl MemoryModel {
    /// The most [`outstanding`](Self::outstanding) accesses: no limit.
    pub const UNLIMITED: u32 = 1 << 16;
}

impl Default for MemoryModel {
    fn default() -> MemoryModel {
        MemoryModel { latency: 20, outstanding: 16, bytes_per_cycle: 0, banks: 0, bank_busy: 0 }
    }
}

/// A cache in front of memory. Lines are replaced least recently used first; writes allocate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LastLevelCache {
    /// Bytes of data that it holds: ways times a power of two of lines.
    pub bytes: u64,
    /// Lines of a set.
    pub ways: u32,
    /// From an access to its data when it hits.
    pub latency: u32,
    /// Reads of tables go through it.
    #[serde(default = "yes")]
    pub tables: bool,
    /// Accesses to data go through it.
    #[serde(default)]
    pub data: bool,
}

fn yes() -> bool {
    true
}

impl LastLevelCache {
    /// Bytes of a line.
    pub const LINE: u64 = 64;
}

/// The machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MachineModel {
    /// Memory as the IOMMU's reads of tables see it.
    pub tables: MemoryModel,
    /// Memory as the devices' accesses see it.
    pub data: MemoryModel,
    /// Tables and data are behind one memory, that of `data`: its outstanding accesses, bandwidth and banks are for both.
    /// `tables.latency` still holds for tables.
    pub shared: bool,
    /// A last-level cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<LastLevelCache>,
}

impl MachineModel {
    /// One latency for everything.
    pub fn even(latency: u32) -> MachineModel {
        let memory = MemoryModel { latency, ..MemoryModel::default() };
        MachineModel { tables: memory, data: memory, ..MachineModel::default() }
    }

    /// What is not possible, as `key = value: why; mend`; empty if all is.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        for (name, memory) in [("tables", self.tables), ("data", self.data)] {
            if memory.latency == 0 || memory.latency > 1_000_000 {
                let latency = memory.latency;
                problems.push(format!("machine.{name}.latency = {latency}: from 1 to 1000000 are possible"));
            }
            if memory.outstanding == 0 || memory.outstanding > MemoryModel::UNLIMITED {
                let outstanding = memory.outstanding;
                problems.push(format!(
                    "machine.{name}.outstanding = {outstanding}: from 1 to 65536 are possible"
                ));
            }
            if memory.banks != 0 && !memory.banks.is_power_of_two() {
                let banks = memory.banks;
                problems.push(format!("machine.{name}.banks = {banks}: a power of two, or 0 for no limit"));
            }
            if memory.banks != 0 && memory.bank_busy == 0 {
                problems.push(format!(
                    "machine.{name}.bank_busy = 0: banks limit nothing; set the cycles for which an access occupies one"
                ));
            }
        }
        if let Some(cache) = self.cache {
            let sets = cache.bytes / LastLevelCache::LINE / u64::from(cache.ways.max(1));
            let whole = sets * LastLevelCache::LINE * u64::from(cache.ways) == cache.bytes;
            if cache.ways == 0 || !whole || !sets.is_power_of_two() {
                problems.push(format!(
                    "machine.cache.bytes = {}, ways = {}: bytes must be 64 times ways times a power of two",
                    cache.bytes, cache.ways
                ));
            }
            if cache.latency == 0 {
                problems.push("machine.cache.latency = 0: at least 1 is possible".into());
            }
            if !cache.tables && !cache.data {
                problems.push(
                    "machine.cache: set tables = true, data = true or both, or leave the cache out".into(),
                );
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_name_the_field() {
        assert_eq!(MachineModel::default().problems(), Vec::<String>::new());
        let mut machine = MachineModel::even(0);
        machine.data.banks = 3;
        machine.cache = Some(LastLevelCache { bytes: 1000, ways: 4, latency: 5, tables: false, data: false });
        let problems = machine.problems().join("\n");
        for name in [
            "tables.latency = 0",
            "data.latency = 0",
            "data.banks = 3",
            "cache.bytes = 1000",
            "tables = true",
        ] {
            assert!(problems.contains(name), "{name} is missing in {problems}");
        }
        machine = MachineModel::default();
        machine.cache =
            Some(LastLevelCache { bytes: 96 << 10, ways: 12, latency: 5, tables: true, data: false });
        assert_eq!(machine.problems(), Vec::<String>::new(), "128 sets of 12 ways");
    }
}
