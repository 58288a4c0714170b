//! Top modules.

mod ats;
mod pasidon_iommu;
mod ports;
mod requesters;

pub use pasidon_iommu::pasidon_iommu;
