//! What is wrong with a block.

/// A block that can't become Verilog: a mistake in a block, not in a design.
#[derive(Debug, thiserror::Error)]
#[error("block {module}: {what}")]
pub struct EmitError {
    module: String,
    what: String,
}

impl EmitError {
    pub(crate) fn new(module: &str, what: impl Into<String>) -> EmitError {
        EmitError { module: module.into(), what: what.into() }
    }
}
