//! The bare baseline: the same channels on the same machine, but at ports that answer at once, without translation.
//!
//! Memory behaves as in the run, with nobody else at it; addresses are those that the pages have. Never: anything but the ends of
//! accesses is changed by it.

use crate::dma::Dma;
use crate::endpoint::{Channel, ChannelKind};
use crate::truth::Truth;
use pasidon_experiment::MachineModel;
use pasidon_experiment::timing::Timing;
use pasidon_experiment::trace::TraceError;
use pasidon_rtl::design::Design;

/// Cycles from the first access of the channels to the end of the last.
///
/// # Errors
/// Work that can't be read.
pub fn bare(
    design: &Design,
    model: &MachineModel,
    channels: Vec<Channel>,
    truth: &mut Truth,
) -> Result<u64, TraceError> {
    let mut dma = Dma::new(design, 0);
    let mut timing = Timing::new(model);
    for channel in channels {
        dma.add(Channel { kind: ChannelKind::Untranslated, ..channel });
    }
    let mut now = 0;
    while !dma.is_idle() {
        dma.bare_cycle(now, &mut timing, truth);
        now += 1;
    }
    dma.take_failure().map_or(Ok(now), Err)
}
