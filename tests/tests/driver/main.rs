//! The driver's promises on the emitted hardware, verilated: what a fake machine can't show, because it was written by whoever wrote the
//! driver.

mod bits;
mod exit;
mod interrupts;
mod neighbours;
mod power;
mod takeover;
