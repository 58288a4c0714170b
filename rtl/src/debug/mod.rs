//! The debug interface.

mod translation_request;

pub use translation_request::translation_request;
