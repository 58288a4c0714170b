//! The golden model against cases worked out by hand from the specification.

mod ats;
mod beyond;
mod causes;
mod commands;
mod context_checks;
mod debug;
mod interrupts;
mod invalidation;
mod monitor;
mod msi;
mod pages;
mod permissions;
mod queues;
mod registers;
mod world;
