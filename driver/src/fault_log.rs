//! Fault records that were copied from the queue to the driver's memory.

use crate::shared::OutOfMemory;
use alloc::collections::VecDeque;
use pasidon_spec::fault::FaultRecord;

/// What [`crate::Iommu::service_faults`] found. Records that were lost, or dropped, since the last call count as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultReport {
    /// How many records the caller was shown.
    pub records: usize,
    /// How many records were dropped because they were about address spaces that have exited.
    pub suppressed: usize,
    /// How many records were dropped because their device had too many already: as many as the queue holds. The
    /// driver keeps four times that.
    pub excess: usize,
    /// The queue had been full (`fqcsr.fqof`): records were lost. Recording goes on.
    pub overflow: bool,
    /// The IOMMU could not write a record (`fqcsr.fqmf`): records were lost. Recording goes on.
    pub memory_fault: bool,
    /// The IOMMU was reset behind the driver's back: it aborts everything until [`crate::Iommu::resume`] brings it back.
    pub reset: bool,
    /// There are more records: more arrived than one call takes. Call again.
    pub more: bool,
}

/// Records that were taken in and not handed out yet.
pub(crate) struct FaultLog {
    pub(crate) records: VecDeque<(u64, FaultRecord)>,
    pub(crate) room: usize,
    /// What the next report says.
    pub(crate) report: FaultReport,
    /// Counts the times that the queue was found empty.
    pub(crate) round: u64,
}

impl FaultLog {
    /// With room for so many records.
    pub(crate) fn new(room: usize) -> Result<Self, OutOfMemory> {
        let mut records = VecDeque::new();
        records.try_reserve_exact(room).map_err(|_| OutOfMemory)?;
        Ok(Self { records, room, report: FaultReport::default(), round: 1 })
    }

    /// How many records one device may have in here.
    fn limit(&self) -> usize {
        (self.room / 4).max(1)
    }

    pub(crate) fn has_too_many(&self, device_id: u32) -> bool {
        self.records.iter().filter(|(_, record)| record.did == device_id).count() >= self.limit()
    }
}
