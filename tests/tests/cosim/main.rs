//! The emitted hardware, verilated, against the specification. One program, so that each design is compiled and loaded once.

mod ad_updates;
mod ats_commands;
mod ats_requests;
mod commands;
mod contexts;
mod debug;
mod endianness;
mod fault_queue;
mod fctl;
mod hpm;
mod interrupt_messages;
mod invalidation;
mod isolation;
mod msi_translation;
mod page_requests;
mod page_tables;
mod progress;
mod protocol;
mod random;
mod reset;
mod scene;
mod second_stage;
mod shared_memory;
mod structure;
mod translated_requests;
