//! Signals between blocks, as tables: requests and translations, results and responses, contexts, invalidations, events, fault
//! records, messages.

pub mod cause;
pub mod context;
pub mod events;
pub mod fault;
pub mod invalidation;
pub mod message;
pub mod request;
pub mod result;
