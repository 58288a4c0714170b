//! The emitted hardware, verilated, against the specification. One program, so that each design is compiled and loaded once.

mod contexts;
mod invalidation;
mod page_tables;
mod random;
mod scene;
