//! Experiments on the hardware.
