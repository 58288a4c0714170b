//! One IOMMU: bringing it up, enabling devices, taking it down.

use crate::{
    bond::{Bond, Callbacks},
    capabilities::Capabilities,
    command_queue::{self, CommandQueue},
    config::{Config, DeviceOptions, Untagged},
    device_directory::{self, DeviceDirectory},
    error::{DisableError, EnableError, InitError},
    hardware::{Hardware, Region},
    lock::{Lock, Turn},
    pasid::{IdAllocator, Pasid, PasidSpace},
    platform::Platform,
    process_directory::{self, ProcessDirectory, Slot},
    record_queue::{self, RecordQueue},
};
use alloc::{collections::BTreeMap, sync::Arc};
use pasidon_spec::{
    command::Command,
    pdt,
    registers::{capabilities, ddtp, fctl, icvec},
};

/// An IOMMU that is up and translating. Clones refer to the same one.
///
/// When the last clone and the last [`crate::Handle`] are gone the IOMMU is set to Off, in which it aborts
/// all DMA, and its memory is returned.
#[derive(Clone)]
pub struct Iommu(pub(crate) Arc<Inner>);

/// What clones and handles share.
pub(crate) struct Inner {
    /// Dropped first: its tables are in use until the IOMMU is Off.
    pub(crate) tables: Turn<Tables>,
    pub(crate) bonds: Lock<Bonds>,
    pub(crate) commands: CommandQueue,
    pub(crate) faults: RecordQueue<4>,
    pub(crate) hardware: Arc<Hardware>,
    pub(crate) capabilities: Capabilities,
    pub(crate) pasids: Arc<PasidSpace>,
    pub(crate) range_limit: u64,
    device_id_width: u32,
}

/// What the IOMMU reads.
pub(crate) struct Tables {
    directory: Option<DeviceDirectory>,
    pub(crate) devices: BTreeMap<u32, Device>,
    empty_root: Option<Region>,
}

/// A device with a context.
pub(crate) struct Device {
    context: u64,
    pub(crate) processes: ProcessDirectory,
    /// The largest PASID that the device can use.
    pub(crate) pasid_limit: u32,
    /// The IOMMU did not confirm that it has forgotten the device.
    pub(crate) leaving: bool,
}

/// What callbacks and invalidations look up.
pub(crate) struct Bonds {
    pub(crate) by_pasid: BTreeMap<(Pasid, u32), Entry>,
    pub(crate) spaces: BTreeMap<Pasid, Space>,
    pub(crate) pscids: IdAllocator,
}

/// A bond and what may change about it.
pub(crate) struct Entry {
    pub(crate) bond: Arc<Bond>,
    /// Handles.
    pub(crate) binds: usize,
    pub(crate) slot: Slot,
    pub(crate) callbacks: Option<Callbacks>,
}

/// An mm that this IOMMU may have translations of.
pub(crate) struct Space {
    pub(crate) pscid: u32,
    /// Bonds, including those that are being torn down.
    pub(crate) users: usize,
    /// The IOMMU did not confirm an unbind: it may still have contexts or translations cached.
    pub(crate) unconfirmed: bool,
}

/// PSCIDs have 20 bits, whatever the width of PASIDs.
const PSCID_MAX: u32 = (1 << 20) - 1;

