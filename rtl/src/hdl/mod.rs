//! The description layer: hardware as Rust values, on rust-hdl's `Block`, `Logic`, `Atom` and syntax tree.
//!
//! rust-hdl's `#[hdl_gen]` fixes every width in a type parameter; here every width is a value that a design
//! TOML decides. So blocks are built with [`Module`], which *is* a rust-hdl block: it is visited by a `Probe`,
//! its signals are `Atom`s, and `Logic::hdl()` returns the same syntax tree that the macro would.
//!
//! Combinational signals are single assignments ([`Module::wire`], [`Module::assign`]), registers are set in
//! [`Module::when`] and [`Module::switch`]; a latch or a missing default can't be said.

mod atom;
mod block;
mod expr;
mod module;

pub use atom::{MemoryKind, Storage};
pub(crate) use block::TEMPORARY;
pub use expr::{
    E, all_of, any_of, cat, encode, first, hi, index_width, lit, lo, lowest, onehot, select, session, wide,
};
pub use module::{Instance, Memory, Module, Switch};
