//! `capabilities`, `fctl` and `iommu_qosid`: what the IOMMU can do, and what software chose of it. (Sections "IOMMU
//! capabilities", "Features-control register" and "IOMMU QoS ID".)
//!
//! A field of `fctl` can be written only if the design has both alternatives; otherwise it says which one there is. After
//! reset tables are little-endian, second stages are those of 64-bit guests (`GXL` can be written where one of the stages has tables
//! of 32-bit guests, because `DC.tc.SXL` may be 1 only then), and interrupts are wires if there are any.

use pasidon_spec::registers::{capabilities as cap, fctl, igs, iommu_qosid};

use super::words::{ReadMap, WriteBus};
use crate::design::Design;
use pasidon_hdl::{E, Module, lit, names};

/// The value of the `capabilities` register: what this design really does.
///
/// Svnapot has no bit of its own; the specification requires it of every IOMMU.
#[names]
pub fn capabilities(design: &Design) -> u64 {
    let igs = match (design.wired, design.msi) {
        (true, true) => igs::BOTH,
        (false, _) => igs::MSI,
        (true, false) => igs::WSI,
    };
    cap::VERSION.of(0x10)
        | cap::SV39.of(1)
        | cap::SV48.of(design.sv48.into())
        | cap::SV57.of(design.sv57.into())
        | cap::SV32.of(design.sv32.into())
        | cap::SV32X4.of(design.sv32x4.into())
        | cap::SV39X4.of(design.sv39x4.into())
        | cap::SV48X4.of(design.sv48x4.into())
        | cap::SV57X4.of(design.sv57x4.into())
        | cap::SVPBMT.of(design.svpbmt.into())
        | cap::SVRSW60T59B.of(design.svrsw60t59b.into())
        | cap::MSI_FLAT.of(design.msi_flat.into())
        | cap::MSI_MRIF.of(design.msi_mrif.into())
        | cap::AMO_MRIF.of(design.msi_mrif.into())
        | cap::AMO_HWAD.of(design.amo_hwad.into())
        | cap::ATS.of(design.ats.into())
        | cap::T2GPA.of(design.t2gpa.into())
        | cap::END.of(design.big_endian.into())
        | cap::IGS.of(igs)
        | cap::HPM.of(design.monitor().into())
        | cap::DBG.of(design.debug.into())
        | cap::PAS.of(design.pas.into())
        | cap::PD8.of(design.pd8.into())
        | cap::PD17.of(design.pd17.into())
        | cap::PD20.of(design.pd20.into())
        | cap::QOSID.of(design.qosid.into())
        | cap::NL.of(design.nl.into())
        | cap::S.of(design.s.into())
}

/// `fctl`; returns whether interrupts are wires.
#[names]
pub fn features_control(m: &mut Module, design: &Design, bus: WriteBus, map: &mut ReadMap) -> E {
    let write = bus.to(&fctl::REG);
    let choice = |m: &mut Module, name, field, both: bool, reset: bool| {
        if !both {
            return lit(u64::from(reset), 1);
        }
        let bit = m.reg(name, 1, u64::from(reset));
        m.when(write.low, |m| m.set(bit, write.field(field)));
        bit
    };
    let big_endian = choice(m, "fctl_be_q", fctl::BE, design.big_endian, false);
    let wired = choice(m, "fctl_wsi_q", fctl::WSI, design.wired && design.msi, design.wired);
    let guests = choice(m, "fctl_gxl_q", fctl::GXL, design.has_narrow_tables(), false);
    m.section("Features that software chose");
    for (there, name, value) in [
        (design.big_endian, "fctl_be", big_endian),
        (design.wired && design.msi, "fctl_wsi", wired),
        (design.has_narrow_tables(), "fctl_gxl", guests),
    ] {
        if there {
            m.output(name, value);
        }
    }
    map.add(&fctl::REG, &[(fctl::BE, big_endian), (fctl::WSI, wired), (fctl::GXL, guests)]);
    wired
}

/// `iommu_qosid`: the identifiers of the accesses that the IOMMU makes for itself.
#[names]
pub fn quality_of_service(m: &mut Module, bus: WriteBus, map: &mut ReadMap) {
    let write = bus.to(&iommu_qosid::REG);
    m.section("Quality-of-service identifiers of the IOMMU's own accesses");
    let identifier = |m: &mut Module, name: &str, field| {
        let value = write.field(field);
        let stored = m.reg(&format!("iommu_{name}_q"), value.width(), 0);
        m.when(write.low, |m| m.set(stored, value));
        m.output(&format!("iommu_{name}"), stored);
        (field, stored)
    };
    let fields = [identifier(m, "rcid", iommu_qosid::RCID), identifier(m, "mcid", iommu_qosid::MCID)];
    map.add(&iommu_qosid::REG, &fields);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn igs_says_how_interrupts_are_signalled() {
        let mut design = Design::shipped("tiny").expect("tiny is shipped");
        for (wired, msi, value) in [(true, false, igs::WSI), (false, true, igs::MSI), (true, true, igs::BOTH)]
        {
            (design.wired, design.msi) = (wired, msi);
            assert_eq!(cap::IGS.get(capabilities(&design)), value);
        }
    }
}
