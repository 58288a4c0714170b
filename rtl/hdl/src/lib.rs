//! pasidon-hdl: hardware as Rust values, and Verilog from it.
//!
//! A block is built with [`Module`]: ports, registers, memories, child blocks and the logic between them. Signals are
//! [`E`]s, expressions of a width that is a run-time value, so that a design file decides it. [`emit`](emit()) writes a block
//! and everything below it as Verilog-2005.
//!
//! What can't be said: a latch, a signal with two values or with none, widths that differ, a signal of another module.
//! Combinational signals are single assignments ([`Module::wire`], [`Module::assign`]); registers are set in
//! [`Module::when`] and [`Module::switch`].
//!
//! A module *is* a rust-hdl block ([`stock`]): a `Probe` visits it, rust-hdl's checks run over it, and rust-hdl's own writer
//! makes Verilog of it too.

mod bundle;
mod emit;
mod error;
mod expr;
mod ir;
mod keywords;
pub mod label;
mod lower;
mod module;
pub mod mutate;
pub mod named;
mod never;
mod paths;
mod ram;
pub mod stock;
mod storage;
mod verilog;

pub use bundle::{Bundle, Field};
pub use emit::{Direction, Emitted, ModuleFile, Options, Port, emit};
pub use error::EmitError;
pub use expr::{
    E, all_of, any_of, cat, encode, first, hi, index_width, lit, lo, lowest, onehot, select, session, wide,
};
pub use label::{Label, Value};
pub use module::{Instance, Memory, Module, Switch, header};
pub use named::Named;
pub use pasidon_hdl_names::names;
pub use paths::Path;
pub use ram::RamStyle;
pub use storage::MemoryKind;
