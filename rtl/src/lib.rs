//! pasidon-rtl
