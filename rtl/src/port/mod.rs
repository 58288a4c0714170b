//! Ports to the outside that several blocks share.

pub mod axi_master;
