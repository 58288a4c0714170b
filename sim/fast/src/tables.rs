//! Tables in memory, as the driver and an operating system write them: a device directory, a process directory for each device,
//! and a page table for each process, with the fewest levels that do.
//!
//! Tables are below the middle of the physical address space, pages of processes from there on. Never: an entry changes.

use crate::error::FastError;
use crate::mapping::Page;
use crate::memory::{Structure, TableMemory};
use pasidon_experiment::resolve::{device_ids, most_devices};
use pasidon_rtl::design::Design;
use pasidon_spec::ddt::{self, BASE_DC_BYTES, BASE_DDI, EXT_DC_BYTES, EXT_DDI, dc, ddte, iommu_mode};
use pasidon_spec::field::{Field, Level};
use pasidon_spec::page_table::{self, Geometry, napot, pte};
use pasidon_spec::pdt::{self, PC_BYTES, PDI, pc, pdte, pdtp_mode};

/// Where the first table is: nothing is at address 0.
const FIRST_TABLE: u64 = 1 << 16;
/// Device ids that are always at hand.
const FEW_DEVICES: usize = 16;

/// An address space.
#[derive(Clone, Debug)]
struct Space {
    geometry: &'static Geometry,
    root: u64,
}

/// All tables.
#[derive(Clone, Debug)]
pub struct Tables {
    /// The tables themselves.
    pub memory: TableMemory,
    design: Design,
    root: u64,
    ddt_levels: usize,
    pdt_levels: usize,
    /// By device: its process directory.
    directories: Vec<u64>,
    spaces: Vec<Option<Space>>,
    /// By device, as far as they were asked for.
    device_ids: Vec<u32>,
    next_frame: u64,
}

/// The table below the entry at `slot`, made with `structure` if there is none.
fn descend(
    memory: &mut TableMemory,
    slot: u64,
    structure: Structure,
    make: impl Fn(u64) -> u64,
    ppn: impl Fn(u64) -> u64,
) -> u64 {
    let value = memory.load(slot);
    if value & 1 == 1 {
        return ppn(value) << 12;
    }
    let table = memory.page(structure);
    memory.store(slot, make(table >> 12));
    table
}

impl Tables {
    /// An empty device directory.
    ///
    /// # Errors
    /// A design without process directories.
    pub fn new(design: &Design) -> Result<Tables, FastError> {
        let supported = [design.pd8, design.pd17, design.pd20];
        let holds = |levels: usize| u32::from(pdt::process_id_bits(levels)) >= design.process_id_width;
        let fewest = (1..=3).find(|&levels| supported[levels - 1] && holds(levels));
        let pdt_levels = fewest.or((1..=3).rev().find(|&levels| supported[levels - 1])).ok_or_else(|| {
            FastError::unsuitable(
                "process.pd8",
                "the design has no process directories, so that nothing can be bound to it",
                "set one of process.pd8, pd17 and pd20",
            )
        })?;
        let extended = design.extended_contexts();
        let ddt_levels = (1..=3)
            .find(|&levels| u32::from(ddt::device_id_bits(extended, levels)) >= design.device_id_width)
            .unwrap_or(3);
        let mut memory = TableMemory::new(FIRST_TABLE);
        let root = memory.page(Structure::Ddt(ddt_levels as u8 - 1));
        Ok(Tables {
            memory,
            design: design.clone(),
            root,
            ddt_levels,
            pdt_levels,
            directories: Vec::new(),
            spaces: Vec::new(),
            device_ids: Vec::new(),
            next_frame: 1 << (design.pas - 1),
        })
    }

    /// `ddtp.iommu_mode` and the address of the device directory.
    pub fn directory(&self) -> (u64, u64) {
        let modes = [iommu_mode::LVL1, iommu_mode::LVL2, iommu_mode::LVL3];
        (modes[self.ddt_levels - 1], self.root)
    }

    /// Levels of the device directory and of process directories.
    pub fn directory_levels(&self) -> (usize, usize) {
        (self.ddt_levels, self.pdt_levels)
    }

    /// Whether device contexts have 64 bytes.
    pub fn extended_contexts(&self) -> bool {
        self.design.extended_contexts()
    }

