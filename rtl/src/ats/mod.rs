//! Address translation services and page requests: messages from devices besides translation requests, messages to devices, and the
//! invalidation requests in flight.

mod device_messages;
mod invalidation_tags;
mod message_port;

pub use device_messages::device_messages;
pub use invalidation_tags::{invalidation_tags, tag_width};
pub use message_port::message_port;
