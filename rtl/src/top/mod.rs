//! The top module: which blocks there are, and how they are wired. Nothing is computed here.

mod ats;
mod iommu;
mod ports;
mod queues;
mod requesters;
mod translation;

pub use iommu::iommu;

use pasidon_hdl::{Instance, Module};

/// Connects inputs of `to` to outputs of `from`.
fn join(m: &mut Module, from: &Instance, to: &Instance, ports: &[(&str, &str)]) {
    for (output, input) in ports {
        to.connect(m, input, from.out(output));
    }
}

/// Connects inputs of `to` to the outputs of the same names of `from`.
fn pass(m: &mut Module, from: &Instance, to: &Instance, ports: &[&str]) {
    for port in ports {
        to.connect(m, port, from.out(port));
    }
}