    /// The device_id of device number `device`: that of the simulated machine.
    ///
    /// # Errors
    /// More devices than ids.
    pub fn device_id(&mut self, device: u32) -> Result<u32, FastError> {
        let width = self.design.device_id_width;
        let index = device as usize;
        if index >= self.device_ids.len() {
            self.device_ids = device_ids(width, (2 * index).max(FEW_DEVICES));
        }
        self.device_ids.get(index).copied().ok_or_else(|| {
            let problem =
                format!("device {device} is one more than the design's {} devices", most_devices(width));
            let mend = "use fewer devices, or raise address.device_id_width of the design";
            FastError::unsuitable("jobs.device", problem, mend)
        })
    }

    /// The process_id of process number `process`.
    ///
    /// # Errors
    /// More processes than ids.
    pub fn process_id(&self, process: u32) -> Result<u32, FastError> {
        let ids = 1u32 << self.design.process_id_width.min(pdt::process_id_bits(self.pdt_levels).into());
        if process >= ids - 1 {
            let problem = format!("process {process} is one more than the design's {} process ids", ids - 1);
            let mend = "use fewer processes, or raise address.process_id_width of the design";
            return Err(FastError::unsuitable("jobs.process", problem, mend));
        }
        // 0 is nobody's.
        Ok(process + 1)
    }

    /// Binds a process to a device: writes their contexts, and those tables that are not there yet.
    ///
    /// # Errors
    /// Ids or addresses that the design does not have.
    pub fn bind(&mut self, device: u32, process: u32, highest: u64) -> Result<(), FastError> {
        let (device_id, process_id) = (self.device_id(device)?, self.process_id(process)?);
        let directory = self.process_directory(device, device_id);
        let (mode, root) = self.space(process, highest)?;
        let memory = &mut self.memory;
        let mut table = directory;
        for level in (1..self.pdt_levels).rev() {
            let slot = table + 8 * PDI[level].of(process_id.into());
            let structure = Structure::Pdt(level as u8 - 1);
            let make = |ppn| pdte::V.of(1) | pdte::PPN.of(ppn);
            table = descend(memory, slot, structure, make, |word| pdte::PPN.get(word));
        }
        let context = table + PC_BYTES * PDI[0].of(process_id.into());
        memory.store(context, pc::ta::V.of(1) | pc::ta::PSCID.of(process_id.into()));
        memory.store(context + 8, pc::fsc::MODE.of(mode) | pc::fsc::PPN.of(root >> 12));
        Ok(())
    }

    fn process_directory(&mut self, device: u32, device_id: u32) -> u64 {
        let index = device as usize;
        if self.directories.len() <= index {
            self.directories.resize(index + 1, 0);
        }
        if self.directories[index] != 0 {
            return self.directories[index];
        }
        let memory = &mut self.memory;
        let directory = memory.page(Structure::Pdt(self.pdt_levels as u8 - 1));
        self.directories[index] = directory;
        let extended = self.design.extended_contexts();
        let (bytes, slices): (u64, &[Level]) =
            if extended { (EXT_DC_BYTES, &EXT_DDI) } else { (BASE_DC_BYTES, &BASE_DDI) };
        let mut table = self.root;
        for level in (1..self.ddt_levels).rev() {
            let slot = table + 8 * slices[level].of(device_id.into());
            let make = |ppn| ddte::V.of(1) | ddte::PPN.of(ppn);
            table = descend(memory, slot, Structure::Ddt(level as u8 - 1), make, |word| ddte::PPN.get(word));
        }
        let context = table + bytes * slices[0].of(device_id.into());
        let modes = [pdtp_mode::PD8, pdtp_mode::PD17, pdtp_mode::PD20];
        let fsc = dc::fsc::MODE.of(modes[self.pdt_levels - 1]) | dc::fsc::PPN.of(directory >> 12);
        memory.store(context, dc::tc::V.of(1) | dc::tc::PDTV.of(1));
        memory.store(context + 24, fsc);
        directory
    }

