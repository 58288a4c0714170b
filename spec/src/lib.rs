//! The programmer's model of the RISC-V IOMMU Architecture v1.0.1, as data.
//!
//! Registers, directory entries, page-table geometries, commands, queue records and cause codes are
//! stated here once. The hardware generator, the driver, the golden model and the register reference in
//! `docs/registers.md` all read them from this crate; nothing else in the repository knows an offset or a
//! bit position. Section names in the documentation are those of the specification.
//!
//! The crate is `no_std`, allocates nothing and depends on nothing; the feature `serde` makes what replay files hold serialisable.
//!
//! | module | what it holds | chapter of the specification |
//! |---|---|---|
//! | [`field`] | how bit fields and words are described | |
//! | [`registers`] | the memory-mapped registers | Memory-mapped register interface |
//! | [`ddt`] | device directory, device context | Data Structures |
//! | [`pdt`] | process directory, process context | Data Structures |
//! | [`page_table`] | page-table geometries and entries | Data Structures; Privileged specification |
//! | [`queue`] | where a queue lies, and how its indices count | In-memory queue interface |
//! | [`command`] | the command queue's commands | Command-Queue (CQ) |
//! | [`fault`] | cause codes and fault records | Fault/Event-Queue (FQ) |
//! | [`page_request`] | page-request records | Page-Request-Queue (PQ) |
//! | [`message`] | what ATS and PRI messages carry | IOMMU PCIe ATS commands |
//! | [`msi`] | MSI page tables and memory-resident interrupt files | Data Structures; Advanced Interrupt Architecture |
//! | [`request`] | what the IO bridge asks, and the answers | IOMMU extensions and system integration |
//! | [`memory`] | how accesses to memory fail | |
//! | [`range`] | ranges of pages encoded in a page number | Address Range Invalidation Extension |
//!
//! # Names
//!
//! A field keeps the specification's name in [`Field::name`](field::Field::name). The Rust constant is that
//! name in capitals, with an underscore for every character that Rust does not allow: `LOG2SZ-1` is
//! `LOG2SZ_1`, `Go/Busy` is `GO_BUSY`.
//!
//! ```
//! use pasidon_spec::registers::{cqb, cqcsr};
//!
//! let base = cqb::PPN.of(0x8_0000) | cqb::LOG2SZ_1.of(6); // 128 entries at 0x8000_0000
//! assert_eq!(cqb::PPN.get(base), 0x8_0000);
//! assert_eq!(cqcsr::REG.offset, 72);
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[macro_use]
mod describe;

pub mod command;
pub mod ddt;
pub mod fault;
pub mod field;
pub mod memory;
pub mod message;
pub mod msi;
pub mod page_request;
pub mod page_table;
pub mod pdt;
pub mod queue;
pub mod range;
pub mod registers;
pub mod request;
