//! The hardware against the golden model.
//!
//! - [`engine`]: the two behind one interface, alone or driven alike and compared.
//! - [`lockstep`]: the two under the same random operations; a difference is minimised and can be replayed.
//! - [`mutation`]: single faults in the hardware, which lockstep must notice.
//! - [`coverage`]: which lines and bits of the hardware a run has been through.

pub mod coverage;
pub mod engine;
pub mod lockstep;
pub mod mutation;
