//! pasidon-rtl: the hardware, described in Rust on rust-hdl and emitted as Verilog.
//!
//! [`generate`] turns a [`Design`] into Verilog. The modules of this crate are the block diagram: [`cache`], [`translate`], [`walk`],
//! [`queue`], [`regs`], [`interrupt`], [`ats`], [`monitor`], [`debug`], [`port`](mod@port), joined in [`top`]; [`signals`] are the signals
//! between them; [`hdl`] is how blocks are described, [`emit`] how they become Verilog.

pub mod ats;
pub mod cache;
pub mod debug;
pub mod design;
pub mod emit;
pub mod hdl;
pub mod interrupt;
pub mod monitor;
pub mod port;
pub mod queue;
pub mod regs;
pub mod signals;
pub mod top;
pub mod translate;
pub mod walk;

pub use design::{Design, DesignError};
pub use emit::mutate::{Mutant, Mutants};
pub use emit::{Direction, EmitError, Port};

use serde_json::json;
use sha2::{Digest, Sha256};

/// What [`generate`] makes of a design.
#[derive(Clone, Debug)]
pub struct Generated {
    /// All modules; the top is `pasidon_iommu`.
    pub verilog: String,
    /// The resolved design, its hash with and without its name, that of the modules, the tool's version and the ports, as JSON.
    pub design_json: String,
    /// The ports of `pasidon_iommu`, in order.
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

/// The Verilog of a design, and what it takes to write it with a fault in it.
///
/// # Errors
/// An [`EmitError`] is a mistake in a block, not in the design.
pub fn mutants(design: &Design) -> Result<Mutants, EmitError> {
    emitted(design).map(|(generated, emitted)| Mutants::new(generated, emitted))
}

fn emitted(design: &Design) -> Result<(Generated, emit::Emitted), EmitError> {
    hdl::session(|| {
        let emitted = emit::emit(&*top::pasidon_iommu(design))?;
        let hash = design.hash();
        let version = env!("CARGO_PKG_VERSION");
        let banner = format!(
            "// Pasidon {version}, design {}, hash {hash}\n// Generated from Rust: change the design or the blocks, not this file.\n\n",
            design.name
        );
        let verilog_hash = design::hexadecimal(&Sha256::digest(emitted.verilog.as_bytes()));
        let document = json!({
            "tool": "pasidon",
            "version": version,
            "top": emitted.top,
            "hash": hash,
            "nameless_hash": design.nameless_hash(),
            "verilog_hash": verilog_hash,
            "design": design,
            "ports": emitted.ports,
        });
        let design_json = format!("{document:#}\n");
        let verilog = banner + &emitted.verilog;
        Ok((Generated { verilog, design_json, ports: emitted.ports.clone(), hash, verilog_hash }, emitted))
    })
}
