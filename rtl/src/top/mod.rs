//! Top modules.

mod pasidon_iommu;

pub use pasidon_iommu::pasidon_iommu;
