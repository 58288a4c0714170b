//! `ddtp`: the root of the device directory and the mode. (Section "Device-directory-table pointer".)
//!
//! An illegal `iommu_mode` leaves the mode as it was; `PPN` holds what the physical address space has (both are WARL).
//! Never: a write takes effect while `busy` is 1.

use pasidon_spec::ddt::iommu_mode;
use pasidon_spec::registers::ddtp;

use super::words::{ReadMap, WriteBus, page_number};
use crate::design::Design;
use crate::signals::request::ppn_width;
use pasidon_hdl::{Module, hi, lit, lo, names};

/// `ddtp`. A write of the mode keeps `busy` until everything in flight has left under the old one.
#[names]
pub fn directory(m: &mut Module, design: &Design, bus: WriteBus, map: &mut ReadMap) {
    m.section("Device directory, and the barrier after each change of it");
    let sync_ready = m.input("ddtp_sync_ready", 1);

    let write = bus.to(&ddtp::REG);
    let mode = m.reg("ddtp_iommu_mode", 3, iommu_mode::OFF);
    let busy = m.reg("ddtp_busy", 1, 0);
    let written = write.field(ddtp::IOMMU_MODE);
    let legal = written.le(lit(iommu_mode::LVL3, 4));
    m.when(write.low & !busy, |m| {
        m.set(busy, hi());
        m.when(legal, |m| m.set(mode, written.bits(0, 3)));
    });
    m.when(busy & sync_ready, |m| m.set(busy, lo()));
    let ppn = page_number(m, "ddtp_ppn", write, ddtp::PPN, ppn_width(design), !busy);

    m.steady("ddtp_while_busy", busy, &[mode, ppn]);

    m.output("ddtp_sync_valid", busy);
    m.output("ddtp_mode", mode);
    m.output("ddtp_root", ppn);
    map.add(&ddtp::REG, &[(ddtp::IOMMU_MODE, mode), (ddtp::BUSY, busy), (ddtp::PPN, ppn)]);
}
