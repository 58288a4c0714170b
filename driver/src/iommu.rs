//! One IOMMU: bringing it up, taking it down.

use crate::{
    bond::Running,
    bonds::Bonds,
    capabilities::Capabilities,
    command_queue::{self, CommandQueue},
    config::{Config, Message},
    device_directory::{self, DeviceDirectory},
    error::InitError,
    fault_log::FaultLog,
    groups::Groups,
    hardware::{Condition, Hardware, Region},
    lock::{Lock, Rank, Turn},
    pasid::{IdAllocator, Pasids},
    platform::Platform,
    process_directory::ProcessDirectory,
    record_queue::{self, RecordQueue},
    shared::Shared,
    statistics::{Counters, Statistics},
};
use alloc::sync::Arc;
use core::sync::atomic::AtomicUsize;
use pasidon_spec::{
    command::Command,
    registers::{capabilities, fctl, icvec, msi_addr, msi_data, msi_vec_ctl},
};

/// An IOMMU that is up and translating. Clones refer to the same one.
///
/// When the last clone and the last [`crate::Handle`] are gone the IOMMU is set to Off, in which it aborts
/// all DMA, and its memory is returned.
#[derive(Clone)]
pub struct Iommu(pub(crate) Shared<Inner>);

/// What clones and handles share.
pub(crate) struct Inner {
    /// Dropped first: its tables are in use until the IOMMU is Off.
    pub(crate) tables: Turn<Tables>,
    pub(crate) bonds: Lock<Bonds>,
    pub(crate) pasids: Pasids,
    /// PSCIDs have 20 bits, whatever the width of PASIDs.
    pub(crate) pscids: IdAllocator,
    pub(crate) running: Running,
    pub(crate) commands: CommandQueue,
    pub(crate) faults: RecordQueue<4>,
    pub(crate) fault_log: Lock<FaultLog>,
    /// If the IOMMU has one.
    pub(crate) request_queue: Option<RecordQueue<2>>,
    pub(crate) requests: Lock<Groups>,
    pub(crate) hardware: Shared<Hardware>,
    pub(crate) capabilities: Capabilities,
    pub(crate) config: Config,
    /// The address of a page table that maps nothing.
    pub(crate) empty_root: u64,
}

/// What the IOMMU reads, but for the tables of devices.
pub(crate) struct Tables {
    pub(crate) directory: Option<DeviceDirectory>,
    empty_root: Option<Region>,
}

/// The largest number of 20 bits.
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
            condition: AtomicUsize::new(Condition::Starting as usize),
            mode: AtomicUsize::new(0),
        };
        let capabilities = Capabilities(hardware.read(&capabilities::REG));
        if capabilities.version() >> 4 != 1 {
            return Err(InitError::Version(capabilities.version()));
        }
        hardware.address_limit = 1 << capabilities.address_width();
        let hardware = Shared::new(hardware).map_err(|_| InitError::OutOfMemory)?;
        let pasids = Pasids::of(config.pasids.as_ref()).map_err(|_| InitError::OutOfMemory)?;

        quiesce(&hardware, capabilities)?;
        set_features(&hardware, capabilities, &config)?;
        let commands = CommandQueue::new(&hardware, config.command_queue_log2)?;
        // Before the first mode is tried: a previous owner's entries may have survived being Off, and would let
        // its devices pass in any mode.
        commands.execute(everything_cached(capabilities))?;
        let directory = DeviceDirectory::new(&hardware, capabilities, config.device_id_width)?;
        let interrupts = config.fault_vector.is_some();
        let faults = RecordQueue::new(&hardware, &record_queue::FAULTS, config.fault_queue_log2, interrupts)?;
        let fault_log = FaultLog::new(4 * faults.capacity() as usize).map_err(|_| InitError::OutOfMemory)?;
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
        let empty_root =
            Hardware::alloc_zeroed(&hardware, crate::hardware::PAGE).ok_or(InitError::OutOfMemory)?;

        directory.enter()?;
        hardware.set_condition(Condition::On);
        log::info!("IOMMU up: capabilities {:#x}", capabilities.raw());
        let inner = Inner {
            empty_root: empty_root.paddr(),
            tables: Turn::new(
                Rank::Directory,
                Tables { directory: Some(directory), empty_root: Some(empty_root) },
            ),
            bonds: Lock::new(Rank::Bonds, Bonds::new()),
            pasids,
            pscids: IdAllocator::new(PSCID_MAX),
            running: Running::new(),
            commands,
            faults,
            fault_log: Lock::new(Rank::Faults, fault_log),
            request_queue,
            requests: Lock::new(Rank::Requests, requests),
            hardware,
            capabilities,
            config,
        };
        Ok(Self(Shared::new(inner).map_err(|_| InitError::OutOfMemory)?))
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

