//! Translations per second of the golden model: hits in its IOATC, and full misses, for which it reads every table.
//!
//! A full miss walks a device directory of three levels, a process directory of three levels (host) or none (guest), and Sv39; in the
//! guest, each of those first-stage accesses and the page itself pass an Sv39x4 second stage.

#![allow(missing_docs, reason = "criterion's macro makes a function that nobody calls by name")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use pasidon_golden::{Golden, Memory, Parameters};
use pasidon_spec::ddt::{BASE_DC_BYTES, BASE_DDI, dc, iommu_mode};
use pasidon_spec::memory::MemoryFault;
use pasidon_spec::page_table::{Geometry, SV39, SV39X4, pte};
use pasidon_spec::pdt::{PC_BYTES, PDI, pc, pdtp_mode};
use pasidon_spec::registers::{capabilities as cap, ddtp, igs};
use pasidon_spec::request::Request;
use std::hint::black_box;

/// Memory in one piece, from address 0.
struct Ram(Vec<u64>);

impl Memory for Ram {
    #[inline]
    fn read(&mut self, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
        let word = *self.0.get((address / 8) as usize).ok_or(MemoryFault::Access)?;
        Ok(if bytes == 8 { word } else { word >> (8 * (address & 4)) & 0xffff_ffff })
    }

    fn write(&mut self, _: u64, _: u32, _: u64) -> Result<(), MemoryFault> {
        Err(MemoryFault::Access)
    }
}

/// A leaf that permits everything.
const LEAF: u64 = pte::V.mask()
    | pte::R.mask()
    | pte::W.mask()
    | pte::X.mask()
    | pte::U.mask()
    | pte::A.mask()
    | pte::D.mask();
/// Pages that a process or guest has.
const PAGES: u64 = 8;

/// Tables in memory.
struct World {
    ram: Ram,
    next: u64,
    directory: u64,
}

impl World {
    fn new(megabytes: usize) -> World {
        let mut world = World { ram: Ram(vec![0; megabytes << 17]), next: 1, directory: 0 };
        world.directory = world.pages(1);
        world
    }

    /// Fresh pages, aligned to their number; the address.
    fn pages(&mut self, count: u64) -> u64 {
        let page = self.next.next_multiple_of(count);
        self.next = page + count;
        page << 12
    }

    fn set(&mut self, address: u64, value: u64) {
        self.ram.0[address as usize / 8] = value;
    }

    /// The table that the entry at `address` points to.
    fn table(&mut self, address: u64) -> u64 {
        if self.ram.0[address as usize / 8] == 0 {
            let table = self.pages(1);
            self.set(address, table >> 12 << 10 | 1);
        }
        self.ram.0[address as usize / 8] >> 10 << 12
    }

    fn map(&mut self, format: &Geometry, root: u64, address: u64, page: u64) {
        let mut table = root;
        for level in (1..format.levels.len()).rev() {
            table = self.table(table + format.levels[level].of(address) * 8);
        }
        self.set(table + format.levels[0].of(address) * 8, page >> 12 << 10 | LEAF);
    }

    fn device(&mut self, device_id: u32, context: [u64; 4]) {
        let mut table = self.directory;
        for level in [2, 1] {
            table = self.table(table + BASE_DDI[level].of(device_id.into()) * 8);
        }
        let at = table + BASE_DDI[0].of(device_id.into()) * BASE_DC_BYTES;
        for (i, word) in context.into_iter().enumerate() {
            self.set(at + 8 * i as u64, word);
        }
    }