impl Iommu {
    /// Brings an IOMMU up: Off and with empty caches first, then with queues, then with an empty device
    /// directory, in which every transaction is aborted until its device is enabled.
    ///
    /// # Errors
    /// [`InitError`]. The IOMMU is then Off, as far as it obeys, and no memory is kept.
    pub fn new(platform: Arc<dyn Platform>, config: Config) -> Result<Self, InitError> {
        config.check()?;
        let mut hardware = Hardware { platform, address_limit: 0, timeout: config.timeout };
        let capabilities = Capabilities(hardware.read(&capabilities::REG));
        if capabilities.version() >> 4 != 1 {
            return Err(InitError::Version(capabilities.version()));
        }
        hardware.address_limit = 1 << capabilities.address_width();
        let hardware = Arc::new(hardware);

        quiesce(&hardware, capabilities)?;
        set_features(&hardware, capabilities, &config)?;
        let directory = DeviceDirectory::new(&hardware, capabilities, config.device_id_width)?;
        let commands = CommandQueue::new(&hardware, config.command_queue_log2)?;
        let interrupts = config.fault_vector.is_some();
        let faults = RecordQueue::new(&hardware, &record_queue::FAULTS, config.fault_queue_log2, interrupts)?;
        let empty_root = hardware.alloc_zeroed(crate::hardware::PAGE).ok_or(InitError::OutOfMemory)?;

        // A previous owner's entries may have survived being Off.
        let stale = [
            Command::IodirInvalDdt { did: None },
            Command::IotinvalVma { gscid: None, pscid: None, range: None },
            Command::IotinvalGvma { guest: None },
        ];
        let count = if capabilities.second_stage() { 3 } else { 2 };
        commands.execute(stale[..count].iter().copied())?;

        directory.switch_on()?;
        log::info!("IOMMU up: capabilities {:#x}", capabilities.raw());
        let tables =
            Tables { directory: Some(directory), devices: BTreeMap::new(), empty_root: Some(empty_root) };
        let bonds =
            Bonds { by_pasid: BTreeMap::new(), spaces: BTreeMap::new(), pscids: IdAllocator::new(PSCID_MAX) };
        Ok(Self(Arc::new(Inner {
            tables: Turn::new(tables),
            bonds: Lock::new(bonds),
            commands,
            faults,
            hardware,
            capabilities,
            pasids: config.pasids,
            range_limit: config.range_limit,
            device_id_width: config.device_id_width,
        })))
    }

    /// What the IOMMU can do.
    pub fn capabilities(&self) -> Capabilities {
        self.0.capabilities
    }

    /// Gives a device a context, so that it can be bound. Its DMA with a PASID that is not bound faults; what
    /// happens to its DMA without a PASID is for `options` to say.
    ///
    /// # Errors
    /// [`EnableError`]; nothing has changed then.
    pub fn enable_sva(&self, device_id: u32, options: DeviceOptions) -> Result<(), EnableError> {
        let inner = &*self.0;
        let width = inner.device_id_width;
        if device_id >> width != 0 {
            return Err(EnableError::DeviceId { device_id, width });
        }
        if !(1..=Pasid::WIDTH).contains(&options.pasid_width) {
            return Err(EnableError::PasidWidth(options.pasid_width));
        }
        let levels = process_directory::levels_for(inner.capabilities, options.pasid_width)
            .ok_or(EnableError::NoProcessDirectory)?;
        let pasid_width = options.pasid_width.min(pdt::process_id_bits(levels).into());

        let mut tables = inner.tables.take(inner.platform());
        let Tables { directory, devices, .. } = &mut *tables;
        if devices.contains_key(&device_id) {
            return Err(EnableError::AlreadyEnabled(device_id));
        }
        let Some(directory) = directory else { return Err(EnableError::OutOfMemory) };
        let processes =
            ProcessDirectory::new(&inner.hardware, levels).map_err(|_| EnableError::OutOfMemory)?;
        let context = directory.slot(device_id).map_err(|_| EnableError::OutOfMemory)?;
        directory.publish(context, &processes, options.untagged == Untagged::PassThrough);
        let pasid_limit = (1 << pasid_width) - 1;
        devices.insert(device_id, Device { context, processes, pasid_limit, leaving: false });
        log::debug!("device {device_id:#x}: enabled, PASIDs of {pasid_width} bits");
        Ok(())
    }

