//! pasidon-rtl: the hardware, described in Rust and emitted as Verilog.
//!
//! [`generate`] turns a [`Design`] into Verilog. The modules of this crate are the block diagram: [`cache`], [`translate`], [`walk`],
//! [`queue`], [`regs`], [`interrupt`], [`ats`], [`monitor`], [`debug`], [`port`](mod@port), joined in [`top`]; [`signals`] are the signals
//! between them. [`pasidon_hdl`] is how blocks are described and become Verilog.

pub mod ats;
pub mod cache;
pub mod debug;
pub mod design;
pub mod interrupt;
pub mod monitor;
pub mod port;
pub mod queue;
pub mod regs;
pub mod signals;
pub mod top;
pub mod translate;
pub mod walk;

pub use design::{Design, DesignError, Emission};
pub use pasidon_hdl::mutate::{Fault, Faults, Operator};
pub use pasidon_hdl::{Direction, EmitError, ModuleFile, Port};

use pasidon_hdl::{Emitted, Options, emit, session};
use serde_json::json;
use sha2::{Digest, Sha256};

/// What [`generate`] makes of a design.
#[derive(Clone, Debug)]
pub struct Generated {
    /// All modules, children before parents.
    pub verilog: String,
    /// What the blocks say never happens, as assertions beside the modules (SystemVerilog): a file for checked simulations.
    pub never: String,
    /// The name of the top module: the design's prefix and `iommu`.
    pub top: String,
    /// What the name of each module begins with.
    pub prefix: String,
    /// The resolved design, its hash with and without its name, that of the modules, the tool's version and the ports, as JSON.
    pub design_json: String,
    /// The ports of the top module, in order.
    pub ports: Vec<Port>,
    /// Hash of the resolved design: equal hashes and tool versions give equal Verilog.
    pub hash: String,
    /// Hash of the modules without the banner: what was measured of equal ones holds for both.
    pub verilog_hash: String,
}

/// Generates the Verilog of a design. The same design gives the same bytes.
///
/// # Errors
/// An [`EmitError`] is a mistake in a block, not in the design.
pub fn generate(design: &Design) -> Result<Generated, EmitError> {
    emitted(design).map(|(generated, _)| generated)
}

/// Generates the Verilog of a design, and each of its modules in a file of its own, children before parents.
///
/// # Errors
/// As for [`generate`].
pub fn generate_files(design: &Design) -> Result<(Generated, Vec<ModuleFile>), EmitError> {
    emitted(design).map(|(generated, emitted)| (generated, emitted.files().collect()))
}

/// Inputs and outputs of a design that logic alone joins: there are none, as docs/integrate.md promises.
///
/// # Errors
/// As for [`generate`].
pub fn paths(design: &Design) -> Result<Vec<pasidon_hdl::Path>, EmitError> {
    emitted(design).map(|(_, emitted)| emitted.paths())
}

/// A design and all its possible single faults ([`pasidon_hdl::mutate`]).
#[derive(Clone, Debug)]
pub struct Mutants {
    generated: Generated,
    mutants: pasidon_hdl::mutate::Mutants,
}

/// A design with one fault.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The fault.
    pub fault: Fault,
    /// The design with it.
    pub generated: Generated,
}

impl Mutants {
    /// The design without a fault.
    pub fn original(&self) -> &Generated {
        &self.generated
    }

    /// The possible faults of each module, children before parents.
    pub fn faults(&self) -> &[Faults] {
        self.mutants.faults()
    }

    /// The design with the fault of this name; `None` if there is no such fault, or if its text is that of the original.
    pub fn make(&self, id: &str) -> Option<Mutant> {
        let (fault, verilog) = self.mutants.make(id)?;
        Some(Mutant { fault, generated: Generated { verilog, ..self.generated.clone() } })
    }
}

/// The Verilog of a design, and what it takes to write it with a fault in it.
///
/// # Errors
/// An [`EmitError`] is a mistake in a block, not in the design.
pub fn mutants(design: &Design) -> Result<Mutants, EmitError> {
    let (generated, emitted) = emitted(design)?;
    Ok(Mutants { generated, mutants: pasidon_hdl::mutate::Mutants::new(emitted) })
}

fn emitted(design: &Design) -> Result<(Generated, Emitted), EmitError> {
    session(|| {
        let hash = design.hash();
        let version = env!("CARGO_PKG_VERSION");
        let banner = format!(
            "// SPDX-License-Identifier: Apache-2.0\n// Pasidon {version}, design {}, hash {hash}\n// Generated from Rust: change the design or the blocks, not this file.\n\n",
            design.name
        );
        let Emission { prefix, ram_style } = &design.emit;
        let options = Options { banner: &banner, prefix, ram_style: *ram_style };
        let emitted = emit(&top::iommu(design), &options)?;
        let verilog_hash = format!("{:x}", Sha256::digest(&emitted.verilog.as_bytes()[banner.len()..]));
        let document = json!({
            "tool": "pasidon",
            "version": version,
            "top": emitted.top,
            "prefix": design.emit.prefix,
            "hash": hash,
            "nameless_hash": design.nameless_hash(),
            "verilog_hash": verilog_hash,
            "design": design,
            "ports": emitted.ports,
        });
        let design_json = format!("{document:#}\n");
        let (verilog, ports) = (emitted.verilog.clone(), emitted.ports.clone());
        let (top, prefix) = (emitted.top.clone(), design.emit.prefix.clone());
        let never = format!("{banner}{}", emitted.never);
        Ok((Generated { verilog, never, top, prefix, design_json, ports, hash, verilog_hash }, emitted))
    })
}
