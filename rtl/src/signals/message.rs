//! A message to a device. (Section "IOMMU PCIe ATS commands".)

use crate::design::Design;
use pasidon_hdl::bundle;
use pasidon_spec::command::ats;

bundle! {
    /// Who a message goes to, and its PASID.
    pub struct MessageHeader(d: Design) {
        /// Routing identifier.
        rid: ats::RID.width.into();
        /// There is a segment number.
        dsv: ats::DSV.width.into();
        /// Segment number.
        dseg: ats::DSEG.width.into();
        /// There is a PASID.
        pv: ats::PV.width.into();
        /// The PASID.
        pid: ats::PID.width.into();
    }
}
