//! Estimating: several requests under way, and cycles as the hardware takes them.
//!
//! The pipeline is stepped from one cycle in which something happens to the next; in between nothing can. Pages are in memory, and
//! nothing is invalidated.

mod bare;
mod devices;
mod memory;
mod pipeline;
mod record;
mod walker;

use crate::channel::Channel;
use crate::error::FastError;
use crate::mapping::Mapping;
use crate::pages::Pages;
use devices::{Devices, Stream};
use memory::Memory;
use pasidon_experiment::answer::Times;
use pasidon_experiment::imagined::Imagined;
use pasidon_experiment::{Counts, MachineModel};
use pasidon_rtl::design::Design;
use pipeline::Pipeline;

/// Counts what the design does with these channels at work at the same time, and estimates how long it takes, with translation and
/// without.
///
/// # Errors
/// [`FastError`]
pub fn estimate(
    design: &Design,
    machine: &MachineModel,
    mapping: &dyn Mapping,
    imagined: &Imagined,
    channels: Vec<Channel>,
) -> Result<(Counts, Times), FastError> {
    FastError::if_any(machine.problems())?;
    let mut pages = Pages::new(design, imagined.shared)?;
    let mut streams = Vec::with_capacity(channels.len());
    for channel in channels {
        let binding = pages.bind(channel.device, channel.process, mapping)?;
        streams.push(Stream::new(channel, binding as u32, design.ports)?);
    }
    let devices = Devices::new(streams, design.ports);
    let mut pipeline = Pipeline::new(design, mapping, imagined, pages, devices, Memory::new(machine));
    pipeline.run()?;
    let counts = pipeline.counts();
    let (cycles, breakdown) = (pipeline.now, pipeline.breakdown);
    let latency = pipeline.latencies.summary();
    let Pipeline { mut devices, mut pages, .. } = pipeline;
    devices.rewind()?;
    let bare = bare::run(&mut devices, &mut pages, Memory::new(machine), mapping, design.ports as usize)?;
    Ok((counts, Times { cycles, bare, breakdown, latency, estimated: true }))
}
