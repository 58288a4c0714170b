//! What blocks say to each other: requests and translations, contexts, invalidations, events.

pub mod context;
pub mod events;
pub mod invalidation;
pub mod request;
