//! A fault record, on its way to the fault queue. (Section "Fault/Event-Queue (FQ)".)

use crate::design::Design;
use pasidon_hdl::bundle;
use pasidon_spec::fault::record;

bundle! {
    /// The fields of a fault record.
    pub struct FaultRecord(d: Design) {
        /// `CAUSE`.
        cause: record::CAUSE.width.into();
        /// `PID`.
        pid: record::PID.width.into();
        /// `PV`.
        pv: record::PV.width.into();
        /// `PRIV`.
        privileged as "priv": record::PRIV.width.into();
        /// `TTYP`.
        ttyp: record::TTYP.width.into();
        /// `DID`.
        did: record::DID.width.into();
        /// `iotval`.
        iotval: record::IOTVAL.width.into();
        /// `iotval2`.
        iotval2: record::IOTVAL2.width.into();
    }
}
