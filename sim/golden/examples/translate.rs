//! An IOMMU with one device and one page: a request that is translated, and one that is refused.
//!
//! `cargo run -p pasidon-golden --example translate`

use pasidon_golden::{Golden, Memory, Parameters};
use pasidon_spec::ddt::{BASE_DC_BYTES, dc, iommu_mode};
use pasidon_spec::memory::MemoryFault;
use pasidon_spec::page_table::{SV39, pte};
use pasidon_spec::registers::{capabilities, ddtp, igs};
use pasidon_spec::request::{Request, Response};

/// Memory from address 0 on, in doublewords.
struct Ram(Vec<u64>);

impl Memory for Ram {
    fn read(&mut self, address: u64, bytes: u32) -> Result<u64, MemoryFault> {
        let word = *self.0.get(address as usize / 8).ok_or(MemoryFault::Access)?;
        Ok(if bytes == 8 { word } else { word >> (8 * (address & 4)) & 0xffff_ffff })
    }

    fn write(&mut self, address: u64, bytes: u32, value: u64) -> Result<(), MemoryFault> {
        let word = self.0.get_mut(address as usize / 8).ok_or(MemoryFault::Access)?;
        let (mask, shift) = if bytes == 8 { (u64::MAX, 0) } else { (0xffff_ffff, 8 * (address & 4)) };
        *word = *word & !(mask << shift) | (value & mask) << shift;
        Ok(())
    }
}

const DIRECTORY: u64 = 0x1000;
const TABLES: [u64; 3] = [0x2000, 0x3000, 0x4000];
const PAGE: u64 = 0x8_0000;
const VA: u64 = 0x40_2000;
const DEVICE: u32 = 5;

fn main() {
    let features = [capabilities::SV39, capabilities::PD8];
    let parameters = Parameters::new(Parameters::capabilities_of(features, igs::WSI, 40));
    parameters.check().expect("each field is in its range");
    let mut ram = Ram(vec![0; 0x1_0000 / 8]);
    let mut set = |address: u64, value: u64| ram.0[address as usize / 8] = value;

    // The device's context: valid, with an Sv39 page table of its own.
    let context = DIRECTORY + u64::from(DEVICE) * BASE_DC_BYTES;
    set(context, dc::tc::V.mask());
    set(context + 24, dc::fsc::MODE.of(SV39.mode) | dc::fsc::PPN.of(TABLES[0] >> 12));
    // Three levels of tables, and a page that may be read.
    let entry = |level: usize| TABLES[2 - level] + 8 * (VA >> (12 + 9 * level) & 0x1ff);
    set(entry(2), pte::V.mask() | pte::PPN.of(TABLES[1] >> 12));
    set(entry(1), pte::V.mask() | pte::PPN.of(TABLES[2] >> 12));
    let readable = pte::V.mask() | pte::R.mask() | pte::U.mask() | pte::A.mask();
    set(entry(0), readable | pte::PPN.of(PAGE >> 12));

    let mut iommu = Golden::new(parameters);
    let root = ddtp::IOMMU_MODE.of(iommu_mode::LVL1) | ddtp::PPN.of(DIRECTORY >> 12);
    iommu.write_register(ddtp::REG.offset, 8, root);
    while iommu.run(&mut ram) {}

    for write in [false, true] {
        let request = Request { device_id: DEVICE, iova: VA + 0x123, write, ..Request::default() };
        let what = if write { "write" } else { "read" };
        match iommu.translate(&mut ram, &request) {
            Response::Success(translation) => println!("{what} {:#x}: {:#x}", request.iova, translation.spa),
            Response::Fault(fault) => println!("{what} {:#x}: cause {}", request.iova, fault.cause.code()),
        }
    }
}
