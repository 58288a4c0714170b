//! Address translation services and page requests: what devices send to the IOMMU besides requests for translation, what it sends to
//! them, and what it remembers in between.

mod device_messages;
mod invalidation_tags;
mod message_port;

pub use device_messages::device_messages;
pub use invalidation_tags::{invalidation_tags, tag_width};
pub use message_port::message_port;