    /// The requests of a device with one process that has an Sv39 table.
    fn host(&mut self, index: u64, requests: &mut Vec<Request>) {
        let device_id = ((index * 7919) & 0x7f_ffff) as u32;
        let process_id = ((index * 104_729) & 0xf_ffff) as u32;
        let root = self.pages(1);
        let mut directory = root;
        for level in [2, 1] {
            directory = self.table(directory + PDI[level].of(process_id.into()) * 8);
        }
        let context = directory + PDI[0].of(process_id.into()) * PC_BYTES;
        let table = self.pages(1);
        self.set(context, pc::ta::V.of(1) | pc::ta::PSCID.of(index));
        self.set(context + 8, pc::fsc::MODE.of(SV39.mode) | pc::fsc::PPN.of(table >> 12));
        let fsc = dc::fsc::MODE.of(pdtp_mode::PD20) | dc::fsc::PPN.of(root >> 12);
        self.device(device_id, [dc::tc::V.of(1) | dc::tc::PDTV.of(1), 0, 0, fsc]);
        for page in 0..PAGES {
            let iova = (index & 0x7f) << 30 | page << 12;
            self.map(&SV39, table, iova, (index << 3 | page) << 12);
            requests.push(Request { device_id, process_id: Some(process_id), iova, ..Request::default() });
        }
    }

    /// The requests of a guest's device with an Sv39 table. The guest's tables are where it sees them.
    fn guest(&mut self, index: u64, requests: &mut Vec<Request>) {
        let device_id = ((index * 7919) & 0x7f_ffff) as u32 | 0x80_0000;
        let second = self.pages(4);
        let table = self.pages(1);
        let first_page = table >> 12;
        let context = [
            dc::tc::V.of(1),
            dc::iohgatp::MODE.of(SV39X4.mode)
                | dc::iohgatp::GSCID.of(index)
                | dc::iohgatp::PPN.of(second >> 12),
            dc::ta::PSCID.of(index),
            dc::fsc::MODE.of(SV39.mode) | dc::fsc::PPN.of(table >> 12),
        ];
        self.device(device_id, context);
        for page in 0..PAGES {
            let iova = (index & 0x7f) << 30 | page << 12;
            self.map(&SV39, table, iova, (index << 3 | page) << 12);
            requests.push(Request { device_id, iova, ..Request::default() });
        }
        for page in first_page..self.next {
            self.map(&SV39X4, second, page << 12, page << 12);
        }
        for page in index << 3..(index << 3) + PAGES {
            self.map(&SV39X4, second, page << 12, page << 12);
        }
    }

    fn iommu(&mut self, caching: bool) -> Golden {
        let capabilities = cap::VERSION.of(cap::VERSION.reset)
            | cap::SV39.mask()
            | cap::SV39X4.mask()
            | cap::IGS.of(igs::WSI)
            | cap::PAS.of(46)
            | cap::PD8.mask()
            | cap::PD17.mask()
            | cap::PD20.mask();
        let mut golden = Golden::new(Parameters { caching, ..Parameters::new(capabilities) });
        let value = ddtp::IOMMU_MODE.of(iommu_mode::LVL3) | ddtp::PPN.of(self.directory >> 12);
        golden.write_register(ddtp::REG.offset, ddtp::REG.bytes, value);
        golden.run(&mut self.ram);
        golden
    }
}

/// What is asked of each device or guest.
type Fill = fn(&mut World, u64, &mut Vec<Request>);

fn translations(criterion: &mut Criterion) {
    let cases: [(&str, Fill, bool, &[u64]); 3] = [
        ("hit", World::host, true, &[1, 64]),
        ("full miss", World::host, false, &[8, 64, 1024]),
        ("full miss, two stages", World::guest, false, &[8, 64, 1024]),
    ];
    let mut group = criterion.benchmark_group("golden model");
    for (name, fill, caching, counts) in cases {
        for &count in counts {
            let mut world = World::new(256);
            let mut requests = Vec::new();
            for index in 0..count {
                fill(&mut world, index, &mut requests);
            }
            let mut golden = world.iommu(caching);
            for request in &requests {
                let response = golden.translate(&mut world.ram, request);
                assert!(response.success().is_some(), "{name}: {request:?} {response:?}");
            }
            // Neighbours in the order belong to different devices.
            let mut order: Vec<(usize, Request)> = requests.into_iter().enumerate().collect();
            order.sort_by_key(|(i, _)| (*i as u64 % PAGES, *i));
            group.throughput(Throughput::Elements(order.len() as u64));
            group.bench_function(BenchmarkId::new(name, format!("{count} devices")), |bencher| {
                bencher.iter(|| {
                    for (_, request) in &order {
                        black_box(golden.translate(&mut world.ram, black_box(request)));
                    }
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, translations);
criterion_main!(benches);
