//! An invalidation, as the command queue offers it to every IOTLB: held until each has carried it out.

use crate::design::Design;
use crate::hdl::{E, Instance, Module};
use crate::queue::InvalidationKind;

/// Names of the ports `inval_*` after `inval_valid`, and their widths.
fn ports(d: &Design) -> [(&'static str, u32); 9] {
    [
        ("inval_kind", 2),
        ("inval_gv", 1),
        ("inval_av", 1),
        ("inval_pscv", 1),
        ("inval_pscid", 20),
        ("inval_addr", 52),
        ("inval_dv", 1),
        ("inval_did", d.device_id_width),
        ("inval_pid", d.process_id_width),
    ]
}

/// The signals of an invalidation.
pub struct Invalidation {
    /// There is one.
    pub valid: E,
    /// IOTINVAL.VMA. With `gv` it names a virtual machine, whose translations no design holds yet.
    pub vma: E,
    /// IODIR.INVAL_DDT.
    pub ddt: E,
    /// IODIR.INVAL_PDT.
    pub pdt: E,
    /// GV operand.
    pub gv: E,
    /// AV operand.
    pub av: E,
    /// PSCV operand.
    pub pscv: E,
    /// PSCID operand.
    pub pscid: E,
    /// ADDR\[63:12\] operand.
    pub addr: E,
    /// DV operand.
    pub dv: E,
    /// DID operand.
    pub did: E,
    /// PID operand.
    pub pid: E,
}

impl Invalidation {
    /// Input ports `inval_*`.
    pub fn inputs(m: &mut Module, d: &Design) -> Invalidation {
        m.section("Invalidations: held until done");
        let valid = m.input("inval_valid", 1);
        let [kind, gv, av, pscv, pscid, addr, dv, did, pid] =
            ports(d).map(|(name, width)| m.input(name, width));
        let is = |k: InvalidationKind| kind.is(k as u64);
        let (vma, ddt, pdt) =
            (is(InvalidationKind::Vma), is(InvalidationKind::Ddt), is(InvalidationKind::Pdt));
        Invalidation { valid, vma, ddt, pdt, gv, av, pscv, pscid, addr, dv, did, pid }
    }

    /// Connects everything but `inval_valid` from the command queue to an IOTLB.
    pub fn connect(m: &mut Module, d: &Design, from: &Instance, to: &Instance) {
        for (name, _) in ports(d) {
            to.connect(m, name, from.out(name));
        }
    }
}