    /// Takes a device's context away: from then on all its DMA faults. It must have been told to stop before,
    /// and have no bonds left.
    ///
    /// # Errors
    /// [`DisableError`]. After [`DisableError::Command`] the device is gone from the directory, but its
    /// tables can't be reused and [`bind`](Self::bind) answers [`crate::BindError::DeviceLeaving`].
    pub fn disable_sva(&self, device_id: u32) -> Result<(), DisableError> {
        let inner = &*self.0;
        let mut tables = inner.tables.take(inner.platform());
        let Tables { directory, devices, .. } = &mut *tables;
        let device = devices.get_mut(&device_id).ok_or(DisableError::NotEnabled(device_id))?;
        let bonds = {
            let bonds = inner.bonds.lock(inner.platform());
            bonds.by_pasid.keys().filter(|&&(_, device)| device == device_id).count()
        };
        if bonds != 0 {
            return Err(DisableError::Bound { device_id, bonds });
        }
        device.leaving = true;
        if let Some(directory) = directory {
            directory.retract(device.context);
        }
        // Section "Changing device directory table entry", for a context with a process directory.
        let commands = [
            Command::IodirInvalDdt { did: Some(device_id) },
            Command::IotinvalVma { gscid: None, pscid: None, range: None },
        ];
        inner.commands.execute(commands.into_iter())?;
        devices.remove(&device_id);
        log::debug!("device {device_id:#x}: disabled");
        Ok(())
    }
}

impl Inner {
    pub(crate) fn platform(&self) -> &dyn Platform {
        self.hardware.platform()
    }
}

impl Tables {
    /// The address of a page table that maps nothing.
    pub(crate) fn empty_root(&self) -> Option<u64> {
        self.empty_root.as_ref().map(Region::paddr)
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        let Some(directory) = self.directory.take() else { return };
        if device_directory::switch_off(directory.hardware()).is_err() {
            log::error!("the IOMMU can't be switched off; its tables stay where they are");
            for (_, device) in core::mem::take(&mut self.devices) {
                device.processes.leak();
            }
            if let Some(root) = self.empty_root.take() {
                root.leak();
            }
        }
        // The directory's own drop finds the IOMMU Off, or leaks.
    }
}

/// Off, and all queues disabled: the state in which features may be changed.
fn quiesce(hardware: &Hardware, capabilities: Capabilities) -> Result<(), InitError> {
    device_directory::switch_off(hardware).map_err(|_| InitError::Timeout("directory mode"))?;
    command_queue::disable(hardware).map_err(|_| InitError::Timeout("command queue"))?;
    let faults = Some(&record_queue::FAULTS);
    let page_requests = capabilities.ats().then_some(&record_queue::PAGE_REQUESTS);
    for plan in faults.into_iter().chain(page_requests) {
        plan.disable(hardware).map_err(|_| InitError::Timeout(plan.name))?;
    }
    debug_assert!(ddtp::IOMMU_MODE.get(hardware.read(&ddtp::REG)) == 0);
    Ok(())
}

/// Little-endian, 64-bit, and interrupts by wire where interrupts are wanted.
fn set_features(hardware: &Hardware, capabilities: Capabilities, config: &Config) -> Result<(), InitError> {
    let wired = config.fault_vector.is_some();
    if wired && !capabilities.wired_interrupts() {
        return Err(InitError::NoWiredInterrupts);
    }
    let old = hardware.read(&fctl::REG);
    let mut features = fctl::GXL.set(fctl::BE.set(old, 0), 0);
    if wired {
        features = fctl::WSI.set(features, 1);
    }
    if features != old {
        hardware.write(&fctl::REG, features);
    }
    let granted = hardware.read(&fctl::REG);
    if fctl::BE.is_set(granted) || fctl::GXL.is_set(granted) {
        return Err(InitError::Features(granted));
    }
    if let Some(vector) = config.fault_vector {
        if !fctl::WSI.is_set(granted) {
            return Err(InitError::NoWiredInterrupts);
        }
        let vectors = icvec::FIV.set(hardware.read(&icvec::REG), vector.into());
        hardware.write(&icvec::REG, vectors);
        if icvec::FIV.get(hardware.read(&icvec::REG)) != u64::from(vector) {
            return Err(InitError::Vector(vector));
        }
    }
    Ok(())
}