    /// Mode and root of a process's page table.
    fn space(&mut self, process: u32, highest: u64) -> Result<(u64, u64), FastError> {
        let index = process as usize;
        if self.spaces.len() <= index {
            self.spaces.resize(index + 1, None);
        }
        if let Some(space) = &self.spaces[index] {
            return Ok((space.geometry.mode, space.root));
        }
        let formats = [
            (true, &page_table::SV39),
            (self.design.sv48, &page_table::SV48),
            (self.design.sv57, &page_table::SV57),
        ];
        // The upper half is the kernel's.
        let fits = |(there, g): &&(bool, &Geometry)| *there && highest >> (g.address_bits() - 1) == 0;
        let Some(&(_, geometry)) = formats.iter().find(fits) else {
            let problem =
                format!("no page-table format of the design maps address {highest:#x} of process {process}");
            let mend = "set translation.sv48 or sv57 of the design";
            return Err(FastError::unsuitable("translation.sv48", problem, mend));
        };
        let root = self.memory.page(Structure::FirstStage(geometry.root() as u8));
        self.spaces[index] = Some(Space { geometry, root });
        Ok((geometry.mode, root))
    }

    /// Levels of a process's page table.
    pub fn levels(&self, process: u32) -> usize {
        self.spaces
            .get(process as usize)
            .and_then(Option::as_ref)
            .map_or(0, |space| space.geometry.levels.len())
    }

    /// Maps the page of `address`, or makes a hole there, if that is an address of a user. On the way to a hole all tables are there: so a
    /// walk ends at the same place whatever is mapped later.
    ///
    /// # Errors
    /// No physical addresses left.
    pub fn map(&mut self, process: u32, address: u64, page: Option<Page>) -> Result<(), FastError> {
        let Some(Space { geometry, root }) = self.spaces.get(process as usize).cloned().flatten() else {
            return Ok(());
        };
        if address >> (geometry.address_bits() - 1) != 0 {
            return Ok(());
        }
        let shift = page.map_or(12, |page| page.shift);
        let leaf = match shift {
            12 | 16 => 0,
            21 => 1,
            30 => 2,
            other => {
                let problem = format!("pages of 2^{other} bytes");
                return Err(FastError::unsuitable("pages.size", problem, "use 4k, 64k, 2m or 1g"));
            }
        };
        let frame = if page.is_some() { self.frame(shift)? } else { 0 };
        let memory = &mut self.memory;
        let mut table = root;
        for level in (leaf + 1..geometry.levels.len()).rev() {
            let slot = table + 8 * geometry.levels[level].of(address);
            let make = |ppn| pte::V.of(1) | pte::PPN.of(ppn);
            let structure = Structure::FirstStage(level as u8 - 1);
            table = descend(memory, slot, structure, make, |word| pte::PPN.get(word));
        }
        let Some(page) = page else { return Ok(()) };
        let bit = |field: Field, on: bool| field.of(u64::from(on));
        let flags = pte::V.of(1) | pte::U.of(1) | pte::A.of(1) | pte::D.of(1);
        let flags = flags | bit(pte::R, page.read) | bit(pte::W, page.write && page.read);
        let flags = flags | bit(pte::X, page.exec);
        let slot = table + 8 * geometry.levels[leaf].of(address);
        if shift == u32::from(napot::GROUP_SHIFT) {
            let entry = flags | pte::N.of(1) | pte::PPN.of(frame >> 12 | napot::PPN_PATTERN);
            (0..16).for_each(|i| memory.store((slot & !127) + 8 * i, entry));
        } else {
            memory.store(slot, flags | pte::PPN.of(frame >> 12));
        }
        Ok(())
    }

    /// Physical addresses for a page.
    fn frame(&mut self, shift: u32) -> Result<u64, FastError> {
        let frame = self.next_frame.next_multiple_of(1 << shift);
        let end = frame + (1 << shift);
        if end > 1 << self.design.pas || self.memory.end() > 1 << (self.design.pas - 1) {
            let problem =
                format!("{} bits of physical address do not hold the workload's pages", self.design.pas);
            return Err(FastError::unsuitable(
                "address.pas",
                problem,
                "raise it in the design, or use less memory",
            ));
        }
        self.next_frame = end;
        Ok(frame)
    }
}
