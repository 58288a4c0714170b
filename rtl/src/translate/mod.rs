//! The path of a request: port, L1, miss table, dispatch, walker, completion.

pub mod completion;
pub mod dispatch;
pub mod fence;
pub mod invalidation;
pub mod miss_table;
