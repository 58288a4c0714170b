//! pasidon-driver
