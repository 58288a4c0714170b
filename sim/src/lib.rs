//! pasidon-sim
