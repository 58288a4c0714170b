//! pasidon-spec
