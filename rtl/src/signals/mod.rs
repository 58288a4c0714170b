//! Signals between blocks: requests and translations, contexts, invalidations, events.

pub mod cause;
pub mod context;
pub mod events;
pub mod invalidation;
pub mod request;