impl Drop for Inner {
    /// The IOMMU is Off before the tables go, or they stay.
    fn drop(&mut self) {
        if device_directory::switch_off(&self.hardware).is_ok() {
            return;
        }
        log::error!("the IOMMU can't be switched off; its tables stay where they are");
        for (_, link) in self.bonds.get_mut().links.take() {
            // Nobody else has a turn any more.
            let processes = link.device.turn.take(self.hardware.platform()).processes.take();
            processes.into_iter().for_each(ProcessDirectory::leak);
        }
        // Nor are PASIDs given back that it may still know.
        self.bonds.get_mut().spaces.take().for_each(|(_, space)| core::mem::forget(space.claim));
        self.tables.get_mut().empty_root.take().into_iter().for_each(Region::leak);
        // The directory's own drop leaks that as well.
    }
}

/// Off, and all queues disabled: the state in which features may be changed.
pub(crate) fn quiesce(hardware: &Hardware, capabilities: Capabilities) -> Result<(), InitError> {
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
pub(crate) fn everything_cached(
    capabilities: Capabilities,
) -> core::iter::Take<core::array::IntoIter<Command, 3>> {
    let commands = [
        Command::IodirInvalDdt { did: None },
        Command::IotinvalVma { gscid: None, pscid: None, range: None },
        Command::IotinvalGvma { guest: None },
    ];
    commands.into_iter().take(if capabilities.second_stage() { 3 } else { 2 })
}

/// Little-endian, 64-bit, and interrupts by wire or message where interrupts are wanted.
pub(crate) fn set_features(
    hardware: &Hardware,
    capabilities: Capabilities,
    config: &Config,
) -> Result<(), InitError> {
    let mut vectors = [
        (icvec::FIV, config.fault_vector, config.fault_message),
        (icvec::PIV, config.page_request_vector, config.page_request_message),
    ];
    if !capabilities.ats() {
        // There is no page-request queue, and no choice of its vector. (Section "Interrupt-cause-to-vector register".)
        vectors[1] = (icvec::PIV, None, None);
    }
    // The configuration was checked: either all are messages, or none is.
    let messages = vectors.iter().any(|(.., message)| message.is_some());
    let wired = !messages && vectors.iter().any(|(_, vector, _)| vector.is_some());
    if wired && !capabilities.wired_interrupts() {
        return Err(InitError::NoWiredInterrupts);
    }
    if messages && !capabilities.message_interrupts() {
        return Err(InitError::NoMessageInterrupts);
    }
    let old = hardware.read(&fctl::REG);
    let mut features = fctl::GXL.set(fctl::BE.set(old, 0), 0);
    if wired || messages {
        features = fctl::WSI.set(features, wired.into());
    }
    if features != old {
        hardware.write(&fctl::REG, features);
    }
    let granted = hardware.read(&fctl::REG);
    if fctl::BE.is_set(granted) || fctl::GXL.is_set(granted) {
        return Err(InitError::Features(granted));
    }
    match (wired, messages, fctl::WSI.is_set(granted)) {
        (true, _, false) => return Err(InitError::NoWiredInterrupts),
        (_, true, true) => return Err(InitError::NoMessageInterrupts),
        _ => {}
    }
    for (field, vector, message) in vectors {
        let Some(vector) = vector else { continue };
        hardware.write(&icvec::REG, field.set(hardware.read(&icvec::REG), vector.into()));
        if field.get(hardware.read(&icvec::REG)) != u64::from(vector) {
            return Err(InitError::Vector(vector));
        }
        if let Some(message) = message {
            set_message(hardware, vector, message)?;
        }
    }
    Ok(())
}

/// Fills in a vector's entry of the table of messages, masked meanwhile. (Section "MSI configuration table".)
fn set_message(hardware: &Hardware, vector: u8, message: Message) -> Result<(), InitError> {
    hardware.write_nth(&msi_vec_ctl::REG, vector, msi_vec_ctl::M.of(1));
    let address = msi_addr::ADDR.of(msi_addr::ADDR.get(message.address));
    hardware.write_nth(&msi_addr::REG, vector, address);
    hardware.write_nth(&msi_data::REG, vector, message.data.into());
    let taken = hardware.read_nth(&msi_addr::REG, vector) == address
        && hardware.read_nth(&msi_data::REG, vector) == u64::from(message.data);
    if !taken {
        return Err(InitError::Rejected("interrupt message"));
    }
    hardware.write_nth(&msi_vec_ctl::REG, vector, 0);
    Ok(())
}
