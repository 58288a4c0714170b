//! pasidon-tests
