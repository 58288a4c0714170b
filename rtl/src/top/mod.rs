//! Top modules.

mod ats;
mod iommu;
mod ports;
mod requesters;

pub use iommu::iommu;
