//! One IOMMU: bringing it up, taking it down.

use crate::{
    bond::{Bond, Callbacks},
    capabilities::Capabilities,
    command_queue::{self, CommandQueue},
    config::Config,
    device_directory::{self, DeviceDirectory},
    error::InitError,
    groups::Groups,
    hardware::{Hardware, Region},
    lock::{Lock, Turn},
    pasid::{IdAllocator, Pasid, PasidSpace},
    platform::Platform,
    process_directory::{ProcessDirectory, Slot},
    record_queue::{self, RecordQueue},
    requester::Requester,
    statistics::{Counters, Statistics},
};
use alloc::{collections::BTreeMap, sync::Arc};
use pasidon_spec::{
    command::Command,
    registers::{capabilities, fctl, icvec},
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
    /// If the IOMMU has one.
    pub(crate) request_queue: Option<RecordQueue<2>>,
    pub(crate) requests: Lock<Groups>,
    pub(crate) hardware: Arc<Hardware>,
    pub(crate) capabilities: Capabilities,
    pub(crate) pasids: Arc<PasidSpace>,
    pub(crate) range_limit: u64,
    pub(crate) device_id_width: u32,
}

/// What the IOMMU reads.
pub(crate) struct Tables {
    pub(crate) directory: Option<DeviceDirectory>,
    pub(crate) devices: BTreeMap<u32, Device>,
    empty_root: Option<Region>,
}

/// A device with a context.
pub(crate) struct Device {
    pub(crate) processes: ProcessDirectory,
    /// The largest PASID that the device can use.
    pub(crate) pasid_limit: u32,
    /// The IOMMU did not confirm that it has forgotten the device.
    pub(crate) leaving: bool,
}

/// What callbacks and invalidations look up. Taken after the lock of [`Groups`], never before.
pub(crate) struct Bonds {
    pub(crate) links: BTreeMap<u32, Link>,
    /// Devices that may have translations of an address space in caches of their own.
    pub(crate) caches: BTreeMap<(Pasid, u32), Requester>,
    pub(crate) by_pasid: BTreeMap<(Pasid, u32), Entry>,
    pub(crate) spaces: BTreeMap<Pasid, Space>,
    pub(crate) pscids: IdAllocator,
}

/// What may have to change about a device where nothing can be waited for.
pub(crate) struct Link {
    /// Where its context is.
    pub(crate) context: u64,
    /// The context's first doubleword, while the device is not cut off.
    pub(crate) control: u64,
    /// How to reach it, if it has ATS.
    pub(crate) ats: Option<Requester>,
    /// Its context is invalid, whatever `control` says.
    pub(crate) cut_off: bool,
    /// How often it was cut off.
    pub(crate) cuts: usize,
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
    /// Brings an IOMMU up, in whatever state it is: after a reset, or live in the hands of an owner that is gone.
    /// Off comes first and is waited for; then the command queue, and with it empty caches; only then is a mode
    /// tried or entered, always with an empty device directory, in which every transaction is aborted until its
    /// device is enabled. So nothing passes from the moment it is Off that was not allowed through this.
    ///
    /// The memory that a previous owner had given the IOMMU is no longer in use when this returns, whether it
    /// succeeds or not, unless the error is [`InitError::Timeout`].
    ///
    /// # Errors
    /// [`InitError`]. The IOMMU is then Off, as far as it obeys, and no memory is kept.
    pub fn new(platform: Arc<dyn Platform>, config: Config) -> Result<Self, InitError> {
        config.check()?;
        let mut hardware = Hardware {
            platform,
            address_limit: 0,
            timeout: config.timeout,
            device_timeout: config.device_timeout,
            counters: Counters::default(),
        };
        let capabilities = Capabilities(hardware.read(&capabilities::REG));
        if capabilities.version() >> 4 != 1 {
            return Err(InitError::Version(capabilities.version()));
        }
        hardware.address_limit = 1 << capabilities.address_width();
        let hardware = Arc::new(hardware);

        quiesce(&hardware, capabilities)?;
        set_features(&hardware, capabilities, &config)?;
        let commands = CommandQueue::new(&hardware, config.command_queue_log2)?;
        // Before the first mode is tried: a previous owner's entries may have survived being Off, and would let
        // its devices pass in any mode.
        commands.execute(everything_cached(capabilities))?;
        let directory = DeviceDirectory::new(&hardware, capabilities, config.device_id_width)?;
        let interrupts = config.fault_vector.is_some();
        let faults = RecordQueue::new(&hardware, &record_queue::FAULTS, config.fault_queue_log2, interrupts)?;
        let request_queue = if capabilities.ats() {
            let interrupts = config.page_request_vector.is_some();
            let plan = &record_queue::PAGE_REQUESTS;
            Some(RecordQueue::new(&hardware, plan, config.page_request_queue_log2, interrupts)?)
        } else {
            None
        };
        // A queue full of requests can be refused at once.
        let refusals = request_queue.as_ref().map_or(0, |queue| queue.capacity() as usize);
        let requests = Groups::new(refusals).map_err(|_| InitError::OutOfMemory)?;
        let empty_root = hardware.alloc_zeroed(crate::hardware::PAGE).ok_or(InitError::OutOfMemory)?;

        directory.switch_on()?;
        log::info!("IOMMU up: capabilities {:#x}", capabilities.raw());
        let tables =
            Tables { directory: Some(directory), devices: BTreeMap::new(), empty_root: Some(empty_root) };
        let bonds = Bonds {
            links: BTreeMap::new(),
            caches: BTreeMap::new(),
            by_pasid: BTreeMap::new(),
            spaces: BTreeMap::new(),
            pscids: IdAllocator::new(PSCID_MAX),
        };
        Ok(Self(Arc::new(Inner {
            tables: Turn::new(tables),
            bonds: Lock::new(bonds),
            commands,
            faults,
            request_queue,
            requests: Lock::new(requests),
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

    /// What has happened since the driver started.
    pub fn statistics(&self) -> Statistics {
        self.0.hardware.counters.read()
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
    Ok(())
}

/// Makes the IOMMU forget every context and every translation. (Section "Guidelines for initialization".)
fn everything_cached(capabilities: Capabilities) -> core::iter::Take<core::array::IntoIter<Command, 3>> {
    let commands = [
        Command::IodirInvalDdt { did: None },
        Command::IotinvalVma { gscid: None, pscid: None, range: None },
        Command::IotinvalGvma { guest: None },
    ];
    commands.into_iter().take(if capabilities.second_stage() { 3 } else { 2 })
}

/// Little-endian, 64-bit, and interrupts by wire where interrupts are wanted.
fn set_features(hardware: &Hardware, capabilities: Capabilities, config: &Config) -> Result<(), InitError> {
    let vectors = [(icvec::FIV, config.fault_vector), (icvec::PIV, config.page_request_vector)];
    let wired = vectors.iter().any(|(_, vector)| vector.is_some());
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
    if wired && !fctl::WSI.is_set(granted) {
        return Err(InitError::NoWiredInterrupts);
    }
    for (field, vector) in vectors {
        let Some(vector) = vector else { continue };
        hardware.write(&icvec::REG, field.set(hardware.read(&icvec::REG), vector.into()));
        if field.get(hardware.read(&icvec::REG)) != u64::from(vector) {
            return Err(InitError::Vector(vector));
        }
    }
    Ok(())
}
